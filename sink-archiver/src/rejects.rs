//! Dead letters: records that can never be archived go to the rejected topic, with why, before their offset moves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use stream_runtime::log::{NewRecord, Publisher, Record};
use telemetry_schemas::{
    Codec,
    rejected::{RejectedEvent, Unprocessable},
    time::EventTime,
    topics::EVENTS_REJECTED,
};

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
    let unprocessable = Unprocessable {
        topic: &record.topic,
        partition: record.partition,
        offset: record.offset,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        code: reject.code,
        message: &reject.message,
    };
    RejectedEvent::of_record("archiver", unprocessable, EventTime(record.timestamp_ms))
}
