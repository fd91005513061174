//! What a transaction has changed so far. Nothing of it is on disk: dropping it undoes it.

use std::{
    collections::{HashMap, hash_map},
    mem::size_of,
};

use super::{
    Codec, KeyedProcessor,
    store::{Sealed, StoreError, TaskStore, TimerEntry},
};
use crate::log::NewRecord;

/// A key that was touched in this transaction.
pub struct Entry<P: KeyedProcessor> {
    pub key: P::Key,
    pub key_bytes: Vec<u8>,
    /// The state before the transaction, as stored.
    pub stored: Option<Sealed>,
    /// The same, decoded.
    pub before: Option<P::State>,
    pub after: Option<P::State>,
}

/// Why a state could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a stored state cannot be decoded: {0}")]
    Undecodable(#[from] super::Poison),
}

/// The changes of one task, in the order its keys were first touched.
pub struct Overlay<P: KeyedProcessor> {
    entries: Vec<Entry<P>>,
    index: HashMap<P::Key, usize>,
    /// Records that tell of poison records.
    pub rejected: Vec<NewRecord>,
    /// Timers in the index that no state wants.
    pub orphans: Vec<TimerEntry>,
    bytes: usize,
}

impl<P: KeyedProcessor> Default for Overlay<P> {
    fn default() -> Self {
        Self { entries: Vec::new(), index: HashMap::new(), rejected: Vec::new(), orphans: Vec::new(), bytes: 0 }
    }
}

impl<P: KeyedProcessor> Overlay<P> {
    /// The entry of `key`, loaded from the store on first touch.
    pub fn touch(
        &mut self,
        key: P::Key,
        store: &TaskStore,
        codec: &impl Codec<P>,
    ) -> Result<&mut Entry<P>, LookupError> {
        let at = match self.index.entry(key) {
            hash_map::Entry::Occupied(known) => *known.get(),
            hash_map::Entry::Vacant(vacant) => {
                let key = vacant.key().clone();
                let key_bytes = codec.encode_key(&key);
                let stored = store.get(&key_bytes)?;
                let before = stored.as_ref().map(|sealed| codec.decode_state(sealed.state())).transpose()?;
                self.bytes += size_of::<Entry<P>>()
                    + 2 * key_bytes.len()
                    + 2 * stored.as_ref().map_or(0, |sealed| sealed.state().len());
                self.entries.push(Entry { key, key_bytes, stored, after: before.clone(), before });
                *vacant.insert(self.entries.len() - 1)
            }
        };
        Ok(&mut self.entries[at])
    }

    /// Counts bytes that an input has added.
    pub fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// About how much memory it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.rejected.is_empty() && self.orphans.is_empty()
    }

    pub fn entries_mut(&mut self) -> &mut [Entry<P>] {
        &mut self.entries
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
        self.rejected.clear();
        self.orphans.clear();
        self.bytes = 0;
    }
}
