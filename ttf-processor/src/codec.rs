//! Keys, inputs, states and outputs as bytes.

use std::sync::Arc;

use serde::Deserialize;
use stream_runtime::{
    keyed::{Codec, Poison},
    log::{NewRecord, RecordRef},
};
use telemetry_schemas::{
    AvroMessage, DecodeError, Event, EventTime, PatientCodec, RecordKey, Subject, TtfBreach,
    erasure::Erasure,
    rejected::{RejectedEvent, Unprocessable},
    state::JourneyState,
    topics,
};

use crate::{
    journey::{Emission, UserState, matching},
    processor::{Input, JourneyProcessor},
};

/// Times outside 1970–2099 are not times.
const TIMES: std::ops::Range<i64> = 0..4_102_444_800_000;

/// All that needs to be known of an event under an anonymous key.
#[derive(Deserialize)]
struct Whose {
    user_id: Option<String>,
}

/// The processor's side of the wire formats.
pub struct JourneyCodec {
    codec: PatientCodec,
    records: Arc<str>,
    breaches: Arc<str>,
    rejected: Arc<str>,
}

impl JourneyCodec {
    pub fn new(codec: telemetry_schemas::Codec) -> Self {
        Self {
            codec: PatientCodec::new(codec),
            records: topics::TTF_RECORDS.into(),
            breaches: topics::TTF_BREACHES.into(),
            rejected: topics::EVENTS_REJECTED.into(),
        }
    }

    fn event(&self, record: &RecordRef<'_>, key: RecordKey) -> Result<Option<(RecordKey, Input)>, Poison> {
        let event: Event = self.read(record)?;
        if key.tenant != event.tenant || key.user_id() != event.user_id.as_deref() {
            return Err(key_mismatch());
        }
        for (name, time) in [("timestamp", event.timestamp), ("received_at", event.received_at)] {
            if !TIMES.contains(&time.0) {
                let message = format!("`{name}` is outside the years 1970 to 2099");
                return Err(Poison { code: "absurd_time", message });
            }
        }
        Ok(matching::type_takes_part(event.event_type).then(|| (key, Input::Event(Box::new(event)))))
    }

    /// Takes no part; but a user's event under such a key would be lost without a word.
    fn anonymous(&self, record: &RecordRef<'_>) -> Result<Option<(RecordKey, Input)>, Poison> {
        let whose: Whose = self
            .codec
            .decode_view::<Event, Whose>(record.value.unwrap_or_default())
            .map_err(|error| undecodable(&error))?;
        if whose.user_id.is_some() { Err(key_mismatch()) } else { Ok(None) }
    }

    fn erasure(&self, record: &RecordRef<'_>, key: RecordKey) -> Result<Option<(RecordKey, Input)>, Poison> {
        let erasure: Erasure = self.read(record)?;
        if key.tenant != erasure.tenant || key.user_id() != Some(&erasure.user_id) {
            return Err(key_mismatch());
        }
        if !TIMES.contains(&erasure.erased_at.0) {
            let message = "`erased_at` is outside the years 1970 to 2099".to_owned();
            return Err(Poison { code: "absurd_time", message });
        }
        Ok(Some((key, Input::Erasure(erasure))))
    }

    fn read<T: AvroMessage>(&self, record: &RecordRef<'_>) -> Result<T, Poison> {
        let bytes = record
            .value
            .ok_or_else(|| Poison { code: "undecodable", message: "the record has no value".to_owned() })?;
        self.codec.decode(bytes).map_err(|error| undecodable(&error))
    }

    fn breach_record(&self, breach: &TtfBreach) -> NewRecord {
        let key = RecordKey::user(&*breach.tenant, &*breach.user_id).to_bytes();
        NewRecord::new(self.breaches.clone(), key, self.codec.encode(breach)).with_timestamp(breach.detected_at.0)
    }
}

impl Codec<JourneyProcessor> for JourneyCodec {
    fn decode(&self, record: &RecordRef<'_>) -> Result<Option<(RecordKey, Input)>, Poison> {
        // An event of nobody (a smoke test, a performance figure) has no key.
        if record.key.is_none() && record.topic == topics::EVENTS {
            return if told_irrelevant(record) { Ok(None) } else { self.anonymous(record) };
        }
        let key = self.decode_key(record.key.unwrap_or_default())?;
        if record.topic == topics::ERASURES {
            return self.erasure(record, key);
        }
        // Many events can be told by header and key to be nothing for us.
        if told_irrelevant(record) {
            return Ok(None);
        }
        match key.subject {
            Subject::User(_) => self.event(record, key),
            Subject::Anonymous(_) => self.anonymous(record),
        }
    }

    fn encode_key(&self, key: &RecordKey) -> Vec<u8> {
        key.to_bytes()
    }

    fn decode_key(&self, bytes: &[u8]) -> Result<RecordKey, Poison> {
        RecordKey::parse(bytes).map_err(|error| Poison { code: "key_malformed", message: error.to_string() })
    }

    fn encode_state(&self, state: &UserState) -> Vec<u8> {
        self.codec.encode(&state.kept)
    }

    fn decode_state(&self, bytes: &[u8]) -> Result<UserState, Poison> {
        self.codec.decode::<JourneyState>(bytes).map(UserState::from).map_err(|error| undecodable(&error))
    }

    fn encode_output(&self, output: &Emission, records: &mut Vec<NewRecord>) {
        records.push(match output {
            Emission::Record(record) => {
                let key = RecordKey::user(&*record.tenant, &*record.user_id).to_bytes();
                NewRecord::new(self.records.clone(), key, self.codec.encode(record)).with_timestamp(record.emitted_at.0)
            }
            Emission::Breach(breach) => self.breach_record(breach),
        });
    }

    fn encode_poison(&self, record: &RecordRef<'_>, poison: &Poison, now_ms: i64) -> NewRecord {
        let unprocessable = Unprocessable {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            key: record.key,
            value: record.value,
            code: poison.code,
            message: &poison.message,
        };
        let rejected = RejectedEvent::of_record("processor", unprocessable, EventTime(now_ms));
        let key = record.key.unwrap_or_default();
        NewRecord::new(self.rejected.clone(), key.to_vec(), self.codec.encode(&rejected)).with_timestamp(now_ms)
    }
}

fn told_irrelevant(record: &RecordRef<'_>) -> bool {
    matches!(record.header(topics::HEADER_EVENT_TYPE), Some(b"test" | b"performance" | b"error"))
}

fn key_mismatch() -> Poison {
    Poison { code: "key_mismatch", message: "the record's key names another tenant or user than its value".to_owned() }
}

fn undecodable(error: &DecodeError) -> Poison {
    Poison { code: "undecodable", message: error.to_string() }
}
