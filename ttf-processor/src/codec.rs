//! Keys, inputs, states and outputs as bytes.

use std::sync::Arc;

use stream_runtime::{
    keyed::{Codec, Poison, Undecoded},
    log::{NewRecord, RecordRef},
};
use telemetry_schemas::{
    DecodeError, EncodeError, Event, EventTime, PatientCodec, RecordKey, TtfBreach, TtfRecord,
    erasure::Erasure,
    key::RecordKeyRef,
    rejected::{RejectedEvent, Unprocessable},
    state::JourneyState,
    topics,
};

use crate::{
    journey::{Emission, EventView, UserState, matching},
    processor::{Input, JourneyProcessor},
};

/// Times outside 1970–2099 are not times.
const TIMES: std::ops::Range<i64> = 0..4_102_444_800_000;

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

    fn event<'a>(&self, record: &RecordRef<'a>) -> Result<Option<Input<'a>>, Undecoded> {
        let view = self.codec.impatient().decode_view::<Event, EventView<'a>>(value_of(record)?);
        let event = view.map_err(|error| unread(&error))?;
        let told = match record.key {
            Some(key) => key_of(key)?,
            // An event of nobody (a smoke test, a performance figure) has no key.
            None if event.user_id.is_none() => return Ok(None),
            None => return Err(key_mismatch().into()),
        };
        // An event of a user under another key would be lost without a word.
        if told.tenant != event.tenant || told.user_id() != event.user_id {
            return Err(key_mismatch().into());
        }
        for (name, time) in [("timestamp", event.timestamp), ("received_at", event.received_at)] {
            if !TIMES.contains(&time.0) {
                let message = format!("`{name}` is outside the years 1970 to 2099");
                return Err(Poison { code: "absurd_time", message }.into());
            }
        }
        let takes_part = told.is_user && matching::type_takes_part(event.event_type);
        Ok(takes_part.then_some(Input::Event(event)))
    }

    fn erasure<'a>(&self, record: &RecordRef<'a>) -> Result<Option<Input<'a>>, Undecoded> {
        let told = key_of(record.key.unwrap_or_default())?;
        let erasure: Erasure = self.codec.impatient().decode(value_of(record)?).map_err(|error| unread(&error))?;
        if told.tenant != erasure.tenant || told.user_id() != Some(&erasure.user_id) {
            return Err(key_mismatch().into());
        }
        if !TIMES.contains(&erasure.erased_at.0) {
            let message = "`erased_at` is outside the years 1970 to 2099".to_owned();
            return Err(Poison { code: "absurd_time", message }.into());
        }
        Ok(Some(Input::Erasure(erasure)))
    }

    /// Registers the schemas of all that is written.
    fn register(&self) -> Result<(), EncodeError> {
        let codec = self.codec.impatient();
        codec.register::<JourneyState>()?;
        codec.register::<TtfRecord>()?;
        codec.register::<TtfBreach>()?;
        codec.register::<RejectedEvent>()
    }

    fn breach_record(&self, breach: &TtfBreach) -> NewRecord {
        let key = RecordKey::user(&*breach.tenant, &*breach.user_id).to_bytes();
        NewRecord::new(self.breaches.clone(), key, self.codec.encode(breach)).with_timestamp(breach.detected_at.0)
    }
}

impl Codec<JourneyProcessor> for JourneyCodec {
    fn is_ready(&self) -> anyhow::Result<bool> {
        match self.register() {
            Ok(()) => Ok(true),
            // The registry's client has told so.
            Err(error) if error.is_retriable() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn decode<'a>(&self, record: &RecordRef<'a>) -> Result<Option<Input<'a>>, Undecoded> {
        if record.topic == topics::ERASURES { self.erasure(record) } else { self.event(record) }
    }

    fn decode_key(&self, bytes: &[u8]) -> Result<RecordKey, Poison> {
        key_of(bytes).map(RecordKeyRef::to_owned)
    }

    fn encode_state(&self, state: &UserState) -> Vec<u8> {
        self.codec.encode(&state.kept)
    }

    fn decode_state(&self, bytes: &[u8]) -> Result<UserState, Poison> {
        self.codec.decode_own::<JourneyState>(bytes).map(UserState::from).map_err(|error| undecodable(&error))
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

fn value_of<'a>(record: &RecordRef<'a>) -> Result<&'a [u8], Poison> {
    record.value.ok_or_else(|| Poison { code: "undecodable", message: "the record has no value".to_owned() })
}

fn key_of(bytes: &[u8]) -> Result<RecordKeyRef<'_>, Poison> {
    RecordKeyRef::parse(bytes).map_err(|error| Poison { code: "key_malformed", message: error.to_string() })
}

fn key_mismatch() -> Poison {
    Poison { code: "key_mismatch", message: "the record's key names another tenant or user than its value".to_owned() }
}

/// A record whose schema is unknown because the registry is away waits; what the registry does not have is poison.
fn unread(error: &DecodeError) -> Undecoded {
    if error.is_retriable() { Undecoded::NotYet(error.to_string()) } else { undecodable(error).into() }
}

fn undecodable(error: &DecodeError) -> Poison {
    Poison { code: "undecodable", message: error.to_string() }
}
