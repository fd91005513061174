//! Where the bytes are: an ordered key-value store with atomic, durable batches.

mod durable;
mod memory;
mod witness;

use std::ops::ControlFlow;

use bytes::Bytes;

pub(super) use durable::DurableStorage;
pub(super) use memory::MemoryStorage;

use crate::log::LogError;

/// The stores within the store; each is ordered by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Space {
    /// (topic, partition, offset) → record.
    Records,
    /// Compacted topics: (topic, partition, key) → latest offset, and the list of their tombstones.
    Index,
    /// Format, cluster id, topics, partition states, offsets of groups.
    Meta,
}

impl Space {
    pub const ALL: [Self; 3] = [Self::Records, Self::Index, Self::Meta];
}

/// One entry set (`Some`) or removed (`None`). A batch names each (space, key) at most once.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub space: Space,
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// Looks at a key and its value, and says whether to go on.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

pub(super) trait Storage: Send + Sync {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, LogError>;

    /// Visits the entries with `from <= key < to` in the order of their keys until told to stop. Sees every
    /// batch that was applied before the call. The visitor may take its time: no lock is held.
    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), LogError>;

    /// Applies all changes or none. `Ok` means durable. After an error nothing more can be written.
    fn apply(&self, changes: Vec<Change>) -> Result<(), LogError>;
}
