//! The transform on Apache Kafka: killed at each dangerous line, replaced, shared among members. Needs the brokers named
//! by `TTF_TEST_KAFKA`.

mod support;

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use service_kit::Kit;
use stream_runtime::{
    log::{Isolation, Log, NewRecord, Position, RecordRef, TopicPartition, TopicSpec},
    transform::{self, TransformOptions},
};
use support::kafka::{fresh, open};

const PARTITIONS: i32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const CALL: Duration = Duration::from_secs(10);
/// Every so many records one cannot be mapped.
const POISON: u32 = 20;

/// Topics and a group of one's own.
struct Bench {
    log: Arc<dyn Log>,
    name: String,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { log: open(), name: fresh("transform") };
        let specs = ["in", "out", "rejected"].map(|topic| TopicSpec::new(bench.topic(topic), PARTITIONS));
        bench.log.create_topics(&specs, CALL).unwrap();
        bench
    }

    fn topic(&self, topic: &str) -> String {
        format!("{}-{topic}", self.name)
    }

    /// Publishes the numbers of a range, spread over the partitions.
    fn publish(&self, numbers: std::ops::Range<u32>) {
        let publisher = self.log.publisher().unwrap();
        for number in numbers {
            let record = NewRecord::new(self.topic("in"), number.to_string(), number.to_string());
            drop(publisher.publish(record.with_partition(number as i32 % PARTITIONS)).unwrap());
        }
        publisher.flush(CALL).unwrap();
    }

    /// Starts a process that passes numbers on and sets aside every [`POISON`]th.
    fn start(&self, ordinal: &str) -> Kit {
        let kit = Kit::for_test();
        let options = TransformOptions {
            commit_interval: Duration::from_millis(20),
            ..TransformOptions::new(&*self.name, ordinal, &*self.name, vec![self.topic("in")], "ttf_test")
        };
        let (out, rejected) = (self.topic("out"), self.topic("rejected"));
        let map = move |record: &RecordRef<'_>, records: &mut Vec<NewRecord>| {
            let value = record.value.unwrap().to_vec();
            let number: u32 = String::from_utf8(value.clone()).unwrap().parse().unwrap();
            let topic = if number.is_multiple_of(POISON) { &rejected } else { &out };
            records.push(NewRecord::new(topic.as_str(), record.key.unwrap().to_vec(), value));
        };
        transform::run(options, self.log.clone(), map, &kit).unwrap();
        kit
    }

    /// The numbers in a topic, in ascending order.
    fn numbers(&self, topic: &str, isolation: Isolation) -> Vec<u32> {
        let mut numbers = Vec::new();
        for partition in 0..PARTITIONS {
            let at = TopicPartition::new(self.topic(topic), partition);
            let end = self.log.end_offset(&at, isolation, CALL).unwrap();
            let mut reader = self.log.reader(isolation).unwrap();
            reader.assign(&[(at.clone(), Position::Beginning)]).unwrap();
            while end > 0 && reader.position(&at).is_none_or(|position| position < end) {
                let mut visit = |record: &RecordRef<'_>| {
                    numbers.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap().parse().unwrap());
                };
                reader.poll(1_000, Duration::from_millis(100), &mut visit).unwrap();
            }
        }
        numbers.sort_unstable();
        numbers
    }

    /// Waits until everything up to `end` has come out.
    async fn await_outputs(&self, end: u32) {
        let done = || self.numbers("out", Isolation::ReadCommitted).len() >= count(end, false);
        until("the outputs", done).await;
    }

    /// Every number up to `end` came out once, or was set aside once; nothing that was rolled back was seen.
    fn check(&self, end: u32) {
        let (poison, good): (Vec<u32>, Vec<u32>) = (0..end).partition(|number| number.is_multiple_of(POISON));
        assert_eq!(self.numbers("out", Isolation::ReadCommitted), good);
        assert_eq!(self.numbers("rejected", Isolation::ReadCommitted), poison);
        let mut written = self.numbers("out", Isolation::ReadUncommitted);
        written.dedup();
        assert_eq!(written, good, "read_uncommitted shows what was rolled back as well, and nothing else");
    }
}

fn count(end: u32, poison: bool) -> usize {
    (0..end).filter(|number| number.is_multiple_of(POISON) == poison).count()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn stop(kit: Kit) {
    kit.shutdown().cancel();
    kit.join(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_comes_out_once_whichever_line_the_process_dies_at() {
    let _scenario = fail::FailScenario::setup();
    let bench = Bench::new();
    let mut end = 0;
    for point in ["transform::after_produce", "transform::before_commit", "transform::after_commit"] {
        bench.publish(end..end + 60);
        end += 60;
        fail::cfg(point, "1*panic").unwrap();
        assert!(bench.start("0").join(PATIENCE).await.is_err(), "{point} was not passed");
        fail::remove(point);
        let kit = bench.start("0");
        bench.await_outputs(end).await;
        stop(kit).await;
        bench.check(end);
    }
}

/// Where the first who comes waits, until it is let go.
#[derive(Default)]
struct Gate {
    /// Somebody came; the gate is open.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0 {
            return;
        }
        state.0 = true;
        while !state.1 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_waited_at(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn open(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_commits_nothing_after_another_took_its_place() {
    let _scenario = fail::FailScenario::setup();
    let bench = Bench::new();
    bench.publish(0..60);
    let gate = Arc::new(Gate::default());
    let at_gate = gate.clone();
    fail::cfg_callback("transform::before_commit", move || at_gate.pass()).unwrap();
    let zombie = bench.start("0");
    until("the zombie to stop before its commit", || gate.is_waited_at()).await;

    let successor = bench.start("0");
    bench.await_outputs(60).await;
    gate.open();
    let error = zombie.join(PATIENCE).await.unwrap_err();
    assert!(format!("{error:#}").contains("another process runs as"), "{error:#}");
    bench.publish(60..120);
    bench.await_outputs(120).await;
    stop(successor).await;
    bench.check(120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_come_and_go_lose_and_repeat_nothing() {
    let _scenario = fail::FailScenario::setup();
    let bench = Bench::new();
    bench.publish(0..100);
    let first = bench.start("0");
    bench.await_outputs(30).await;
    let second = bench.start("1");
    bench.publish(100..400);
    until("both members to have partitions", || {
        [&first, &second].iter().all(|kit| kit.health().not_ready().is_empty())
    })
    .await;
    bench.publish(400..500);
    bench.await_outputs(500).await;
    // The same member again, in the middle of what the other one does.
    stop(second).await;
    bench.publish(500..600);
    let second = bench.start("1");
    bench.await_outputs(600).await;
    stop(first).await;
    stop(second).await;
    bench.check(600);
}
