//! Migrations under an advisory lock, so that several processes may start at once.

use tokio_postgres::Client;

use super::errors::unavailable;
use crate::database::{
    DatabaseError,
    migrations::{POSTGRES, pending},
};

/// Applies what is missing, each change in a transaction of its own.
pub(super) async fn migrate(client: &Client) -> Result<(), DatabaseError> {
    client.batch_execute(include_str!("queries/lock_migrations.sql")).await.map_err(|error| unavailable(&error))?;
    let outcome = migrate_locked(client).await;
    let unlocked = client.batch_execute(include_str!("queries/unlock_migrations.sql")).await;
    outcome?;
    unlocked.map_err(|error| unavailable(&error))
}

async fn migrate_locked(client: &Client) -> Result<(), DatabaseError> {
    let run = async |sql: &str| client.batch_execute(sql).await.map_err(|error| unavailable(&error));
    run(include_str!("queries/migrations_table.sql")).await?;
    for migration in pending(POSTGRES, stored(client).await?)? {
        let change = format!(
            "BEGIN; SET LOCAL statement_timeout = 0; {}; INSERT INTO schema_migrations (version, name) VALUES ({}, '{}'); COMMIT",
            migration.sql.trim_end().trim_end_matches(';'),
            migration.version,
            migration.name
        );
        if let Err(error) = run(&change).await {
            // The failed change left its transaction open.
            run("ROLLBACK").await?;
            return Err(error);
        }
        tracing::info!(version = migration.version, name = migration.name, "database schema changed");
    }
    Ok(())
}

async fn stored(client: &Client) -> Result<i32, DatabaseError> {
    let row =
        client.query_one(include_str!("queries/schema_version.sql"), &[]).await.map_err(|error| unavailable(&error))?;
    Ok(row.get(0))
}

/// See [`crate::database::Database::versions`].
pub(super) async fn versions(client: &Client) -> Result<(i32, i32), DatabaseError> {
    let known = POSTGRES.last().map_or(0, |migration| migration.version);
    let row = client
        .query_one("SELECT to_regclass('schema_migrations') IS NOT NULL", &[])
        .await
        .map_err(|error| unavailable(&error))?;
    if row.get(0) { Ok((stored(client).await?, known)) } else { Ok((0, known)) }
}
