//! Finds and deletes what is past its retention.

use rusqlite::{Connection, params};
use telemetry_schemas::time::EventTime;

use crate::{
    objects::tally::Came,
    retention::{Census, Expiry, Table},
};

fn with_names(sql: &str, table: Table) -> String {
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
    let sql = with_names(include_str!("queries/expiring.sql"), expiry.table);
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
    let sql = with_names(include_str!("queries/expire.sql"), expiry.table);
    let (before, written) = (expiry.before.to_rfc3339(), expiry.written_before.to_rfc3339());
    let deleted = connection.execute(&sql, params![expiry.scope.tenant(), before, written, others(expiry)])?;
    Ok(deleted as u64)
}

pub(super) fn count(connection: &Connection, came: &Came) -> rusqlite::Result<u64> {
    let sql = with_names(include_str!("queries/count_came.sql"), came.table);
    let times = [came.from, came.to, came.not_before].map(EventTime::to_rfc3339);
    let rows: i64 = connection.query_row(&sql, params![came.tenant, times[0], times[1], times[2]], |row| row.get(0))?;
    Ok(rows.unsigned_abs())
}
