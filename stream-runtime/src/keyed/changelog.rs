//! The records of the changelog, written alike by everyone who changes state.

use bytes::Bytes;

use crate::log::{NewRecord, TopicPartition};

/// The record that says what the state of `key` is from now on; `None` deletes it.
pub fn record(
    changelog: &TopicPartition,
    key: impl Into<Bytes>,
    state: Option<impl Into<Bytes>>,
    now_ms: i64,
) -> NewRecord {
    NewRecord {
        topic: changelog.topic.clone(),
        partition: Some(changelog.partition),
        key: Some(key.into()),
        value: state.map(Into::into),
        headers: Vec::new(),
        timestamp_ms: Some(now_ms),
    }
}
