//! Dead letters: records that can never be archived go to the rejected topic, with why, before their offset moves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use stream_runtime::log::{NewRecord, Publisher, Record};
use telemetry_schemas::{
    Codec, RecordKey,
    rejected::{RejectedEvent, RejectionReason},
    time::EventTime,
    topics::EVENTS_REJECTED,
};

/// Bytes of a rejected record that are kept.
const PAYLOAD_LIMIT: usize = 64 << 10;
/// Version of the schema that archived messages are held against.
const SCHEMA_VERSION: i32 = 1;
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

/// A record that cannot be archived, and why.
pub struct Reject<'a> {
    pub record: &'a Record,
    /// A short stable name: `undecodable`, `unstorable`.
    pub code: &'static str,
    /// Without personal data.
    pub message: String,
}

/// Publishes dead letters.
pub struct Rejects {
    publisher: Arc<dyn Publisher>,
    codec: Codec,
}

impl Rejects {
    pub fn new(publisher: Arc<dyn Publisher>, codec: Codec) -> Self {
        Self { publisher, codec }
    }

    /// Ends when the dead letter is durable.
    pub async fn publish(&self, reject: Reject<'_>) -> Result<(), String> {
        let letter = letter(&reject);
        let codec = self.codec.clone();
        let value = tokio::task::spawn_blocking(move || codec.encode(&letter))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let mut record = NewRecord::new(EVENTS_REJECTED, Bytes::new(), value);
        record.key.clone_from(&reject.record.key);
        let delivery = self.publisher.publish(record).map_err(|error| error.to_string())?;
        match tokio::time::timeout(DELIVERY_TIMEOUT, delivery).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("a dead letter was not acknowledged in time".to_owned()),
        }
    }
}

/// The dead letter of a record; the same for every replay.
fn letter(reject: &Reject<'_>) -> RejectedEvent {
    let record = reject.record;
    let payload = record.value.as_deref().unwrap_or_default();
    let tenant = record.key.as_deref().and_then(|key| RecordKey::parse(key).ok()).map(|key| key.tenant);
    RejectedEvent {
        tenant: tenant.unwrap_or_else(|| "default".to_owned()),
        source: "archiver".to_owned(),
        received_at: EventTime(record.timestamp_ms),
        reasons: vec![RejectionReason {
            code: reject.code.to_owned(),
            path: String::new(),
            message: reject.message.clone(),
        }],
        payload: payload[..payload.len().min(PAYLOAD_LIMIT)].to_vec(),
        payload_bytes: payload.len() as i64,
        payload_sha256: hex::encode(Sha256::digest(payload)),
        schema_version: SCHEMA_VERSION,
        topic: Some(record.topic.to_string()),
        partition: Some(record.partition),
        offset: Some(record.offset),
    }
}
