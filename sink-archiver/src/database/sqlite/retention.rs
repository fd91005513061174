//! Finds and deletes what is past its retention.

use rusqlite::{Connection, params};
use telemetry_schemas::time::EventTime;

use crate::retention::{Census, Expiry, Table};

fn with_names(sql: &str, expiry: &Expiry) -> String {
    let table = expiry.table;
    sql.replace("{table}", table.name()).replace("{time}", table.time()).replace("{written}", table.written())
}

fn others(expiry: &Expiry) -> String {
    serde_json::json!(expiry.scope.others()).to_string()
}

pub(super) fn expiring(connection: &Connection, expiry: &Expiry) -> rusqlite::Result<Census> {
    if expiry.table == Table::Rollups {
        // There are none: its views are worked out from the stages.
        return Ok(Census::default());
    }
    let sql = with_names(include_str!("queries/expiring.sql"), expiry);
    let (before, written) = (expiry.before.to_rfc3339(), expiry.written_before.to_rfc3339());
    connection.query_row(&sql, params![expiry.scope.tenant(), before, written, others(expiry)], |row| {
        let oldest: Option<String> = row.get(2)?;
        Ok(Census {
            rows: row.get::<_, i64>(0)?.unsigned_abs(),
            waiting: row.get::<_, i64>(1)?.unsigned_abs(),
            oldest: oldest.and_then(|at| EventTime::parse(&at).ok()),
        })
    })
}

pub(super) fn expire(connection: &Connection, expiry: &Expiry) -> rusqlite::Result<u64> {
    let sql = with_names(include_str!("queries/expire.sql"), expiry);
    let (before, written) = (expiry.before.to_rfc3339(), expiry.written_before.to_rfc3339());
    let deleted = connection.execute(&sql, params![expiry.scope.tenant(), before, written, others(expiry)])?;
    Ok(deleted as u64)
}
