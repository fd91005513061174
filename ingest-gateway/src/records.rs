//! Writes what was decided as records of the log.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use stream_runtime::log::NewRecord;
use telemetry_schemas::{
    Codec, EncodeError, RecordKey,
    audit::AuditEntry,
    erasure::Erasure,
    event::{Event, EventContext, EventType},
    rejected::RejectedEvent,
    time::EventTime,
    topics,
};

use crate::validate;

/// Encodes values and puts them under the right key on the right topic.
#[derive(Clone)]
pub struct Records {
    codec: Codec,
    events: Arc<str>,
    rejected: Arc<str>,
    erasures: Arc<str>,
    audit: Arc<str>,
}

impl Records {
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            events: topics::EVENTS.into(),
            rejected: topics::EVENTS_REJECTED.into(),
            erasures: topics::ERASURES.into(),
            audit: topics::AUDIT.into(),
        }
    }

    /// Encodes one value of each kind, so that the codec knows every schema. Blocks while a registry answers.
    pub fn warm_up(&self) -> Result<(), EncodeError> {
        let at = EventTime::default();
        let event = Event {
            tenant: String::new(),
            source: String::new(),
            event_id: String::new(),
            event_name: String::new(),
            event_type: EventType::Test,
            timestamp: at,
            original_timestamp: None,
            sent_at: None,
            received_at: at,
            user_id: None,
            anonymous_id: None,
            session_id: None,
            journey_id: None,
            properties: serde_json::Map::new(),
            context: EventContext::default(),
            sealed: BTreeMap::new(),
            replay: false,
        };
        let rejected = RejectedEvent {
            tenant: String::new(),
            source: String::new(),
            received_at: at,
            reasons: Vec::new(),
            payload: Vec::new(),
            payload_bytes: 0,
            payload_sha256: String::new(),
            schema_version: 0,
            topic: None,
            partition: None,
            offset: None,
        };
        self.event(&event)?;
        self.rejected(&rejected)?;
        Ok(())
    }

    /// An accepted event, keyed by its person; one that is about nobody has no key.
    pub fn event(&self, event: &Event) -> Result<NewRecord, EncodeError> {
        let headers = vec![
            (topics::HEADER_EVENT_NAME.to_owned(), Bytes::copy_from_slice(event.event_name.as_bytes())),
            (
                topics::HEADER_EVENT_TYPE.to_owned(),
                Bytes::from_static(validate::type_name(event.event_type).as_bytes()),
            ),
        ];
        let key = subject_key(event).map(|key| key.to_bytes());
        let value = self.codec.encode(event)?;
        Ok(NewRecord { headers, ..record(&self.events, key, value, event.received_at) })
    }

    /// A refused event. It has no key: what is wrong may be its subject.
    pub fn rejected(&self, event: &RejectedEvent) -> Result<NewRecord, EncodeError> {
        Ok(record(&self.rejected, None, self.codec.encode(event)?, event.received_at))
    }

    /// A request of this instant to forget a person, under the same key as the person's events.
    pub fn erasure(&self, erasure: &Erasure, at: EventTime) -> Result<NewRecord, EncodeError> {
        let key = RecordKey::user(&erasure.tenant, &erasure.user_id).to_bytes();
        Ok(record(&self.erasures, Some(key), self.codec.encode(erasure)?, at))
    }

    /// An entry of the audit log, keyed by tenant.
    pub fn audit(&self, entry: &AuditEntry) -> Result<NewRecord, EncodeError> {
        let key = entry.tenant.clone().into_bytes();
        Ok(record(&self.audit, Some(key), self.codec.encode(entry)?, entry.at))
    }
}

fn subject_key(event: &Event) -> Option<RecordKey> {
    if let Some(user_id) = &event.user_id {
        return Some(RecordKey::user(&event.tenant, user_id));
    }
    event.anonymous_id.as_ref().map(|id| RecordKey::anonymous(&event.tenant, id))
}

fn record(topic: &Arc<str>, key: Option<Vec<u8>>, value: Vec<u8>, at: EventTime) -> NewRecord {
    NewRecord {
        topic: topic.clone(),
        partition: None,
        key: key.map(Bytes::from),
        value: Some(value.into()),
        headers: Vec::new(),
        timestamp_ms: Some(at.0),
    }
}
