//! A batch in the making: every request that shares one sync.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    super::{
        catalog::Topic,
        keys,
        storage::{Change, Space, Storage},
        values::{self, Latest, PartitionState, Times},
    },
    request::{Placed, PlacedOffset},
};
use crate::log::{Cleanup, LogError};

pub(super) struct Plan<'a> {
    storage: &'a dyn Storage,
    now_ms: i64,
    /// Records to be written; one that is superseded within the batch is taken out again.
    records: Vec<Option<Change>>,
    /// Everything else, each key once.
    entries: HashMap<(Space, Bytes), Option<Bytes>>,
    partitions: BTreeMap<(u32, i32), Touched>,
    /// Where in `records` the latest record of a key of a compacted topic stands.
    fresh: HashMap<Bytes, usize>,
}

/// A partition the batch changes.
pub(super) struct Touched {
    pub topic: Arc<Topic>,
    pub partition: i32,
    pub state: PartitionState,
}

impl<'a> Plan<'a> {
    pub fn new(storage: &'a dyn Storage, now_ms: i64) -> Self {
        Self {
            storage,
            now_ms,
            records: Vec::new(),
            entries: HashMap::new(),
            partitions: BTreeMap::new(),
            fresh: HashMap::new(),
        }
    }

    fn touch(&mut self, topic: &Arc<Topic>, partition: i32) -> Result<&mut Touched, LogError> {
        match self.partitions.entry((topic.number, partition)) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let state = topic.partition(partition)?.state();
                Ok(entry.insert(Touched { topic: topic.clone(), partition, state }))
            }
        }
    }

    /// Adds a record and returns its offset.
    pub fn append(&mut self, placed: &Placed) -> Result<i64, LogError> {
        let Placed { topic, partition, record } = placed;
        let times = Times { timestamp_ms: record.timestamp_ms.unwrap_or(self.now_ms), appended_ms: self.now_ms };
        let touched = self.touch(topic, *partition)?;
        let offset = touched.state.end;
        let key = keys::record(topic.number, *partition, offset);
        let value = values::encode_record(&key, record, times);
        touched.state.end += 1;
        touched.state.bytes += value.len() as u64;
        let slot = self.records.len();
        self.records.push(Some(Change {
            space: Space::Records,
            key: Bytes::copy_from_slice(&key),
            value: Some(value),
        }));
        if topic.cleanup == Cleanup::Compact
            && let Some(key) = &record.key
        {
            self.supersede(topic, *partition, key, Latest { offset, tombstone: record.value.is_none() }, slot)?;
        }
        Ok(offset)
    }

    /// Removes the record this one takes the place of.
    fn supersede(
        &mut self,
        topic: &Topic,
        partition: i32,
        key: &[u8],
        latest: Latest,
        slot: usize,
    ) -> Result<(), LogError> {
        let index = keys::latest(topic.number, partition, key);
        if let Some(before) = self.latest(&index)? {
            match self.fresh.get(&index) {
                Some(slot) => self.records[*slot] = None,
                None => self.remove_record(topic, partition, before.offset),
            }
            if before.tombstone {
                let note = keys::tombstone(topic.number, partition, before.offset);
                self.entries.insert((Space::Index, note), None);
            }
        }
        if latest.tombstone {
            let note = keys::tombstone(topic.number, partition, latest.offset);
            self.entries.insert((Space::Index, note), Some(values::encode_tombstone(self.now_ms, key)));
        }
        self.fresh.insert(index.clone(), slot);
        self.entries.insert((Space::Index, index), Some(values::encode_latest(latest)));
        Ok(())
    }

    fn latest(&self, index: &Bytes) -> Result<Option<Latest>, LogError> {
        let stored = match self.entries.get(&(Space::Index, index.clone())) {
            Some(planned) => planned.clone(),
            None => self.storage.get(Space::Index, index)?,
        };
        stored
            .map(|bytes| values::decode_latest(&bytes).map_err(|damaged| LogError::Corrupt(damaged.to_string())))
            .transpose()
    }

    fn remove_record(&mut self, topic: &Topic, partition: i32, offset: i64) {
        let key = Bytes::copy_from_slice(&keys::record(topic.number, partition, offset));
        self.records.push(Some(Change { space: Space::Records, key, value: None }));
    }

    /// Removes a record of a `delete` topic that is the oldest one kept.
    pub fn expire(&mut self, topic: &Arc<Topic>, partition: i32, offset: i64, bytes: u64) -> Result<(), LogError> {
        self.remove_record(topic, partition, offset);
        let touched = self.touch(topic, partition)?;
        touched.state.start = offset + 1;
        touched.state.bytes = touched.state.bytes.saturating_sub(bytes);
        Ok(())
    }

    /// Removes a tombstone that was kept long enough, with all that is known of its key.
    pub fn forget(&mut self, topic: &Topic, partition: i32, offset: i64, key: &[u8]) -> Result<(), LogError> {
        self.entries.insert((Space::Index, keys::tombstone(topic.number, partition, offset)), None);
        let index = keys::latest(topic.number, partition, key);
        if self.latest(&index)?.is_some_and(|latest| latest.offset == offset) {
            self.entries.insert((Space::Index, index), None);
            self.remove_record(topic, partition, offset);
        }
        Ok(())
    }

    pub fn commit_offset(&mut self, offset: PlacedOffset) {
        let value = values::encode_offset(offset.next, &offset.metadata);
        self.entries.insert((Space::Meta, offset.key), Some(value));
    }

    /// The batch, and the partitions to be shown once it is durable.
    pub fn finish(self) -> (Vec<Change>, Vec<Touched>) {
        let mut changes: Vec<Change> = self.records.into_iter().flatten().collect();
        changes.extend(self.entries.into_iter().map(|((space, key), value)| Change { space, key, value }));
        for touched in self.partitions.values() {
            let key = keys::partition(touched.topic.number, touched.partition);
            let value = Some(values::encode_partition(touched.state));
            changes.push(Change { space: Space::Meta, key, value });
        }
        (changes, self.partitions.into_values().collect())
    }
}
