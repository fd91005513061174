//! The database's behaviours on a real TimescaleDB, in WebAssembly: what it understands, not how fast it is. The server
//! is started here, by `scripts/services/services.sh`.

mod common;

use std::{path::Path, process::Command, sync::Arc};

use async_trait::async_trait;
use common::{sql_suite, sql_suite::Sql, stretches_suite, suite, suite::Fixture};
use sink_archiver::database::{Database, Postgres};
use stream_runtime::sink::Sink;
use telemetry_schemas::EventTime;
use tokio_postgres::{Client, NoTls};

/// A server of this suite's own; ended with the value.
struct Server {
    folder: tempfile::TempDir,
    url: String,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-timescale-").tempdir().expect("a folder");
        services(folder.path(), &["up", "timescale"]);
        let env = std::fs::read_to_string(folder.path().join("env")).expect("the script writes its addresses");
        let url = env.lines().find_map(|line| line.strip_prefix("export TTF_TEST_TIMESCALE="));
        Self { url: url.expect("its address is among them").to_owned(), folder }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        services(self.folder.path(), &["down"]);
    }
}

fn services(folder: &Path, arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services/services.sh");
    let output = Command::new(script).args(arguments).env("TTF_SERVICES_DIR", folder).output().expect("bash is there");
    assert!(output.status.success(), "services.sh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

struct Archive {
    client: Client,
    database: Arc<dyn Database>,
}

/// All connections share a session, in which names of prepared statements clash: one client prepares, the other asks
/// plainly.
async fn archive(server: &Server) -> Archive {
    let (client, connection) = tokio_postgres::connect(&server.url, NoTls).await.expect("connected");
    tokio::spawn(connection);
    let config = serde_json::from_value(serde_json::json!({"url": server.url, "pool": 1})).expect("a config");
    let database: Arc<dyn Database> = Arc::new(Postgres::open(&config).expect("opened"));
    database.migrate().await.expect("migrated");
    database.open_ledger(None).await.expect("opened");
    Archive { client, database }
}

#[async_trait]
impl Fixture for Archive {
    fn database(&self) -> Arc<dyn Database> {
        Arc::clone(&self.database)
    }

    async fn rows(&self, table: &str) -> Vec<String> {
        let mut rows = self.query(&format!("SELECT to_jsonb(t)::text FROM {table} AS t")).await;
        rows.sort();
        rows
    }

    async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.expect("executed");
    }
}

#[async_trait]
impl Sql for Archive {
    async fn query(&self, sql: &str) -> Vec<String> {
        common::rows_of(self.client.simple_query(sql).await, sql)
    }

    /// What its policies do in the background, by hand.
    async fn roll_up(&self) {
        self.execute("CALL refresh_continuous_aggregate('stage_rollup_hourly', NULL, NULL)").await;
        self.execute("CALL refresh_continuous_aggregate('stage_rollup_daily', NULL, NULL)").await;
    }
}

impl Archive {
    async fn empty(&self) {
        self.execute(
            "TRUNCATE events, ttf_records, stage_durations, breaches, journeys, breach_status, sink_offsets, \
             user_pseudonyms, erasure_ledger",
        )
        .await;
        // What was materialised of it.
        self.roll_up().await;
    }

    async fn compress(&self, table: &str) -> usize {
        self.query(&format!("SELECT compress_chunk(chunk, true) FROM show_chunks('{table}') AS chunk")).await.len()
    }
}

/// One server takes some seconds to start; each behaviour begins with empty tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timescaledb_behaves_as_postgresql_does_and_takes_late_rows_into_compressed_chunks() {
    let server = Server::start();
    let archive = archive(&server).await;
    let hypertables = "SELECT hypertable_name, compression_enabled FROM timescaledb_information.hypertables ORDER BY 1";
    assert_eq!(archive.query(hypertables).await, ["breaches\tt", "events\tt", "stage_durations\tt", "ttf_records\tt"]);
    let aggregates = "SELECT view_name FROM timescaledb_information.continuous_aggregates ORDER BY 1";
    assert_eq!(archive.query(aggregates).await, ["stage_rollup_daily", "stage_rollup_hourly"]);
    let policies = "SELECT proc_name, count(*) FROM timescaledb_information.jobs WHERE proc_name LIKE 'policy_%' \
         AND hypertable_schema IS NOT NULL GROUP BY 1 ORDER BY 1";
    assert_eq!(archive.query(policies).await, ["policy_compression\t4", "policy_refresh_continuous_aggregate\t2"]);

    sql_suite::every_column_has_a_comment(&archive).await;
    macro_rules! each {
        ($($suite:ident::$behaviour:ident),* $(,)?) => {
            $(archive.empty().await; $suite::$behaviour(&archive).await;)*
        };
    }
    each!(
        suite::rows_equal_what_was_sent,
        suite::a_replay_of_any_suffix_changes_nothing,
        suite::records_in_any_order_end_in_the_same_journey,
        suite::a_newer_generation_replaces_a_higher_revision,
        suite::another_owner_is_fenced,
        suite::a_database_that_went_back_in_time_converges,
        suite::a_lost_answer_to_a_commit_writes_nothing_twice,
        suite::an_erasure_removes_what_came_before_it,
        suite::what_says_erased_ends_the_journey_and_not_its_new_start,
        suite::a_breach_that_fires_again_is_open_again,
        sql_suite::the_views_say_what_was_written,
        sql_suite::roll_ups_follow_late_and_changed_stages,
        sql_suite::the_queries_of_the_docs_run,
        stretches_suite::whole_parts_are_dropped_and_rows_that_have_to_stay_keep_theirs,
        stretches_suite::roll_ups_go_with_the_stages_they_are_made_of,
    );
    archive.empty().await;
    late_and_out_of_order_rows_go_into_compressed_chunks(&archive).await;
    archive.empty().await;
    a_materialised_roll_up_is_brought_up_to_date(&archive).await;
}

async fn late_and_out_of_order_rows_go_into_compressed_chunks(archive: &Archive) {
    let topics = common::Topics::of_users(4);
    let mut archiver = common::archiver(&archive.database(), "a");
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    archiver.sink.write(topics.all()).await.expect("written");
    let tables = ["events", "ttf_records", "stage_durations", "breaches"];
    let mut before = Vec::new();
    for table in tables {
        before.push(archive.rows(table).await);
        assert!(archive.compress(table).await > 0, "{table} has no chunk");
        let compressed =
            "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed AND hypertable_name = ";
        assert_ne!(archive.query(&format!("{compressed}'{table}'")).await, ["0"]);
    }
    // The same again, after a database that forgot its offsets: nothing doubles.
    archive.execute("UPDATE sink_offsets SET next_offset = 0").await;
    let mut again = common::archiver(&archive.database(), "b");
    again.sink.assigned(&topics.partitions()).await.expect("assigned");
    again.sink.write(topics.all()).await.expect("written");
    for (table, before) in tables.iter().zip(&before) {
        assert_eq!(&archive.rows(table).await, before, "{table}");
    }
    // Late rows of the same days, out of order, and a newer revision that replaces stages in a compressed chunk.
    let mut late = common::Topics::of_users(4);
    for n in [90, 50, 70] {
        late.event(&common::event("late", n));
    }
    let mut newer = common::record("user-1", 5);
    newer.stages[0].duration_ms = Some(telemetry_schemas::Millis(77_000));
    late.record(&newer);
    let mut earlier = common::breach("late", telemetry_schemas::BreachStatus::Firing);
    earlier.detected_at = EventTime(common::T0 + 1);
    late.breach(&earlier);
    let start = |topic: &str| topics.all().iter().filter(|record| &*record.topic == topic).count() as i64;
    let rest: Vec<_> = late.all().iter().filter(|record| record.offset >= start(&record.topic)).cloned().collect();
    assert_eq!(rest.len(), 5);
    again.sink.write(&rest).await.expect("written");
    assert!(again.dead_letters.all().is_empty());
    assert_eq!(archive.rows("events").await.len(), before[0].len() + 3);
    assert_eq!(archive.rows("ttf_records").await.len(), before[1].len() + 1);
    assert_eq!(archive.rows("stage_durations").await.len(), before[2].len());
    assert_eq!(archive.rows("breaches").await.len(), before[3].len() + 1);
    let replaced = "SELECT duration_ms FROM stage_durations WHERE user_id = 'user-1' AND stage = 'stage-0'";
    assert_eq!(archive.query(replaced).await, ["77000"]);
    // An erasure reaches into compressed chunks.
    let mut erased = common::Topics::default();
    erased.erasure(&common::erasure("user-2", common::T0 + 10_000_000));
    again.sink.assigned(&erased.partitions()).await.expect("assigned");
    again.sink.write(erased.all()).await.expect("erased");
    for table in tables {
        assert!(archive.rows(table).await.iter().all(|row| !row.contains("user-2")), "{table}");
    }
}

async fn a_materialised_roll_up_is_brought_up_to_date(archive: &Archive) {
    let figures = "SELECT sum(started), sum(completed) FROM stage_rollup_daily WHERE stage = 'stage-3'";
    let mut topics = common::Topics::default();
    topics.record(&common::record("ada", 3));
    let mut archiver = common::archiver(&archive.database(), "a");
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    archiver.sink.write(topics.all()).await.expect("written");
    archive.roll_up().await;
    assert_eq!(archive.query(figures).await, ["1\t0"]);
    topics.record(&common::record("ada", 4));
    topics.record(&common::record("bob", 4));
    archiver.sink.write(&topics.all()[1..]).await.expect("written");
    archive.roll_up().await;
    assert_eq!(archive.query(figures).await, ["2\t2"]);
}
