//! `RejectedEvent`: what could not be taken, with why, and its original bytes.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{byte_string, json_schema::EVENT_SCHEMA_VERSION, key::RecordKey, time::EventTime};

/// A rejected record of a topic keeps at most this much of the original.
const MAX_RECORD_PAYLOAD: usize = 256 << 10;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RejectedEvent {
    pub tenant: String,
    /// `http`, `kafka`, `processor`, ….
    pub source: String,
    pub received_at: EventTime,
    #[serde(default)]
    pub reasons: Vec<RejectionReason>,
    /// As received, redacted by the privacy policy; cut at the configured length (see `payload_bytes`).
    #[serde(with = "byte_string")]
    pub payload: Vec<u8>,
    /// Length of the original before any cut.
    pub payload_bytes: i64,
    /// SHA-256 of the original, in hex.
    pub payload_sha256: String,
    /// Version of the event schema it was held against.
    pub schema_version: i32,
    /// Where it was read from, when it came from a topic.
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub offset: Option<i64>,
}

/// A record of a topic that could not be processed.
#[derive(Debug, Clone, Copy)]
pub struct Unprocessable<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// A short stable name: `undecodable`, `key_mismatch`, ….
    pub code: &'a str,
    /// Without personal data.
    pub message: &'a str,
}

impl RejectedEvent {
    /// What `source` (`processor`, `archiver`, …) says of a record it gives up on. The same for every replay, but for
    /// `received_at`.
    pub fn of_record(source: &str, record: Unprocessable<'_>, received_at: EventTime) -> Self {
        let payload = record.value.unwrap_or_default();
        let key = RecordKey::parse(record.key.unwrap_or_default());
        Self {
            tenant: key.map_or_else(|_| "unknown".to_owned(), |key| key.tenant),
            source: source.to_owned(),
            received_at,
            reasons: vec![RejectionReason {
                code: record.code.to_owned(),
                path: String::new(),
                message: record.message.to_owned(),
            }],
            payload: payload[..payload.len().min(MAX_RECORD_PAYLOAD)].to_vec(),
            payload_bytes: payload.len() as i64,
            payload_sha256: hex::encode(Sha256::digest(payload)),
            schema_version: EVENT_SCHEMA_VERSION,
            topic: Some(record.topic.to_owned()),
            partition: Some(record.partition),
            offset: Some(record.offset),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectionReason {
    /// `required_missing`, `datatype_mismatch`, ….
    pub code: String,
    /// JSON Pointer into the event.
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub message: String,
}
