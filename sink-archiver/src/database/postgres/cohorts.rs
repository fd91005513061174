//! The rows the cohorts are evaluated from.

use futures::TryStreamExt;
use telemetry_schemas::time::{EventTime, Millis};
use tokio_postgres::Row;

use super::errors::unavailable;
use crate::{
    cohorts::rows::{BreachRow, CohortRows, Course, Interner, Signups, StageRow, TOTAL, Targets},
    database::DatabaseError,
};

/// One transaction, so that stages, totals and breaches belong together.
pub(super) async fn rows(
    client: &mut deadpool_postgres::Object,
    signups: Signups,
    targets: &Targets,
) -> Result<CohortRows, DatabaseError> {
    let transaction = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(|error| unavailable(&error))?;
    let mut names = Interner::default();
    let mut rows = CohortRows::default();
    let each = async |sql: &str, take: &mut (dyn FnMut(&Row) + Send)| -> Result<(), tokio_postgres::Error> {
        let statement = transaction.prepare_cached(sql).await?;
        let mut stream = std::pin::pin!(transaction.query_raw(&statement, [signups.since.0, signups.until.0]).await?);
        while let Some(row) = stream.try_next().await? {
            take(&row);
        }
        Ok(())
    };
    each(include_str!("queries/cohort_stages.sql"), &mut |row| {
        rows.stages.push(StageRow {
            tenant: names.name(row.get(0)),
            journey: names.name(row.get(1)),
            stage: names.name(row.get(2)),
            signup_at: EventTime(row.get(3)),
            target: Some(Millis(row.get(6))),
            course: Course::of_stage(
                row.get::<_, Option<i64>>(4).map(EventTime),
                row.get::<_, Option<i64>>(5).map(Millis),
                row.get(7),
            ),
            segments: names.segments(row.get(8)),
        });
    })
    .await
    .map_err(|error| unavailable(&error))?;
    each(include_str!("queries/cohort_totals.sql"), &mut |row| {
        let signup_at = EventTime(row.get(3));
        rows.stages.push(StageRow {
            tenant: names.name(row.get(0)),
            journey: names.name(row.get(1)),
            stage: names.name(TOTAL),
            signup_at,
            target: targets.of(row.get(1), row.get(2)),
            course: Course::of_total(signup_at, row.get::<_, Option<i64>>(4).map(Millis)),
            segments: names.segments(row.get(5)),
        });
    })
    .await
    .map_err(|error| unavailable(&error))?;
    each(include_str!("queries/cohort_breaches.sql"), &mut |row| {
        rows.breaches.push(BreachRow {
            tenant: names.name(row.get(0)),
            journey: names.name(row.get(1)),
            stage: row.get::<_, Option<&str>>(2).map(|stage| names.name(stage)),
            signup_at: EventTime(row.get(3)),
            segments: names.segments(row.get(4)),
        });
    })
    .await
    .map_err(|error| unavailable(&error))?;
    transaction.commit().await.map_err(|error| unavailable(&error))?;
    Ok(rows)
}
