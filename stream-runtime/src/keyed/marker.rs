//! The first record of a changelog partition: says which partition it is.
//!
//! A topic that is deleted and made anew has the same name, and a broker's topic ids do not come through librdkafka. So
//! the first transaction that writes to an empty partition begins with a marker: a random id under a key of its own.
//! Nothing is before it and nothing else has its key, so that under compaction, too, it stays the first record. A store
//! remembers the id of the partition it was made from, and is used only with that one. Whoever else reads a changelog
//! skips the marker ([`is_marker`]).

use bytes::Bytes;
use uuid::Uuid;

use super::store::ChangelogId;
use crate::log::{NewRecord, RecordRef, TopicPartition};

/// First byte of the runtime's own keys.
const RESERVED: u8 = 0;
const KEY: &[u8] = b"\0changelog-id";

/// True for a key no state may have.
pub fn is_reserved(key: &[u8]) -> bool {
    key.first() == Some(&RESERVED)
}

/// A new identity.
pub fn mint() -> ChangelogId {
    ChangelogId::Marked(Uuid::now_v7().to_string())
}

/// The record that gives a changelog partition its identity.
pub fn record(at: &TopicPartition, id: &ChangelogId, now_ms: i64) -> Option<NewRecord> {
    let ChangelogId::Marked(id) = id else { return None };
    let marker = NewRecord::new(at.topic.clone(), KEY, Bytes::from(id.clone()));
    Some(marker.with_partition(at.partition).with_timestamp(now_ms))
}

/// True for the key of the record that tells which partition of which changelog this is: no state is under it.
pub fn is_marker(key: Option<&[u8]>) -> bool {
    key == Some(KEY)
}

/// What the first record of a changelog partition says about it.
pub fn read(first: &RecordRef<'_>) -> ChangelogId {
    if !is_marker(first.key) {
        return ChangelogId::Unmarked;
    }
    ChangelogId::Marked(String::from_utf8_lossy(first.value.unwrap_or_default()).into_owned())
}
