//! The sink runner on the embedded log, feeding a store that fails in every way it may.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use service_kit::Kit;
use stream_runtime::{
    log::{Log, NewRecord, NextOffset, Position, Record, TopicPartition, TopicSpec, embedded::EmbeddedLog},
    sink::{self, Sink, SinkError, SinkOptions},
};
use tokio::sync::Semaphore;

const PATIENCE: Duration = Duration::from_secs(20);
const PARTITIONS: i32 = 3;

/// A database: rows and offsets change together.
#[derive(Default)]
struct Database {
    rows: Vec<String>,
    offsets: BTreeMap<TopicPartition, i64>,
    assigned: BTreeSet<TopicPartition>,
    claims: usize,
    ticks: usize,
    /// What the next writes answer instead of writing.
    faults: Vec<SinkError>,
    largest_batch: usize,
}

#[derive(Clone)]
struct Store {
    database: Arc<Mutex<Database>>,
    /// A write takes one of these.
    permits: Arc<Semaphore>,
}

impl Store {
    fn new() -> Self {
        Self { database: Arc::default(), permits: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) }
    }

    fn rows(&self) -> Vec<String> {
        let mut rows = self.database.lock().rows.clone();
        rows.sort();
        rows
    }
}

#[async_trait]
impl Sink for Store {
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Position)>, SinkError> {
        let mut database = self.database.lock();
        database.claims += 1;
        database.assigned = partitions.iter().cloned().collect();
        let place =
            |at: &TopicPartition| database.offsets.get(at).map_or(Position::Beginning, |next| Position::Offset(*next));
        Ok(partitions.iter().map(|at| (at.clone(), place(at))).collect())
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.database.lock().assigned.retain(|at| !partitions.contains(at));
    }

    async fn write(&mut self, batch: &[Record]) -> Result<Vec<NextOffset>, SinkError> {
        self.permits.acquire().await.unwrap().forget();
        let mut database = self.database.lock();
        if let Some(fault) = database.faults.pop() {
            return Err(fault);
        }
        let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for record in batch {
            let expected = next.get(&record.at()).or(database.offsets.get(&record.at())).copied().unwrap_or(0);
            if record.offset != expected {
                return Err(SinkError::Moved(format!("{} came where {expected} was expected", record.offset)));
            }
            next.insert(record.at(), record.offset + 1);
        }
        database.largest_batch = database.largest_batch.max(batch.len());
        let rows = batch.iter().map(|record| String::from_utf8(record.value.as_deref().unwrap().to_vec()).unwrap());
        database.rows.extend(rows);
        database.offsets.extend(next.clone());
        Ok(next.into_iter().map(|(at, next)| NextOffset { at, next, metadata: String::new() }).collect())
    }

    async fn tick(&mut self) -> Result<Vec<NextOffset>, SinkError> {
        self.database.lock().ticks += 1;
        Ok(Vec::new())
    }
}

fn log() -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::in_memory();
    let topic = TopicSpec::new("records", PARTITIONS);
    log.create_topics(&[topic], PATIENCE).unwrap();
    Arc::new(log)
}

fn publish(log: &EmbeddedLog, values: std::ops::Range<usize>) -> Vec<String> {
    let publisher = log.publisher().unwrap();
    let values: Vec<String> = values.map(|number| format!("{number:05}")).collect();
    for value in &values {
        drop(publisher.publish(NewRecord::new("records", value.clone(), value.clone())).unwrap());
    }
    publisher.flush(PATIENCE).unwrap();
    values
}

fn options() -> SinkOptions {
    SinkOptions {
        batch_records: 50,
        batch_interval: Duration::from_millis(20),
        ..SinkOptions::new("db", "archiver", vec!["records".to_owned()])
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn stop(kit: Kit) {
    kit.shutdown().cancel();
    kit.join(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_once_though_the_store_comes_and_goes() {
    let (log, store, kit) = (log(), Store::new(), Kit::for_test());
    for _ in 0..3 {
        store.database.lock().faults.push(SinkError::Unavailable("busy".to_owned()));
    }
    let mut expected = publish(&log, 0..500);
    sink::run(options(), log.clone(), store.clone(), &kit).unwrap();
    until("the first records", || store.rows().len() == 500).await;
    expected.extend(publish(&log, 500..700));
    until("the others", || store.rows().len() == 700).await;
    assert_eq!(store.rows(), expected);
    assert!(store.database.lock().largest_batch <= 50 + 1_000, "batches are bounded");
    until("a tick", || store.database.lock().ticks > 0).await;
    let partitions: Vec<_> = (0..PARTITIONS).map(|partition| TopicPartition::new("records", partition)).collect();
    until("the hint to the group", || {
        let committed = log.committed("archiver", &partitions, PATIENCE).unwrap();
        committed.iter().filter_map(|known| known.next).sum::<i64>() == 700
    })
    .await;
    let figures = kit.metrics().render();
    assert!(figures.contains(r#"ttf_sink_deliveries_total{outcome="unavailable",sink="db"} 3"#), "{figures}");
    assert_eq!(kit.health().status(), service_kit::health::Status::Healthy);
    stop(kit).await;
    assert!(store.database.lock().assigned.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_went_back_in_time_gets_the_records_again() {
    let (log, store, kit) = (log(), Store::new(), Kit::for_test());
    let mut expected = publish(&log, 0..100);
    sink::run(options(), log.clone(), store.clone(), &kit).unwrap();
    until("the records", || store.rows().len() == 100).await;
    {
        let mut database = store.database.lock();
        database.rows.clear();
        database.offsets.clear();
    }
    expected.extend(publish(&log, 100..130));
    until("all of them again", || store.rows().len() == 130).await;
    assert_eq!(store.rows(), expected);
    assert!(store.database.lock().claims >= 2);
    stop(kit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fatal_error_ends_the_process() {
    let (log, store, kit) = (log(), Store::new(), Kit::for_test());
    store.database.lock().faults.push(SinkError::Fatal("the schema is gone".to_owned()));
    publish(&log, 0..1);
    sink::run(options(), log, store, &kit).unwrap();
    let error = kit.join(PATIENCE).await.unwrap_err();
    assert!(format!("{error:#}").contains("the schema is gone"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_is_shown_and_reading_stops_behind_it() {
    let (log, store, kit) = (log(), Store::new(), Kit::for_test());
    store.permits.forget_permits(Semaphore::MAX_PERMITS);
    let expected = publish(&log, 0..5_000);
    sink::run(options(), log.clone(), store.clone(), &kit).unwrap();
    until("readiness", || kit.health().not_ready().is_empty()).await;
    let backlog = || kit.metrics().render().contains(r#"ttf_sink_backlog_records{sink="db"} 5000"#);
    until("the backlog", backlog).await;
    assert!(kit.health().silent(Instant::now()).is_empty(), "it goes on polling");
    assert_eq!(store.rows().len(), 0);
    store.permits.add_permits(Semaphore::MAX_PERMITS);
    until("the records", || store.rows().len() == 5_000).await;
    assert_eq!(store.rows(), expected);
    stop(kit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_member_takes_its_share_and_nothing_is_lost() {
    let (log, store, kit) = (log(), Store::new(), Kit::for_test());
    let mut expected = publish(&log, 0..300);
    sink::run(options(), log.clone(), store.clone(), &kit).unwrap();
    until("the first records", || store.rows().len() == 300).await;

    // Both write to the same database, each its own partitions.
    let second = Kit::for_test();
    let shared = Store { database: store.database.clone(), permits: store.permits.clone() };
    sink::run(options(), log.clone(), shared, &second).unwrap();
    until("two claims", || store.database.lock().claims >= 3).await;
    expected.extend(publish(&log, 300..600));
    until("the others", || store.rows().len() == 600).await;
    stop(second).await;
    expected.extend(publish(&log, 600..700));
    until("the last", || store.rows().len() == 700).await;
    assert_eq!(store.rows(), expected);
    stop(kit).await;
}
