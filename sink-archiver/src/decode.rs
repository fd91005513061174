//! Records of the topics as the messages they carry.

use std::sync::Arc;

use stream_runtime::log::Record;
use telemetry_schemas::{
    Codec, DecodeError, Event, TtfBreach, TtfRecord,
    erasure::Erasure,
    topics::{ERASURES, EVENTS, TTF_BREACHES, TTF_RECORDS},
};

/// What a record carries.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Event(Box<Event>),
    Record(Box<TtfRecord>),
    Breach(Box<TtfBreach>),
    Erasure(Box<Erasure>),
}

/// Why a record carries nothing we know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    #[error("a record without a value on a topic that has no tombstones")]
    Tombstone,
    #[error("nothing is archived from this topic")]
    UnknownTopic,
    #[error(transparent)]
    Value(#[from] DecodeError),
}

impl Undecodable {
    /// A short stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::UnknownTopic => "unknown_topic",
            Self::Value(_) => "undecodable",
        }
    }
}

/// What became of each record of a batch, in order.
pub type Decoded = Vec<Result<Message, Undecodable>>;

/// Decodes a batch; fails as a whole only when the registry is away. May block on the registry.
pub fn decode_all<'a>(codec: &Codec, records: impl IntoIterator<Item = &'a Record>) -> Result<Decoded, DecodeError> {
    let mut decoded = Vec::new();
    for record in records {
        match decode(codec, record) {
            Err(Undecodable::Value(error)) if error.is_retriable() => return Err(error),
            outcome => decoded.push(outcome),
        }
    }
    Ok(decoded)
}

/// A cheap copy. Headers are left behind: nothing here reads them.
pub fn without_headers(record: &Record) -> Record {
    Record {
        topic: Arc::clone(&record.topic),
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: Vec::new(),
    }
}

fn decode(codec: &Codec, record: &Record) -> Result<Message, Undecodable> {
    let value = record.value.as_deref().ok_or(Undecodable::Tombstone)?;
    match &*record.topic {
        EVENTS => Ok(Message::Event(Box::new(codec.decode(value)?))),
        TTF_RECORDS => Ok(Message::Record(Box::new(codec.decode(value)?))),
        TTF_BREACHES => Ok(Message::Breach(Box::new(codec.decode(value)?))),
        ERASURES => Ok(Message::Erasure(Box::new(codec.decode(value)?))),
        _ => Err(Undecodable::UnknownTopic),
    }
}
