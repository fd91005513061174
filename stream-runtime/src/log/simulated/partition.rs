//! One partition: records, markers, and what hides them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use crate::log::{Isolation, NewRecord, Record, TopicPartition};

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub offset: i64,
    pub transaction: Option<u64>,
    /// `None`: the marker that ends the transaction here.
    pub record: Option<Record>,
}

#[derive(Default)]
pub(super) struct Partition {
    /// In the order of their offsets; compaction leaves gaps.
    entries: Vec<Entry>,
    end: i64,
    /// Transactions without a marker here, and the offset of their first record.
    open: BTreeMap<u64, i64>,
    aborted: BTreeSet<u64>,
    /// All that was ever written.
    pub history: Vec<Entry>,
    /// When a deletion that was compacted once may go for good.
    horizons: HashMap<i64, i64>,
}

impl Partition {
    pub fn append(&mut self, at: TopicPartition, transaction: Option<u64>, record: NewRecord, now_ms: i64) {
        let offset = self.end;
        let record = Record {
            topic: at.topic,
            partition: at.partition,
            offset,
            timestamp_ms: record.timestamp_ms.unwrap_or(now_ms),
            key: record.key,
            value: record.value,
            headers: record.headers,
        };
        if let Some(transaction) = transaction {
            self.open.entry(transaction).or_insert(offset);
        }
        self.push(Entry { offset, transaction, record: Some(record) });
    }

    fn push(&mut self, entry: Entry) {
        self.end = entry.offset + 1;
        self.history.push(entry.clone());
        self.entries.push(entry);
    }

    /// Writes the marker that ends a transaction here.
    pub fn mark(&mut self, transaction: u64, commit: bool) {
        if self.open.remove(&transaction).is_none() {
            return;
        }
        if !commit {
            self.aborted.insert(transaction);
        }
        self.push(Entry { offset: self.end, transaction: Some(transaction), record: None });
    }

    /// The high watermark, or the last stable offset.
    pub fn end(&self, isolation: Isolation) -> i64 {
        match isolation {
            Isolation::ReadUncommitted => self.end,
            Isolation::ReadCommitted => self.open.values().min().copied().unwrap_or(self.end),
        }
    }

    /// Up to `max` records from `from` on, and where to read on.
    pub fn read(&self, from: i64, isolation: Isolation, max: usize) -> (Vec<Record>, i64) {
        let bound = self.end(isolation);
        let first = self.entries.partition_point(|entry| entry.offset < from);
        let mut records = Vec::new();
        for entry in &self.entries[first..] {
            if entry.offset >= bound {
                break;
            }
            let hidden = isolation == Isolation::ReadCommitted
                && entry.transaction.is_some_and(|transaction| self.aborted.contains(&transaction));
            let Some(record) = entry.record.as_ref().filter(|_| !hidden) else { continue };
            if records.len() == max {
                return (records, entry.offset);
            }
            records.push(record.clone());
        }
        (records, bound.max(from))
    }

    /// Removes what later records of the same key make superfluous, below `cut`; deletions stay for a while.
    pub fn compact(&mut self, cut: i64, now_ms: i64, delete_retention_ms: i64) {
        let cut = cut.min(self.end(Isolation::ReadCommitted));
        let hidden = |entry: &Entry| entry.transaction.is_some_and(|transaction| self.aborted.contains(&transaction));
        let mut latest: HashMap<Bytes, i64> = HashMap::new();
        for entry in self.entries.iter().take_while(|entry| entry.offset < cut).filter(|entry| !hidden(entry)) {
            if let Some(key) = entry.record.as_ref().and_then(|record| record.key.clone()) {
                latest.insert(key, entry.offset);
            }
        }
        let mut kept = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let keep = match &entry.record {
                _ if entry.offset >= cut => true,
                // Kafka keeps the markers of what it keeps; they hold no state here.
                None => true,
                Some(_) if hidden(entry) => false,
                Some(record) => {
                    let is_latest =
                        record.key.as_ref().is_some_and(|key| latest.get(key).is_some_and(|at| *at == entry.offset));
                    let is_deletion = record.value.is_none();
                    let horizon =
                        is_deletion.then(|| *self.horizons.entry(entry.offset).or_insert(now_ms + delete_retention_ms));
                    is_latest && horizon.is_none_or(|horizon| now_ms < horizon)
                }
            };
            if keep {
                kept.push(entry.clone());
            }
        }
        self.entries = kept;
    }

    pub fn is_aborted(&self, transaction: u64) -> bool {
        self.aborted.contains(&transaction)
    }

    pub fn is_open(&self, transaction: u64) -> bool {
        self.open.contains_key(&transaction)
    }
}
