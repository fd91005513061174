//! The database's behaviours on SQLite.

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use common::suite::Fixture;
use rusqlite::{Connection, types::Value};
use sink_archiver::database::{Database, Sqlite};
use tempfile::TempDir;

struct Archive {
    folder: TempDir,
    database: Arc<dyn Database>,
}

async fn archive() -> Archive {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Sqlite::open(&folder.path().join("deep/ttf.sqlite")).expect("opened");
    database.migrate().await.expect("migrated");
    database.open_ledger(None).await.expect("opened");
    Archive { folder, database: Arc::new(database) }
}

impl Archive {
    fn connection(&self) -> Connection {
        Connection::open(self.folder.path().join("deep/ttf.sqlite")).expect("opened")
    }
}

#[async_trait]
impl Fixture for Archive {
    fn database(&self) -> Arc<dyn Database> {
        Arc::clone(&self.database)
    }

    async fn rows(&self, table: &str) -> Vec<String> {
        let connection = self.connection();
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).expect("prepared");
        let columns = statement.column_count();
        let mut rows: Vec<String> = statement
            .query_map([], |row| (0..columns).map(|i| row.get::<_, Value>(i)).collect::<rusqlite::Result<Vec<_>>>())
            .expect("queried")
            .map(|row| format!("{:?}", row.expect("a row")))
            .collect();
        rows.sort();
        rows
    }

    async fn execute(&self, sql: &str) {
        self.connection().execute_batch(sql).expect("executed");
    }
}

database_suite!(archive);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_row_is_dead_lettered_alone() {
    let archive = archive().await;
    archive
        .execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.event_name = 'refused' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END",
        )
        .await;
    common::suite::a_poison_row_is_dead_lettered_alone(&archive, "unstorable", |event| {
        event.event_name = "refused".to_owned();
    })
    .await;
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let archive = archive().await;
    archive.execute("INSERT INTO schema_migrations (version, name) VALUES (1000, 'from the future')").await;
    let error = archive.database.migrate().await.expect_err("refused").to_string();
    assert!(error.contains("1000"), "{error}");
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let archive = archive().await;
    let before = archive.rows("schema_migrations").await;
    archive.database.migrate().await.expect("migrated");
    assert_eq!(archive.rows("schema_migrations").await, before);
}
