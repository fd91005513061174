//! How fast events become Parquet objects, next to a bare writer of the same rows; bytes per event in topic, archive and
//! database; and how long it takes to erase a user among many.
//!
//! `TTF_TEST_POSTGRES=… cargo run --release -p sink-archiver --example archive_speed -- [EVENTS] [USERS]`
//! (200000 events; a million users). Without TTF_TEST_POSTGRES users are erased from SQLite alone. MB are of the records
//! as they are in the topic; time is of the wall, in a folder in memory or on disk as `TMPDIR` says.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use service_kit::Kit;
use sink_archiver::{
    config::RotationConfig,
    database::{Database, Postgres, Sqlite, rows},
    decode::{Message, decode_all},
    metrics::Metrics,
    objects::{
        grouping::{People, Seen, group},
        parquet,
        rows::Row,
        sink::ObjectSink,
        start::CommittedOffsets,
        store::Store,
        writer::CutWriter,
    },
};
use stream_runtime::{
    log::{LogError, Record, TopicPartition},
    sink::Sink,
};
use telemetry_schemas::{
    Codec, Event, EventType, RecordKey, erasure::Erasure, event::EventContext, time::EventTime, topics::EVENTS,
};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const T0: i64 = 1_795_392_000_000;
/// Records of a cut: the default of `archive.rotation.records` is larger, that of `bytes` closes it at about here.
const CUT: usize = 50_000;
const BATCH: usize = 5_000;
const ROUNDS: usize = 9;
/// People in the erasure ledger, so that it is asked for everybody.
const ERASED_BEFORE: usize = 100;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (count, people) = (number(200_000)?, number(1_000_000)?);
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!("{count} events, cuts of {CUT}, load {}", load.trim());
    let records: Vec<Record> = (0..count).map(record).collect::<Result<_>>()?;
    let megabytes =
        records.iter().map(|record| record.value.as_ref().map_or(0, Bytes::len)).sum::<usize>() as f64 / 1e6;
    let folder = tempfile::tempdir()?;
    let database: Arc<dyn Database> = Arc::new(sqlite(&folder.path().join("people.sqlite")).await?);
    // Everybody has a pseudonym before the clock starts, and some others were erased: in the long run it is so.
    let known = resolve(&*database, &records).await?;
    for n in 0..ERASED_BEFORE {
        let erasure = erasure(&format!("before-{n}"), format!("former-user-{n}"));
        let batch = rows::Batch { erasures: vec![rows::Sourced { index: 0, row: erasure }], ..rows::Batch::default() };
        database.write("bench", Arc::new(batch)).await?;
    }

    let (mut bare_speeds, mut sink_speeds) = (Vec::new(), Vec::new());
    let mut bytes_archived = 0;
    for round in 0..ROUNDS {
        let clock = Clock::start()?;
        bytes_archived = bare(&records, &known, &folder.path().join(format!("bare-{round}")))?;
        bare_speeds.push(clock.stop(megabytes)?);
        let mut sink = sink(&database, &folder.path().join(format!("sink-{round}")))?;
        sink.assigned(&[TopicPartition::new(EVENTS, 0)]).await?;
        let clock = Clock::start()?;
        for batch in records.chunks(BATCH) {
            sink.write(batch).await?;
        }
        sink_speeds.push(clock.stop(megabytes)?);
    }
    for (way, speeds) in [("bare writer", &bare_speeds), ("object sink", &sink_speeds)] {
        let (wall, cpu) = (median(speeds.iter().map(|speed| speed.wall)), median(speeds.iter().map(|speed| speed.cpu)));
        println!("{way:12} {wall:7.1} MB/s {cpu:7.1} MB per CPU second (median of {ROUNDS})");
    }
    // Of each round by itself: what else the machine does is alike for two that follow each other.
    let rounds = || sink_speeds.iter().zip(&bare_speeds);
    let wall = median(rounds().map(|(sink, bare)| sink.wall / bare.wall));
    let cpu = median(rounds().map(|(sink, bare)| sink.cpu / bare.cpu));
    println!("ratio        {wall:7.2} of the wall, {cpu:.2} of CPU time (median of {ROUNDS} rounds)");
    println!(
        "bytes per event: {:.0} in the topic (uncompressed), {:.0} in the archive",
        megabytes * 1e6 / count as f64,
        bytes_archived as f64 / count as f64
    );

    let sqlite: Arc<dyn Database> = Arc::new(sqlite(&folder.path().join("many.sqlite")).await?);
    erase("SQLite", &sqlite, people).await?;
    if let Ok(server) = std::env::var("TTF_TEST_POSTGRES") {
        let url = fresh(&server).await?;
        let postgres =
            Postgres::open(&serde_json::from_value(serde_json::json!({"url": url, "statement_timeout": "600s"}))?)?;
        postgres.migrate().await?;
        postgres.open_ledger(None).await?;
        let postgres: Arc<dyn Database> = Arc::new(postgres);
        erase("PostgreSQL", &postgres, people).await?;
    }
    Ok(())
}

/// MB a second of a way: of the wall and of CPU time (with the kernel's for it, and of all threads).
struct Speed {
    wall: f64,
    cpu: f64,
}

struct Clock {
    start: Instant,
    cpu: f64,
}

impl Clock {
    fn start() -> Result<Self> {
        Ok(Self { cpu: cpu_seconds()?, start: Instant::now() })
    }

    fn stop(self, megabytes: f64) -> Result<Speed> {
        let wall = megabytes / self.start.elapsed().as_secs_f64();
        Ok(Speed { wall, cpu: megabytes / (cpu_seconds()? - self.cpu) })
    }
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// User and system time of this process.
fn cpu_seconds() -> Result<f64> {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").context("a process has a name")?;
    let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() / TICKS)
}

fn erasure(id: &str, user_id: String) -> Erasure {
    Erasure {
        erasure_id: id.to_owned(),
        tenant: "acme".to_owned(),
        user_id,
        erased_at: EventTime(T0 + 1_000_000_000),
        requested_by: "bench".to_owned(),
        reason: None,
    }
}

fn event(n: u64) -> Event {
    let at = EventTime(T0 + n as i64);
    Event {
        tenant: "acme".to_owned(),
        source: "http".to_owned(),
        event_id: format!("0199aa00-0000-7000-8000-{n:012x}"),
        event_name: "feature_used".to_owned(),
        event_type: EventType::Track,
        timestamp: at,
        original_timestamp: None,
        sent_at: None,
        received_at: at,
        user_id: Some(format!("user-{}", n % 20_000)),
        anonymous_id: Some(format!("device-{}", n % 20_000)),
        session_id: Some(format!("session-{}", n % 40_000)),
        journey_id: None,
        properties: serde_json::json!({"feature": format!("f-{}", n % 50), "count": n % 17, "plan": "pro"})
            .as_object()
            .cloned()
            .unwrap_or_default(),
        context: EventContext { release: Some("1.2.3".to_owned()), ..EventContext::default() },
        sealed: BTreeMap::new(),
        replay: false,
    }
}

fn record(n: u64) -> Result<Record> {
    let event = event(n);
    Ok(Record {
        topic: EVENTS.into(),
        partition: 0,
        offset: n as i64,
        timestamp_ms: event.received_at.0,
        key: Some(Bytes::from(
            RecordKey::user(&*event.tenant, event.user_id.as_deref().unwrap_or_default()).to_bytes(),
        )),
        value: Some(Bytes::from(Codec::without_registry().encode(&event)?)),
        headers: Vec::new(),
    })
}

fn rows_of(records: &[Record]) -> Result<Vec<Row>> {
    let decoded = decode_all(&Codec::without_registry(), records)?;
    let rows = records.iter().zip(decoded);
    Ok(rows.filter_map(|(record, message)| Some(Row { offset: record.offset, message: message.ok()? })).collect())
}

async fn resolve(database: &dyn Database, records: &[Record]) -> Result<(People, People)> {
    let rows = rows_of(records)?;
    let Seen { users, devices } = Seen::of(&rows);
    Ok((database.resolve(users).await?, database.resolve(devices).await?))
}

/// Decodes, groups and writes files, and nothing else: no cuts, no manifests, no checksums, nobody looked up.
fn bare(records: &[Record], (users, devices): &(People, People), folder: &std::path::Path) -> Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut written = 0;
    for (number, cut) in records.chunks(CUT).enumerate() {
        for rows in group(rows_of(cut)?, users, devices).objects.into_values() {
            let bytes = parquet::write(&rows)?;
            written += bytes.len();
            let file = folder.join(format!("{number}.parquet"));
            std::fs::write(&file, &bytes)?;
            std::fs::File::open(file)?.sync_all()?;
        }
    }
    Ok(written)
}

struct Nothing;

impl CommittedOffsets for Nothing {
    fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        Ok(vec![None; partitions.len()])
    }
}

fn sink(database: &Arc<dyn Database>, folder: &std::path::Path) -> Result<ObjectSink> {
    let store = Store::open(&serde_json::from_value(serde_json::json!({"kind": "folder", "path": folder}))?)?;
    let metrics = Metrics::new(&Kit::for_test());
    let writer = CutWriter::new(store.clone(), Arc::clone(database), Codec::without_registry(), metrics.clone());
    let rotation: RotationConfig = serde_json::from_value(
        serde_json::json!({"records": CUT, "bytes": "1GiB", "interval": "10d", "memory": "1GiB"}),
    )?;
    Ok(ObjectSink::new(store, writer, Arc::new(Nothing), &rotation, metrics))
}

async fn sqlite(path: &std::path::Path) -> Result<Sqlite> {
    let database = Sqlite::open(path)?;
    database.migrate().await?;
    database.open_ledger(None).await?;
    Ok(database)
}

async fn fresh(server: &str) -> Result<String> {
    let name = format!("archive_speed_{}", std::process::id());
    let (client, connection) = tokio_postgres::connect(server, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
    client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
    let (server, _) = server.rsplit_once('/').context("the URL names no database")?;
    Ok(format!("{server}/{name}"))
}

/// An event and a pseudonym for each user; then twenty of them are erased, one at a time.
async fn erase(name: &str, database: &Arc<dyn Database>, people: u64) -> Result<()> {
    const ERASED: u64 = 20;
    let at = TopicPartition::new(EVENTS, 0);
    database.claim("bench", std::slice::from_ref(&at)).await?;
    let mut next = 0_i64;
    let all: Vec<u64> = (0..people).collect();
    for chunk in all.chunks(BATCH) {
        let events = chunk.iter().enumerate().map(|(index, n)| {
            let mut event = event(*n);
            event.user_id = Some(format!("user-{n}"));
            event.anonymous_id = Some(format!("device-{n}"));
            rows::Sourced { index, row: event }
        });
        let events: Vec<_> = events.collect();
        let rows: Vec<Row> = events
            .iter()
            .map(|sourced| Row { offset: 0, message: Message::Event(Box::new(sourced.row.clone())) })
            .collect();
        let Seen { users, devices } = Seen::of(&rows);
        database.resolve(users).await?;
        database.resolve(devices).await?;
        let expected = next;
        next += chunk.len() as i64;
        let offsets = vec![rows::OffsetMove { topic: at.topic.clone(), partition: 0, expected, next }];
        database.write("bench", Arc::new(rows::Batch { events, offsets, ..rows::Batch::default() })).await?;
    }
    let mut times: Vec<Duration> = Vec::new();
    for n in 0..ERASED {
        let erasure = erasure(&format!("bench-{n}"), format!("user-{}", n * people / ERASED));
        let batch = rows::Batch { erasures: vec![rows::Sourced { index: 0, row: erasure }], ..rows::Batch::default() };
        let start = Instant::now();
        database.write("bench", Arc::new(batch)).await?;
        times.push(start.elapsed());
        let found = database.certificates(Some(&format!("bench-{n}"))).await?;
        ensure!(found.first().is_some_and(|certificate| certificate.deleted["events"] == 1), "not erased");
    }
    times.sort_unstable();
    println!(
        "{name}: a user among {people} erased in {:.1} ms (median of {ERASED}, worst {:.1} ms)",
        times[times.len() / 2].as_secs_f64() * 1e3,
        times[times.len() - 1].as_secs_f64() * 1e3
    );
    Ok(())
}
