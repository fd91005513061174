//! Messages as bytes, with patience for a registry that is away; and what is said of bytes that are no message.

use std::{sync::Arc, thread, time::Duration};

use sha2::{Digest, Sha256};
use stream_runtime::{
    keyed::Poison,
    log::{NewRecord, RecordRef},
};
use telemetry_schemas::{
    AvroMessage, Codec, DecodeError, EventTime,
    rejected::{RejectedEvent, RejectionReason},
    topics,
};

/// A rejected record keeps at most this much of the original.
const MAX_REJECTED_PAYLOAD: usize = 256 * 1024;

/// While the schema registry is away, a message is tried again this often and this far apart.
const REGISTRY_ATTEMPTS: u32 = 30;
const REGISTRY_PAUSE: Duration = Duration::from_secs(1);

/// Reads and writes messages on threads that may block.
#[derive(Clone)]
pub struct Wire {
    codec: Codec,
    rejected: Arc<str>,
}

impl Wire {
    pub fn new(codec: Codec) -> Self {
        Self { codec, rejected: topics::EVENTS_REJECTED.into() }
    }

    /// The message in a record's value. A registry that is away is no reason to throw a record out.
    ///
    /// # Panics
    /// When the registry stays away: the process ends, and nothing is lost.
    pub fn read<T: AvroMessage>(&self, record: &RecordRef<'_>) -> Result<T, Poison> {
        let bytes = record
            .value
            .ok_or_else(|| Poison { code: "undecodable", message: "the record has no value".to_owned() })?;
        self.decode(bytes).map_err(|error| Poison { code: "undecodable", message: error.to_string() })
    }

    /// Like [`Self::read`], of bytes.
    pub fn decode<T: AvroMessage>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        for _ in 0..REGISTRY_ATTEMPTS {
            match self.codec.decode(bytes) {
                Err(error) if error.is_retriable() => {
                    tracing::warn!(%error, "cannot read a record yet");
                    thread::sleep(REGISTRY_PAUSE);
                }
                result => return result,
            }
        }
        panic!("the schema registry did not answer while a {} was to be read", T::NAME)
    }

    /// The message's bytes.
    ///
    /// # Panics
    /// When the registry stays away or refuses the schema: the process ends, and nothing is lost.
    pub fn encode<T: AvroMessage>(&self, message: &T) -> Vec<u8> {
        for _ in 0..REGISTRY_ATTEMPTS {
            match self.codec.encode(message) {
                Ok(bytes) => return bytes,
                Err(error) if error.is_retriable() => {
                    tracing::warn!(%error, "cannot write a record yet");
                    thread::sleep(REGISTRY_PAUSE);
                }
                Err(error) => panic!("cannot write a {}: {error}", T::NAME),
            }
        }
        panic!("the schema registry did not answer while a {} was to be written", T::NAME)
    }

    /// The record that tells of one that cannot be processed.
    pub fn rejection(&self, record: &RecordRef<'_>, poison: &Poison, now_ms: i64) -> NewRecord {
        let key = record.key.unwrap_or_default();
        let payload = record.value.unwrap_or_default();
        let rejected = RejectedEvent {
            tenant: "unknown".to_owned(),
            source: "alerter".to_owned(),
            received_at: EventTime(now_ms),
            reasons: vec![RejectionReason {
                code: poison.code.to_owned(),
                path: String::new(),
                message: poison.message.clone(),
            }],
            payload: payload[..payload.len().min(MAX_REJECTED_PAYLOAD)].to_vec(),
            payload_bytes: payload.len() as i64,
            payload_sha256: hex::encode(Sha256::digest(payload)),
            schema_version: 1,
            topic: Some(record.topic.to_owned()),
            partition: Some(record.partition),
            offset: Some(record.offset),
        };
        NewRecord::new(self.rejected.clone(), key.to_vec(), self.encode(&rejected)).with_timestamp(now_ms)
    }
}
