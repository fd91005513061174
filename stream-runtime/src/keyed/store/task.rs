//! The store of one task.

use std::{ops::Bound, sync::Arc};

use fjall::{Keyspace, Readable, Slice, Snapshot};

use super::{
    Meta, Sealed, StoreError, Stores, TimerEntry,
    folder::is_damage,
    layout::{META, STATE, TIMER, state_key},
};

/// The store of one task.
#[derive(Clone)]
pub struct TaskStore {
    partition: i32,
    pub(super) keyspace: Keyspace,
    pub(super) stores: Arc<Stores>,
}

/// A key and its state, as stored.
pub struct StoredState {
    place: Slice,
    pub sealed: Sealed,
}

impl StoredState {
    pub fn key(&self) -> &[u8] {
        &self.place[1..]
    }
}

/// A store as it was at some moment, whatever is written since.
pub struct View {
    store: TaskStore,
    snapshot: Snapshot,
}

impl View {
    /// Every key and state, in key order.
    pub fn states(&self) -> impl Iterator<Item = Result<StoredState, StoreError>> {
        self.store.stored(self.snapshot.prefix(&self.store.keyspace, [STATE]))
    }
}

impl TaskStore {
    pub(super) fn new(stores: Arc<Stores>, partition: i32, keyspace: Keyspace) -> Self {
        Self { partition, keyspace, stores }
    }

    pub fn partition(&self) -> i32 {
        self.partition
    }

    fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { partition: self.partition, what: what.into() }
    }

    /// What an error of the engine means.
    pub(super) fn fault(&self, error: fjall::Error) -> StoreError {
        if is_damage(&error) { self.damaged(error.to_string()) } else { self.stores.fault(error) }
    }

    /// What is known about this store; `None`: nothing, so it must be wiped and restored.
    pub fn meta(&self) -> Result<Option<Meta>, StoreError> {
        let Some(bytes) = self.keyspace.get([META]).map_err(|error| self.fault(error))? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.damaged(format!("its description: {error}")))
    }

    /// The state of a key, checked against its checksum.
    pub fn get(&self, key: &[u8]) -> Result<Option<Sealed>, StoreError> {
        let Some(bytes) = self.keyspace.get(state_key(key)).map_err(|error| self.fault(error))? else {
            return Ok(None);
        };
        Sealed::open(key, bytes).map(Some).map_err(|what| self.damaged(what))
    }

    /// True when it holds no state.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(self.states().next().transpose()?.is_none())
    }

    /// Every key and state, in key order.
    pub fn states(&self) -> impl Iterator<Item = Result<StoredState, StoreError>> {
        self.stored(self.keyspace.prefix([STATE]))
    }

    fn stored(&self, entries: fjall::Iter) -> impl Iterator<Item = Result<StoredState, StoreError>> {
        entries.map(|guard| {
            let (place, value) = guard.into_inner().map_err(|error| self.fault(error))?;
            let sealed = Sealed::open(&place[1..], value).map_err(|what| self.damaged(what))?;
            Ok(StoredState { place, sealed })
        })
    }

    /// The store as it is now, to be read while it is written.
    pub fn view(&self) -> View {
        View { store: self.clone(), snapshot: self.stores.database.snapshot() }
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

    /// When the first timer after `cursor` is due. Early at worst: it may be an entry that no state wants any more.
    pub fn next_due(&self, cursor: Option<&TimerEntry>) -> Result<Option<i64>, StoreError> {
        Ok(self.timers_after(cursor).next().transpose()?.map(|entry| entry.due_ms()))
    }

    /// The whole timer index, in order.
    pub fn timers(&self) -> impl Iterator<Item = Result<TimerEntry, StoreError>> {
        self.timers_after(None)
    }

    fn timers_after(&self, cursor: Option<&TimerEntry>) -> impl Iterator<Item = Result<TimerEntry, StoreError>> {
        let start = match cursor {
            Some(entry) => Bound::Excluded(entry.bytes().clone()),
            None => Bound::Included([TIMER].into()),
        };
        let end = Bound::Excluded([TIMER + 1].into());
        self.keyspace.range::<Slice, _>((start, end)).map(|guard| {
            let key = guard.key().map_err(|error| self.fault(error))?;
            TimerEntry::read(key).ok_or_else(|| self.damaged("a timer without a due time"))
        })
    }

    /// Removes what it holds, entry by entry: what a small store costs less to be rid of than its keyspace.
    pub fn remove_all(&self) -> Result<(), StoreError> {
        for guard in self.keyspace.iter() {
            let key = guard.key().map_err(|error| self.fault(error))?;
            self.keyspace.remove(key).map_err(|error| self.fault(error))?;
        }
        Ok(())
    }

    /// Empties the store, with its description, at once.
    pub fn wipe(&mut self) -> Result<(), StoreError> {
        if matches!(self.keyspace.is_empty(), Ok(true)) {
            return Ok(());
        }
        // Not `clear`: the journal would do it again at the next start, after what is written to tables from now on.
        let stores = &self.stores;
        stores.database.delete_keyspace(self.keyspace.clone()).map_err(|error| stores.fault(error))?;
        self.keyspace = stores.keyspace(self.partition)?;
        Ok(())
    }

    /// Bytes of its tables on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.keyspace.disk_space()
    }

    /// About how many entries it has, those counted that a compaction will remove.
    pub fn entries(&self) -> usize {
        self.keyspace.approximate_len()
    }

    /// Puts arbitrary bytes where a state is.
    #[cfg(test)]
    pub fn damage(&self, key: &[u8]) {
        self.keyspace.insert(state_key(key), "damaged").expect("the store can be written");
    }
}
