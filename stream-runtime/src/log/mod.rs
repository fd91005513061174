//! The log seam: partitioned, replayable topics with transactions.
//!
//! Two implementations stand behind it, [`kafka`] and [`embedded`]; one conformance suite
//! (`tests/conformance.rs`) is run against both. All calls block unless they say otherwise: callers run
//! them on threads of their own, never on an async worker.

pub mod config;
pub mod embedded;
mod error;
pub mod kafka;
pub mod partitioner;
mod record;
pub mod simulated;

use std::{any::Any, collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

pub use config::LogConfig;
pub use error::{LogError, TransactionError, Verdict};
pub use record::{Headers, NewRecord, NoHeaders, Record, RecordRef, TopicPartition};

/// A place in a partition to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The oldest record kept.
    Beginning,
    /// After the newest record.
    End,
    /// The record with this offset, or the first after it.
    Offset(i64),
}

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Only records of committed transactions, and none past the first open one.
    ReadCommitted,
    /// Everything that was written.
    ReadUncommitted,
}

/// How old records of a topic go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleanup {
    /// By age (and size, where configured).
    Delete,
    /// The latest value of each key stays; a record without a value deletes its key.
    Compact,
}

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: i32,
    /// Ignored by the embedded log.
    pub replication_factor: i32,
    pub cleanup: Cleanup,
    /// For [`Cleanup::Delete`]; `None` keeps for ever.
    pub retention: Option<Duration>,
    /// Further broker settings (`min.insync.replicas`, …). Ignored by the embedded log.
    pub settings: BTreeMap<String, String>,
}

impl TopicSpec {
    /// One replica, kept for ever, with the broker's own settings.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self {
            name: name.into(),
            partitions,
            replication_factor: 1,
            cleanup: Cleanup::Delete,
            retention: None,
            settings: BTreeMap::new(),
        }
    }
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: String,
    pub partitions: i32,
}

/// What became of one topic in [`Log::create_topics`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicOutcome {
    Created,
    /// It was there, with as many partitions as asked for.
    Exists,
    /// It was there with another number of partitions; nothing was changed.
    PartitionsDiffer {
        actual: i32,
    },
}

/// A next offset to be committed: everything before it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextOffset {
    pub at: TopicPartition,
    pub next: i64,
    /// Free text kept with the offset (stream time).
    pub metadata: String,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub at: TopicPartition,
    /// `None` when the group never committed for it.
    pub next: Option<i64>,
    pub metadata: String,
}

/// Identity of a cluster: a store made for another one must not be used.
pub type ClusterId = String;

/// A log: the door to everything below. Cheap to clone behind its `Arc`.
pub trait Log: Send + Sync + 'static {
    /// A producer outside transactions: acknowledged means durable (Kafka: `acks=all`, idempotent; embedded: synced).
    fn publisher(&self) -> Result<Arc<dyn Publisher>, LogError>;

    /// A transactional producer. Its first call must be [`Transactor::init`].
    fn transactor(&self, transactional_id: &str) -> Result<Box<dyn Transactor>, LogError>;

    /// A member of a consumer group, reading committed records.
    fn subscribe(&self, options: SubscribeOptions) -> Result<Box<dyn Subscription>, LogError>;

    /// A reader of single partitions outside any group (restore, `ttf tail`).
    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, LogError>;

    /// The offset after the last record. With [`Isolation::ReadUncommitted`] the high watermark, otherwise
    /// the last stable offset.
    fn end_offset(&self, at: &TopicPartition, isolation: Isolation, timeout: Duration) -> Result<i64, LogError>;

    /// The offset of the oldest record kept.
    fn start_offset(&self, at: &TopicPartition, timeout: Duration) -> Result<i64, LogError>;

    /// The offset of the first record whose timestamp is at or after `timestamp_ms`; the end when there is none.
    fn offset_for_time(&self, at: &TopicPartition, timestamp_ms: i64, timeout: Duration) -> Result<i64, LogError>;

    /// The topics there are, or only `names`; a missing one is left out.
    fn topics(&self, names: Option<&[&str]>, timeout: Duration) -> Result<Vec<TopicInfo>, LogError>;

    /// Creates what is missing; never changes a partition count.
    fn create_topics(&self, specs: &[TopicSpec], timeout: Duration) -> Result<Vec<(String, TopicOutcome)>, LogError>;

    /// What `group` has committed.
    fn committed(&self, group: &str, of: &[TopicPartition], timeout: Duration) -> Result<Vec<Committed>, LogError>;

    fn cluster_id(&self, timeout: Duration) -> Result<ClusterId, LogError>;

    /// An identity of the topic that changes when it is deleted and made anew (Kafka: where the broker does not
    /// tell, the name).
    fn topic_id(&self, topic: &str, timeout: Duration) -> Result<String, LogError>;

    /// How long records of the topic are kept by age, as it is set now; `None` where age deletes nothing.
    fn retention(&self, topic: &str, timeout: Duration) -> Result<Option<Duration>, LogError>;
}

/// Publishes single records.
pub trait Publisher: Send + Sync {
    /// Queues a record without blocking. `Err(LogError::QueueFull)` means: tell the sender to come back.
    /// The returned future ends when the record is durable or has failed for good; dropping it does not
    /// take the record back.
    fn publish(&self, record: NewRecord) -> Result<Delivery, LogError>;

    /// Waits until everything queued is delivered or has failed, or the time is over. Blocks.
    fn flush(&self, timeout: Duration) -> Result<(), LogError>;
}

/// Where a published record ended up: (partition, offset). The offset is −1 where the log does not tell.
pub type Delivery = Pin<Box<dyn Future<Output = Result<(i32, i64), LogError>> + Send>>;

/// How to join a group.
#[derive(Debug, Clone)]
pub struct SubscribeOptions {
    pub group: String,
    /// Every topic of one subscription has the same partition count; the same partition numbers of all
    /// topics are assigned together.
    pub topics: Vec<String>,
    /// Static membership (Kafka: `group.instance.id`).
    pub instance_id: Option<String>,
    /// At most about this many bytes are read ahead.
    pub prefetch_bytes: usize,
    pub isolation: Isolation,
}

/// What a poll brought besides the records it handed to the visitor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// So many records were visited (0: none came in time).
    Records(usize),
    /// These partitions are ours from now on. Answer with [`Subscription::assign`] (also when empty).
    Assigned(Vec<TopicPartition>),
    /// These partitions are to be given up in good order: finish, commit, then [`Subscription::release`].
    Revoked(Vec<TopicPartition>),
    /// These partitions are gone already: drop what is unfinished, do not commit, then [`Subscription::release`].
    Lost(Vec<TopicPartition>),
}

/// A member of a consumer group. Must be polled often, also while paused, or the group takes its partitions away.
pub trait Subscription: Send {
    /// Visits up to `max` records that are there within `timeout`, in offset order within each partition.
    /// Returns early with an assignment event; records and events are never mixed in one poll.
    /// The records are borrowed: what outlives the visit must be copied.
    fn poll(
        &mut self,
        max: usize,
        timeout: Duration,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<Polled, LogError>;

    /// Answers [`Polled::Assigned`]: starts reading each partition from its position.
    fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError>;

    /// Answers [`Polled::Revoked`] and [`Polled::Lost`].
    fn release(&mut self) -> Result<(), LogError>;

    fn seek(&mut self, to: &[(TopicPartition, Position)]) -> Result<(), LogError>;
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;

    /// The offset up to which this partition was read. Like [`Reader::position`] it counts transaction markers and
    /// aborted records, so that it reaches the end offset where no visible record does. `None` when nothing was
    /// read since the partition was assigned or sought. Tells how complete our view is; never to be committed.
    fn position(&self, at: &TopicPartition) -> Option<i64>;

    /// What the group has committed for these partitions.
    fn committed(&mut self, of: &[TopicPartition], timeout: Duration) -> Result<Vec<Committed>, LogError>;

    /// Commits outside a transaction (sinks: a hint for monitoring).
    fn commit(&mut self, offsets: &[NextOffset]) -> Result<(), LogError>;

    /// Proof of membership for [`Transactor::commit`]; captured anew after each assignment.
    fn group(&self) -> Result<GroupMetadata, LogError>;

    /// True when the assignment is already gone although no event told so yet.
    fn assignment_lost(&self) -> bool;
}

/// Opaque proof of group membership; each log understands its own.
#[derive(Clone)]
pub struct GroupMetadata(pub(crate) Arc<dyn Any + Send + Sync>);

/// A transactional producer: outputs and input offsets become visible together or not at all.
pub trait Transactor: Send {
    /// Ends the transaction a predecessor with the same id left open and fences that predecessor.
    fn init(&mut self, timeout: Duration) -> Result<(), TransactionError>;

    fn begin(&mut self) -> Result<(), TransactionError>;

    /// Queues a record in the open transaction; blocks shortly when the queue is full.
    fn produce(&mut self, record: &NewRecord) -> Result<(), TransactionError>;

    /// Waits for every produced record, adds `offsets` under `group`, commits. Only `Ok` means committed.
    /// On an error with [`Verdict::Retry`] call it again with the same arguments.
    fn commit(
        &mut self,
        offsets: &[NextOffset],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), TransactionError>;

    fn abort(&mut self, timeout: Duration) -> Result<(), TransactionError>;
}

/// Reads partitions outside any group.
pub trait Reader: Send {
    /// Reads these partitions from these places; replaces what was read before.
    fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError>;

    /// Like [`Subscription::poll`], without assignment events; returns the number of records visited.
    fn poll(&mut self, max: usize, timeout: Duration, visit: &mut dyn FnMut(&RecordRef<'_>))
    -> Result<usize, LogError>;

    /// The offset up to which this partition was read. Counts transaction markers and aborted records, so that
    /// it reaches the end offset where no visible record does. `None` before anything was read.
    fn position(&self, at: &TopicPartition) -> Option<i64>;
}

/// Opens the configured log.
pub fn open(config: &LogConfig, client_id: &str) -> Result<Arc<dyn Log>, LogError> {
    match config {
        LogConfig::Kafka(kafka) => Ok(Arc::new(kafka::KafkaLog::open(kafka, client_id)?)),
        LogConfig::Embedded(embedded) => Ok(Arc::new(embedded::EmbeddedLog::open(embedded)?)),
    }
}
