//! The rows the cohorts are evaluated from.

use rusqlite::{Connection, Row, TransactionBehavior, params, types::Type};
use telemetry_schemas::time::{EventTime, Millis};

use crate::cohorts::rows::{BreachRow, CohortRows, Course, Interner, Signups, StageRow, TOTAL, Targets};

/// One transaction, so that stages, totals and breaches belong together.
pub(super) fn rows(connection: &mut Connection, signups: Signups, targets: &Targets) -> rusqlite::Result<CohortRows> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let between = params![signups.since.to_rfc3339(), signups.until.to_rfc3339()];
    let mut names = Interner::default();
    let mut rows = CohortRows::default();

    let mut statement = transaction.prepare_cached(include_str!("queries/cohort_stages.sql"))?;
    let mut found = statement.query(between)?;
    while let Some(row) = found.next()? {
        let duration = row.get::<_, Option<i64>>(5)?.map(Millis);
        rows.stages.push(StageRow {
            tenant: names.name(text(row, 0)?),
            journey: names.name(text(row, 1)?),
            stage: names.name(text(row, 2)?),
            signup_at: time(row, 3)?,
            target: Some(Millis(row.get(6)?)),
            course: Course::of_stage(maybe_time(row, 4)?, duration, row.get(7)?),
            segments: names.segments(text(row, 8)?),
        });
    }

    let mut statement = transaction.prepare_cached(include_str!("queries/cohort_totals.sql"))?;
    let mut found = statement.query(between)?;
    while let Some(row) = found.next()? {
        let signup_at = time(row, 3)?;
        rows.stages.push(StageRow {
            tenant: names.name(text(row, 0)?),
            journey: names.name(text(row, 1)?),
            stage: names.name(TOTAL),
            signup_at,
            target: targets.of(text(row, 1)?, row.get(2)?),
            course: Course::of_total(signup_at, row.get::<_, Option<i64>>(4)?.map(Millis)),
            segments: names.segments(text(row, 5)?),
        });
    }

    let mut statement = transaction.prepare_cached(include_str!("queries/cohort_breaches.sql"))?;
    let mut found = statement.query(between)?;
    while let Some(row) = found.next()? {
        rows.breaches.push(BreachRow {
            tenant: names.name(text(row, 0)?),
            journey: names.name(text(row, 1)?),
            stage: row.get_ref(2)?.as_str_or_null()?.map(|stage| names.name(stage)),
            signup_at: time(row, 3)?,
            segments: names.segments(text(row, 4)?),
        });
    }
    Ok(rows)
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    Ok(row.get_ref(column)?.as_str()?)
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<EventTime> {
    EventTime::parse(text(row, column)?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

fn maybe_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<EventTime>> {
    if row.get_ref(column)?.as_str_or_null()?.is_none() { Ok(None) } else { time(row, column).map(Some) }
}
