//! Holds one event against the event schema and turns it into typed fields.
//!
//! The checks are written by hand, because one event must cost about a microsecond and because the answers have to
//! teach; tests hold them against `schemas/json/event.schema.json`, so that both accept and reject the same events.

mod context;
mod fields;
mod names;
mod properties;
pub mod rfc3339;
mod strict_json;

use std::fmt;

use serde_json::{Map, Value};
use telemetry_schemas::{
    event::{EventContext, EventType},
    time::EventTime,
};

pub use fields::{EVENT_TYPES, FIELDS, is_event_name, is_person_id, type_name};
pub use names::{bounded, kind, nearest, pointer_segment};

/// What is wrong with an event. The names follow RudderStack's violation kinds where they fit; senders branch on them,
/// so they are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    InvalidJson,
    InvalidUtf8,
    InvalidEncoding,
    NumberOutOfRange,
    DuplicateKey,
    TooLarge,
    RequiredMissing,
    DatatypeMismatch,
    AdditionalProperties,
    UnknownValue,
    OutOfRange,
    PatternMismatch,
    TooShort,
    TooLong,
    TooManyKeys,
    TooDeep,
    ControlCharacter,
    TimestampInvalid,
    TimestampInFuture,
    TimestampTooOld,
    KeyMismatch,
    ConsentMissing,
    UnplannedEvent,
}

impl Code {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid_json",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidEncoding => "invalid_encoding",
            Self::NumberOutOfRange => "number_out_of_range",
            Self::DuplicateKey => "duplicate_key",
            Self::TooLarge => "too_large",
            Self::RequiredMissing => "required_missing",
            Self::DatatypeMismatch => "datatype_mismatch",
            Self::AdditionalProperties => "additional_properties",
            Self::UnknownValue => "unknown_value",
            Self::OutOfRange => "out_of_range",
            Self::PatternMismatch => "pattern_mismatch",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::TooManyKeys => "too_many_keys",
            Self::TooDeep => "too_deep",
            Self::ControlCharacter => "control_character",
            Self::TimestampInvalid => "timestamp_invalid",
            Self::TimestampInFuture => "timestamp_in_future",
            Self::TimestampTooOld => "timestamp_too_old",
            Self::KeyMismatch => "key_mismatch",
            Self::ConsentMissing => "consent_missing",
            Self::UnplannedEvent => "unplanned_event",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that is wrong with an event. Never carries a value of the event, only names of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub code: Code,
    /// JSON Pointer into the event; empty for the event itself.
    pub path: String,
    pub message: String,
    /// What would be right, where that can be said.
    pub hint: Option<String>,
}

impl Violation {
    pub fn new(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, path: path.into(), message: message.into(), hint: None }
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// An event that meets the schema. Nothing is filled in yet.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidEvent {
    pub event_name: String,
    pub event_type: EventType,
    pub event_id: Option<String>,
    pub timestamp: Option<EventTime>,
    pub user_id: Option<String>,
    pub anonymous_id: Option<String>,
    pub session_id: Option<String>,
    pub journey_id: Option<String>,
    pub properties: Map<String, Value>,
    pub context: EventContext,
}

/// An event that does not meet the schema, with as much of its identity as could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Invalid {
    /// Never empty; the first one is the one reported in an answer.
    pub violations: Vec<Violation>,
    pub event_id: Option<String>,
    /// `event_type` as written, when it was a string.
    pub event_type: Option<String>,
    /// The event as read, when it was JSON at all; what the privacy policy redacts for the rejected topic.
    pub content: Option<Map<String, Value>>,
}

impl Invalid {
    /// An event of which nothing could be read.
    pub fn unread(violation: Violation) -> Self {
        Self { violations: vec![violation], event_id: None, event_type: None, content: None }
    }
}

/// At most so many violations of one event are reported.
pub const MAX_VIOLATIONS: usize = 16;

/// An event's JSON that was found to meet the schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked(Map<String, Value>);

impl Checked {
    /// The time the sender states.
    pub fn timestamp(&self) -> Option<EventTime> {
        self.0.get("timestamp").and_then(Value::as_str).and_then(rfc3339::parse)
    }

    /// The JSON.
    pub fn content(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The JSON, to be redacted in place. Values may be replaced by texts and optional keys left out.
    pub fn content_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.0
    }

    /// Takes the event apart into typed fields.
    pub fn take(self) -> ValidEvent {
        fields::take(self.0)
    }

    /// Refuses the event after all, for reasons the schema does not know; there is at least one.
    pub fn into_invalid(self, violations: Vec<Violation>) -> Invalid {
        invalid(violations, self.0)
    }
}

/// Checks the JSON text of one event.
pub fn event(raw: &[u8], max_bytes: usize) -> Result<Checked, Box<Invalid>> {
    object(read_object(raw, max_bytes)?)
}

/// Reads the JSON text of one record, whatever its form.
pub fn read_object(raw: &[u8], max_bytes: usize) -> Result<Map<String, Value>, Box<Invalid>> {
    if raw.len() > max_bytes {
        let message = format!("the event has {} bytes, at most {max_bytes} are taken", raw.len());
        return Err(Box::new(Invalid::unread(Violation::new(Code::TooLarge, "", message))));
    }
    let value = strict_json::read(raw).map_err(|violation| Box::new(Invalid::unread(violation)))?;
    let Value::Object(map) = value else {
        let message = format!("an event must be an object, this is {}", names::kind(&value));
        return Err(Box::new(Invalid::unread(Violation::new(Code::DatatypeMismatch, "", message))));
    };
    Ok(map)
}

/// Reads any JSON value, as strictly as events are read.
pub fn json(raw: &[u8]) -> Result<Value, Violation> {
    strict_json::read(raw)
}

/// Checks an event's object.
pub fn object(map: Map<String, Value>) -> Result<Checked, Box<Invalid>> {
    let violations = fields::check(&map);
    if violations.is_empty() { Ok(Checked(map)) } else { Err(Box::new(invalid(violations, map))) }
}

fn invalid(violations: Vec<Violation>, map: Map<String, Value>) -> Invalid {
    let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
    Invalid {
        violations,
        event_id: text("event_id").filter(|id| fields::is_event_id(id)),
        event_type: text("event_type"),
        content: Some(map),
    }
}
