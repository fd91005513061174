//! Row-wise inserts with prepared statements. A row whose data is at fault fails alone and leaves the transaction
//! usable, so the faulty rows are known after one pass.

use std::collections::BTreeSet;

use rusqlite::{Transaction, params};
use telemetry_schemas::{Event, TtfBreach, TtfRecord, time::EventTime};

use super::{is_data_error, unavailable};
use crate::database::{
    DatabaseError,
    rows::{Kept, Sourced, context_json, latest, name_of, newest, pairs_json, properties_json, stages_json},
};

/// Writes the rows, or tells which of them can never be written.
pub(super) fn all(transaction: &Transaction<'_>, kept: &Kept<'_>) -> Result<(), DatabaseError> {
    let mut poison = BTreeSet::new();
    each(&kept.events, &mut poison, |event| insert_event(transaction, event))?;
    each(&kept.records, &mut poison, |record| {
        execute_record(transaction, include_str!("queries/insert_record.sql"), record).map(drop)
    })?;
    each(&kept.breaches, &mut poison, |breach| {
        execute_breach(transaction, include_str!("queries/insert_breach.sql"), breach)
    })?;
    if !poison.is_empty() {
        return Err(DatabaseError::Poison(poison));
    }
    newest(kept.records.iter().map(|sourced| &sourced.row))
        .into_iter()
        .try_for_each(|record| upsert_journey(transaction, record))
        .map_err(|error| unavailable(&error))?;
    latest(kept.breaches.iter().map(|sourced| &sourced.row))
        .into_iter()
        .try_for_each(|breach| execute_breach(transaction, include_str!("queries/upsert_breach_status.sql"), breach))
        .map_err(|error| unavailable(&error))
}

fn each<T>(
    rows: &[&Sourced<T>],
    poison: &mut BTreeSet<usize>,
    insert: impl Fn(&T) -> rusqlite::Result<()>,
) -> Result<(), DatabaseError> {
    for sourced in rows {
        match insert(&sourced.row) {
            Ok(()) => {}
            Err(error) if is_data_error(&error) => {
                poison.insert(sourced.index);
            }
            Err(error) => return Err(unavailable(&error)),
        }
    }
    Ok(())
}

fn time(at: EventTime) -> String {
    at.to_rfc3339()
}

fn maybe(at: Option<EventTime>) -> Option<String> {
    at.map(EventTime::to_rfc3339)
}

fn insert_event(transaction: &Transaction<'_>, event: &Event) -> rusqlite::Result<()> {
    transaction.prepare_cached(include_str!("queries/insert_event.sql"))?.execute(params![
        event.tenant,
        event.source,
        event.event_id,
        event.event_name,
        name_of(event.event_type),
        time(event.timestamp),
        maybe(event.original_timestamp),
        maybe(event.sent_at),
        time(event.received_at),
        event.user_id,
        event.anonymous_id,
        event.session_id,
        event.journey_id,
        properties_json(&event.properties),
        context_json(&event.context),
        event.replay,
    ])?;
    Ok(())
}

fn execute_record(transaction: &Transaction<'_>, sql: &str, record: &TtfRecord) -> rusqlite::Result<usize> {
    transaction.prepare_cached(sql)?.execute(params![
        record.record_id,
        record.tenant,
        record.journey,
        record.journey_version,
        record.user_id,
        record.attempt,
        record.generation,
        record.revision,
        name_of(record.status),
        time(record.signup_at),
        maybe(record.completed_at),
        record.total_ms.map(|total| total.0),
        stages_json(record),
        record.current_stage,
        record.efficiency_score,
        record.breach_level.map(name_of),
        pairs_json(&record.segments),
        pairs_json(&record.experiments),
        record.release,
        record.cause_event_id,
        time(record.emitted_at),
    ])
}

/// The stages are rewritten only when this record is newer than what was there.
fn upsert_journey(transaction: &Transaction<'_>, record: &TtfRecord) -> rusqlite::Result<()> {
    if execute_record(transaction, include_str!("queries/upsert_journey.sql"), record)? == 0 {
        return Ok(());
    }
    transaction.prepare_cached(include_str!("queries/clear_stage_durations.sql"))?.execute(params![
        record.tenant,
        record.user_id,
        record.journey,
        record.attempt
    ])?;
    let mut statement = transaction.prepare_cached(include_str!("queries/insert_stage_duration.sql"))?;
    for (ordinal, stage) in (0_i32..).zip(&record.stages) {
        statement.execute(params![
            record.tenant,
            record.journey,
            record.user_id,
            record.attempt,
            stage.id,
            ordinal,
            time(record.signup_at),
            maybe(stage.from_at),
            maybe(stage.to_at),
            stage.duration_ms.map(|duration| duration.0),
            stage.target_ms.0,
            stage.met,
            stage.anomaly.map(name_of),
            pairs_json(&record.segments),
            pairs_json(&record.experiments),
            record.release,
        ])?;
    }
    Ok(())
}

fn execute_breach(transaction: &Transaction<'_>, sql: &str, breach: &TtfBreach) -> rusqlite::Result<()> {
    transaction.prepare_cached(sql)?.execute(params![
        breach.breach_id,
        breach.tenant,
        breach.journey,
        breach.user_id,
        breach.attempt,
        name_of(breach.kind),
        name_of(breach.level),
        breach.threshold_ms.0,
        name_of(breach.status),
        breach.reason.map(name_of),
        time(breach.signup_at),
        time(breach.due_at),
        time(breach.detected_at),
        breach.late,
        breach.current_stage,
        pairs_json(&breach.segments),
        breach.record_revision,
    ])?;
    Ok(())
}
