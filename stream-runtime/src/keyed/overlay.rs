//! What a transaction has changed so far, on top of states that were looked up lately, some of which the local store
//! does not have yet. Nothing uncommitted is on disk: dropping it undoes it.

use std::{collections::BTreeSet, hash::BuildHasher, mem::size_of};

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::{
    Codec, Effect, KeyedProcessor, Poison, marker,
    store::{StoreBatch, StoreError, TaskStore, TimerEntry},
    timers::earlier,
};
use crate::log::NewRecord;

/// Orphans that are remembered at most until they are removed.
const MAX_ORPHANS: usize = 10_000;

/// A key and its state.
pub struct Entry<P: KeyedProcessor> {
    pub key: P::Key,
    pub key_bytes: Bytes,
    /// The state as it is committed.
    pub committed: Option<Committed>,
    /// The same, decoded; only there between a flush and the end of its transaction.
    pub before: Option<P::State>,
    /// The state with what the open transaction did to it.
    pub after: Option<P::State>,
    /// What the flush has handed to the transaction.
    pub flushed: Flush,
    /// False while nothing has said that `after` differs from what is committed.
    changed: bool,
    /// What the local store has, where that is not what is committed.
    on_disk: Option<OnDisk>,
}

impl<P: KeyedProcessor> Entry<P> {
    /// When the timer of the committed state is due.
    pub fn due_ms(&self) -> Option<i64> {
        self.committed.as_ref().and_then(|committed| committed.due_ms)
    }

    /// When the timer is due that stands in the store's index for this key.
    pub fn due_on_disk(&self) -> Option<i64> {
        self.on_disk.as_ref().map_or_else(|| self.due_ms(), |on_disk| on_disk.due_ms)
    }
}

/// An encoded state.
#[derive(Debug, Clone)]
pub struct Committed {
    pub state: Bytes,
    /// When its timer is due.
    pub due_ms: Option<i64>,
}

/// What the local store has of a key.
#[derive(Debug)]
struct OnDisk {
    exists: bool,
    due_ms: Option<i64>,
}

/// What a flush has done with an entry.
#[derive(Debug, Default)]
pub enum Flush {
    /// It was not flushed, or came out as it is committed.
    #[default]
    Same,
    Put(Committed),
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
    size_of::<Entry<P>>()
        + entry.key_bytes.len()
        + 3 * entry.committed.as_ref().map_or(100, |committed| committed.state.len())
}

/// The changes of one task, and the states it has looked up lately.
///
/// States stay for a while after their transaction: a user's events come in bursts. They are kept in two
/// generations. When the recent one is full it becomes the older one, and what was not touched meanwhile is let go.
///
/// What is committed is in the changelog; the local store gets it later ([`Overlay::write`]), once for several changes of
/// a key. Until then it stays in the recent generation, its timers beside it.
pub struct Overlay<P: KeyedProcessor> {
    /// What was touched lately, by the open transaction above all.
    recent: Generation<P>,
    older: Generation<P>,
    hasher: DefaultHashBuilder,
    /// What the open transaction has changed, in this order.
    changed: Vec<Place>,
    /// Records that tell of poison records.
    pub rejected: Vec<NewRecord>,
    /// What the store does not have yet.
    behind: Vec<Place>,
    /// Committed timers that are not in the store's index.
    timers: BTreeSet<(i64, Place)>,
    /// Those of them that have fired in the open transaction.
    fired: Vec<(i64, Place)>,
    /// Timers in the store's index that no state wants.
    orphans: Vec<TimerEntry>,
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
            behind: Vec::new(),
            timers: BTreeSet::new(),
            fired: Vec::new(),
            orphans: Vec::new(),
            bytes: 0,
        }
    }
}

/// Where an entry is in the recent generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
        self.recent.entries[place.0].as_mut().expect("an entry stays in its place until the generation grows old")
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
        self.rejected.is_empty() && self.changed.is_empty()
    }

    /// The entries that may differ from what is committed, in the order of their first change.
    pub fn changed(&self) -> Vec<Place> {
        self.changed.clone()
    }

    /// Takes up to `limit` timers due at or before `until_ms` that the store's index does not have.
    pub fn take_due(&mut self, until_ms: i64, limit: usize) -> Vec<Place> {
        let before = self.fired.len();
        while self.fired.len() - before < limit
            && let Some(timer) = self.timers.first().copied().filter(|(due_ms, _)| *due_ms <= until_ms)
        {
            self.timers.remove(&timer);
            self.fired.push(timer);
        }
        self.fired[before..].iter().map(|(_, place)| *place).collect()
    }

    /// When the first timer is due that the store's index does not have.
    pub fn next_due(&self) -> Option<i64> {
        self.timers.first().map(|(due_ms, _)| *due_ms)
    }

    /// Notes an entry of the store's index that no state wants: it goes with the next write.
    pub fn note_orphan(&mut self, timer: TimerEntry) {
        self.orphans.push(timer);
    }

    /// Takes what was flushed as committed. Returns when the first timer is due that was looked at but stands as it was.
    pub fn committed(&mut self) -> Option<i64> {
        let changed = std::mem::take(&mut self.changed);
        for place in &changed {
            let entry = self.recent.entries[place.0].as_mut().expect("what was changed stays in its place");
            entry.before = None;
            entry.changed = false;
            let now = match std::mem::take(&mut entry.flushed) {
                Flush::Same => continue,
                Flush::Put(committed) => Some(committed),
                Flush::Deleted => None,
            };
            if let Some(due_ms) = entry.due_ms() {
                self.timers.remove(&(due_ms, *place));
            }
            let was = std::mem::replace(&mut entry.committed, now);
            if entry.on_disk.is_none() {
                entry.on_disk =
                    Some(OnDisk { exists: was.is_some(), due_ms: was.and_then(|committed| committed.due_ms) });
                self.behind.push(*place);
            }
            self.await_timer(*place);
        }
        let mut left = None;
        for timer in std::mem::take(&mut self.fired) {
            if self.await_timer(timer.1) == Some(timer.0) {
                left = earlier(left, Some(timer.0));
            }
        }
        self.changed = changed;
        self.end_transaction();
        left
    }

    /// Remembers the timer of an entry when the store's index does not have it.
    fn await_timer(&mut self, place: Place) -> Option<i64> {
        let entry = self.entry(place);
        let (due_ms, on_disk) = (entry.due_ms(), entry.due_on_disk());
        let due_ms = due_ms.filter(|_| due_ms != on_disk)?;
        self.timers.insert((due_ms, place));
        Some(due_ms)
    }

    /// Undoes what the open transaction did.
    pub fn roll_back(&mut self, codec: &impl Codec<P>) -> Result<(), LookupError> {
        for place in self.changed() {
            let entry = self.entry(place);
            entry.after = decode(entry.committed.as_ref(), codec)?;
            entry.before = None;
            entry.flushed = Flush::Same;
            entry.changed = false;
        }
        self.timers.extend(self.fired.drain(..));
        self.end_transaction();
        Ok(())
    }

    /// True when the store lacks something, or has something it should not have.
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty() || !self.orphans.is_empty()
    }

    /// True when more than about half of `limit` bytes are taken by what was touched lately.
    pub fn is_full(&self, limit: usize) -> bool {
        self.recent.bytes > limit / 2 || self.orphans.len() >= MAX_ORPHANS
    }

    /// Hands what is committed to the store.
    pub fn write(&mut self, store: &TaskStore, batch: &mut StoreBatch<'_>) {
        // In front of the states: one of them may want just such a timer.
        for orphan in self.orphans.drain(..) {
            batch.forget(store, orphan);
        }
        for place in std::mem::take(&mut self.behind) {
            let entry = self.entry(place);
            let Some(on_disk) = entry.on_disk.take() else { continue };
            match &entry.committed {
                Some(Committed { state, due_ms }) => {
                    batch.put(store, &entry.key_bytes, state, on_disk.due_ms, *due_ms);
                }
                None if on_disk.exists => batch.delete(store, &entry.key_bytes, on_disk.due_ms),
                None => {}
            }
        }
        self.timers.clear();
    }

    /// Lets go of states so that those at hand take about `limit` bytes. Only between transactions, after a write.
    pub fn let_go(&mut self, limit: usize) {
        if self.recent.bytes > limit / 2 && self.changed.is_empty() && self.behind.is_empty() {
            std::mem::swap(&mut self.recent, &mut self.older);
            self.recent.clear();
        }
    }

    /// Forgets everything: what the transaction did, what was looked up, and what the store does not have.
    pub fn clear(&mut self) {
        self.end_transaction();
        self.fired.clear();
        self.timers.clear();
        self.behind.clear();
        self.orphans.clear();
        self.recent.clear();
        self.older.clear();
    }

    fn end_transaction(&mut self) {
        self.changed.clear();
        self.rejected.clear();
        self.bytes = 0;
    }
}

fn decode<P: KeyedProcessor>(
    committed: Option<&Committed>,
    codec: &impl Codec<P>,
) -> Result<Option<P::State>, LookupError> {
    committed.map(|committed| codec.decode_state(&committed.state)).transpose().map_err(LookupError::Undecodable)
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
    let committed = store
        .get(key_bytes)?
        .map(|sealed| Committed { state: Bytes::copy_from_slice(sealed.state()), due_ms: sealed.due_ms() });
    let after = decode(committed.as_ref(), codec)?;
    let key_bytes = Bytes::copy_from_slice(key_bytes);
    let (before, flushed) = (None, Flush::Same);
    Ok(Entry { key, key_bytes, committed, before, after, flushed, changed: false, on_disk: None })
}
