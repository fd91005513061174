//! What the server says of itself, for whoever looks for what is wrong.

use tokio_postgres::Row;

use super::{Postgres, errors::unavailable};
use crate::database::{
    DatabaseError,
    migrations::{POSTGRES, pending},
};

/// A look at the server and at our rights on it. Changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// `150012` is 15.12.
    pub version: i32,
    pub version_text: String,
    /// The extension's version, where it is there.
    pub timescaledb: Option<String>,
    /// The server's clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// A standby, which takes no writes.
    pub read_only: bool,
    /// Whether migrations can make tables.
    pub may_create: bool,
    /// Tables of the archive this user may not write.
    pub not_writable: String,
    /// Whether the connection that asked has TLS.
    pub tls: bool,
    pub max_connections: i32,
    /// Connections there are now, of everybody.
    pub connections: i64,
    /// Size of the database.
    pub bytes: i64,
    /// The newest migration that was applied; `None` before the first start.
    pub schema: Option<i32>,
    /// Migrations that the next start of an archiver applies.
    pub pending: usize,
}

impl Postgres {
    /// # Errors
    /// [`DatabaseError::Unavailable`] when it cannot be reached or does not let us in; [`DatabaseError::Fatal`] when its
    /// schema is newer than this program.
    pub async fn inspect(&self) -> Result<Inspection, DatabaseError> {
        let client = self.client().await?;
        let row =
            client.query_one(include_str!("queries/inspect.sql"), &[]).await.map_err(|error| unavailable(&error))?;
        let schema = if row.get("has_schema") {
            let newest = client
                .query_one("SELECT coalesce(max(version), 0) FROM schema_migrations", &[])
                .await
                .map_err(|error| unavailable(&error))?;
            Some(newest.get(0))
        } else {
            None
        };
        Ok(inspection(&row, schema, pending(POSTGRES, schema.unwrap_or_default())?.len()))
    }
}

fn inspection(row: &Row, schema: Option<i32>, pending: usize) -> Inspection {
    Inspection {
        version: row.get("version"),
        version_text: row.get("version_text"),
        timescaledb: row.get("timescaledb"),
        now_ms: row.get("now_ms"),
        read_only: row.get("read_only"),
        may_create: row.get("may_create"),
        not_writable: row.get("not_writable"),
        tls: row.get("tls"),
        max_connections: row.get("max_connections"),
        connections: row.get("connections"),
        bytes: row.get("bytes"),
        schema,
        pending,
    }
}
