//! Finds and deletes what is past its retention.

use telemetry_schemas::time::EventTime;
use tokio_postgres::{Client, types::ToSql};

use super::errors::unavailable;
use crate::{
    database::DatabaseError,
    retention::{Census, Expiry},
};

const DAY_MS: i64 = 86_400_000;

fn with_names(sql: &str, expiry: &Expiry) -> String {
    let table = expiry.table;
    sql.replace("{table}", table.name()).replace("{time}", table.time()).replace("{written}", table.written())
}

pub(super) async fn expiring(client: &Client, expiry: &Expiry) -> Result<Census, DatabaseError> {
    let sql = with_names(include_str!("queries/expiring.sql"), expiry);
    let parameters: [&(dyn ToSql + Sync); 4] =
        [&expiry.scope.tenant(), &expiry.scope.others(), &expiry.before.0, &expiry.written_before.0];
    let row = client.query_one(&sql, &parameters).await.map_err(|error| unavailable(&error))?;
    let count = |index: usize| row.get::<_, i64>(index).unsigned_abs();
    Ok(Census { rows: count(0), waiting: count(1), oldest: row.get::<_, Option<i64>>(2).map(EventTime) })
}

/// Whole chunks where TimescaleDB has any, rows for the rest.
pub(super) async fn expire(client: &Client, expiry: &Expiry, oldest: Option<EventTime>) -> Result<u64, DatabaseError> {
    let Some(oldest) = oldest else { return Ok(0) };
    let before = expiring(client, expiry).await?.rows;
    drop_chunks(client, expiry).await?;
    let sql = with_names(include_str!("queries/expire.sql"), expiry);
    let mut from = oldest.0;
    while from < expiry.before.0 {
        let to = from.saturating_add(DAY_MS).min(expiry.before.0);
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&expiry.scope.tenant(), &expiry.scope.others(), &to, &expiry.written_before.0, &from];
        client.execute(&sql, &parameters).await.map_err(|error| unavailable(&error))?;
        from = to;
    }
    // Chunks do not tell how much was in them.
    Ok(before.saturating_sub(expiring(client, expiry).await?.rows))
}

/// Drops chunks (or partitions) in which nothing has to stay.
async fn drop_chunks(client: &Client, expiry: &Expiry) -> Result<(), DatabaseError> {
    let table = expiry.table.name();
    let away = |error: tokio_postgres::Error| unavailable(&error);
    let row = client.query_one(include_str!("queries/is_hypertable.sql"), &[]).await.map_err(away)?;
    let has_chunks: bool = row.get(0);
    let find =
        if has_chunks { include_str!("queries/chunks_past.sql") } else { include_str!("queries/partitions_past.sql") };
    let holds_back = with_names(include_str!("queries/chunk_holds_back.sql"), expiry);
    for part in client.query(find, &[&table, &expiry.before.0]).await.map_err(away)? {
        let (name, start, end): (String, i64, i64) = (part.get(0), part.get(1), part.get(2));
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&expiry.scope.tenant(), &expiry.scope.others(), &end, &expiry.written_before.0, &start];
        if client.query_one(&holds_back, &parameters).await.map_err(away)?.get(0) {
            continue;
        }
        let dropped = if has_chunks {
            client.execute(include_str!("queries/drop_chunk.sql"), &[&table, &end, &start]).await
        } else {
            client.execute(&format!("DROP TABLE {name}"), &[]).await
        };
        dropped.map_err(away)?;
    }
    Ok(())
}
