//! The broker's state and rules. No locks, no threads, no clock of its own.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::SliceRandom as _};

use super::{
    group::Group,
    partition::{Entry, Partition},
};
use crate::log::{
    Cleanup, LogError, NewRecord, NextOffset, Record, TopicPartition, TransactionError, Verdict, partitioner,
};

/// What a transactional call of a member comes to, instead of what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `init` is told to come back.
    InitRetry,
    /// A record is told to come back.
    ProduceRetry,
    /// A record is refused: the transaction can only be aborted.
    ProduceRefused,
    /// Nothing was done; the same call again.
    CommitRetry,
    /// It was committed, and the answer was lost; the same call again tells so.
    CommitDoneRetry,
    /// Delivery failed: certainly not committed.
    CommitRolledBack,
    /// No answer, and it was not committed.
    CommitUnknownLost,
    /// No answer, and it was committed.
    CommitUnknownDone,
    /// The coordinator had aborted the transaction because it took too long.
    CommitTimedOut,
    /// The abort has no answer.
    AbortUnknown,
}

/// A record that was written, whatever became of it.
#[derive(Debug, Clone)]
pub struct Written {
    pub record: Record,
    pub transaction: Option<u64>,
    /// Visible under read_committed.
    pub committed: bool,
}

pub(super) struct Topic {
    pub name: Arc<str>,
    pub cleanup: Cleanup,
    pub partitions: Vec<Partition>,
}

/// What a marker is still to be written to.
enum Pending {
    Partition(TopicPartition),
    Offsets,
}

struct Transaction {
    producer: Option<String>,
    partitions: Vec<TopicPartition>,
    offsets: Vec<(String, NextOffset)>,
    /// Whether it is to be committed; `None` while it is open.
    decided: Option<bool>,
    pending: Vec<Pending>,
}

#[derive(Default)]
struct Producer {
    epoch: u64,
    open: Option<u64>,
}

pub(super) struct Broker {
    topics: BTreeMap<Arc<str>, Topic>,
    /// Those that are not over yet.
    transactions: BTreeMap<u64, Transaction>,
    last_transaction: u64,
    producers: HashMap<String, Producer>,
    pub groups: HashMap<String, Group>,
    pub faults: HashMap<u32, VecDeque<Fault>>,
    /// Records of compacted topics that a client may still read.
    pub gates: HashMap<u32, usize>,
    /// Readers by client: the version at which they found nothing to read.
    blocked: HashMap<u32, u64>,
    pub random: SmallRng,
    pub now_ms: i64,
    pub violations: Vec<String>,
    version: u64,
    /// What happened, in a few words, and the version it made.
    pub changes: Vec<(u64, String)>,
}

impl Broker {
    pub fn new(seed: u64) -> Self {
        Self {
            topics: BTreeMap::new(),
            transactions: BTreeMap::new(),
            last_transaction: 0,
            producers: HashMap::new(),
            groups: HashMap::new(),
            faults: HashMap::new(),
            gates: HashMap::new(),
            blocked: HashMap::new(),
            random: SmallRng::seed_from_u64(seed),
            now_ms: 0,
            violations: Vec::new(),
            version: 0,
            changes: Vec::new(),
        }
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// Notes that something happened.
    pub fn touch(&mut self, what: impl Into<String>) {
        self.version += 1;
        self.changes.push((self.version, what.into()));
    }

    /// Uses up the next fault of the client when it is one of these.
    pub fn take_fault(&mut self, client: u32, of: &[Fault]) -> Option<Fault> {
        let faults = self.faults.get_mut(&client)?;
        let first = *faults.front()?;
        of.contains(&first).then(|| faults.pop_front()).flatten()
    }

    pub fn create(&mut self, name: &str, partitions: i32, cleanup: Cleanup) -> Option<i32> {
        if let Some(topic) = self.topics.get(name) {
            return Some(topic.partitions.len() as i32);
        }
        let name: Arc<str> = name.into();
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        self.topics.insert(name.clone(), Topic { name, cleanup, partitions });
        None
    }

    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.values()
    }

    pub fn topic(&self, name: &str) -> Result<&Topic, LogError> {
        self.topics.get(name).ok_or_else(|| LogError::UnknownTopic(name.to_owned()))
    }

    pub fn partition(&self, at: &TopicPartition) -> Result<&Partition, LogError> {
        self.topic(&at.topic)?
            .partitions
            .get(at.partition as usize)
            .ok_or_else(|| LogError::Invalid(format!("{at} does not exist")))
    }

    fn partition_mut(&mut self, at: &TopicPartition) -> &mut Partition {
        let topic = self.topics.get_mut(&at.topic).expect("the topic was made by the simulation");
        &mut topic.partitions[at.partition as usize]
    }

    pub fn append(&mut self, transaction: Option<u64>, record: NewRecord) {
        self.touch(format!("a record in {}", record.topic));
        let topic = &self.topics[&record.topic];
        let count = topic.partitions.len() as i32;
        let number = record
            .partition
            .unwrap_or_else(|| partitioner::partition_for(record.key.as_deref().unwrap_or_default(), count));
        let at = TopicPartition::new(topic.name.clone(), number);
        if let Some(open) = transaction.and_then(|id| self.transactions.get_mut(&id))
            && !open.partitions.contains(&at)
        {
            open.partitions.push(at.clone());
        }
        let now_ms = self.now_ms;
        self.partition_mut(&at).append(at, transaction, record, now_ms);
    }

    fn begin(&mut self, producer: Option<String>) -> u64 {
        self.last_transaction += 1;
        let transaction =
            Transaction { producer, partitions: Vec::new(), offsets: Vec::new(), decided: None, pending: Vec::new() };
        self.transactions.insert(self.last_transaction, transaction);
        self.last_transaction
    }

    pub fn begin_foreign(&mut self) -> u64 {
        self.touch("a sender begins");
        self.begin(None)
    }

    /// Ends what the producer's predecessor left open, and fences it. Returns the new epoch.
    pub fn init(&mut self, id: &str) -> u64 {
        self.touch(format!("{id} inits"));
        if let Some(open) = self.producers.get(id).and_then(|producer| producer.open) {
            self.decide(open, false);
            self.complete(open);
        }
        let producer = self.producers.entry(id.to_owned()).or_default();
        producer.epoch += 1;
        producer.open = None;
        producer.epoch
    }

    pub fn check_epoch(&self, id: &str, epoch: u64) -> Result<(), TransactionError> {
        if self.producers.get(id).is_some_and(|producer| producer.epoch == epoch) {
            return Ok(());
        }
        Err(TransactionError::new(Verdict::Fenced, "a newer producer has this transactional id"))
    }

    /// The open transaction of a producer, begun when there is none.
    pub fn transaction_of(&mut self, id: &str, epoch: u64) -> Result<u64, TransactionError> {
        self.check_epoch(id, epoch)?;
        let known = self.producers.get(id).and_then(|producer| producer.open);
        if let Some(open) = known.filter(|open| self.transactions.get(open).is_some_and(|open| open.decided.is_none()))
        {
            return Ok(open);
        }
        if let Some(ending) = known {
            // The coordinator takes nothing new before the last transaction is over.
            self.complete(ending);
        }
        let begun = self.begin(Some(id.to_owned()));
        self.producers.entry(id.to_owned()).or_default().open = Some(begun);
        Ok(begun)
    }

    pub fn add_offsets(&mut self, transaction: u64, group: &str, offsets: &[NextOffset]) {
        self.touch(format!("offsets of {transaction}"));
        if offsets.is_empty() {
            self.violations.push("a transaction without offsets fences nobody".to_owned());
        }
        if let Some(open) = self.transactions.get_mut(&transaction) {
            open.offsets = offsets.iter().map(|offset| (group.to_owned(), offset.clone())).collect();
        }
    }

    /// Decides an open transaction; its markers are still to be written.
    pub fn decide(&mut self, transaction: u64, commit: bool) {
        self.touch(format!("{transaction} is decided: {commit}"));
        let Some(open) = self.transactions.get_mut(&transaction) else { return };
        if open.decided.is_some() {
            return;
        }
        open.decided = Some(commit);
        open.pending = open.partitions.iter().cloned().map(Pending::Partition).chain([Pending::Offsets]).collect();
        open.pending.shuffle(&mut self.random);
    }

    /// Writes all markers of a decided transaction.
    pub fn complete(&mut self, transaction: u64) {
        while self.write_marker_of(transaction) {}
    }

    fn write_marker_of(&mut self, transaction: u64) -> bool {
        let Some(ending) = self.transactions.get_mut(&transaction) else { return false };
        let (Some(commit), Some(pending)) = (ending.decided, ending.pending.pop()) else { return false };
        let is_over = ending.pending.is_empty();
        let offsets = match pending {
            Pending::Offsets if commit => std::mem::take(&mut ending.offsets),
            _ => Vec::new(),
        };
        if let Pending::Partition(at) = &pending {
            self.partition_mut(at).mark(transaction, commit);
        } else if let Some(ending) = self.transactions.get_mut(&transaction) {
            ending.offsets.clear();
        }
        for (group, offset) in offsets {
            self.apply_offset(&group, offset);
        }
        if is_over && let Some(over) = self.transactions.remove(&transaction) {
            let producer = over.producer.and_then(|id| self.producers.get_mut(&id));
            if let Some(producer) = producer.filter(|producer| producer.open == Some(transaction)) {
                producer.open = None;
            }
        }
        self.touch(format!("a marker of {transaction}"));
        true
    }

    fn apply_offset(&mut self, group: &str, offset: NextOffset) {
        let end =
            self.partition(&offset.at).map_or(0, |partition| partition.end(crate::log::Isolation::ReadUncommitted));
        let group = self.groups.entry(group.to_owned()).or_default();
        let known = group.committed.get(&offset.at).map_or(0, |(next, _)| *next);
        if offset.next < known {
            self.violations.push(format!("the offset of {} went back from {known} to {}", offset.at, offset.next));
        }
        if offset.next > end {
            self.violations.push(format!("the offset of {} is {}, beyond its end {end}", offset.at, offset.next));
        }
        group.committed.insert(offset.at, (offset.next, offset.metadata));
    }

    /// Writes one marker of some decided transaction.
    pub fn write_marker(&mut self) -> bool {
        let decided: Vec<u64> =
            self.transactions.iter().filter(|(_, open)| open.decided.is_some()).map(|(id, _)| *id).collect();
        if decided.is_empty() {
            return false;
        }
        let chosen = decided[self.random.random_range(0..decided.len())];
        self.write_marker_of(chosen)
    }

    /// Aborts a transaction that took too long, and fences its producer.
    pub fn time_out(&mut self, transaction: u64) {
        let Some(open) = self.transactions.get(&transaction).filter(|open| open.decided.is_none()) else { return };
        if let Some(producer) = open.producer.clone().and_then(|id| self.producers.get_mut(&id)) {
            producer.epoch += 1;
        }
        self.decide(transaction, false);
        self.complete(transaction);
    }

    pub fn time_out_transactions(&mut self) {
        let ours = self.transactions.iter().filter(|(_, open)| open.producer.is_some());
        let open: Vec<u64> = ours.map(|(id, _)| *id).collect();
        for transaction in open {
            self.time_out(transaction);
        }
    }

    /// Ends the transactions with offsets for these partitions: whoever asks for committed offsets waits for them,
    /// at most for their time-out.
    pub fn settle_offsets(&mut self, group: &str, of: &[TopicPartition]) {
        let waits = |open: &Transaction| {
            open.offsets.iter().any(|(of_group, offset)| of_group == group && of.contains(&offset.at))
        };
        let unstable: Vec<u64> = self.transactions.iter().filter(|(_, open)| waits(open)).map(|(id, _)| *id).collect();
        for transaction in unstable {
            self.time_out(transaction);
            self.complete(transaction);
        }
    }

    pub fn compact(&mut self, topic: &str, delete_retention: Duration) {
        self.touch("compacted");
        let Some(topic) = self.topics.get_mut(topic) else { return };
        for partition in &mut topic.partitions {
            let end = partition.end(crate::log::Isolation::ReadUncommitted);
            let cut = if self.random.random_bool(0.5) { end } else { self.random.random_range(0..=end) };
            partition.compact(cut, self.now_ms, delete_retention.as_millis() as i64);
        }
    }

    /// A reader has found nothing to read.
    pub fn found_nothing(&mut self, client: u32) {
        self.blocked.insert(client, self.version);
    }

    pub fn is_reader_blocked(&self, client: u32) -> bool {
        self.blocked.get(&client) == Some(&self.version)
    }

    pub fn forget_reader(&mut self, client: u32) {
        self.blocked.remove(&client);
    }

    pub fn history(&self, topic: &str) -> Vec<Written> {
        let Some(topic) = self.topics.get(topic) else { return Vec::new() };
        let mut written = Vec::new();
        for partition in &topic.partitions {
            for Entry { transaction, record, .. } in &partition.history {
                let Some(record) = record else { continue };
                let committed = transaction.is_none_or(|id| !partition.is_open(id) && !partition.is_aborted(id));
                written.push(Written { record: record.clone(), transaction: *transaction, committed });
            }
        }
        written
    }
}
