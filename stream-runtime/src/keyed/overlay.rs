//! What a transaction has changed so far, on top of states that were looked up lately. Nothing uncommitted is on disk:
//! dropping it undoes it.

use std::{hash::BuildHasher, mem::size_of};

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::{
    Codec, Effect, KeyedProcessor, Poison, marker,
    store::{Sealed, StoreError, TaskStore, TimerEntry},
};
use crate::log::NewRecord;

/// A key and its state.
pub struct Entry<P: KeyedProcessor> {
    pub key: P::Key,
    pub key_bytes: Bytes,
    /// The state as it is committed.
    pub stored: Option<Sealed>,
    /// The same, decoded; only there between a flush and the end of its transaction.
    pub before: Option<P::State>,
    /// The state with what the open transaction did to it.
    pub after: Option<P::State>,
    /// What the flush has handed to the store.
    pub flushed: Flush,
    /// False while nothing has said that `after` differs from what is stored.
    changed: bool,
}

/// What a flush has done with an entry.
#[derive(Debug, Default)]
pub enum Flush {
    /// It was not flushed, or came out as it was stored.
    #[default]
    Same,
    Put(Sealed),
    Deleted,
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

/// Entries that can be found by their keys.
struct Generation<P: KeyedProcessor> {
    /// `None`: moved to a younger generation.
    entries: Vec<Option<Entry<P>>>,
    /// Places in `entries`.
    index: HashTable<usize>,
    bytes: usize,
}

impl<P: KeyedProcessor> Default for Generation<P> {
    fn default() -> Self {
        Self { entries: Vec::new(), index: HashTable::new(), bytes: 0 }
    }
}

impl<P: KeyedProcessor> Generation<P> {
    fn find(&self, hash: u64, key_bytes: &[u8]) -> Option<usize> {
        let is = |at: &usize| self.entries[*at].as_ref().is_some_and(|entry| entry.key_bytes == key_bytes);
        self.index.find(hash, is).copied()
    }

    fn insert(&mut self, hash: u64, hasher: &DefaultHashBuilder, entry: Entry<P>) -> usize {
        let at = self.entries.len();
        self.bytes += size_of_entry(&entry);
        self.entries.push(Some(entry));
        let entries = &self.entries;
        // An entry that has moved on is found no more: any hash will do.
        self.index
            .insert_unique(hash, at, |at| entries[*at].as_ref().map_or(0, |entry| hasher.hash_one(&*entry.key_bytes)));
        at
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.index.clear();
        self.bytes = 0;
    }
}

/// About how much memory an entry takes: a decoded state is taken for twice its bytes.
fn size_of_entry<P: KeyedProcessor>(entry: &Entry<P>) -> usize {
    size_of::<Entry<P>>() + entry.key_bytes.len() + 3 * entry.stored.as_ref().map_or(100, |sealed| sealed.state().len())
}

/// The changes of one task, and the states it has looked up lately.
///
/// States stay for a while after their transaction: a user's events come in bursts. They are kept in two
/// generations. When the recent one is full it becomes the older one, and what was not touched meanwhile is let go.
pub struct Overlay<P: KeyedProcessor> {
    /// What was touched lately, by the open transaction above all.
    recent: Generation<P>,
    older: Generation<P>,
    hasher: DefaultHashBuilder,
    /// What the open transaction has changed, in this order.
    changed: Vec<Place>,
    /// Records that tell of poison records.
    pub rejected: Vec<NewRecord>,
    /// Timers in the index that no state wants.
    pub orphans: Vec<TimerEntry>,
    /// About how much the open transaction holds.
    bytes: usize,
}

impl<P: KeyedProcessor> Default for Overlay<P> {
    fn default() -> Self {
        Self {
            recent: Generation::default(),
            older: Generation::default(),
            hasher: DefaultHashBuilder::default(),
            changed: Vec::new(),
            rejected: Vec::new(),
            orphans: Vec::new(),
            bytes: 0,
        }
    }
}

/// Where an entry is until the transaction ends.
#[derive(Debug, Clone, Copy)]
pub struct Place(usize);

impl<P: KeyedProcessor> Overlay<P> {
    /// The entry of the key with these bytes, loaded from the store when it was not touched lately.
    pub fn touch(&mut self, key_bytes: &[u8], store: &TaskStore, codec: &impl Codec<P>) -> Result<Place, LookupError> {
        let hash = self.hasher.hash_one(key_bytes);
        if let Some(at) = self.recent.find(hash, key_bytes) {
            return Ok(Place(at));
        }
        let known = self.older.find(hash, key_bytes).and_then(|at| self.older.entries[at].take());
        let entry = match known {
            Some(entry) => entry,
            None => load(key_bytes, store, codec)?,
        };
        Ok(Place(self.recent.insert(hash, &self.hasher, entry)))
    }

    pub fn entry(&mut self, place: Place) -> &mut Entry<P> {
        self.recent.entries[place.0].as_mut().expect("a place is of an entry until the transaction ends")
    }

    /// Notes what was done to an entry, by an input of this many bytes.
    pub fn note(&mut self, place: Place, effect: Effect, bytes: usize) {
        if effect == Effect::Unchanged {
            return;
        }
        self.bytes += bytes;
        let entry = self.entry(place);
        if !entry.changed {
            entry.changed = true;
            self.bytes += size_of_entry(self.entry(place));
            self.changed.push(place);
        }
    }

    pub fn reject(&mut self, notice: NewRecord) {
        self.bytes += notice.size();
        self.rejected.push(notice);
    }

    /// About how much memory the open transaction holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when a transaction has nothing to write of it.
    pub fn is_empty(&self) -> bool {
        self.rejected.is_empty() && self.orphans.is_empty() && self.changed.is_empty()
    }

    /// The entries that may differ from what is stored, in the order of their first change.
    pub fn changed(&self) -> Vec<Place> {
        self.changed.clone()
    }

    /// Takes what was flushed as stored. At most about `limit` bytes of states are kept for the next transactions.
    pub fn committed(&mut self, limit: usize) {
        for place in self.changed() {
            let entry = self.entry(place);
            match std::mem::take(&mut entry.flushed) {
                Flush::Same => {}
                Flush::Put(sealed) => entry.stored = Some(sealed),
                Flush::Deleted => entry.stored = None,
            }
            entry.before = None;
            entry.changed = false;
        }
        self.end_transaction();
        if self.recent.bytes > limit / 2 {
            std::mem::swap(&mut self.recent, &mut self.older);
            self.recent.clear();
        }
    }

    /// Forgets everything: what the transaction did, and what was looked up.
    pub fn clear(&mut self) {
        self.end_transaction();
        self.recent.clear();
        self.older.clear();
    }

    fn end_transaction(&mut self) {
        self.changed.clear();
        self.rejected.clear();
        self.orphans.clear();
        self.bytes = 0;
    }
}

fn load<P: KeyedProcessor>(
    key_bytes: &[u8],
    store: &TaskStore,
    codec: &impl Codec<P>,
) -> Result<Entry<P>, LookupError> {
    if marker::is_reserved(key_bytes) {
        let message = "the record's key begins with a zero byte".to_owned();
        return Err(LookupError::Key(Poison { code: "key_malformed", message }));
    }
    let key = codec.decode_key(key_bytes).map_err(LookupError::Key)?;
    let stored = store.get(key_bytes)?;
    let state = stored.as_ref().map(|sealed| codec.decode_state(sealed.state())).transpose();
    let after = state.map_err(LookupError::Undecodable)?;
    let key_bytes = Bytes::copy_from_slice(key_bytes);
    Ok(Entry { key, key_bytes, stored, before: None, after, flushed: Flush::Same, changed: false })
}
