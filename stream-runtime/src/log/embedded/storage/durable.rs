//! The store on disk, on fjall: a batch is one journal entry, synced before it counts.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;

use super::{Change, Space, Storage, Visit, witness::Witness};
use crate::log::LogError;

/// Block cache: readers are mostly at the tail, which is in the write buffer.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Journals kept until the write buffers they cover are on disk as tables.
const JOURNAL_BYTES: u64 = 128 * 1024 * 1024;
/// The number of batches written, in the meta space: part of every batch.
const BATCHES_KEY: &[u8] = b"batches";

pub(in crate::log::embedded) struct DurableStorage {
    spaces: [Keyspace; 3],
    database: Database,
    path: String,
    witness: Mutex<Witness>,
}

fn name(space: Space) -> &'static str {
    match space {
        Space::Records => "records",
        Space::Index => "index",
        Space::Meta => "meta",
    }
}

fn options(space: Space, write_buffer_bytes: u64) -> KeyspaceCreateOptions {
    let bytes = match space {
        Space::Records => write_buffer_bytes,
        // Small entries, written over and over.
        Space::Index | Space::Meta => write_buffer_bytes / 4,
    };
    KeyspaceCreateOptions::default().max_memtable_size(bytes)
}

impl DurableStorage {
    /// Opens or creates the store in the folder `store` of `path`.
    pub fn open(path: &Path, write_buffer_bytes: u64) -> Result<Self, LogError> {
        let shown = path.display().to_string();
        // fjall panics on some kinds of damage; that must not take the process down without a word.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = Database::builder(path.join("store"))
                .cache_size(CACHE_BYTES)
                .max_journaling_size(JOURNAL_BYTES)
                // With two, one of them spins on its queue for as long as the other compacts (fjall 3.1).
                .worker_threads(1)
                .open()?;
            let [records, index, meta] =
                Space::ALL.map(|space| database.keyspace(name(space), || options(space, write_buffer_bytes)));
            Ok((database, [records?, index?, meta?]))
        }));
        let (database, spaces) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Err(explain(&shown, &error)),
            Err(_panic) => return Err(LogError::Corrupt(format!("the store in {shown} cannot be read"))),
        };
        let witness = Witness::open(&path.join("ttf.batches"))
            .map_err(|error| LogError::Invalid(format!("cannot write to the folder {shown}: {error}")))?;
        let store = Self { spaces, database, path: shown, witness: Mutex::new(witness) };
        store.check_completeness()?;
        Ok(store)
    }

    /// Compares the store's own count of batches with the one beside it.
    fn check_completeness(&self) -> Result<(), LogError> {
        let stored = match self.get(Space::Meta, BATCHES_KEY)?.as_deref() {
            None => 0,
            Some(bytes) => bytes
                .try_into()
                .map(u64::from_le_bytes)
                .map_err(|_| LogError::Corrupt(format!("the store in {} cannot be read", self.path)))?,
        };
        let mut witness = self.witness.lock();
        if witness.batches() > stored {
            return Err(LogError::Corrupt(format!(
                "the last {} of {} batches written to {} are gone; restore a copy, or remove the file ttf.batches \
                 there to go on without them",
                witness.batches() - stored,
                witness.batches(),
                self.path
            )));
        }
        witness.saw(stored);
        Ok(())
    }

    fn space(&self, space: Space) -> &Keyspace {
        match space {
            Space::Records => &self.spaces[0],
            Space::Index => &self.spaces[1],
            Space::Meta => &self.spaces[2],
        }
    }
}

/// Says in one line what is wrong with the store in `path`.
fn explain(path: &str, error: &fjall::Error) -> LogError {
    match error {
        fjall::Error::Io(io) => LogError::Fatal(format!("cannot use the folder {path}: {io}")),
        fjall::Error::Poisoned => {
            LogError::Fatal(format!("an earlier write to {path} failed; start again once the disk is well"))
        }
        fjall::Error::Locked => LogError::Invalid(format!("{path} is in use by another process")),
        fjall::Error::InvalidVersion(_) => {
            LogError::Corrupt(format!("the store in {path} has a format this version cannot read"))
        }
        other => LogError::Corrupt(format!("the store in {path} cannot be read: {other}")),
    }
}

impl Storage for DurableStorage {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, LogError> {
        let value = self.space(space).get(key).map_err(|error| explain(&self.path, &error))?;
        Ok(value.map(Into::into))
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), LogError> {
        if from >= to {
            return Ok(());
        }
        for entry in self.space(space).range(from..to) {
            let (key, value) = entry.into_inner().map_err(|error| explain(&self.path, &error))?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), LogError> {
        let mut witness = self.witness.lock();
        let batches = witness.batches() + 1;
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        batch.insert(self.space(Space::Meta), BATCHES_KEY, batches.to_le_bytes());
        for Change { space, key, value } in changes {
            match value {
                Some(value) => batch.insert(self.space(space), key, value),
                None => batch.remove(self.space(space), key),
            }
        }
        batch.commit().map_err(|error| explain(&self.path, &error))?;
        witness.saw(batches);
        Ok(())
    }
}
