//! Records as they are written, read, and borrowed while read.

use std::{fmt, sync::Arc};

use bytes::Bytes;

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    pub topic: Arc<str>,
    /// `None`: by the key, with Kafka's `murmur2_random`.
    pub partition: Option<i32>,
    pub key: Option<Bytes>,
    /// `None` is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Bytes)>,
    /// Milliseconds since the epoch; `None`: now.
    pub timestamp_ms: Option<i64>,
}

impl NewRecord {
    pub fn new(topic: impl Into<Arc<str>>, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            partition: None,
            key: Some(key.into()),
            value: Some(value.into()),
            headers: Vec::new(),
            timestamp_ms: None,
        }
    }

    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn with_partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    pub fn with_timestamp(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }

    /// Bytes of key, value and headers: what counts against limits.
    pub fn size(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

/// A record while it is visited.
pub struct RecordRef<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a dyn Headers,
}

/// The headers of a record, in order.
pub trait Headers {
    fn len(&self) -> usize;
    fn at(&self, index: usize) -> (&str, &[u8]);

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of the last header with this name (the last one wins, as in Kafka's clients).
    fn get(&self, name: &str) -> Option<&[u8]> {
        (0..self.len()).rev().map(|index| self.at(index)).find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

/// No headers at all.
pub struct NoHeaders;

impl Headers for NoHeaders {
    fn len(&self) -> usize {
        0
    }

    fn at(&self, index: usize) -> (&str, &[u8]) {
        unreachable!("no header {index} in an empty list")
    }
}

impl Headers for Vec<(String, Bytes)> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn at(&self, index: usize) -> (&str, &[u8]) {
        let (name, value) = &self[index];
        (name, value)
    }
}

/// A record of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub topic: Arc<str>,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Bytes)>,
}

impl Record {
    /// Borrows it in the form visitors get.
    pub fn as_ref(&self) -> RecordRef<'_> {
        RecordRef {
            topic: &self.topic,
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &self.headers,
        }
    }

    pub fn at(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.partition }
    }
}

impl RecordRef<'_> {
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name)
    }

    pub fn to_owned(&self) -> Record {
        Record {
            topic: self.topic.into(),
            partition: self.partition,
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key.map(Bytes::copy_from_slice),
            value: self.value.map(Bytes::copy_from_slice),
            headers: (0..self.headers.len())
                .map(|index| {
                    let (name, value) = self.headers.at(index);
                    (name.to_owned(), Bytes::copy_from_slice(value))
                })
                .collect(),
        }
    }

    /// Bytes of key and value.
    pub fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}
