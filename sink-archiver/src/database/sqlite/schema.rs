//! Migrations in one immediate transaction each, which is SQLite's lock.

use rusqlite::Connection;

use super::{begin, unavailable};
use crate::database::{
    DatabaseError,
    migrations::{SQLITE, pending},
};

/// Applies what is missing.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), DatabaseError> {
    let transaction = begin(connection)?;
    let run = || -> rusqlite::Result<Result<(), DatabaseError>> {
        transaction.execute_batch(include_str!("queries/migrations_table.sql"))?;
        let current =
            transaction.query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", [], |row| row.get(0))?;
        let changes = match pending(SQLITE, current) {
            Ok(changes) => changes,
            Err(error) => return Ok(Err(error)),
        };
        for change in changes {
            transaction.execute_batch(change.sql)?;
            transaction.execute(
                "INSERT INTO schema_migrations (version, name) VALUES (?1, ?2)",
                (change.version, change.name),
            )?;
        }
        Ok(Ok(()))
    };
    run().map_err(|error| unavailable(&error))??;
    transaction.commit().map_err(|error| unavailable(&error))
}

/// See [`crate::database::Database::versions`].
pub(super) fn versions(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
    let known = SQLITE.last().map_or(0, |migration| migration.version);
    let is_there = "SELECT count(*) FROM sqlite_master WHERE name = 'schema_migrations'";
    if connection.query_row(is_there, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok((0, known));
    }
    let stored =
        connection.query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", [], |row| row.get(0))?;
    Ok((stored, known))
}
