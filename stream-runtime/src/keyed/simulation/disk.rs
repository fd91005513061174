//! The disks of the processes: local stores that survive a crash, get lost, and go back in time.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::keyed::store::{Meta, StoreError, Stores};

/// What a store held at some time.
struct Copy {
    partition: i32,
    meta: Meta,
    /// Key, state, due time.
    states: Vec<(Vec<u8>, Vec<u8>, Option<i64>)>,
}

struct Disk {
    stores: Arc<Stores>,
    copies: Vec<Copy>,
}

/// Local stores that are opened once and used by one simulation after the other: opening one costs more than
/// everything a simulation does with it.
pub struct Disks {
    root: PathBuf,
    open: Vec<Disk>,
    /// Simulations they were used by.
    used: usize,
    /// Folders that were made.
    made: usize,
}

/// After so many simulations the stores are made anew: what is looked through again and again has had too many versions.
const USES: usize = 20;

impl Disks {
    /// Makes a folder for them, in memory where the system offers it.
    pub fn new() -> anyhow::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let root = parent.join(format!("keyed-simulation-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&root)?;
        Ok(Self { root, open: Vec::new(), used: 0, made: 0 })
    }

    /// The stores of a disk; made when it is the next one.
    pub(super) fn stores(&mut self, disk: usize) -> Result<Arc<Stores>, StoreError> {
        while self.open.len() <= disk {
            let stores = Stores::open(&self.root.join(self.made.to_string()))?;
            self.made += 1;
            self.open.push(Disk { stores, copies: Vec::new() });
        }
        Ok(self.open[disk].stores.clone())
    }

    /// Empties a disk. Nobody may be using it.
    pub(super) fn wipe(&mut self, disk: usize, partitions: i32) -> Result<(), StoreError> {
        let stores = self.stores(disk)?;
        for partition in 0..partitions {
            stores.task(partition)?.remove_all()?;
        }
        Ok(())
    }

    /// Empties all of them, and forgets the copies.
    pub(super) fn start_over(&mut self, partitions: i32) -> Result<(), StoreError> {
        self.used += 1;
        if self.used.is_multiple_of(USES) {
            self.open.clear();
        }
        for disk in 0..self.open.len() {
            self.open[disk].copies.clear();
            self.wipe(disk, partitions)?;
        }
        Ok(())
    }

    /// Keeps a copy of what a disk holds now.
    pub(super) fn copy(&mut self, disk: usize, partitions: i32) -> Result<(), StoreError> {
        let stores = self.stores(disk)?;
        for partition in 0..partitions {
            let task = stores.task(partition)?;
            let Some(meta) = task.meta()? else { continue };
            let mut states = Vec::new();
            for stored in task.states() {
                let stored = stored?;
                states.push((stored.key().to_vec(), stored.sealed.state().to_vec(), stored.sealed.due_ms()));
            }
            self.open[disk].copies.push(Copy { partition, meta, states });
        }
        Ok(())
    }

    /// Number of copies that were kept of a disk.
    pub(super) fn copies(&self, disk: usize) -> usize {
        self.open.get(disk).map_or(0, |disk| disk.copies.len())
    }

    /// Puts an old copy back in place of what a disk holds now. Nobody may be using it.
    pub(super) fn put_back(&mut self, disk: usize, copy: usize) -> Result<(), StoreError> {
        let stores = self.stores(disk)?;
        let Some(copy) = self.open[disk].copies.get(copy) else { return Ok(()) };
        let task = stores.task(copy.partition)?;
        task.remove_all()?;
        let mut batch = stores.batch();
        for (key, state, due) in &copy.states {
            batch.put(&task, key, state, None, *due);
        }
        batch.describe(&task, &copy.meta);
        batch.commit()
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        self.open.clear();
        // A folder below the system's temporary one that stays behind does no harm.
        let _ = std::fs::remove_dir_all(&self.root);
    }
}
