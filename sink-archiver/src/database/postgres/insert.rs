//! Bulk inserts: one statement per table, columns as arrays. When the data of a row is at fault, the rows are
//! halved under savepoints until the faulty ones are known.

use std::collections::{BTreeSet, HashSet};

use deadpool_postgres::Transaction;
use telemetry_schemas::{Event, StageResult, TtfBreach, TtfRecord};
use tokio_postgres::{Error, Row};

use super::errors::{is_data_error, unavailable};
use crate::database::{
    DatabaseError,
    rows::{
        JourneyKey, Kept, Sourced, context_json, latest, name_of, newest, pairs_json, properties_json, stages_json,
    },
};

/// Writes the rows, or tells which of them can never be written.
pub(super) async fn all(transaction: &Transaction<'_>, kept: &Kept<'_>) -> Result<(), DatabaseError> {
    let mut poison = BTreeSet::new();
    for rows in [Rows::Events(&kept.events), Rows::Records(&kept.records), Rows::Breaches(&kept.breaches)] {
        insert_or_find_poison(transaction, rows, &mut poison).await?;
    }
    if poison.is_empty() { Ok(()) } else { Err(DatabaseError::Poison(poison)) }
}

#[derive(Clone, Copy)]
enum Rows<'a> {
    Events(&'a [&'a Sourced<Event>]),
    Records(&'a [&'a Sourced<TtfRecord>]),
    Breaches(&'a [&'a Sourced<TtfBreach>]),
}

impl Rows<'_> {
    fn len(self) -> usize {
        match self {
            Self::Events(rows) => rows.len(),
            Self::Records(rows) => rows.len(),
            Self::Breaches(rows) => rows.len(),
        }
    }

    fn first_index(self) -> Option<usize> {
        match self {
            Self::Events(rows) => rows.first().map(|row| row.index),
            Self::Records(rows) => rows.first().map(|row| row.index),
            Self::Breaches(rows) => rows.first().map(|row| row.index),
        }
    }

    fn halves(self) -> [Self; 2] {
        let middle = self.len() / 2;
        match self {
            Self::Events(rows) => [Self::Events(&rows[..middle]), Self::Events(&rows[middle..])],
            Self::Records(rows) => [Self::Records(&rows[..middle]), Self::Records(&rows[middle..])],
            Self::Breaches(rows) => [Self::Breaches(&rows[..middle]), Self::Breaches(&rows[middle..])],
        }
    }
}

async fn insert_or_find_poison(
    transaction: &Transaction<'_>,
    rows: Rows<'_>,
    poison: &mut BTreeSet<usize>,
) -> Result<(), DatabaseError> {
    let run = async |sql: &str| transaction.batch_execute(sql).await.map_err(|error| unavailable(&error));
    let mut open = vec![rows];
    while let Some(rows) = open.pop() {
        let Some(first) = rows.first_index() else { continue };
        run("SAVEPOINT rows").await?;
        match insert(transaction, rows).await {
            Ok(()) => run("RELEASE SAVEPOINT rows").await?,
            Err(error) if is_data_error(&error) => {
                run("ROLLBACK TO SAVEPOINT rows").await?;
                run("RELEASE SAVEPOINT rows").await?;
                if rows.len() == 1 {
                    poison.insert(first);
                } else {
                    open.extend(rows.halves());
                }
            }
            Err(error) => return Err(unavailable(&error)),
        }
    }
    Ok(())
}

async fn insert(transaction: &Transaction<'_>, rows: Rows<'_>) -> Result<(), Error> {
    match rows {
        Rows::Events(rows) => insert_events(transaction, rows).await,
        Rows::Records(rows) => insert_records(transaction, rows).await,
        Rows::Breaches(rows) => insert_breaches(transaction, rows).await,
    }
}

/// One column of some rows.
fn column<'a, R, T>(rows: &[&'a R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(|row| value(row)).collect()
}

async fn insert_events(transaction: &Transaction<'_>, rows: &[&Sourced<Event>]) -> Result<(), Error> {
    let rows: Vec<&Event> = rows.iter().map(|sourced| &sourced.row).collect();
    let statement = transaction.prepare_cached(include_str!("queries/insert_events.sql")).await?;
    transaction
        .execute(
            &statement,
            &[
                &column(&rows, |event| event.tenant.as_str()),
                &column(&rows, |event| event.source.as_str()),
                &column(&rows, |event| event.event_id.as_str()),
                &column(&rows, |event| event.event_name.as_str()),
                &column(&rows, |event| name_of(event.event_type)),
                &column(&rows, |event| event.timestamp.0),
                &column(&rows, |event| event.original_timestamp.map(|at| at.0)),
                &column(&rows, |event| event.sent_at.map(|at| at.0)),
                &column(&rows, |event| event.received_at.0),
                &column(&rows, |event| event.user_id.as_deref()),
                &column(&rows, |event| event.anonymous_id.as_deref()),
                &column(&rows, |event| event.session_id.as_deref()),
                &column(&rows, |event| event.journey_id.as_deref()),
                &column(&rows, |event| properties_json(&event.properties)),
                &column(&rows, |event| context_json(&event.context)),
                &column(&rows, |event| event.replay),
            ],
        )
        .await
        .map(drop)
}

/// Every revision, then the newest ones, then the stages of those that were newer than what was there.
async fn insert_records(transaction: &Transaction<'_>, rows: &[&Sourced<TtfRecord>]) -> Result<(), Error> {
    let rows: Vec<&TtfRecord> = rows.iter().map(|sourced| &sourced.row).collect();
    write_records(transaction, include_str!("queries/insert_records.sql"), &rows).await?;
    let newest = newest(rows.iter().copied());
    let changed = write_records(transaction, include_str!("queries/upsert_journeys.sql"), &newest).await?;
    let changed: HashSet<JourneyKey<'_>> = changed
        .iter()
        .map(|row| JourneyKey { tenant: row.get(0), user_id: row.get(1), journey: row.get(2), attempt: row.get(3) })
        .collect();
    let changed: Vec<&TtfRecord> =
        newest.into_iter().filter(|record| changed.contains(&JourneyKey::of(record))).collect();
    if changed.is_empty() {
        return Ok(());
    }
    write_stages(transaction, &changed).await
}

async fn write_records(transaction: &Transaction<'_>, sql: &str, rows: &[&TtfRecord]) -> Result<Vec<Row>, Error> {
    let statement = transaction.prepare_cached(sql).await?;
    transaction
        .query(
            &statement,
            &[
                &column(rows, |record| record.record_id.as_str()),
                &column(rows, |record| record.tenant.as_str()),
                &column(rows, |record| record.journey.as_str()),
                &column(rows, |record| record.journey_version),
                &column(rows, |record| record.user_id.as_str()),
                &column(rows, |record| record.attempt.as_str()),
                &column(rows, |record| record.generation),
                &column(rows, |record| record.revision),
                &column(rows, |record| name_of(record.status)),
                &column(rows, |record| record.signup_at.0),
                &column(rows, |record| record.completed_at.map(|at| at.0)),
                &column(rows, |record| record.total_ms.map(|total| total.0)),
                &column(rows, stages_json),
                &column(rows, |record| record.current_stage.as_deref()),
                &column(rows, |record| record.efficiency_score),
                &column(rows, |record| record.breach_level.map(name_of)),
                &column(rows, |record| pairs_json(&record.segments)),
                &column(rows, |record| pairs_json(&record.experiments)),
                &column(rows, |record| record.release.as_deref()),
                &column(rows, |record| record.cause_event_id.as_deref()),
                &column(rows, |record| record.emitted_at.0),
            ],
        )
        .await
}

async fn write_stages(transaction: &Transaction<'_>, records: &[&TtfRecord]) -> Result<(), Error> {
    let clear = transaction.prepare_cached(include_str!("queries/clear_stage_durations.sql")).await?;
    transaction
        .execute(
            &clear,
            &[
                &column(records, |record| record.tenant.as_str()),
                &column(records, |record| record.user_id.as_str()),
                &column(records, |record| record.journey.as_str()),
                &column(records, |record| record.attempt.as_str()),
            ],
        )
        .await?;
    let stages: Vec<(&TtfRecord, i32, &StageResult)> = records
        .iter()
        .flat_map(|record| (0..).zip(&record.stages).map(move |(ordinal, stage)| (*record, ordinal, stage)))
        .collect();
    let rows: Vec<&(&TtfRecord, i32, &StageResult)> = stages.iter().collect();
    let statement = transaction.prepare_cached(include_str!("queries/insert_stage_durations.sql")).await?;
    transaction
        .execute(
            &statement,
            &[
                &column(&rows, |(record, _, _)| record.tenant.as_str()),
                &column(&rows, |(record, _, _)| record.journey.as_str()),
                &column(&rows, |(record, _, _)| record.user_id.as_str()),
                &column(&rows, |(record, _, _)| record.attempt.as_str()),
                &column(&rows, |(_, _, stage)| stage.id.as_str()),
                &column(&rows, |(_, ordinal, _)| *ordinal),
                &column(&rows, |(record, _, _)| record.signup_at.0),
                &column(&rows, |(_, _, stage)| stage.from_at.map(|at| at.0)),
                &column(&rows, |(_, _, stage)| stage.to_at.map(|at| at.0)),
                &column(&rows, |(_, _, stage)| stage.duration_ms.map(|duration| duration.0)),
                &column(&rows, |(_, _, stage)| stage.target_ms.0),
                &column(&rows, |(_, _, stage)| stage.met),
                &column(&rows, |(_, _, stage)| stage.anomaly.map(name_of)),
                &column(&rows, |(record, _, _)| pairs_json(&record.segments)),
                &column(&rows, |(record, _, _)| pairs_json(&record.experiments)),
                &column(&rows, |(record, _, _)| record.release.as_deref()),
            ],
        )
        .await
        .map(drop)
}

async fn insert_breaches(transaction: &Transaction<'_>, rows: &[&Sourced<TtfBreach>]) -> Result<(), Error> {
    let rows: Vec<&TtfBreach> = rows.iter().map(|sourced| &sourced.row).collect();
    write_breaches(transaction, include_str!("queries/insert_breaches.sql"), &rows).await?;
    let latest = latest(rows.iter().copied());
    write_breaches(transaction, include_str!("queries/upsert_breach_status.sql"), &latest).await
}

async fn write_breaches(transaction: &Transaction<'_>, sql: &str, rows: &[&TtfBreach]) -> Result<(), Error> {
    let statement = transaction.prepare_cached(sql).await?;
    transaction
        .execute(
            &statement,
            &[
                &column(rows, |breach| breach.breach_id.as_str()),
                &column(rows, |breach| breach.tenant.as_str()),
                &column(rows, |breach| breach.journey.as_str()),
                &column(rows, |breach| breach.user_id.as_str()),
                &column(rows, |breach| breach.attempt.as_str()),
                &column(rows, |breach| name_of(breach.kind)),
                &column(rows, |breach| name_of(breach.level)),
                &column(rows, |breach| breach.threshold_ms.0),
                &column(rows, |breach| name_of(breach.status)),
                &column(rows, |breach| breach.reason.map(name_of)),
                &column(rows, |breach| breach.signup_at.0),
                &column(rows, |breach| breach.due_at.0),
                &column(rows, |breach| breach.detected_at.0),
                &column(rows, |breach| breach.late),
                &column(rows, |breach| breach.current_stage.as_deref()),
                &column(rows, |breach| pairs_json(&breach.segments)),
                &column(rows, |breach| breach.record_revision),
            ],
        )
        .await
        .map(drop)
}
