//! Steps the behaviours have in common.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use stream_runtime::log::{
    Isolation, Log, LogError, NewRecord, Polled, Position, Record, SubscribeOptions, Subscription, TopicPartition,
    TopicSpec,
};

/// Opens the log, or opens it again.
pub type Open<'a> = &'a dyn Fn() -> Arc<dyn Log>;

/// Long enough for a broker that has just been started on a busy machine.
pub const LONG: Duration = Duration::from_secs(60);
/// One look at what is there.
pub const LOOK: Duration = Duration::from_millis(100);

/// A name nobody had before.
pub fn fresh(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("{what}-{nanos}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

pub fn spec(name: &str, partitions: i32) -> TopicSpec {
    TopicSpec::new(name, partitions)
}

pub fn new_topic(log: &dyn Log, partitions: i32) -> String {
    let name = fresh("conformance");
    log.create_topics(&[spec(&name, partitions)], LONG).unwrap();
    name
}

pub fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// Publishes and waits for every acknowledgement.
pub fn publish(log: &dyn Log, records: impl IntoIterator<Item = NewRecord>) -> Vec<(i32, i64)> {
    let publisher = log.publisher().unwrap();
    let deliveries: Vec<_> = records.into_iter().map(|record| publisher.publish(record).unwrap()).collect();
    publisher.flush(LONG).unwrap();
    deliveries.into_iter().map(|delivery| futures::executor::block_on(delivery).unwrap()).collect()
}

/// Publishes one record, wherever the refusal comes from.
pub fn try_publish(log: &dyn Log, record: NewRecord) -> Result<(i32, i64), LogError> {
    let publisher = log.publisher()?;
    let delivery = publisher.publish(record)?;
    futures::executor::block_on(delivery)
}

/// Everything in the topic that a read_committed reader sees, by partition and offset.
pub fn read_all(log: &dyn Log, topic: &str) -> Vec<Record> {
    let info = log.topics(Some(&[topic]), LONG).unwrap();
    let partitions: Vec<TopicPartition> = (0..info[0].partitions).map(|partition| at(topic, partition)).collect();
    let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
    let from: Vec<_> = partitions.iter().map(|at| (at.clone(), Position::Beginning)).collect();
    let ends: Vec<i64> =
        partitions.iter().map(|at| log.end_offset(at, Isolation::ReadUncommitted, LONG).unwrap()).collect();
    reader.assign(&from).unwrap();
    let mut records = Vec::new();
    until("the reader is at the end", || {
        reader.poll(1000, LOOK, &mut |record| records.push(record.to_owned())).unwrap();
        partitions.iter().zip(&ends).all(|(at, end)| *end == 0 || reader.position(at).is_some_and(|at| at >= *end))
    });
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

pub fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| text(record.value.as_deref())).collect()
}

pub fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

/// Waits for a condition, looking at it again and again.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
    }
}

/// A member of a group that answers its events: starts at the committed offsets, else at the beginning.
pub struct Member {
    pub subscription: Box<dyn Subscription>,
    pub held: BTreeSet<TopicPartition>,
    pub read: Vec<Record>,
    pub assignments: usize,
}

impl Member {
    pub fn join(log: &dyn Log, group: &str, topics: &[&str]) -> Self {
        let subscription = log.subscribe(options(group, topics)).unwrap();
        Self { subscription, held: BTreeSet::new(), read: Vec::new(), assignments: 0 }
    }

    /// A member that has everything it will get as long as it is alone.
    pub fn alone(log: &dyn Log, group: &str, topics: &[&str]) -> Self {
        let mut member = Self::join(log, group, topics);
        until("the member is assigned", || {
            member.poll();
            member.assignments > 0
        });
        member
    }

    /// One poll, with the answer to what it brought.
    pub fn poll(&mut self) -> Polled {
        let read = &mut self.read;
        let polled = self.subscription.poll(1000, LOOK, &mut |record| read.push(record.to_owned())).unwrap();
        match &polled {
            Polled::Records(_) => {}
            Polled::Assigned(partitions) => {
                let committed = self.subscription.committed(partitions, LONG).unwrap();
                let from: Vec<_> = committed
                    .into_iter()
                    .map(|committed| (committed.at, committed.next.map_or(Position::Beginning, Position::Offset)))
                    .collect();
                self.subscription.assign(&from).unwrap();
                self.held = partitions.iter().cloned().collect();
                self.assignments += 1;
            }
            Polled::Revoked(_) | Polled::Lost(_) => {
                self.subscription.release().unwrap();
                self.held.clear();
            }
        }
        polled
    }

    pub fn read_until(&mut self, count: usize) {
        until("the member has read enough", || {
            self.poll();
            self.read.len() >= count
        });
    }

    /// Polls for a while; what must not come must not have come by then.
    pub fn poll_for_a_while(&mut self) {
        for _ in 0..5 {
            self.poll();
        }
    }
}

pub fn options(group: &str, topics: &[&str]) -> SubscribeOptions {
    SubscribeOptions {
        group: group.to_owned(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        instance_id: None,
        prefetch_bytes: 1024 * 1024,
        isolation: Isolation::ReadCommitted,
    }
}
