//! The database's behaviours on a real PostgreSQL, named by `TTF_TEST_POSTGRES`.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use common::suite::Fixture;
use sink_archiver::database::{Database, Postgres, migrations};
use tokio_postgres::{Client, NoTls};

struct Archive {
    name: String,
    client: Client,
    database: Arc<dyn Database>,
}

fn server() -> String {
    std::env::var("TTF_TEST_POSTGRES")
        .expect("TTF_TEST_POSTGRES must name a PostgreSQL server, e.g. postgres://user@127.0.0.1:5432/postgres; `make services-up` starts one")
}

/// The server's URL with another database.
fn url_of(database: &str) -> String {
    let server = server();
    let (head, tail) = server.rsplit_once('/').expect("a URL with a database");
    let parameters = tail.split_once('?').map(|(_, parameters)| format!("?{parameters}")).unwrap_or_default();
    format!("{head}/{database}{parameters}")
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connected");
    tokio::spawn(connection);
    client
}

fn open(name: &str) -> Postgres {
    let config = serde_json::from_value(serde_json::json!({"url": url_of(name), "pool": 4})).expect("a config");
    Postgres::open(&config).expect("opened")
}

/// An empty database that goes with the test's process.
async fn empty() -> Archive {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("ttf_archiver_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let admin = connect(&server()).await;
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await.expect("dropped");
    admin.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")).await.expect("created");
    let client = connect(&url_of(&name)).await;
    let database = Arc::new(open(&name));
    Archive { name, client, database }
}

async fn archive() -> Archive {
    let archive = empty().await;
    archive.database.migrate().await.expect("migrated");
    archive.database.open_ledger(None).await.expect("opened");
    archive
}

impl Drop for Archive {
    fn drop(&mut self) {
        let (name, server) = (self.name.clone(), server());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(&server, NoTls).await?;
                tokio::spawn(connection);
                client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
            })
        });
        let _ = dropped.join();
    }
}

#[async_trait]
impl Fixture for Archive {
    fn database(&self) -> Arc<dyn Database> {
        Arc::clone(&self.database)
    }

    async fn rows(&self, table: &str) -> Vec<String> {
        let rows = self.client.query(&format!("SELECT to_jsonb(t)::text FROM {table} AS t"), &[]).await;
        let mut rows: Vec<String> = rows.expect("queried").iter().map(|row| row.get(0)).collect();
        rows.sort();
        rows
    }

    async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.expect("executed");
    }
}

#[async_trait]
impl common::sql_suite::Sql for Archive {
    async fn query(&self, sql: &str) -> Vec<String> {
        common::rows_of(self.client.simple_query(sql).await, sql)
    }
}

database_suite!(archive);
postgres_suite!(archive);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_with_text_the_database_cannot_hold_is_dead_lettered_alone() {
    let archive = archive().await;
    common::suite::a_poison_row_is_dead_lettered_alone(&archive, "unstorable", |event| {
        event.properties.insert("nul".to_owned(), serde_json::Value::from("a\0b"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_with_an_impossible_time_is_dead_lettered_alone() {
    let archive = archive().await;
    common::suite::a_poison_row_is_dead_lettered_alone(&archive, "unstorable", |event| {
        event.timestamp = telemetry_schemas::EventTime(i64::MAX);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_partition_is_waited_for_and_dead_letters_nothing() {
    use stream_runtime::sink::{Sink, SinkError};

    let archive = archive().await;
    archive.execute("ALTER TABLE events RENAME TO plain").await;
    archive.execute("CREATE TABLE events (LIKE plain) PARTITION BY RANGE (occurred_at)").await;
    let topics = common::Topics::of_users(1);
    let mut archiver = common::archiver(&archive.database(), "a");
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    let error = archiver.sink.write(topics.all()).await.expect_err("no partition");
    assert!(matches!(error, SinkError::Unavailable(_)), "{error}");
    assert!(archiver.dead_letters.all().is_empty());
    archive.execute("CREATE TABLE events_all PARTITION OF events DEFAULT").await;
    archiver.sink.write(topics.all()).await.expect("written once it is there");
    assert_eq!(archive.rows("events").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_in_mid_transaction_loses_and_doubles_nothing() {
    use stream_runtime::sink::{Sink, SinkError};

    let archive = archive().await;
    let topics = common::Topics::of_users(3);
    let mut archiver = common::archiver(&archive.database(), "a");
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    // A lock keeps the transaction open until its connection is ended.
    let blocker = connect(&url_of(&archive.name)).await;
    blocker.batch_execute("BEGIN; LOCK TABLE breaches IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let killer = async {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = current_database() AND application_name = 'ttf-archiver' AND wait_event_type = 'Lock'";
        while archive.client.query_one(sql, &[]).await.expect("asked").get::<_, i64>(0) == 0 {
            assert!(tokio::time::Instant::now() < deadline, "the write never waited");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let (outcome, ()) = tokio::join!(archiver.sink.write(topics.all()), killer);
    assert!(matches!(outcome, Err(SinkError::Unavailable(_))), "{outcome:?}");
    assert_eq!(archive.rows("events").await.len(), 0);
    blocker.batch_execute("ROLLBACK").await.expect("unlocked");
    // The pool may still hand out the connection that was ended; then the same batch comes again, as always.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while let Err(error) = archiver.sink.write(topics.all()).await {
        assert!(matches!(error, SinkError::Unavailable(_)), "{error}");
        assert!(tokio::time::Instant::now() < deadline, "never written: {error}");
    }
    assert_eq!(archive.rows("events").await.len(), 12);
    assert!(archiver.dead_letters.all().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_processes_may_migrate_at_once() {
    let archive = empty().await;
    let migrations = (0..4).map(|_| {
        let database = open(&archive.name);
        async move {
            database.migrate().await.expect("migrated");
            database.open_ledger(None).await.expect("one key for all");
        }
    });
    futures::future::join_all(migrations).await;
    assert_eq!(archive.rows("schema_migrations").await.len(), migrations::POSTGRES.len());
    assert_eq!(archive.rows("archive_settings").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_database_is_refused() {
    let archive = archive().await;
    archive.execute("INSERT INTO schema_migrations (version, name) VALUES (1000, 'from the future')").await;
    let error = archive.database.migrate().await.expect_err("refused").to_string();
    assert!(error.contains("1000"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_erasure_key_is_refused() {
    let archive = empty().await;
    archive.database.migrate().await.expect("migrated");
    archive.database.open_ledger(Some("one")).await.expect("opened");
    archive.database.open_ledger(Some("one")).await.expect("opened again");
    assert!(archive.database.open_ledger(Some("two")).await.is_err());
    assert!(archive.database.open_ledger(None).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_waits_for_a_writer_that_has_read_the_ledger_before() {
    use stream_runtime::{log::Record, sink::Sink};
    use telemetry_schemas::topics::ERASURES;

    let archive = archive().await;
    let mut topics = common::Topics::of_users(2);
    topics.erasure(&common::erasure("user-1", common::T0 + 10_000_000));
    let (erasures, rows): (Vec<Record>, Vec<Record>) =
        topics.all().iter().cloned().partition(|record| &*record.topic == ERASURES);
    let mut writer = common::archiver(&archive.database(), "writer");
    writer.sink.assigned(&topics.archived()).await.expect("assigned");
    let mut eraser = common::archiver(&archive.database(), "eraser");
    eraser.sink.assigned(&[erasures[0].at()]).await.expect("assigned");
    // A lock on the last table holds the writer back after it has looked at the ledger and inserted the events.
    let blocker = connect(&url_of(&archive.name)).await;
    blocker.batch_execute("BEGIN; LOCK TABLE breaches IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let release = async {
        waiting(&archive.client, 1).await;
        tokio::join!(eraser.sink.write(&erasures), async {
            waiting(&archive.client, 2).await;
            blocker.batch_execute("ROLLBACK").await.expect("unlocked");
        })
        .0
        .expect("erased");
    };
    let (written, ()) = tokio::join!(writer.sink.write(&rows), release);
    written.expect("written");
    assert_eq!(archive.rows("events").await.len(), 4);
    assert!(archive.rows("events").await.iter().all(|row| !row.contains("user-1")));
}

/// Ends when so many of the archiver's connections wait for a lock.
async fn waiting(client: &Client, wanted: i64) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'ttf-archiver' AND wait_event_type = 'Lock'";
    while client.query_one(sql, &[]).await.expect("asked").get::<_, i64>(0) < wanted {
        assert!(tokio::time::Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_evaluators_publishes_and_the_other_takes_over() {
    let archive = archive().await;
    let other = open(&archive.name);
    other.open_ledger(None).await.expect("opened");
    let databases: [Arc<dyn Database>; 2] = [archive.database(), Arc::new(other)];
    common::cohort_suite::one_of_two_publishes_and_the_other_takes_over(databases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cohorts_published_are_the_figures_of_the_journeys() {
    let archive = archive().await;
    common::cohort_suite::what_is_published_are_the_figures_of_the_journeys(archive.database()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_read_can_neither_write_nor_learn_who_was_erased() {
    use common::sql_suite::Sql;

    let archive = archive().await;
    archive.execute("SET ROLE ttf_reader").await;
    for view in
        ["v_user_journeys", "v_funnel_daily", "v_app_errors", "v_pipeline_health", "events", "stage_rollup_hourly"]
    {
        archive.query(&format!("SELECT count(*) FROM {view}")).await;
    }
    for refused in [
        "SELECT * FROM user_pseudonyms",
        "SELECT * FROM erasure_ledger",
        "SELECT * FROM archive_settings",
        "DELETE FROM events",
        "INSERT INTO sink_offsets VALUES ('t', 0, 0, 'me')",
        "UPDATE journeys SET status = 'completed'",
    ] {
        let error = archive.client.batch_execute(refused).await.expect_err(refused);
        assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::INSUFFICIENT_PRIVILEGE), "{refused}");
    }
    archive.execute("RESET ROLE").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_came_before_their_partition_move_into_it() {
    use common::sql_suite::Sql;
    use stream_runtime::sink::Sink;

    let archive = archive().await;
    let partition = archive
        .query("SELECT 'events_' || to_char(date_trunc('week', now(), 'UTC') AT TIME ZONE 'UTC', 'YYYYMMDD')")
        .await;
    archive.execute(&format!("DROP TABLE {}", partition[0])).await;
    let mut topics = common::Topics::default();
    for (n, at) in [(1, common::T0), (2, service_kit::clock::now_ms())] {
        let mut event = common::event("ada", n);
        event.timestamp = telemetry_schemas::EventTime(at);
        topics.event(&event);
    }
    let mut archiver = common::archiver(&archive.database(), "a");
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    archiver.sink.write(topics.all()).await.expect("written");
    let places = "SELECT tableoid::regclass FROM events ORDER BY occurred_at";
    assert_eq!(archive.query(places).await, ["events_default", "events_default"]);
    assert_eq!(archive.database.maintain().await.expect("maintained").partitions, 1);
    assert_eq!(archive.query(places).await, ["events_default", partition[0].as_str()]);
    assert_eq!(archive.database.maintain().await.expect("maintained").partitions, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_the_first_version_keeps_its_rows_when_it_is_brought_up_to_date() {
    use common::sql_suite::Sql;

    let archive = empty().await;
    archive.execute(include_str!("../src/database/postgres/queries/migrations_table.sql")).await;
    archive.execute(migrations::POSTGRES[0].sql).await;
    archive.execute("INSERT INTO schema_migrations (version, name) VALUES (1, 'archive')").await;
    archive
        .execute(
            "INSERT INTO events SELECT 'acme', 'http', 'e' || n, 'x', 'track', now() - n * INTERVAL '1 day', NULL, NULL, now(), \
             'ada', NULL, NULL, NULL, '{}', '{}', false FROM generate_series(1, 100) AS n; \
             INSERT INTO stage_durations SELECT 'acme', 'onboarding', 'u' || n, '', 's', 0, now() - n * INTERVAL '1 day', now(), now(), \
             5, 10, true, NULL, '{}', '{}', NULL FROM generate_series(1, 100) AS n",
        )
        .await;
    assert_eq!(archive.database.versions().await.expect("asked"), (1, migrations::POSTGRES.len() as i32));
    archive.database.migrate().await.expect("migrated");
    assert_eq!(archive.query("SELECT count(*), count(DISTINCT event_id) FROM events").await, ["100\t100"]);
    assert_eq!(archive.query("SELECT sum(started) FROM stage_rollup_daily").await, ["100"]);
    assert_ne!(archive.query("SELECT count(DISTINCT tableoid) FROM events").await, ["1"], "some have a partition");
}

/// How many rows of a table (and its partitions) a query takes up, also those it throws away again.
async fn rows_read(archive: &Archive, table: &str, query: &str) -> f64 {
    use common::sql_suite::Sql;

    fn of(node: &serde_json::Value, table: &str) -> f64 {
        let figure = |name: &str| node[name].as_f64().unwrap_or_default();
        let is_ours = node["Relation Name"].as_str().is_some_and(|name| name.starts_with(table));
        let rows = figure("Actual Rows") + figure("Rows Removed by Filter") + figure("Rows Removed by Index Recheck");
        let own = if is_ours { rows * figure("Actual Loops") } else { 0.0 };
        own + node["Plans"].as_array().into_iter().flatten().map(|below| of(below, table)).sum::<f64>()
    }
    let plan = archive.query(&format!("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}")).await.concat();
    let plan: serde_json::Value = serde_json::from_str(&plan).expect("a plan");
    of(&plan[0]["Plan"], table)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_read_the_days_they_are_asked_for_and_not_the_whole_table() {
    const ROWS: f64 = 100_000.0;
    let archive = archive().await;
    // Thirty days of events, of which a tenth are the application's; a year of signups.
    archive
        .execute(
            "INSERT INTO events SELECT 'acme', 'http', 'e' || n, 'x', \
               CASE n % 20 WHEN 0 THEN 'performance' WHEN 1 THEN 'error' ELSE 'track' END, now() - n * INTERVAL '26 seconds', \
               NULL, NULL, now() - n * INTERVAL '26 seconds', 'u' || n % 1000, NULL, NULL, NULL, \
               '{\"operation\": \"GET /x\", \"duration_ms\": 5, \"error_type\": \"timeout\"}', '{}', false \
             FROM generate_series(1, 100000) AS n; \
             INSERT INTO journeys SELECT 'acme', 'onboarding', 'u' || n, '', 'r' || n, 1, 1, 1, 'in_progress', \
               now() - n * INTERVAL '5 minutes', NULL, NULL, '[]', NULL, NULL, NULL, '{}', '{}', NULL, NULL, now() \
             FROM generate_series(1, 100000) AS n; \
             ANALYZE events; ANALYZE journeys",
        )
        .await;
    for (table, share, query) in [
        ("events", 0.01, "SELECT * FROM v_app_performance WHERE hour >= now() - INTERVAL '1 day' AND tenant = 'acme'"),
        ("events", 0.01, "SELECT * FROM v_app_errors WHERE hour >= now() - INTERVAL '1 day'"),
        ("events", 0.06, "SELECT * FROM v_app_performance"),
        ("journeys", 0.03, "SELECT * FROM v_ttf_daily WHERE day >= now() - INTERVAL '7 days'"),
        ("journeys", 1.01, "SELECT * FROM v_ttf_daily"),
    ] {
        let read = rows_read(&archive, table, query).await;
        assert!(read > 0.0 && read <= share * ROWS, "{read} rows are read by {query}");
    }
}
