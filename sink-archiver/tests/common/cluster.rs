//! A PostgreSQL of a test's own that may be killed, stopped, filled and put back, and the archiver's database sinks at
//! work on it, fed from a log in memory.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use service_kit::Kit;
use sink_archiver::{
    EVENTS_GROUP, JOURNEYS_GROUP, LiveView,
    database::{Database, Postgres, sink::DatabaseSink},
    live_view::{MemoryCache, ReadThrough},
    metrics::Metrics,
    rejects::Rejects,
};
use stream_runtime::{
    log::{Isolation, Log, NewRecord, TopicPartition, TopicSpec, embedded::EmbeddedLog},
    sink::{self, Sink, SinkOptions},
};
use telemetry_schemas::{
    Codec,
    topics::{ERASURES, EVENTS, EVENTS_REJECTED, TTF_BREACHES, TTF_RECORDS},
};
use tokio_postgres::{Client, NoTls};

use super::{Topics, archiver};

pub const PATIENCE: Duration = Duration::from_secs(60);
const TABLES: [&str; 6] = ["events", "ttf_records", "journeys", "stage_durations", "breaches", "breach_status"];
const PARTITIONS: i32 = 2;

/// A database server; ended with the value.
pub struct Cluster {
    folder: tempfile::TempDir,
    url: String,
}

impl Cluster {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With further options of `initdb`.
    pub fn start_with(initdb: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-postgres-").tempdir().expect("a folder");
        services(folder.path(), &["up", "postgres"], initdb);
        let env = std::fs::read_to_string(folder.path().join("env")).expect("the script writes its addresses");
        let url = env.lines().find_map(|line| line.strip_prefix("export TTF_TEST_POSTGRES="));
        Self { url: url.expect("its address is among them").to_owned(), folder }
    }

    /// `start`, `stop`, `kill`, `full`, `roomy`, `save` or `restore`.
    pub fn act(&self, act: &str) {
        services(self.folder.path(), &["database", act], "");
    }

    pub fn url(&self, database: &str) -> String {
        let (server, _) = self.url.rsplit_once('/').expect("a URL with a database");
        format!("{server}/{database}")
    }

    pub async fn connect(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls).await.expect("connected");
        tokio::spawn(connection);
        client
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        services(self.folder.path(), &["down"], "");
    }
}

pub(super) fn services(folder: &Path, arguments: &[&str], initdb: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services/services.sh");
    let output = Command::new(script)
        .args(arguments)
        .env("TTF_SERVICES_DIR", folder)
        .env("TTF_INITDB", initdb)
        .output()
        .expect("bash is there");
    assert!(output.status.success(), "services.sh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A log in memory with the topics the archiver reads.
pub fn log() -> Arc<dyn Log> {
    with_topics(EmbeddedLog::in_memory())
}

/// The same in a folder, for one process at a time.
pub fn log_in(folder: &Path) -> Arc<dyn Log> {
    let config =
        serde_json::from_value(serde_json::json!({"path": folder, "retention_bytes": 1_u64 << 30})).expect("a config");
    with_topics(EmbeddedLog::open(&config).expect("opened"))
}

fn with_topics(log: EmbeddedLog) -> Arc<dyn Log> {
    let spec = |name: &str| TopicSpec::new(name, PARTITIONS);
    let specs = [EVENTS, EVENTS_REJECTED, TTF_RECORDS, TTF_BREACHES, ERASURES].map(spec);
    log.create_topics(&specs, PATIENCE).expect("created");
    Arc::new(log)
}

pub async fn publish(log: &Arc<dyn Log>, topics: &Topics) {
    let publisher = log.publisher().expect("a publisher");
    for record in topics.all() {
        let (key, value) = (record.key.clone().expect("a key"), record.value.clone().unwrap_or_default());
        let new = NewRecord::new(record.topic.clone(), key, value).with_timestamp(record.timestamp_ms);
        publisher.publish(new).expect("queued").await.expect("published");
    }
}

/// The archiver's two database sinks.
pub struct Running {
    pub kit: Kit,
}

impl Running {
    /// `statement_timeout`: after which a statement is given up.
    pub async fn start(cluster: &Cluster, log: &Arc<dyn Log>, statement_timeout: &str) -> Self {
        Self::start_on(&cluster.url("archive"), log, statement_timeout).await
    }

    pub async fn start_on(url: &str, log: &Arc<dyn Log>, statement_timeout: &str) -> Self {
        let database = open(url, statement_timeout).await;
        let kit = Kit::for_test();
        let live_view: Arc<dyn LiveView> =
            Arc::new(ReadThrough::new(Box::new(MemoryCache::new(1_000)), Arc::clone(&database), &kit));
        let sinks = [
            ("database-events", EVENTS_GROUP, vec![EVENTS]),
            ("database-journeys", JOURNEYS_GROUP, vec![TTF_RECORDS, TTF_BREACHES, ERASURES]),
        ];
        for (name, group, topics) in sinks {
            let mut options = SinkOptions::new(name, group, topics.into_iter().map(str::to_owned).collect());
            (options.batch_records, options.batch_interval) = (40, Duration::from_millis(10));
            let codec = Codec::without_registry();
            let rejects = Rejects::new(log.publisher().expect("a publisher"), codec.clone());
            let owner = format!("{name}-{:x}", rand::random::<u64>());
            let sink = DatabaseSink::new(
                Arc::clone(&database),
                Arc::clone(&live_view),
                codec,
                rejects,
                Metrics::new(&kit),
                owner,
            );
            sink::run(options, Arc::clone(log), sink, &kit).expect("started");
        }
        Self { kit }
    }

    /// Ends it; it must not have ended by itself.
    pub async fn stop(self) {
        assert!(!self.kit.shutdown().is_cancelled(), "it ended by itself");
        self.kit.shutdown().cancel();
        self.kit.join(PATIENCE).await.expect("ended in good order");
    }
}

async fn open(url: &str, statement_timeout: &str) -> Arc<dyn Database> {
    let config = serde_json::json!({"url": url, "pool": 3, "statement_timeout": statement_timeout});
    let database = Postgres::open(&serde_json::from_value(config).expect("a config")).expect("opened");
    database.migrate().await.expect("migrated");
    database.open_ledger(None).await.expect("opened");
    Arc::new(database)
}

/// The tables as text, in order.
pub async fn contents(client: &Client) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::new();
    for table in TABLES {
        let rows = client.query(&format!("SELECT to_jsonb(t)::text FROM {table} AS t"), &[]).await.expect("queried");
        let mut rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        rows.sort();
        all.insert(table, rows);
    }
    all
}

/// Makes the empty database `archive`, and tells what it has to hold in the end: what one undisturbed writer makes of
/// the topics.
pub async fn prepare(cluster: &Cluster, topics: &Topics) -> BTreeMap<&'static str, Vec<String>> {
    let admin = cluster.connect("ttf").await;
    for name in ["oracle", "archive"] {
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("created");
    }
    let oracle = open(&cluster.url("oracle"), "60s").await;
    let mut writer = archiver(&oracle, "oracle");
    writer.sink.assigned(&topics.partitions()).await.expect("assigned");
    for batch in topics.all().chunks(500) {
        writer.sink.write(batch).await.expect("written");
    }
    contents(&cluster.connect("oracle").await).await
}

/// Waits until the archive holds exactly `expected`; nothing may have been dead-lettered.
pub async fn converges(cluster: &Cluster, log: &Arc<dyn Log>, expected: &BTreeMap<&'static str, Vec<String>>) {
    let client = cluster.connect("archive").await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let actual = contents(&client).await;
        if &actual == expected {
            break;
        }
        let counts = |all: &BTreeMap<&'static str, Vec<String>>| -> Vec<_> {
            all.iter().map(|(table, rows)| (*table, rows.len())).collect()
        };
        assert!(Instant::now() < deadline, "{:?} is not {:?}", counts(&actual), counts(expected));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(dead_letters(log), 0);
}

/// How many records were given up.
pub fn dead_letters(log: &Arc<dyn Log>) -> i64 {
    let end = |partition| {
        let at = TopicPartition::new(EVENTS_REJECTED, partition);
        log.end_offset(&at, Isolation::ReadCommitted, PATIENCE).expect("an end")
    };
    (0..PARTITIONS).map(end).sum()
}

/// Waits until a question to the archive is answered by a number of at least `least`.
pub async fn until(client: &Client, sql: &str, least: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let number: i64 = client.query_one(sql, &[]).await.expect("asked").get(0);
        if number >= least {
            return;
        }
        assert!(Instant::now() < deadline, "{sql} stays at {number}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
