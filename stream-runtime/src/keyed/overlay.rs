//! What a transaction has changed so far. Nothing of it is on disk: dropping it undoes it.

use std::{hash::BuildHasher, mem::size_of};

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable, hash_table};

use super::{
    Codec, Effect, KeyedProcessor, Poison, marker,
    store::{Sealed, StoreError, TaskStore, TimerEntry},
};
use crate::log::NewRecord;

/// A key that was touched in this transaction.
pub struct Entry<P: KeyedProcessor> {
    pub key: P::Key,
    pub key_bytes: Bytes,
    /// The state before the transaction, as stored.
    pub stored: Option<Sealed>,
    /// The same, decoded; only there between a flush and the end of its transaction.
    pub before: Option<P::State>,
    pub after: Option<P::State>,
    /// False while nothing has said that `after` differs from what is stored.
    changed: bool,
}

impl<P: KeyedProcessor> Entry<P> {
    pub fn note(&mut self, effect: Effect) {
        self.changed |= effect == Effect::Changed;
    }
}

/// Why a key could not be touched.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a stored state cannot be decoded: {0}")]
    Undecodable(Poison),
    #[error("a key cannot be decoded: {0}")]
    Key(Poison),
}

/// The changes of one task, in the order its keys were first touched.
pub struct Overlay<P: KeyedProcessor> {
    entries: Vec<Entry<P>>,
    /// Places in `entries`, found by the key's bytes.
    index: HashTable<usize>,
    hasher: DefaultHashBuilder,
    /// Records that tell of poison records.
    pub rejected: Vec<NewRecord>,
    /// Timers in the index that no state wants.
    pub orphans: Vec<TimerEntry>,
    bytes: usize,
}

impl<P: KeyedProcessor> Default for Overlay<P> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            rejected: Vec::new(),
            orphans: Vec::new(),
            bytes: 0,
        }
    }
}

impl<P: KeyedProcessor> Overlay<P> {
    /// The entry of the key with these bytes, loaded from the store on first touch.
    pub fn touch(
        &mut self,
        key_bytes: &[u8],
        store: &TaskStore,
        codec: &impl Codec<P>,
    ) -> Result<&mut Entry<P>, LookupError> {
        let Self { entries, index, hasher, .. } = self;
        let known = index.entry(
            hasher.hash_one(key_bytes),
            |at| entries[*at].key_bytes == key_bytes,
            |at| hasher.hash_one(&*entries[*at].key_bytes),
        );
        let at = match known {
            hash_table::Entry::Occupied(known) => *known.get(),
            hash_table::Entry::Vacant(vacant) => {
                if marker::is_reserved(key_bytes) {
                    let message = "the record's key begins with a zero byte".to_owned();
                    return Err(LookupError::Key(Poison { code: "key_malformed", message }));
                }
                let key = codec.decode_key(key_bytes).map_err(LookupError::Key)?;
                let stored = store.get(key_bytes)?;
                let state = stored.as_ref().map(|sealed| codec.decode_state(sealed.state())).transpose();
                let after = state.map_err(LookupError::Undecodable)?;
                self.bytes += size_of::<Entry<P>>()
                    + 2 * key_bytes.len()
                    + 2 * stored.as_ref().map_or(0, |sealed| sealed.state().len());
                let key_bytes = Bytes::copy_from_slice(key_bytes);
                vacant.insert(entries.len());
                entries.push(Entry { key, key_bytes, stored, before: None, after, changed: false });
                entries.len() - 1
            }
        };
        Ok(&mut entries[at])
    }

    /// Counts bytes that an input has added.
    pub fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// About how much memory it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when a transaction has nothing to write of it.
    pub fn is_empty(&self) -> bool {
        self.rejected.is_empty() && self.orphans.is_empty() && !self.entries.iter().any(|entry| entry.changed)
    }

    /// The entries that may differ from what is stored.
    pub fn changed_mut(&mut self) -> impl Iterator<Item = &mut Entry<P>> {
        self.entries.iter_mut().filter(|entry| entry.changed)
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
        self.rejected.clear();
        self.orphans.clear();
        self.bytes = 0;
    }
}
