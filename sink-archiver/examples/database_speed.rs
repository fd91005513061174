//! How fast events get into PostgreSQL, next to a bare bulk write of the same rows by the same statement and by `COPY`,
//! on tables of the same kind; and how long an event takes until it can be queried, at a steady rate: through the log in
//! memory, and through the Kafka that `TTF_TEST_KAFKA` names, where it does.
//!
//! `TTF_TEST_POSTGRES=… cargo run --release -p sink-archiver --example database_speed -- [EVENTS] [RATE] [SECONDS]`
//! (200000, 2000 a second, 20 s). CPU time is that of this process and of the server's process for its connection.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures::SinkExt;
use parking_lot::Mutex;
use service_kit::{Kit, clock::now_ms};
use sink_archiver::{
    LiveView,
    database::{Database, Postgres, rows, sink::DatabaseSink},
    live_view::{MemoryCache, ReadThrough},
    metrics::Metrics,
    rejects::Rejects,
};
use stream_runtime::{
    log::{
        Log, NewRecord, NextOffset, Position, Record, TopicOutcome, TopicPartition, TopicSpec, embedded::EmbeddedLog,
    },
    sink::{self, Sink, SinkError, SinkOptions},
};
use telemetry_schemas::{
    Codec, Event, EventType, RecordKey,
    event::EventContext,
    time::EventTime,
    topics::{EVENTS, EVENTS_REJECTED},
};
use tokio_postgres::{Client, NoTls};

const BATCH: usize = 5_000;
/// Kernel ticks a second, as `/proc` counts CPU time.
const TICKS: f64 = 100.0;
const PATIENCE: Duration = Duration::from_secs(60);
const WAYS: [&str; 3] = ["bare statement", "bare copy", "archiver"];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (count, rate, seconds) = (number(200_000)?, number(2_000)?, number(20)?);
    let server = std::env::var("TTF_TEST_POSTGRES").context("TTF_TEST_POSTGRES names no server")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!("{count} events, batches of {BATCH}, load {}", load.trim());
    let events: Vec<Event> = (0..count).map(event).collect();
    let mut speeds = BTreeMap::new();
    for way in WAYS {
        let url = fresh(&server).await?;
        let database = open(&url).await?;
        let client = connect(&url).await?;
        let start = Instant::now();
        let cpu = match way {
            "bare statement" => bare_statement(&client, &events).await?,
            "bare copy" => bare_copy(&client, &events).await?,
            _ => archiver(&database, &client, &events).await?,
        };
        let wall = start.elapsed().as_secs_f64();
        let stored: i64 = client.query_one("SELECT count(*) FROM events", &[]).await?.get(0);
        ensure!(stored == i64::try_from(count)?, "{way}: {stored} rows");
        let (per_second, per_core) = (count as f64 / wall, count as f64 / (cpu.own + cpu.server));
        println!(
            "{way:>15}: {per_second:>7.0} rows/s, {per_core:>7.0} rows per CPU second (client {:.2} s, server {:.2} s)",
            cpu.own, cpu.server
        );
        speeds.insert(way, (per_second, per_core));
        if way == "archiver" {
            let size = "SELECT sum(pg_table_size(relid))::bigint, sum(pg_indexes_size(relid))::bigint \
                        FROM pg_partition_tree('events') WHERE isleaf";
            let row = client.query_one(size, &[]).await?;
            let per_event = |bytes: i64| bytes as f64 / count as f64;
            println!("bytes per event: {:.0} table, {:.0} indexes", per_event(row.get(0)), per_event(row.get(1)));
        }
    }
    let ours = speeds["archiver"];
    for way in &WAYS[..2] {
        let bare = speeds[way];
        println!(
            "archiver / {way}: {:.2} of its rows/s, {:.2} of its rows per CPU second",
            ours.0 / bare.0,
            ours.1 / bare.1
        );
    }
    steady(&server, "the log in memory", log()?, rate, seconds).await?;
    if let Ok(brokers) = std::env::var("TTF_TEST_KAFKA") {
        steady(&server, "Kafka", kafka(&brokers)?, rate, seconds).await?;
    }
    Ok(())
}

/// An event as the gateway publishes it, some 600 bytes as JSON.
fn event(n: u64) -> Event {
    let at = EventTime(now_ms());
    let names = ["project_created", "agent_created", "workflow_created", "page_viewed"];
    let properties =
        serde_json::json!({"plan": "team", "seats": n % 50, "path": "/projects/new", "source": "onboarding wizard"});
    Event {
        tenant: "default".to_owned(),
        source: "http".to_owned(),
        event_id: format!("0193{n:08x}-7d2a-7a3b-9c4d-{:012x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16),
        event_name: names[(n % 4) as usize].to_owned(),
        event_type: EventType::Track,
        timestamp: at,
        original_timestamp: None,
        sent_at: Some(at),
        received_at: at,
        user_id: Some(format!("user-{}", n % 20_000)),
        anonymous_id: None,
        session_id: Some(format!("session-{}", n % 5_000)),
        journey_id: None,
        properties: properties.as_object().cloned().unwrap_or_default(),
        context: EventContext {
            library_name: Some("ttf-telemetry".to_owned()),
            library_version: Some("1.0.0".to_owned()),
            locale: Some("en-GB".to_owned()),
            release: Some("2026.11.3".to_owned()),
            segments: BTreeMap::from([("plan".to_owned(), "team".to_owned())]),
            ..EventContext::default()
        },
        sealed: BTreeMap::new(),
        replay: false,
    }
}

async fn fresh(server: &str) -> Result<String> {
    let name = format!("ttf_bench_{}", std::process::id());
    let client = connect(server).await?;
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
    client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
    let (head, _) = server.rsplit_once('/').context("a URL with a database")?;
    Ok(format!("{head}/{name}"))
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn open(url: &str) -> Result<Arc<dyn Database>> {
    let config = serde_json::from_value(serde_json::json!({"url": url, "pool": 1}))?;
    let database = Postgres::open(&config)?;
    database.migrate().await?;
    database.open_ledger(None).await?;
    Ok(Arc::new(database))
}

/// CPU seconds of this process and of a process of the server.
struct Cpu {
    own: f64,
    server: f64,
}

impl Cpu {
    fn of(pid: i32) -> Result<Self> {
        Ok(Self { own: cpu_of("self")?, server: cpu_of(&pid.to_string())? })
    }

    fn since(&self, before: &Self) -> Self {
        Self { own: self.own - before.own, server: self.server - before.server }
    }
}

fn cpu_of(process: &str) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("a process's state")?;
    let ticks = |n: usize| fields.split(' ').nth(n).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / TICKS)
}

async fn backend(client: &Client) -> Result<i32> {
    Ok(client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0))
}

/// The statement the archiver uses, and nothing else.
async fn bare_statement(client: &Client, events: &[Event]) -> Result<Cpu> {
    let pid = backend(client).await?;
    let before = Cpu::of(pid)?;
    let statement = client.prepare(include_str!("../src/database/postgres/queries/insert_events.sql")).await?;
    for rows in events.chunks(BATCH) {
        let texts = |value: &dyn Fn(&Event) -> String| rows.iter().map(value).collect::<Vec<String>>();
        let times = |value: &dyn Fn(&Event) -> i64| rows.iter().map(value).collect::<Vec<i64>>();
        let sent: Vec<Option<i64>> = rows.iter().map(|row| row.sent_at.map(|at| at.0)).collect();
        let (no_time, nobody): (Vec<Option<i64>>, Vec<Option<&str>>) = rows.iter().map(|_| (None, None)).unzip();
        let users: Vec<Option<&str>> = rows.iter().map(|row| row.user_id.as_deref()).collect();
        let sessions: Vec<Option<&str>> = rows.iter().map(|row| row.session_id.as_deref()).collect();
        let replays: Vec<bool> = rows.iter().map(|row| row.replay).collect();
        client
            .execute(
                &statement,
                &[
                    &texts(&|row| row.tenant.clone()),
                    &texts(&|row| row.source.clone()),
                    &texts(&|row| row.event_id.clone()),
                    &texts(&|row| row.event_name.clone()),
                    &texts(&|_| "track".to_owned()),
                    &times(&|row| row.timestamp.0),
                    &no_time,
                    &sent,
                    &times(&|row| row.received_at.0),
                    &users,
                    &nobody,
                    &sessions,
                    &nobody,
                    &texts(&|row| rows::properties_json(&row.properties)),
                    &texts(&|row| rows::context_json(&row.context)),
                    &replays,
                ],
            )
            .await?;
    }
    Ok(Cpu::of(pid)?.since(&before))
}

async fn bare_copy(client: &Client, events: &[Event]) -> Result<Cpu> {
    let pid = backend(client).await?;
    let before = Cpu::of(pid)?;
    for rows in events.chunks(BATCH) {
        let copy = "COPY events (tenant, source, event_id, event_name, event_type, occurred_at, sent_at, received_at, \
                    user_id, session_id, properties, context, replay) FROM STDIN";
        let mut into = std::pin::pin!(client.copy_in(copy).await?);
        let mut text = String::new();
        for row in rows {
            let line = [
                row.tenant.clone(),
                row.source.clone(),
                row.event_id.clone(),
                row.event_name.clone(),
                "track".to_owned(),
                row.timestamp.to_rfc3339(),
                row.received_at.to_rfc3339(),
                row.received_at.to_rfc3339(),
                row.user_id.clone().unwrap_or_default(),
                row.session_id.clone().unwrap_or_default(),
                rows::properties_json(&row.properties).replace('\\', "\\\\"),
                rows::context_json(&row.context).replace('\\', "\\\\"),
                "f".to_owned(),
            ];
            text.push_str(&line.join("\t"));
            text.push('\n');
        }
        into.send(Bytes::from(text)).await?;
        into.close().await?;
    }
    Ok(Cpu::of(pid)?.since(&before))
}

fn sink_on(database: &Arc<dyn Database>, log: &Arc<dyn Log>, kit: &Kit) -> Result<DatabaseSink> {
    let cache = Box::new(MemoryCache::new(1_000));
    let live_view: Arc<dyn LiveView> = Arc::new(ReadThrough::new(cache, Arc::clone(database), kit));
    let codec = Codec::without_registry();
    let rejects = Rejects::new(log.publisher()?, codec.clone());
    Ok(DatabaseSink::new(Arc::clone(database), live_view, codec, rejects, Metrics::new(kit), "bench".to_owned()))
}

fn encoded(codec: &Codec, offset: i64, event: &Event) -> Result<Record> {
    let key = RecordKey::user(&event.tenant, event.user_id.as_deref().unwrap_or_default());
    Ok(Record {
        topic: EVENTS.into(),
        partition: 0,
        offset,
        timestamp_ms: event.received_at.0,
        key: Some(Bytes::from(key.to_bytes())),
        value: Some(Bytes::from(codec.encode(event)?)),
        headers: Vec::new(),
    })
}

/// From the records of the topic on: decoding, the erasure ledger, rows and offsets. CPU time of making the records is
/// not in it; the wall-clock time is told apart, too.
async fn archiver(database: &Arc<dyn Database>, client: &Client, events: &[Event]) -> Result<Cpu> {
    let (kit, codec) = (Kit::for_test(), Codec::without_registry());
    let mut sink = sink_on(database, &log()?, &kit)?;
    let records: Result<Vec<Record>> =
        (0..).zip(events).map(|(offset, event)| encoded(&codec, offset, event)).collect();
    let records = records?;
    sink.assigned(&[TopicPartition::new(EVENTS, 0)]).await?;
    let backend = "SELECT pid FROM pg_stat_activity \
                   WHERE datname = current_database() AND application_name = 'ttf-archiver'";
    let pid: i32 = client.query_one(backend, &[]).await?.get(0);
    let (before, start) = (Cpu::of(pid)?, Instant::now());
    for batch in records.chunks(BATCH) {
        sink.write(batch).await?;
    }
    println!(
        "{:>15}  {:.0} rows/s without making the records",
        "",
        events.len() as f64 / start.elapsed().as_secs_f64()
    );
    Ok(Cpu::of(pid)?.since(&before))
}

fn log() -> Result<Arc<dyn Log>> {
    let log = EmbeddedLog::in_memory();
    let spec = |name: &str| TopicSpec::new(name, 4);
    log.create_topics(&[spec(EVENTS), spec(EVENTS_REJECTED)], Duration::from_secs(10))?;
    Ok(Arc::new(log))
}

/// The log of a Kafka of the benchmark's own, with topics that are new.
fn kafka(brokers: &str) -> Result<Arc<dyn Log>> {
    let config = serde_json::from_value(serde_json::json!({"kind": "kafka", "brokers": brokers}))?;
    let log = stream_runtime::log::open(&config, "database-speed")?;
    let made = log.create_topics(&[TopicSpec::new(EVENTS, 4), TopicSpec::new(EVENTS_REJECTED, 4)], PATIENCE)?;
    ensure!(made.iter().all(|(_, outcome)| matches!(outcome, TopicOutcome::Created)), "the topics are there already");
    Ok(log)
}

/// Notes how long ago each event was received when its batch can be queried.
struct Timed {
    sink: DatabaseSink,
    /// Set once there is something to read from.
    assigned: Arc<AtomicBool>,
    waited: Arc<Mutex<Vec<i64>>>,
}

#[async_trait]
impl Sink for Timed {
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Position)>, SinkError> {
        let from = self.sink.assigned(partitions).await?;
        self.assigned.store(true, Ordering::SeqCst);
        Ok(from)
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.sink.revoked(partitions).await;
    }

    async fn write(&mut self, batch: &[Record]) -> Result<Vec<NextOffset>, SinkError> {
        let done = self.sink.write(batch).await?;
        let now = now_ms();
        self.waited.lock().extend(batch.iter().map(|record| now - record.timestamp_ms));
        Ok(done)
    }
}

/// As the archiver runs: batches of at most 200 ms.
async fn steady(server: &str, through: &str, log: Arc<dyn Log>, rate: u64, seconds: u64) -> Result<()> {
    let database = open(&fresh(server).await?).await?;
    let (kit, codec) = (Kit::for_test(), Codec::without_registry());
    let (waited, assigned) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let sink = sink_on(&database, &log, &kit)?;
    let timed = Timed { sink, assigned: Arc::clone(&assigned), waited: Arc::clone(&waited) };
    let mut options = SinkOptions::new("bench", "bench", vec![EVENTS.to_owned()]);
    options.batch_interval = Duration::from_millis(200);
    sink::run(options, Arc::clone(&log), timed, &kit)?;
    let publisher = log.publisher()?;
    let deadline = Instant::now() + PATIENCE;
    while !assigned.load(Ordering::SeqCst) {
        ensure!(Instant::now() < deadline, "nobody reads the events");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let start = Instant::now();
    for n in 0..rate * seconds {
        let due = Duration::from_secs_f64(n as f64 / rate as f64);
        if let Some(wait) = due.checked_sub(start.elapsed()) {
            tokio::time::sleep(wait).await;
        }
        let event = event(n);
        let record = encoded(&codec, 0, &event)?;
        let new = NewRecord::new(EVENTS, record.key.unwrap_or_default(), record.value.unwrap_or_default());
        drop(publisher.publish(new.with_timestamp(event.received_at.0))?);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while (waited.lock().len() as u64) < rate * seconds && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    kit.shutdown().cancel();
    kit.join(Duration::from_secs(10)).await?;
    let mut waited = std::mem::take(&mut *waited.lock());
    ensure!(waited.len() as u64 == rate * seconds, "only {} of {} arrived", waited.len(), rate * seconds);
    waited.sort_unstable();
    let quantile = |p: f64| waited[((waited.len() - 1) as f64 * p) as usize];
    println!(
        "received to queryable at {rate} events/s through {through}: p50 {} ms, p99 {} ms, max {} ms",
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
    Ok(())
}
