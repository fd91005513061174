//! Changelog records on their way into a store: gathered, sorted, written at once.

use std::cmp::Ordering;

use bytes::Bytes;

use super::{
    Meta, Sealed, StoreError, TaskStore, TimerEntry,
    layout::{META, STATE},
};

/// A run of fewer records goes through the journal: a table of its own costs several syncs.
const TABLE_RECORDS: usize = 10_000;
/// Bytes of a record in the list of entries, about.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<(u64, u32)>();

/// Records of one task in the order of its changelog.
///
/// Written as a sorted table that lies above everything written before, which is how the engine orders tables that
/// overlap. Old values are not read: of a state that was there before, the old timer stays in the index until it is due
/// and is removed then, because no state wants it (`Task::fire`). There are never more of those than changelog
/// records were read.
#[derive(Default)]
pub struct Run {
    /// Of each record what will be its place and its value in the store, one after the other.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many bytes all places have in common.
    shared: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    place_len: u32,
    /// `None`: a tombstone.
    value_len: Option<u32>,
    due_ms: Option<i64>,
}

impl Entry {
    fn place(self) -> std::ops::Range<usize> {
        let start = self.start as usize;
        start..start + self.place_len as usize
    }

    fn value(self) -> Option<std::ops::Range<usize>> {
        let start = self.place().end;
        self.value_len.map(|len| start..start + len as usize)
    }
}

impl Run {
    /// With room for about so many bytes: growing by and by would take up to twice as much.
    pub fn with_room(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Adds a state and when its timer is due.
    pub fn put(&mut self, key: &[u8], state: &[u8], due_ms: Option<i64>) {
        let start = self.add_place(key);
        let value = self.bytes.len();
        Sealed::write(&mut self.bytes, key, state, due_ms);
        self.add(start, value, Some(self.bytes.len() - value), due_ms);
    }

    /// Adds a deletion.
    pub fn delete(&mut self, key: &[u8]) {
        let start = self.add_place(key);
        self.add(start, self.bytes.len(), None, None);
    }

    fn add_place(&mut self, key: &[u8]) -> usize {
        let start = self.bytes.len();
        self.bytes.push(STATE);
        self.bytes.extend_from_slice(key);
        start
    }

    fn add(&mut self, start: usize, value: usize, value_len: Option<usize>, due_ms: Option<i64>) {
        let narrow = |number: usize| u32::try_from(number).expect("a run is written long before it has 4 GiB");
        let entry =
            Entry { start: narrow(start), place_len: narrow(value - start), value_len: value_len.map(narrow), due_ms };
        let place = &self.bytes[entry.place()];
        self.shared = match self.entries.first() {
            Some(first) => {
                let first = &self.bytes[first.place()];
                let limit = self.shared.min(first.len()).min(place.len());
                first[..limit].iter().zip(&place[..limit]).take_while(|(a, b)| a == b).count()
            }
            None => place.len(),
        };
        self.entries.push(entry);
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// About how much memory it takes.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * ENTRY_BYTES
    }

    /// The latest record of each key, in key order.
    fn latest(&self) -> Vec<Entry> {
        // Comparing whole places would miss the cache twice each time: most are told apart by eight bytes.
        let mut order: Vec<(u64, u32)> = self
            .entries
            .iter()
            .zip(0..)
            .map(|(entry, number)| {
                let rest = &self.bytes[entry.place()][self.shared..];
                let mut head = [0; 8];
                let len = rest.len().min(8);
                head[..len].copy_from_slice(&rest[..len]);
                (u64::from_be_bytes(head), number)
            })
            .collect();
        let place = |number: u32| &self.bytes[self.entries[number as usize].place()];
        order.sort_unstable_by(|a, b| match a.0.cmp(&b.0) {
            // The later record first.
            Ordering::Equal => place(a.1).cmp(place(b.1)).then(b.1.cmp(&a.1)),
            other => other,
        });
        order.dedup_by(|a, b| a.0 == b.0 && place(a.1) == place(b.1));
        order.into_iter().map(|(_, number)| self.entries[number as usize]).collect()
    }

    /// Writes the latest record of each key, its timers and the store's description, all or nothing.
    pub fn write(self, store: &TaskStore, meta: &Meta) -> Result<(), StoreError> {
        let latest = self.latest();
        if latest.len() < TABLE_RECORDS {
            self.journal(store, meta, &latest)
        } else {
            self.ingest(store, meta, &latest)
        }
    }

    fn journal(&self, store: &TaskStore, meta: &Meta, latest: &[Entry]) -> Result<(), StoreError> {
        let mut batch = store.stores.batch();
        for entry in latest {
            let place = &self.bytes[entry.place()];
            match entry.value() {
                Some(value) => batch.put_sealed(store, place, &self.bytes[value], entry.due_ms),
                None => batch.delete(store, &place[1..], None),
            }
        }
        batch.describe(store, meta);
        batch.commit()
    }

    fn ingest(self, store: &TaskStore, meta: &Meta, latest: &[Entry]) -> Result<(), StoreError> {
        let failed = |error| store.fault(error);
        let timers = self.timers(latest);
        // Parts of one allocation: nothing is copied on the way.
        let bytes = Bytes::from(self.bytes);
        let mut table = store.keyspace.start_ingestion().map_err(failed)?;
        // In the order of the keys.
        table.write([META], meta.to_bytes()).map_err(failed)?;
        for entry in latest {
            let place = bytes.slice(entry.place());
            match entry.value() {
                Some(value) => table.write(place, bytes.slice(value)),
                None => table.write_tombstone(place),
            }
            .map_err(failed)?;
        }
        for timer in timers {
            table.write(timer, []).map_err(failed)?;
        }
        table.finish().map_err(failed)
    }

    /// Entries of the timer index, in their order.
    fn timers(&self, latest: &[Entry]) -> Vec<Bytes> {
        let mut order: Vec<(i64, u32)> =
            latest.iter().zip(0..).filter_map(|(entry, rank)| Some((entry.due_ms?, rank))).collect();
        // Of the same due time, by key: the rank says which comes first.
        order.sort_unstable();
        let keys: usize = order.iter().map(|(_, rank)| latest[*rank as usize].place_len as usize + 8).sum();
        let mut bytes = Vec::with_capacity(keys);
        let mut ends = Vec::with_capacity(order.len());
        for (due_ms, rank) in order {
            TimerEntry::write(&mut bytes, due_ms, &self.bytes[latest[rank as usize].place()][1..]);
            ends.push(bytes.len());
        }
        let bytes = Bytes::from(bytes);
        let mut start = 0;
        ends.into_iter().map(|end| bytes.slice(std::mem::replace(&mut start, end)..end)).collect()
    }
}
