//! Certificates of erasures, and what is kept about a user.

use serde_json::Value;
use telemetry_schemas::time::EventTime;
use tokio_postgres::{Client, Row};

use super::errors::{is_data_error, unavailable};
use crate::{
    database::DatabaseError,
    privacy::{
        access::{TABLES, UserRows},
        certificate::{Certificate, Step},
    },
};

/// One certificate, or all that are not complete.
pub(super) async fn certificates(client: &Client, id: Option<&str>) -> Result<Vec<Certificate>, DatabaseError> {
    let rows = client.query(include_str!("queries/read_certificates.sql"), &[&id]).await;
    rows.map_err(|error| unavailable(&error))?.iter().map(certificate).collect()
}

fn certificate(row: &Row) -> Result<Certificate, DatabaseError> {
    let at = |index: usize| row.get::<_, Option<i64>>(index).map(EventTime);
    let deleted = serde_json::from_str(row.get::<_, &str>(8))
        .map_err(|error| DatabaseError::Fatal(format!("a stored certificate is damaged: {error}")))?;
    Ok(Certificate {
        erasure_id: row.get(0),
        tenant: row.get(1),
        user_hash: row.get(2),
        erased_at: EventTime(row.get(3)),
        requested_by: row.get(4),
        partition: row.get(5),
        offset: row.get(6),
        database_at: EventTime(row.get(7)),
        deleted,
        live_view_at: at(9),
        processor_at: at(10),
        complete_at: at(11),
    })
}

/// True when it was not noted before.
pub(super) async fn note(client: &Client, id: &str, step: Step, at: EventTime) -> Result<bool, DatabaseError> {
    let noted = client.execute(include_str!("queries/note_certificate.sql"), &[&id, &step.name(), &at.0]).await;
    noted.map(|rows| rows == 1).map_err(|error| unavailable(&error))
}

pub(super) async fn rows_of(client: &Client, tenant: &str, user_id: &str) -> Result<UserRows, DatabaseError> {
    let mut tables: [Vec<Value>; 6] = Default::default();
    for (rows, (table, time)) in tables.iter_mut().zip(TABLES) {
        let sql = include_str!("queries/export_rows.sql").replace("{table}", table).replace("{time}", time);
        let found = match client.query(&sql, &[&tenant, &user_id]).await {
            Ok(found) => found,
            // An id the database cannot even be asked for was never stored.
            Err(error) if is_data_error(&error) => Vec::new(),
            Err(error) => return Err(unavailable(&error)),
        };
        for row in found {
            let row = serde_json::from_str(row.get::<_, &str>(0))
                .map_err(|error| DatabaseError::Fatal(format!("a row cannot be read: {error}")))?;
            rows.push(row);
        }
    }
    Ok(UserRows::of(tables))
}
