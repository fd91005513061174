//! Messages as bytes, with patience for a registry that is away; and what is said of bytes that are no message.

use std::sync::Arc;

use stream_runtime::{
    keyed::{Poison, Undecoded},
    log::{NewRecord, RecordRef},
};
use telemetry_schemas::{
    AvroMessage, Codec, DecodeError, EventTime, PatientCodec, TtfBreach,
    alert::{AlertState, Notification},
    rejected::{RejectedEvent, Unprocessable},
    topics,
};

/// Reads and writes messages on threads that may block.
#[derive(Clone)]
pub struct Wire {
    codec: PatientCodec,
    rejected: Arc<str>,
}

impl Wire {
    pub fn new(codec: Codec) -> Self {
        Self { codec: PatientCodec::new(codec), rejected: topics::EVENTS_REJECTED.into() }
    }

    /// The message in a record's value.
    pub fn read<T: AvroMessage>(&self, record: &RecordRef<'_>) -> Result<T, Poison> {
        self.decode(record.value.ok_or_else(no_value)?).map_err(|error| undecodable(&error))
    }

    /// Like [`Self::read`], without waiting for a registry that is away.
    pub fn read_now<T: AvroMessage>(&self, record: &RecordRef<'_>) -> Result<T, Undecoded> {
        let bytes = record.value.ok_or_else(no_value)?;
        self.codec.impatient().decode(bytes).map_err(|error| {
            if error.is_retriable() { Undecoded::NotYet(error.to_string()) } else { undecodable(&error).into() }
        })
    }

    /// Whether every schema the group stage writes is registered.
    ///
    /// # Errors
    /// When the registry refuses one.
    pub fn register(&self) -> anyhow::Result<bool> {
        let codec = self.codec.impatient();
        let registered = codec
            .register::<AlertState>()
            .and_then(|()| codec.register::<Notification>())
            .and_then(|()| codec.register::<TtfBreach>())
            .and_then(|()| codec.register::<RejectedEvent>());
        match registered {
            Ok(()) => Ok(true),
            Err(error) if error.is_retriable() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Like [`Self::read`], of bytes.
    pub fn decode<T: AvroMessage>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        self.codec.decode(bytes)
    }

    /// A state's bytes, to be changed and written again: what a newer program wrote is refused.
    pub fn decode_own<T: AvroMessage>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        self.codec.decode_own(bytes)
    }

    /// The message's bytes.
    pub fn encode<T: AvroMessage>(&self, message: &T) -> Vec<u8> {
        self.codec.encode(message)
    }

    /// The record that tells of one that cannot be processed.
    pub fn rejection(&self, record: &RecordRef<'_>, poison: &Poison, now_ms: i64) -> NewRecord {
        let unprocessable = Unprocessable {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            key: record.key,
            value: record.value,
            code: poison.code,
            message: &poison.message,
        };
        let rejected = RejectedEvent::of_record("alerter", unprocessable, EventTime(now_ms));
        let key = record.key.unwrap_or_default();
        NewRecord::new(self.rejected.clone(), key.to_vec(), self.encode(&rejected)).with_timestamp(now_ms)
    }
}

fn no_value() -> Poison {
    Poison { code: "undecodable", message: "the record has no value".to_owned() }
}

fn undecodable(error: &DecodeError) -> Poison {
    Poison { code: "undecodable", message: error.to_string() }
}
