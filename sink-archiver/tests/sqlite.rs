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

/// As a program of before the sixth change left it, with somebody in it.
fn with_people_of_before(path: &std::path::Path) {
    let connection = Connection::open(path).expect("opened");
    connection.execute_batch(include_str!("../src/database/sqlite/queries/migrations_table.sql")).expect("made");
    for change in sink_archiver::database::migrations::SQLITE.iter().filter(|change| change.version < 6) {
        connection.execute_batch(change.sql).expect("applied");
        let row = (change.version, change.name);
        connection.execute("INSERT INTO schema_migrations (version, name) VALUES (?1, ?2)", row).expect("noted");
    }
    for n in 0..50 {
        let kind = if n % 2 == 0 { "u" } else { "a" };
        let row = ("acme", kind, format!("id-{n}"), format!("pseudonym-{n}"));
        connection.execute("INSERT INTO user_pseudonyms VALUES (?1, ?2, ?3, ?4)", row).expect("inserted");
    }
}

#[tokio::test]
async fn people_keep_their_pseudonyms_when_the_table_is_made_anew() {
    use sink_archiver::database::{Person, SubjectKind};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ttf.sqlite");
    with_people_of_before(&path);
    let database = Sqlite::open(&path).expect("opened");
    assert_eq!(database.versions().await.expect("asked").0, 5);
    database.migrate().await.expect("migrated");
    database.open_ledger(None).await.expect("opened");

    let person = |n: usize| {
        let kind = if n.is_multiple_of(2) { SubjectKind::User } else { SubjectKind::Anonymous };
        Person { tenant: "acme".to_owned(), kind, id: format!("id-{n}") }
    };
    // Kinds alternate, and two of the people are new.
    let asked = (0..52).map(|n| (person(n), telemetry_schemas::EventTime(common::T0))).collect();
    let resolved = database.resolve(asked).await.expect("resolved");
    for n in 0..50 {
        assert_eq!(resolved[&person(n)].pseudonym, Some(format!("pseudonym-{n}")));
    }
    for n in 50..52 {
        assert_eq!(resolved[&person(n)].pseudonym.as_ref().map(String::len), Some(32));
    }
    let found = database.people_of("acme", vec!["pseudonym-7".to_owned(), "nobody".to_owned()]).await.expect("asked");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [("pseudonym-7".to_owned(), person(7))]);
    let connection = Connection::open(&path).expect("opened");
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("counted");
    assert_eq!(count("SELECT count(*) FROM user_pseudonyms"), 52);
    assert_eq!(count("SELECT count(*) FROM sqlite_master WHERE name LIKE 'user_pseudonyms%' AND type = 'table'"), 1);
}

#[tokio::test]
async fn an_erasure_finds_pseudonyms_by_their_key() {
    let archive = archive().await;
    let statements = include_str!("../src/database/sqlite/queries/erase_user.sql").split(';');
    let connection = archive.connection();
    for sql in statements.filter(|sql| sql.contains("user_pseudonyms")) {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("prepared");
        let plan = statement.query_map(["acme", "ada", "2026"], |row| row.get::<_, String>(3)).expect("planned");
        let plan: Vec<String> = plan.map(|step| step.expect("a step")).collect();
        let by_key = "SEARCH user_pseudonyms USING PRIMARY KEY (tenant=? AND kind=? AND subject_id=?)";
        assert!(plan.iter().any(|step| step == by_key), "{plan:?}");
    }
}
