//! A broker in memory that behaves like Kafka where it hurts, and the same way every time.
//!
//! Transactions are spread over partitions, hold back readers until their markers are written, time out and are fenced
//! by epoch; groups rebalance eagerly with static members whose death nobody notices; compaction removes what a
//! restore has not read yet. Nothing happens on its own: whoever runs the simulation decides when a member is expelled,
//! a marker is written or a topic compacted. What is left to chance comes from the seed.
//!
//! The broker's rules are in [`broker`] and [`group`], without locks and threads; the clients' side of the seam is in
//! [`client`], [`subscription`] and [`transactor`].

mod broker;
mod client;
mod group;
mod partition;
mod subscription;
mod transactor;

use std::{sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};

use self::broker::Broker;
pub use self::{
    broker::{Fault, Written},
    client::SimulatedLog,
};
use super::{NewRecord, TopicPartition};

/// A call of a client, before it has any effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A place to crash or to stop at.
    Transaction,
    /// Begins to poll: whatever the client does in other threads has to be done first, or time would decide.
    Poll,
}

/// What a client does on the way into a call.
pub type OnCall = Arc<dyn Fn(Call) + Send + Sync>;

/// The broker, as the simulation sees it. Cheap to clone.
#[derive(Clone)]
pub struct SimulatedBroker {
    state: Arc<Mutex<Broker>>,
}

impl SimulatedBroker {
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(Broker::new(seed))) }
    }

    /// The log as one client process sees it.
    pub fn client(&self, client: u32, on_call: OnCall) -> SimulatedLog {
        SimulatedLog { broker: self.clone(), client, on_call }
    }

    fn lock(&self) -> MutexGuard<'_, Broker> {
        self.state.lock()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Broker) -> T) -> T {
        change(&mut self.lock())
    }

    /// The brokers' clock: decides how long the deletion of a key is kept.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.lock().now_ms = now_ms;
    }

    /// Appends a record outside transactions.
    pub fn append(&self, record: NewRecord) {
        self.lock().append(None, record);
    }

    /// Begins a transaction of a producer that has nothing to do with the members.
    pub fn begin_foreign(&self) -> u64 {
        self.lock().begin_foreign()
    }

    /// Appends a record in a transaction of [`SimulatedBroker::begin_foreign`].
    pub fn append_foreign(&self, transaction: u64, record: NewRecord) {
        self.lock().append(Some(transaction), record);
    }

    /// Ends a transaction of [`SimulatedBroker::begin_foreign`].
    pub fn end_foreign(&self, transaction: u64, commit: bool) {
        self.change(|broker| {
            broker.decide(transaction, commit);
            broker.complete(transaction);
        });
    }

    /// Writes one of the markers that are still to be written; false when there was none.
    pub fn write_marker(&self) -> bool {
        self.lock().write_marker()
    }

    /// Aborts every transaction that nobody has ended, as the coordinator does after their time-out.
    pub fn time_out_transactions(&self) {
        self.lock().time_out_transactions();
    }

    /// What the client's next calls come to, in order.
    pub fn add_fault(&self, client: u32, fault: Fault) {
        self.lock().faults.entry(client).or_default().push_back(fault);
    }

    /// Lets everything succeed from now on.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Lets a client read so many more records of the changelog (`None`: as many as it likes).
    pub fn allow_restore(&self, client: u32, records: Option<usize>) {
        self.change(|broker| {
            match records {
                Some(records) => broker.gates.insert(client, records),
                None => broker.gates.remove(&client),
            };
            broker.touch("gate");
        });
    }

    /// True when a reader of the client waits for something that others must do first.
    pub fn is_reader_blocked(&self, client: u32) -> bool {
        self.lock().is_reader_blocked(client)
    }

    /// The client's members have not been heard of for the session time-out: their partitions go to the others.
    pub fn expel(&self, client: u32) {
        self.change(|broker| {
            for group in broker.groups.values_mut() {
                group.expel(client);
            }
            broker.touch("expelled");
        });
    }

    /// Compacts a topic up to a random offset.
    pub fn compact(&self, topic: &str, delete_retention: Duration) {
        self.lock().compact(topic, delete_retention);
    }

    /// Everything that was ever written to a topic, compacted or not, with what became of it.
    pub fn history(&self, topic: &str) -> Vec<Written> {
        self.lock().history(topic)
    }

    /// Promises of the log that were broken.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// Next offset that a group has committed.
    pub fn committed(&self, group: &str, at: &TopicPartition) -> Option<i64> {
        self.lock().groups.get(group).and_then(|group| group.committed.get(at)).map(|(next, _)| *next)
    }

    /// What happened since a version, in a few words.
    pub fn changes_since(&self, version: u64) -> Option<String> {
        let broker = self.lock();
        let changes: Vec<&str> =
            broker.changes.iter().filter(|(at, _)| *at > version).map(|(_, what)| what.as_str()).collect();
        (!changes.is_empty()).then(|| changes.join(", "))
    }

    /// Grows with everything that happens.
    pub fn version(&self) -> u64 {
        self.lock().version()
    }
}
