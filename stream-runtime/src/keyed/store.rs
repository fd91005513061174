//! The local store: what the changelog says, up to a position, in a form that is fast to look up.
//!
//! One database per process; in it one keyspace for each task, which holds the task's description, its states and its
//! timers. They are in one keyspace so that they can never part: whatever a crash or a damaged journal takes away, what
//! remains of a keyspace is all of its writes up to some point (`folder.rs` refuses a journal with a hole).

mod batch;
mod folder;
mod layout;
mod meta;
mod run;
mod sealed;
mod sizes;
mod task;
mod timer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
};

use fjall::{Database, Keyspace};

pub use self::{
    batch::StoreBatch,
    meta::{ChangelogId, Meta},
    run::Run,
    sealed::Sealed,
    task::{TaskStore, View},
    timer::TimerEntry,
};
use self::{folder::Folder, layout::LAYOUT};

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
    #[error(
        "the disk of state folder {0} is full; what was committed is safe in the changelog: make room and start again"
    )]
    Full(PathBuf),
    /// A write in the background has failed: nothing more can be written until the process starts again.
    #[error(
        "an earlier write to state folder {0} has failed; what was committed is safe in the changelog, from which the \
         local state is restored at the next start; see whether the disk is full or broken"
    )]
    WriteFailed(PathBuf),
    #[error("local state in {0}: {1}")]
    Engine(PathBuf, String),
}

/// All local stores of a process.
pub struct Stores {
    database: Database,
    /// Partitions there are: what is to be remembered in memory is shared among them.
    partitions: AtomicI32,
    // Dropped last: it holds the lock.
    folder: Folder,
}

impl Stores {
    /// Opens the folder; made when missing. What cannot be read any more is removed: it will be restored.
    pub fn open(path: &Path) -> Result<Arc<Self>, StoreError> {
        let folder = Folder::lock(path)?;
        let database = folder.open_database()?;
        Ok(Arc::new(Self { database, partitions: AtomicI32::new(1), folder }))
    }

    /// Tells how many partitions there are, before the first store is made.
    pub fn expect_partitions(&self, count: i32) {
        self.partitions.store(count, Ordering::Relaxed);
    }

    /// The store of a partition, as it is.
    pub fn task(self: &Arc<Self>, partition: i32) -> Result<TaskStore, StoreError> {
        Ok(TaskStore::new(self.clone(), partition, self.keyspace(partition)?))
    }

    fn keyspace(&self, partition: i32) -> Result<Keyspace, StoreError> {
        let partitions = self.partitions.load(Ordering::Relaxed);
        let made = self.database.keyspace(&layout::keyspace_name(partition), || sizes::keyspace(partitions));
        made.map_err(|error| self.fault(error))
    }

    /// Partitions that have a store here.
    pub fn partitions(&self) -> Vec<i32> {
        let names = self.database.list_keyspace_names();
        let mut partitions: Vec<i32> = names.iter().filter_map(|name| layout::partition_of(name)).collect();
        partitions.sort_unstable();
        partitions
    }

    /// Deletes the store of a partition that nobody uses.
    pub fn delete(&self, partition: i32) -> Result<(), StoreError> {
        let keyspace = self.keyspace(partition)?;
        self.database.delete_keyspace(keyspace).map_err(|error| self.fault(error))
    }

    pub fn batch(&self) -> StoreBatch<'_> {
        StoreBatch::new(self)
    }

    /// Bytes of the journal on disk.
    pub fn journal_bytes(&self) -> Result<u64, StoreError> {
        self.database.journal_disk_space().map_err(|error| self.fault(error))
    }

    /// What an error of the engine means that is no fault of one partition's data.
    fn fault(&self, error: fjall::Error) -> StoreError {
        let path = self.folder.path().to_owned();
        match error {
            error if folder::is_full(&error) => StoreError::Full(path),
            fjall::Error::Poisoned => {
                // Nobody tells which data the background could not write, or read.
                self.folder.distrust();
                StoreError::WriteFailed(path)
            }
            other => StoreError::Engine(path, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
