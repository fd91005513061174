//! The sink runner on Apache Kafka: what is between a store's commit and the group's. Needs the brokers named by
//! `TTF_TEST_KAFKA`.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use service_kit::Kit;
use stream_runtime::{
    log::{Log, NewRecord, NextOffset, Position, Record, TopicPartition, TopicSpec},
    sink::{self, Sink, SinkError, SinkOptions},
};
use support::kafka::{fresh, open};
use tokio::sync::Semaphore;

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(40);
const CALL: Duration = Duration::from_secs(10);

/// A database that all processes write to: rows and offsets change together, for whoever claimed the partition last.
#[derive(Default)]
struct Database {
    rows: Vec<String>,
    commits: usize,
    next: BTreeMap<TopicPartition, i64>,
    owners: BTreeMap<TopicPartition, &'static str>,
    /// Writes of one who had lost the partition.
    refused: usize,
    /// Who has committed and has not been answered.
    waiting: BTreeSet<&'static str>,
}

/// A process's connection to it.
struct Store {
    name: &'static str,
    database: Arc<Mutex<Database>>,
    /// The answer to a commit takes one of these.
    answers: Arc<Semaphore>,
}

#[async_trait]
impl Sink for Store {
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Position)>, SinkError> {
        let mut database = self.database.lock();
        let mut places = Vec::new();
        for at in partitions {
            database.owners.insert(at.clone(), self.name);
            places
                .push((at.clone(), database.next.get(at).map_or(Position::Beginning, |next| Position::Offset(*next))));
        }
        Ok(places)
    }

    async fn revoked(&mut self, _partitions: &[TopicPartition]) {}

    async fn write(&mut self, batch: &[Record]) -> Result<Vec<NextOffset>, SinkError> {
        let next = {
            let mut database = self.database.lock();
            let mut next: BTreeMap<TopicPartition, i64> = BTreeMap::new();
            for record in batch {
                let at = record.at();
                let expected = next.get(&at).or(database.next.get(&at)).copied().unwrap_or(0);
                if database.owners.get(&at) != Some(&self.name) || record.offset != expected {
                    database.refused += 1;
                    return Err(SinkError::Moved(format!("{at}@{} is not {}'s turn", record.offset, self.name)));
                }
                next.insert(at, record.offset + 1);
            }
            let rows = batch.iter().map(|record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap());
            database.rows.extend(rows);
            database.commits += 1;
            database.next.extend(next.clone());
            database.waiting.insert(self.name);
            next
        };
        self.answers.acquire().await.unwrap().forget();
        self.database.lock().waiting.remove(self.name);
        Ok(next.into_iter().map(|(at, next)| NextOffset { at, next, metadata: String::new() }).collect())
    }
}

struct Bench {
    log: Arc<dyn Log>,
    name: String,
    database: Arc<Mutex<Database>>,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { log: open(), name: fresh("sink"), database: Arc::default() };
        let topic = TopicSpec::new(bench.name.clone(), PARTITIONS);
        bench.log.create_topics(&[topic], CALL).unwrap();
        bench
    }

    fn publish(&self, numbers: std::ops::Range<i32>) {
        let publisher = self.log.publisher().unwrap();
        for number in numbers {
            let record = NewRecord::new(self.name.as_str(), number.to_string(), number.to_string());
            drop(publisher.publish(record.with_partition(number % PARTITIONS)).unwrap());
        }
        publisher.flush(CALL).unwrap();
    }

    /// Starts a process as `instance`; each answer of the database waits for one of the semaphore's permits.
    fn start(&self, name: &'static str, instance: &str, answers: usize) -> (Kit, Arc<Semaphore>) {
        let (kit, answers) = (Kit::for_test(), Arc::new(Semaphore::new(answers)));
        let options = SinkOptions {
            instance_id: Some(instance.to_owned()),
            batch_records: 10,
            batch_interval: Duration::from_millis(20),
            ..SinkOptions::new("test", &*self.name, vec![self.name.clone()])
        };
        let store = Store { name, database: self.database.clone(), answers: answers.clone() };
        sink::run(options, self.log.clone(), store, &kit).unwrap();
        (kit, answers)
    }

    fn committed(&self) -> i64 {
        let partitions: Vec<_> = (0..PARTITIONS).map(|it| TopicPartition::new(self.name.as_str(), it)).collect();
        let committed = self.log.committed(&self.name, &partitions, CALL).unwrap();
        committed.iter().filter_map(|known| known.next).sum()
    }

    /// Every record is a row, once, and the group says so.
    async fn complete(&self, end: i32) {
        until("every record is a row", || self.database.lock().rows.len() >= end as usize).await;
        until("the group's offsets say so", || self.committed() == i64::from(end)).await;
        let mut rows: Vec<i32> = self.database.lock().rows.iter().map(|row| row.parse().unwrap()).collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..end).collect::<Vec<_>>());
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn stop(kit: Kit) {
    kit.shutdown().cancel();
    kit.join(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_goes_on_where_the_database_is_not_where_the_group_is() {
    let bench = Bench::new();
    bench.publish(0..60);
    let (zombie, answers) = bench.start("zombie", "0", 1);
    // Its second commit is in the database, and the group never hears of it: here it is killed, or hangs.
    until("the database has committed twice", || {
        let database = bench.database.lock();
        database.commits == 2 && database.waiting.contains("zombie")
    })
    .await;
    assert!(bench.committed() < bench.database.lock().rows.len() as i64);

    let (successor, _) = bench.start("successor", "0", Semaphore::MAX_PERMITS);
    bench.complete(60).await;
    // It goes on: whatever it still has to say is said to nobody.
    answers.add_permits(1_000);
    let error = zombie.join(PATIENCE).await.unwrap_err();
    assert!(format!("{error:#}").contains("another process runs as"), "{error:#}");
    bench.publish(60..120);
    bench.complete(120).await;
    stop(successor).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_between_the_databases_commit_and_the_groups_writes_nothing_twice() {
    let bench = Bench::new();
    bench.publish(0..60);
    let (first, answers) = bench.start("first", "0", 1);
    until("the database has committed twice", || {
        let database = bench.database.lock();
        database.commits == 2 && database.waiting.contains("first")
    })
    .await;
    let (second, _) = bench.start("second", "1", Semaphore::MAX_PERMITS);
    bench.publish(60..200);
    // Whatever the first is asked, a commit of its database is behind it that the group has not heard of.
    until("the partitions are shared", || {
        answers.add_permits(1);
        bench.database.lock().owners.values().collect::<BTreeSet<_>>().len() == 2
    })
    .await;
    answers.add_permits(1_000);
    bench.complete(200).await;
    // And back, in the middle of what comes in.
    bench.publish(200..300);
    stop(second).await;
    stop(first).await;
    let (last, _) = bench.start("last", "0", Semaphore::MAX_PERMITS);
    let (other, _) = bench.start("other", "1", Semaphore::MAX_PERMITS);
    bench.publish(300..400);
    bench.complete(400).await;
    stop(last).await;
    stop(other).await;
}
