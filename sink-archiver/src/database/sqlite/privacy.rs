//! Certificates of erasures, and what is kept about a user.

use rusqlite::{Connection, Row, params, types::ValueRef};
use serde_json::{Map, Value};
use telemetry_schemas::time::EventTime;

use crate::privacy::{
    access::{TABLES, UserRows},
    certificate::{Certificate, Step},
};

/// One certificate, or all that are not complete.
pub(super) fn certificates(connection: &Connection, id: Option<&str>) -> rusqlite::Result<Vec<Certificate>> {
    let mut statement = connection.prepare_cached(include_str!("queries/read_certificates.sql"))?;
    statement.query_map([id], certificate)?.collect()
}

fn certificate(row: &Row<'_>) -> rusqlite::Result<Certificate> {
    let at = |index: usize| row.get::<_, Option<i64>>(index).map(|at| at.map(EventTime));
    Ok(Certificate {
        erasure_id: row.get(0)?,
        tenant: row.get(1)?,
        user_hash: row.get(2)?,
        erased_at: EventTime(row.get(3)?),
        requested_by: row.get(4)?,
        partition: row.get(5)?,
        offset: row.get(6)?,
        database_at: EventTime(row.get(7)?),
        deleted: serde_json::from_str(&row.get::<_, String>(8)?).unwrap_or_default(),
        live_view_at: at(9)?,
        processor_at: at(10)?,
        complete_at: at(11)?,
    })
}

/// True when it was not noted before.
pub(super) fn note(connection: &Connection, id: &str, step: Step, at: EventTime) -> rusqlite::Result<bool> {
    let noted = connection.execute(include_str!("queries/note_certificate.sql"), params![id, step.name(), at.0])?;
    Ok(noted == 1)
}

pub(super) fn rows_of(connection: &Connection, tenant: &str, user_id: &str) -> rusqlite::Result<UserRows> {
    let mut tables: [Vec<Value>; 6] = Default::default();
    for (rows, (table, time)) in tables.iter_mut().zip(TABLES) {
        let sql = include_str!("queries/export_rows.sql").replace("{table}", table).replace("{time}", time);
        let mut statement = connection.prepare(&sql)?;
        let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut found = statement.query(params![tenant, user_id])?;
        while let Some(row) = found.next()? {
            let mut object = Map::new();
            for (index, name) in names.iter().enumerate() {
                object.insert(name.clone(), value(name, row.get_ref(index)?));
            }
            rows.push(Value::Object(object));
        }
    }
    Ok(UserRows::of(tables))
}

/// Columns that hold JSON as text.
const JSON: [&str; 5] = ["properties", "context", "stages", "segments", "experiments"];

fn value(column: &str, value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text);
            let parsed = JSON.contains(&column).then(|| serde_json::from_str(&text).ok()).flatten();
            parsed.unwrap_or_else(|| Value::String(text.into_owned()))
        }
    }
}
