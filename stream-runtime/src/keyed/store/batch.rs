//! Changes to stores that are written as one.

use fjall::{OwnedWriteBatch, PersistMode};

use super::{
    Meta, Sealed, StoreError, Stores, TaskStore, TimerEntry,
    layout::{META, state_key},
};

/// Changes to stores that are written as one.
pub struct StoreBatch<'a> {
    stores: &'a Stores,
    batch: OwnedWriteBatch,
}

impl<'a> StoreBatch<'a> {
    pub(super) fn new(stores: &'a Stores) -> Self {
        Self { stores, batch: stores.database.batch().durability(Some(PersistMode::Buffer)) }
    }

    /// Sets a state; `old_due` and `due` are the timers of the state before and of this one.
    pub fn put(&mut self, task: &TaskStore, key: &[u8], state: &[u8], old_due: Option<i64>, due: Option<i64>) {
        self.batch.insert(&task.keyspace, state_key(key), Sealed::seal(key, state, due));
        if old_due != due {
            self.remove_timer(task, key, old_due);
            self.insert_timer(task, key, due);
        }
    }

    /// Sets a state that is sealed already, at its place in the store.
    pub(super) fn put_sealed(&mut self, task: &TaskStore, place: &[u8], sealed: &[u8], due: Option<i64>) {
        self.batch.insert(&task.keyspace, place, sealed);
        self.insert_timer(task, &place[1..], due);
    }

    pub fn delete(&mut self, task: &TaskStore, key: &[u8], old_due: Option<i64>) {
        self.batch.remove(&task.keyspace, state_key(key));
        self.remove_timer(task, key, old_due);
    }

    pub fn insert_timer(&mut self, task: &TaskStore, key: &[u8], due: Option<i64>) {
        if let Some(due) = due {
            self.batch.insert(&task.keyspace, TimerEntry::new(due, key).into_bytes(), []);
        }
    }

    pub fn remove_timer(&mut self, task: &TaskStore, key: &[u8], due: Option<i64>) {
        if let Some(due) = due {
            self.forget(task, TimerEntry::new(due, key));
        }
    }

    /// Removes an entry of the timer index.
    pub fn forget(&mut self, task: &TaskStore, timer: TimerEntry) {
        self.batch.remove(&task.keyspace, timer.into_bytes());
    }

    pub fn describe(&mut self, task: &TaskStore, meta: &Meta) {
        self.batch.insert(&task.keyspace, [META], meta.to_bytes());
    }

    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Writes it all or nothing, out of the process's hands: it survives a kill, not a power cut, after which the
    /// store is an older prefix and the changelog's tail is read.
    pub fn commit(self) -> Result<(), StoreError> {
        let stores = self.stores;
        self.batch.commit().map_err(|error| stores.fault(error))
    }
}
