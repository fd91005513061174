//! Keyed values while a partition is gathered: in memory as long as they fit, beyond that in a store on disk. So a
//! partition of any size is replayed in bounded memory.

use std::collections::HashMap;

use anyhow::Context as _;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use tempfile::TempDir;

/// Bytes of blocks the store holds in memory.
const CACHE: u64 = 16 * 1024 * 1024;
/// Bytes a shelf's store holds in memory before it writes them out.
const MEMTABLE: u64 = 8 * 1024 * 1024;

/// Where shelves put what does not fit; gone with the value.
pub struct Scratch {
    database: Database,
    folder: TempDir,
}

impl Scratch {
    /// In a new folder below the system's temporary one (`TMPDIR`).
    pub fn open() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("ttf-replay-")
            .tempdir()
            .context("cannot make a temporary folder (TMPDIR says where)")?;
        let database = Database::builder(folder.path())
            .worker_threads(1)
            .cache_size(CACHE)
            .open()
            .with_context(|| format!("cannot open a store in {}", folder.path().display()))?;
        Ok(Self { database, folder })
    }

    fn keyspace(&self, name: &str) -> anyhow::Result<Keyspace> {
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE);
        let make = || self.database.keyspace(name, options);
        make().with_context(|| format!("cannot write to {}", self.folder.path().display()))
    }
}

/// How a value is put on disk and taken from there.
pub trait Shelved: Sized {
    fn to_bytes(&self) -> anyhow::Result<Vec<u8>>;
    fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self>;
    /// About how many bytes it takes in memory.
    fn weight(&self) -> usize;
}

/// One kind of value by key.
pub struct Shelf<V> {
    /// `None`: no longer there, though it may still be on disk.
    memory: HashMap<Vec<u8>, Option<V>>,
    bytes: usize,
    limit: usize,
    disk: Keyspace,
    has_spilled: bool,
}

/// Key and value, in key order.
pub type Entries<'a, V> = Box<dyn Iterator<Item = anyhow::Result<(Vec<u8>, V)>> + 'a>;

impl<V: Shelved> Shelf<V> {
    /// Holds about `limit` bytes in memory.
    pub fn new(scratch: &Scratch, name: &str, limit: usize) -> anyhow::Result<Self> {
        Ok(Self { memory: HashMap::new(), bytes: 0, limit, disk: scratch.keyspace(name)?, has_spilled: false })
    }

    /// Changes the value of a key; what is `None` afterwards is not there.
    pub fn change<T>(&mut self, key: &[u8], change: impl FnOnce(&mut Option<V>) -> T) -> anyhow::Result<T> {
        let result = if let Some(value) = self.memory.get_mut(key) {
            let before = weight(key, value.as_ref());
            let result = change(value);
            self.bytes = self.bytes.saturating_sub(before) + weight(key, value.as_ref());
            result
        } else {
            let on_disk = if self.has_spilled { self.disk.get(key)? } else { None };
            let mut value = on_disk.map(|bytes| V::from_bytes(&bytes)).transpose()?;
            let result = change(&mut value);
            self.bytes += weight(key, value.as_ref());
            self.memory.insert(key.to_vec(), value);
            result
        };
        if self.bytes > self.limit {
            self.spill()?;
        }
        Ok(result)
    }

    pub fn put(&mut self, key: &[u8], value: Option<V>) -> anyhow::Result<()> {
        self.change(key, |there| *there = value)
    }

    fn spill(&mut self) -> anyhow::Result<()> {
        for (key, value) in self.memory.drain() {
            match value {
                Some(value) => self.disk.insert(key, value.to_bytes()?)?,
                None => self.disk.remove(key)?,
            }
        }
        self.bytes = 0;
        self.has_spilled = true;
        Ok(())
    }

    /// Everything, ordered by key. Call [`Shelf::clear`] before the shelf is used again.
    pub fn entries(&mut self) -> anyhow::Result<Entries<'_, V>> {
        if self.has_spilled {
            self.spill()?;
            return Ok(Box::new(self.disk.iter().map(|guard| {
                let (key, value) = guard.into_inner()?;
                Ok((key.to_vec(), V::from_bytes(&value)?))
            })));
        }
        self.bytes = 0;
        let mut all: Vec<(Vec<u8>, V)> =
            self.memory.drain().filter_map(|(key, value)| value.map(|value| (key, value))).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(Box::new(all.into_iter().map(Ok)))
    }

    pub fn clear(&mut self) -> anyhow::Result<()> {
        self.memory = HashMap::new();
        self.bytes = 0;
        if std::mem::take(&mut self.has_spilled) {
            self.disk.clear()?;
        }
        Ok(())
    }
}

fn weight<V: Shelved>(key: &[u8], value: Option<&V>) -> usize {
    key.len() + value.map_or(0, Shelved::weight) + 64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Shelved for u32 {
        fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
            Ok(self.to_be_bytes().to_vec())
        }

        fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
            Ok(Self::from_be_bytes(bytes.try_into()?))
        }

        fn weight(&self) -> usize {
            4
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn a_shelf_is_an_ordered_map_however_little_fits_into_memory(
            changes in prop::collection::vec((0_u8..20, prop::option::of(any::<u32>())), 0..100),
            limit in prop::sample::select(vec![0_usize, 300, 1 << 20]),
        ) {
            let scratch = Scratch::open().unwrap();
            let mut shelf: Shelf<u32> = Shelf::new(&scratch, "numbers", limit).unwrap();
            let mut model = std::collections::BTreeMap::new();
            for (key, value) in changes {
                let mut before = None;
                shelf.change(&[key], |there| {
                    before = *there;
                    *there = value;
                }).unwrap();
                prop_assert_eq!(before, model.get(&vec![key]).copied());
                match value {
                    Some(value) => model.insert(vec![key], value),
                    None => model.remove(&vec![key]),
                };
            }
            let all: Vec<_> = shelf.entries().unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
            shelf.clear().unwrap();
            prop_assert_eq!(shelf.entries().unwrap().count(), 0);
        }
    }
}
