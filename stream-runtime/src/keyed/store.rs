//! The local store: what the changelog says, up to a position, in a form that is fast to look up.
//!
//! One database per process, locked by fjall; for each task a keyspace of states and one of timers; one keyspace of
//! what is known about each task's store. Everything of a transaction is written in one [`StoreBatch`].

mod sealed;

use std::{
    collections::BTreeMap,
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Slice};
pub use sealed::Sealed;
use serde::{Deserialize, Serialize};

/// Version of the layout below. A store with another one is restored from the changelog.
const LAYOUT: u32 = 1;

/// What can go wrong with the local store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("state folder {0} is in use by another process; give each process a `state_dir` of its own")]
    Locked(PathBuf),
    #[error("state folder {0} cannot be opened: {1}")]
    Open(PathBuf, String),
    /// The store of this partition must be wiped and restored.
    #[error("local state of partition {partition} is damaged: {what}")]
    Damaged { partition: i32, what: String },
    #[error("local state: {0}")]
    Engine(String),
}

impl From<fjall::Error> for StoreError {
    fn from(error: fjall::Error) -> Self {
        Self::Engine(error.to_string())
    }
}

/// What is known about the store of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub layout: u32,
    pub cluster_id: String,
    /// Identity of the changelog topic.
    pub topic_id: String,
    /// Every committed changelog record before this offset is in the store.
    pub changelog_position: i64,
    /// Wall clock of the last change.
    pub written_at_ms: i64,
    /// What the timer index was made with; `None` while it is being made.
    pub timer_fingerprint: Option<String>,
    /// Input topic → next offset, for people who look into it.
    pub inputs: BTreeMap<String, i64>,
}

impl Meta {
    /// Of an empty store.
    pub fn new(cluster_id: String, topic_id: String, timer_fingerprint: String) -> Self {
        Self {
            layout: LAYOUT,
            cluster_id,
            topic_id,
            changelog_position: 0,
            written_at_ms: 0,
            timer_fingerprint: Some(timer_fingerprint),
            inputs: BTreeMap::new(),
        }
    }

    /// True when this build can read the store.
    pub fn is_readable(&self) -> bool {
        self.layout == LAYOUT
    }
}

/// All local stores of a process.
pub struct Stores {
    database: Database,
    metas: Keyspace,
}

impl Stores {
    /// Opens the folder; made when missing.
    pub fn open(path: &Path) -> Result<Arc<Self>, StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError::Open(path.to_owned(), error.to_string());
        std::fs::create_dir_all(path).map_err(|error| failed(&error))?;
        let database = Database::builder(path).worker_threads(1).open().map_err(|error| match error {
            fjall::Error::Locked => StoreError::Locked(path.to_owned()),
            other => failed(&other),
        })?;
        let metas = database.keyspace("metas", KeyspaceCreateOptions::default)?;
        Ok(Arc::new(Self { database, metas }))
    }

    /// The store of a partition, as it is.
    pub fn task(self: &Arc<Self>, partition: i32) -> Result<TaskStore, StoreError> {
        let open = |kind: &str| self.database.keyspace(&format!("{kind}-{partition}"), KeyspaceCreateOptions::default);
        Ok(TaskStore { partition, states: open("states")?, timers: open("timers")?, stores: self.clone() })
    }

    /// Partitions that have a store here.
    pub fn partitions(&self) -> Result<Vec<i32>, StoreError> {
        let mut partitions = Vec::new();
        for guard in self.metas.iter() {
            let key = guard.key()?;
            if let Ok(bytes) = <[u8; 4]>::try_from(&*key) {
                partitions.push(i32::from_be_bytes(bytes));
            }
        }
        Ok(partitions)
    }

    /// Deletes the store of a partition that nobody uses.
    pub fn delete(self: &Arc<Self>, partition: i32) -> Result<(), StoreError> {
        let task = self.task(partition)?;
        task.wipe()?;
        self.database.delete_keyspace(task.states)?;
        self.database.delete_keyspace(task.timers)?;
        Ok(())
    }

    pub fn batch(&self) -> StoreBatch<'_> {
        StoreBatch { metas: &self.metas, batch: self.database.batch().durability(Some(PersistMode::Buffer)) }
    }
}

/// The store of one task.
#[derive(Clone)]
pub struct TaskStore {
    partition: i32,
    states: Keyspace,
    timers: Keyspace,
    stores: Arc<Stores>,
}

/// A timer as the index holds it: due time and key, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerEntry(Slice);

impl TimerEntry {
    fn new(due_ms: i64, key: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(8 + key.len());
        bytes.extend_from_slice(&order_preserving(due_ms));
        bytes.extend_from_slice(key);
        Self(bytes.into())
    }

    /// A place before every timer of `due_ms`.
    pub fn before(due_ms: i64) -> Self {
        Self::new(due_ms.saturating_sub(1), &[])
    }

    pub fn due_ms(&self) -> i64 {
        let bytes: [u8; 8] = self.0[..8].try_into().expect("an entry begins with its due time");
        (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed()
    }

    pub fn key(&self) -> &[u8] {
        &self.0[8..]
    }
}

/// Big-endian with the sign flipped: byte order is numeric order.
fn order_preserving(value: i64) -> [u8; 8] {
    (value.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

impl TaskStore {
    pub fn partition(&self) -> i32 {
        self.partition
    }

    fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { partition: self.partition, what: what.into() }
    }

    /// What is known about this store; `None`: nothing, so it must be wiped and restored.
    pub fn meta(&self) -> Result<Option<Meta>, StoreError> {
        let Some(bytes) = self.stores.metas.get(self.partition.to_be_bytes())? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.damaged(format!("its description: {error}")))
    }

    /// The state of a key, checked against its checksum.
    pub fn get(&self, key: &[u8]) -> Result<Option<Sealed>, StoreError> {
        let Some(bytes) = self.states.get(key)? else { return Ok(None) };
        Sealed::open(key, bytes).map(Some).map_err(|what| self.damaged(what))
    }

    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.states.is_empty()?)
    }

    /// Visits every key and state, in key order.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], Sealed) -> Result<(), StoreError>) -> Result<(), StoreError> {
        for guard in self.states.iter() {
            let (key, value) = guard.into_inner()?;
            let sealed = Sealed::open(&key, value).map_err(|what| self.damaged(what))?;
            visit(&key, sealed)?;
        }
        Ok(())
    }

    /// Up to `limit` timers due at or before `until_ms`, after `cursor`.
    pub fn due_timers(
        &self,
        cursor: Option<&TimerEntry>,
        until_ms: i64,
        limit: usize,
    ) -> Result<Vec<TimerEntry>, StoreError> {
        let mut due = Vec::new();
        for entry in self.timers_after(cursor) {
            let entry = entry?;
            if due.len() >= limit || entry.due_ms() > until_ms {
                break;
            }
            due.push(entry);
        }
        Ok(due)
    }

    /// When the first timer after `cursor` is due.
    pub fn next_due(&self, cursor: Option<&TimerEntry>) -> Result<Option<i64>, StoreError> {
        Ok(self.timers_after(cursor).next().transpose()?.map(|entry| entry.due_ms()))
    }

    fn timers_after(&self, cursor: Option<&TimerEntry>) -> impl Iterator<Item = Result<TimerEntry, StoreError>> {
        let start = cursor.map_or(Bound::Unbounded, |entry| Bound::Excluded(entry.0.clone()));
        let partition = self.partition;
        self.timers.range::<Slice, _>((start, Bound::Unbounded)).map(move |guard| {
            let key = guard.key()?;
            if key.len() < 8 {
                return Err(StoreError::Damaged { partition, what: "a timer without a due time".to_owned() });
            }
            Ok(TimerEntry(key))
        })
    }

    /// Puts arbitrary bytes where a state is.
    #[cfg(test)]
    pub fn damage(&self, key: &[u8]) {
        self.states.insert(key, "damaged").expect("the store can be written");
    }

    /// Forgets what is known about the store, which is therefore wiped before it is used again.
    pub fn forget(&self) -> Result<(), StoreError> {
        Ok(self.stores.metas.remove(self.partition.to_be_bytes())?)
    }

    /// Empties the store. Its description goes first: a crash in between leaves a store that is wiped again.
    pub fn wipe(&self) -> Result<(), StoreError> {
        self.forget()?;
        self.states.clear()?;
        self.timers.clear()?;
        Ok(())
    }

    /// Empties the timer index alone. The caller marks it as unfinished first.
    pub fn clear_timers(&self) -> Result<(), StoreError> {
        Ok(self.timers.clear()?)
    }
}

/// Changes to stores that are written as one.
pub struct StoreBatch<'a> {
    metas: &'a Keyspace,
    batch: OwnedWriteBatch,
}

impl StoreBatch<'_> {
    /// Sets a state; `old_due` and `due` are the timers of the state before and of this one.
    pub fn put(&mut self, task: &TaskStore, key: &[u8], state: &[u8], old_due: Option<i64>, due: Option<i64>) {
        self.batch.insert(&task.states, key, Sealed::seal(key, state, due));
        if old_due != due {
            self.remove_timer(task, key, old_due);
            self.insert_timer(task, key, due);
        }
    }

    pub fn delete(&mut self, task: &TaskStore, key: &[u8], old_due: Option<i64>) {
        self.batch.remove(&task.states, key);
        self.remove_timer(task, key, old_due);
    }

    pub fn insert_timer(&mut self, task: &TaskStore, key: &[u8], due: Option<i64>) {
        if let Some(due) = due {
            self.batch.insert(&task.timers, TimerEntry::new(due, key).0, []);
        }
    }

    pub fn remove_timer(&mut self, task: &TaskStore, key: &[u8], due: Option<i64>) {
        if let Some(due) = due {
            self.batch.remove(&task.timers, TimerEntry::new(due, key).0);
        }
    }

    pub fn describe(&mut self, task: &TaskStore, meta: &Meta) {
        let json = serde_json::to_vec(meta).expect("a description has only strings and numbers");
        self.batch.insert(self.metas, task.partition.to_be_bytes(), json);
    }

    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Writes it all or nothing, out of the process's hands: it survives a kill, not a power cut, after which the
    /// store is an older prefix and the changelog's tail is read.
    pub fn commit(self) -> Result<(), StoreError> {
        Ok(self.batch.commit()?)
    }
}

#[cfg(test)]
mod tests;
