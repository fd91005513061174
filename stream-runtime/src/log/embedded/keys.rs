//! The keys of the store. Numbers are big-endian, so that the order of the bytes is the order of the numbers.

use bytes::Bytes;

/// Version of everything that is stored; a store of another version is refused.
pub(super) const FORMAT: u8 = 1;

pub(super) const FORMAT_KEY: &[u8] = b"format";
pub(super) const CLUSTER_KEY: &[u8] = b"cluster";
/// Before and after every key of a topic in the meta space.
pub(super) const TOPICS_FROM: &[u8] = b"t/";
pub(super) const TOPICS_TO: &[u8] = b"t0";

/// Length of a record's key.
pub(super) const RECORD_KEY: usize = 16;

pub(super) fn record(topic: u32, partition: i32, offset: i64) -> [u8; RECORD_KEY] {
    let mut key = [0; RECORD_KEY];
    key[..4].copy_from_slice(&topic.to_be_bytes());
    key[4..8].copy_from_slice(&partition.to_be_bytes());
    key[8..].copy_from_slice(&offset.to_be_bytes());
    key
}

/// The offset in a record's key; `None` when this is no such key.
pub(super) fn offset_of(key: &[u8]) -> Option<i64> {
    if key.len() != RECORD_KEY {
        return None;
    }
    key[8..].try_into().ok().map(i64::from_be_bytes)
}

pub(super) fn topic(name: &str) -> Bytes {
    [TOPICS_FROM, name.as_bytes()].concat().into()
}

pub(super) fn partition(topic: u32, partition: i32) -> Bytes {
    [b"p/".as_slice(), &topic.to_be_bytes(), &partition.to_be_bytes()].concat().into()
}

pub(super) fn group_offset(group: &str, topic: u32, partition: i32) -> Bytes {
    let length = (group.len() as u32).to_be_bytes();
    [b"o/".as_slice(), &length, group.as_bytes(), &topic.to_be_bytes(), &partition.to_be_bytes()].concat().into()
}

/// Where the latest offset of a key is kept.
pub(super) fn latest(topic: u32, partition: i32, key: &[u8]) -> Bytes {
    [topic.to_be_bytes().as_slice(), &partition.to_be_bytes(), b"k", key].concat().into()
}

/// The note that the record at this offset is a tombstone.
pub(super) fn tombstone(topic: u32, partition: i32, offset: i64) -> Bytes {
    [topic.to_be_bytes().as_slice(), &partition.to_be_bytes(), b"d", &offset.to_be_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_keys_are_in_the_order_of_topic_partition_and_offset() {
        let keys = [record(1, 0, 255), record(1, 0, 256), record(1, 1, 0), record(2, 0, 0), record(256, 0, 0)];
        assert!(keys.is_sorted());
        assert_eq!(offset_of(&record(7, 3, 123_456)), Some(123_456));
        assert_eq!(offset_of(b"short"), None);
    }

    #[test]
    fn groups_with_a_common_prefix_do_not_meet() {
        assert_ne!(group_offset("a", 1, 2), group_offset("ab", 1, 2));
    }
}
