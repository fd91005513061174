//! The store in memory, for tests.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Change, Space, Storage, Visit};
use crate::log::LogError;

/// Entries taken out under one lock.
const CHUNK: usize = 256;

#[derive(Default)]
pub(in crate::log::embedded) struct MemoryStorage {
    spaces: RwLock<[BTreeMap<Bytes, Bytes>; 3]>,
}

fn slot(space: Space) -> usize {
    match space {
        Space::Records => 0,
        Space::Index => 1,
        Space::Meta => 2,
    }
}

impl Storage for MemoryStorage {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, LogError> {
        Ok(self.spaces.read()[slot(space)].get(key).cloned())
    }

    fn scan(&self, space: Space, from: &[u8], to: &[u8], visit: Visit<'_>) -> Result<(), LogError> {
        let mut from = Bound::Included(Bytes::copy_from_slice(from));
        loop {
            if let Bound::Included(first) | Bound::Excluded(first) = &from
                && first.as_ref() >= to
            {
                return Ok(());
            }
            let range = (from.as_ref().map(AsRef::as_ref), Bound::Excluded(to));
            let chunk: Vec<(Bytes, Bytes)> = self.spaces.read()[slot(space)]
                .range::<[u8], _>(range)
                .take(CHUNK)
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            for (key, value) in &chunk {
                if visit(key, value).is_break() {
                    return Ok(());
                }
            }
            match chunk.last() {
                Some((last, _)) if chunk.len() == CHUNK => from = Bound::Excluded(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), LogError> {
        let mut spaces = self.spaces.write();
        for Change { space, key, value } in changes {
            match value {
                Some(value) => spaces[slot(space)].insert(key, value),
                None => spaces[slot(space)].remove(&key),
            };
        }
        Ok(())
    }
}
