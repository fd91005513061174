//! The topics there are, and how far each of their partitions reaches.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::{
    keys,
    signal::Signal,
    storage::{Space, Storage},
    values::{self, PartitionState},
};
use crate::log::{Cleanup, LogError, TopicPartition, TopicSpec, partitioner};

/// A topic as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TopicEntry {
    /// Stands for the topic in every key; never used again.
    pub number: u32,
    /// Tells this topic from one of the same name made anew.
    pub id: String,
    pub partitions: i32,
    pub cleanup: Cleanup,
    pub retention_ms: Option<u64>,
}

impl TopicEntry {
    pub fn new(number: u32, spec: &TopicSpec) -> Self {
        Self {
            number,
            id: uuid::Uuid::now_v7().to_string(),
            partitions: spec.partitions,
            cleanup: spec.cleanup,
            retention_ms: retention_ms(spec.retention),
        }
    }

    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("numbers and strings have a JSON form").into()
    }
}

pub(super) fn retention_ms(retention: Option<Duration>) -> Option<u64> {
    retention.map(|retention| u64::try_from(retention.as_millis()).unwrap_or(u64::MAX))
}

/// A topic in use.
pub(super) struct Topic {
    pub name: Arc<str>,
    pub number: u32,
    pub id: String,
    pub cleanup: Cleanup,
    pub partitions: Vec<Partition>,
    /// Milliseconds; `u64::MAX` is for ever.
    retention_ms: AtomicU64,
    next_keyless: AtomicU32,
    listeners: Mutex<Vec<Weak<Signal>>>,
}

/// How far a partition reaches. Written by the writer alone, after its batch is durable.
#[derive(Default)]
pub(super) struct Partition {
    start: AtomicI64,
    end: AtomicI64,
    bytes: AtomicU64,
    /// No record stands before this offset: where scans begin, so that they do not wade through what compaction
    /// has removed.
    floor: AtomicI64,
}

impl Partition {
    fn new(state: PartitionState) -> Self {
        let partition = Self::default();
        partition.publish(state);
        partition
    }

    pub fn state(&self) -> PartitionState {
        // The end first: a start read later is never beyond the end that belongs to it unless records were
        // deleted in between, which readers check for.
        let end = self.end.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Acquire);
        PartitionState { start, end: end.max(start), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    pub fn publish(&self, state: PartitionState) {
        self.start.store(state.start, Ordering::Release);
        self.bytes.store(state.bytes, Ordering::Relaxed);
        self.end.store(state.end, Ordering::Release);
        self.raise_floor(state.start);
    }

    pub fn floor(&self) -> i64 {
        self.floor.load(Ordering::Acquire)
    }

    pub fn raise_floor(&self, floor: i64) {
        self.floor.fetch_max(floor, Ordering::AcqRel);
    }
}

impl Topic {
    fn new(name: &str, entry: &TopicEntry, states: &[PartitionState]) -> Self {
        Self {
            name: name.into(),
            number: entry.number,
            id: entry.id.clone(),
            cleanup: entry.cleanup,
            partitions: states.iter().map(|state| Partition::new(*state)).collect(),
            retention_ms: AtomicU64::new(entry.retention_ms.unwrap_or(u64::MAX)),
            next_keyless: AtomicU32::new(0),
            listeners: Mutex::new(Vec::new()),
        }
    }

    pub fn entry(&self) -> TopicEntry {
        TopicEntry {
            number: self.number,
            id: self.id.clone(),
            partitions: self.partition_count(),
            cleanup: self.cleanup,
            retention_ms: self.retention_ms(),
        }
    }

    pub fn partition_count(&self) -> i32 {
        self.partitions.len() as i32
    }

    pub fn partition(&self, partition: i32) -> Result<&Partition, LogError> {
        usize::try_from(partition).ok().and_then(|index| self.partitions.get(index)).ok_or_else(|| {
            LogError::Invalid(format!(
                "topic `{}` has no partition {partition}; it has {}",
                self.name,
                self.partitions.len()
            ))
        })
    }

    /// The partition of a record: as asked for, by key, or in turn.
    pub fn place(&self, asked: Option<i32>, key: Option<&[u8]>) -> Result<i32, LogError> {
        match (asked, key) {
            (Some(partition), _) => self.partition(partition).map(|_| partition),
            (None, Some(key)) => Ok(partitioner::partition_for(key, self.partition_count())),
            (None, None) => {
                let turn = self.next_keyless.fetch_add(1, Ordering::Relaxed);
                Ok((turn % self.partitions.len() as u32) as i32)
            }
        }
    }

    pub fn retention_ms(&self) -> Option<u64> {
        match self.retention_ms.load(Ordering::Relaxed) {
            u64::MAX => None,
            retention => Some(retention),
        }
    }

    pub fn set_retention_ms(&self, retention: Option<u64>) {
        self.retention_ms.store(retention.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Raises `signal` from now on when records come in.
    pub fn listen(&self, signal: &Arc<Signal>) {
        let mut listeners = self.listeners.lock();
        listeners.retain(|listener| listener.strong_count() > 0);
        let signal = Arc::downgrade(signal);
        if !listeners.iter().any(|listener| listener.ptr_eq(&signal)) {
            listeners.push(signal);
        }
    }

    pub fn wake_listeners(&self) {
        for listener in self.listeners.lock().iter() {
            if let Some(signal) = listener.upgrade() {
                signal.raise();
            }
        }
    }
}

/// Every topic by its name.
#[derive(Default)]
pub(super) struct Catalog {
    topics: RwLock<BTreeMap<Arc<str>, Arc<Topic>>>,
}

impl Catalog {
    /// Reads what is stored.
    pub fn load(storage: &dyn Storage) -> Result<Self, LogError> {
        let mut entries = Vec::new();
        let mut damaged = None;
        storage.scan(Space::Meta, keys::TOPICS_FROM, keys::TOPICS_TO, &mut |key, value| {
            let name = std::str::from_utf8(&key[keys::TOPICS_FROM.len()..]);
            match (name, serde_json::from_slice::<TopicEntry>(value)) {
                (Ok(name), Ok(entry)) => entries.push((name.to_owned(), entry)),
                _ => damaged = Some(LogError::Corrupt("the entry of a topic cannot be read".to_owned())),
            }
            std::ops::ControlFlow::Continue(())
        })?;
        if let Some(damaged) = damaged {
            return Err(damaged);
        }
        let catalog = Self::default();
        for (name, entry) in entries {
            let mut states = Vec::new();
            for partition in 0..entry.partitions {
                let stored = storage.get(Space::Meta, &keys::partition(entry.number, partition))?;
                let state = match stored {
                    Some(bytes) => values::decode_partition(&bytes)
                        .map_err(|damaged| LogError::Corrupt(format!("{name}[{partition}]: {damaged}")))?,
                    None => PartitionState::default(),
                };
                states.push(state);
            }
            catalog.insert(&name, &entry, &states);
        }
        Ok(catalog)
    }

    fn insert(&self, name: &str, entry: &TopicEntry, states: &[PartitionState]) {
        self.topics.write().insert(name.into(), Arc::new(Topic::new(name, entry, states)));
    }

    /// Adds a topic that has just become durable.
    pub fn add(&self, name: &str, entry: &TopicEntry) {
        self.insert(name, entry, &vec![PartitionState::default(); entry.partitions as usize]);
    }

    pub fn find(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().get(name).cloned()
    }

    pub fn get(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        self.find(name).ok_or_else(|| LogError::UnknownTopic(name.to_owned()))
    }

    /// The topic of a partition that exists.
    pub fn get_partition(&self, at: &TopicPartition) -> Result<Arc<Topic>, LogError> {
        let topic = self.get(&at.topic)?;
        topic.partition(at.partition)?;
        Ok(topic)
    }

    /// All topics in the order of their names.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.topics.read().values().cloned().collect()
    }

    /// A number no topic has.
    pub fn next_number(&self) -> u32 {
        self.topics.read().values().map(|topic| topic.number + 1).max().unwrap_or(1)
    }
}
