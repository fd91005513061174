//! Finds and deletes what is past its retention.

use deadpool_postgres::Transaction;
use telemetry_schemas::time::EventTime;
use tokio_postgres::{Client, GenericClient, Row, types::ToSql};

use super::errors::unavailable;
use crate::{
    database::DatabaseError,
    objects::tally::Came,
    retention::{Census, Expiry, Table},
};

const DAY_MS: i64 = 86_400_000;

fn with_names(sql: &str, table: Table) -> String {
    sql.replace("{table}", table.name()).replace("{time}", table.time()).replace("{written}", table.written())
}

fn away(error: tokio_postgres::Error) -> DatabaseError {
    unavailable(&error)
}

/// A transaction for a statement that may take long.
async fn patiently(client: &mut deadpool_postgres::Object) -> Result<Transaction<'_>, DatabaseError> {
    let transaction = client.transaction().await.map_err(away)?;
    transaction.batch_execute(include_str!("queries/patient.sql")).await.map_err(away)?;
    Ok(transaction)
}

pub(super) async fn expiring(client: &mut deadpool_postgres::Object, expiry: &Expiry) -> Result<Census, DatabaseError> {
    let transaction = patiently(client).await?;
    let stretch = Stretch::before(expiry, expiry.before.0);
    let mut census = Census::default();
    for sql in of_table(&*transaction, expiry, include_str!("queries/expiring.sql"), ROLLUPS_PAST).await? {
        census = census.and(census_of(&transaction.query_one(&sql, &stretch.parameters()).await.map_err(away)?));
    }
    Ok(census)
}

const ROLLUPS_PAST: &str = include_str!("queries/rollups_past.sql");
const EXPIRE_ROLLUPS: &str = include_str!("queries/expire_rollups.sql");

/// What every statement here is told: whose rows, until when, and written before when.
struct Stretch<'a> {
    tenant: Option<&'a str>,
    others: &'a [String],
    end: i64,
    written_before: i64,
}

impl<'a> Stretch<'a> {
    fn before(expiry: &'a Expiry, end: i64) -> Self {
        let scope = &expiry.scope;
        Self { tenant: scope.tenant(), others: scope.others(), end, written_before: expiry.written_before.0 }
    }

    /// `$1` to `$4`.
    fn parameters(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.tenant, &self.others, &self.end, &self.written_before]
    }

    /// With where it begins as `$5`.
    fn parameters_from<'b>(&'b self, start: &'b i64) -> [&'b (dyn ToSql + Sync); 5] {
        [&self.tenant, &self.others, &self.end, &self.written_before, start]
    }
}

fn census_of(row: &Row) -> Census {
    let count = |index: usize| row.get::<_, i64>(index).unsigned_abs();
    Census { rows: count(0), waiting: count(1), oldest: row.get::<_, Option<i64>>(2).map(EventTime) }
}

/// The statements for a table: one of `plain`, or one of `rollups` for each of them.
async fn of_table(
    client: &impl GenericClient,
    expiry: &Expiry,
    plain: &str,
    rollups: &str,
) -> Result<Vec<String>, DatabaseError> {
    if expiry.table != Table::Rollups {
        return Ok(vec![with_names(plain, expiry.table)]);
    }
    let tables = if has_chunks(client).await? {
        let found = client.query(include_str!("queries/rollup_tables.sql"), &[]).await.map_err(away)?;
        found.iter().map(|row| (row.get(0), row.get(1))).collect()
    } else {
        vec![("stage_rollup_hourly".to_owned(), "1 hour".to_owned())]
    };
    let of = |(rollup, step): &(String, String)| {
        with_names(rollups, expiry.table).replace("{rollup}", rollup).replace("{step}", step)
    };
    Ok(tables.iter().map(of).collect())
}

async fn has_chunks(client: &impl GenericClient) -> Result<bool, DatabaseError> {
    Ok(client.query_one(include_str!("queries/is_hypertable.sql"), &[]).await.map_err(away)?.get(0))
}

/// Whole chunks where TimescaleDB has any, rows for the rest.
pub(super) async fn expire(
    client: &mut deadpool_postgres::Object,
    expiry: &Expiry,
    oldest: Option<EventTime>,
) -> Result<u64, DatabaseError> {
    let Some(oldest) = oldest else { return Ok(0) };
    if expiry.table == Table::Rollups {
        return expire_rollups(client, expiry).await;
    }
    let before = expiring(client, expiry).await?.rows;
    drop_parts(client, expiry).await?;
    let sql = with_names(include_str!("queries/expire.sql"), expiry.table);
    let mut from = oldest.0;
    while from < expiry.before.0 {
        let to = from.saturating_add(DAY_MS).min(expiry.before.0);
        let stretch = Stretch::before(expiry, to);
        let transaction = patiently(client).await?;
        transaction.execute(&sql, &stretch.parameters_from(&from)).await.map_err(away)?;
        transaction.commit().await.map_err(away)?;
        from = to;
    }
    // Chunks do not tell how much was in them.
    Ok(before.saturating_sub(expiring(client, expiry).await?.rows))
}

async fn expire_rollups(client: &mut deadpool_postgres::Object, expiry: &Expiry) -> Result<u64, DatabaseError> {
    let transaction = patiently(client).await?;
    let stretch = Stretch::before(expiry, expiry.before.0);
    let mut deleted = 0;
    for sql in of_table(&*transaction, expiry, "", EXPIRE_ROLLUPS).await? {
        deleted += transaction.execute(&sql, &stretch.parameters()).await.map_err(away)?;
    }
    transaction.commit().await.map_err(away)?;
    Ok(deleted)
}

/// Drops chunks (or partitions) in which nothing has to stay.
async fn drop_parts(client: &mut deadpool_postgres::Object, expiry: &Expiry) -> Result<(), DatabaseError> {
    let table = expiry.table.name();
    let plain: &Client = client;
    let has_chunks = has_chunks(plain).await?;
    let find =
        if has_chunks { include_str!("queries/chunks_past.sql") } else { include_str!("queries/partitions_past.sql") };
    let holds_back = with_names(include_str!("queries/chunk_holds_back.sql"), expiry.table);
    for part in client.query(find, &[&table, &expiry.before.0]).await.map_err(away)? {
        let (name, start, end): (String, i64, i64) = (part.get(0), part.get(1), part.get(2));
        let stretch = Stretch::before(expiry, end);
        let transaction = patiently(client).await?;
        // Nobody adds a row between the look and the drop.
        let lock = include_str!("queries/lock_part.sql").replace("{part}", &name);
        transaction.batch_execute(&lock).await.map_err(away)?;
        if transaction.query_one(&holds_back, &stretch.parameters_from(&start)).await.map_err(away)?.get(0) {
            continue;
        }
        let dropped = if has_chunks {
            transaction.execute(include_str!("queries/drop_chunk.sql"), &[&table, &end, &start]).await
        } else {
            transaction.execute(&format!("DROP TABLE {name}"), &[]).await
        };
        dropped.map_err(away)?;
        transaction.commit().await.map_err(away)?;
    }
    Ok(())
}

pub(super) async fn count(client: &mut deadpool_postgres::Object, came: &Came) -> Result<u64, DatabaseError> {
    let transaction = patiently(client).await?;
    let sql = with_names(include_str!("queries/count_came.sql"), came.table);
    let parameters: [&(dyn ToSql + Sync); 4] = [&came.tenant, &came.from.0, &came.to.0, &came.not_before.0];
    let row = transaction.query_one(&sql, &parameters).await.map_err(away)?;
    Ok(row.get::<_, i64>(0).unsigned_abs())
}
