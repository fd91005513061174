//! The event as it is stored on `telemetry.events.v1`: checked, stamped, with personal data handled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::time::EventTime;

/// What kind of thing an event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    Track,
    TtfMilestone,
    Identify,
    Group,
    Page,
    Performance,
    Error,
    Test,
    /// A kind written by a newer program.
    #[serde(other)]
    Unknown,
}

/// One event. Field names are those of the native JSON form; the gateway fills in what the sender left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub tenant: String,
    /// Where it came in: `http`, `kafka`, or the CloudEvents `source`. Part of the event's identity.
    pub source: String,
    pub event_id: String,
    pub event_name: String,
    pub event_type: EventType,
    /// When it happened, after clock-skew correction.
    pub timestamp: EventTime,
    /// `timestamp` as the client sent it, when it was corrected.
    pub original_timestamp: Option<EventTime>,
    /// The batch's `sent_at`, by the client's clock.
    pub sent_at: Option<EventTime>,
    /// When the gateway received it.
    pub received_at: EventTime,
    pub user_id: Option<String>,
    pub anonymous_id: Option<String>,
    pub session_id: Option<String>,
    /// Names an attempt of a journey; without it the event belongs to the default attempt `""`.
    pub journey_id: Option<String>,
    /// JSON object as text (in Avro: a string), so that nested values survive unchanged.
    #[serde(default, with = "json_text")]
    pub properties: Map<String, Value>,
    #[serde(default)]
    pub context: EventContext,
    /// Direct identifiers, encrypted under the tenant's key; empty unless the privacy policy seals any.
    #[serde(default)]
    pub sealed: BTreeMap<String, String>,
    /// True when the event was put back through the pipe from the archive.
    #[serde(default)]
    pub replay: bool,
}

/// The known context keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EventContext {
    pub library_name: Option<String>,
    pub library_version: Option<String>,
    pub locale: Option<String>,
    pub timezone: Option<String>,
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    pub release: Option<String>,
    #[serde(default)]
    pub segments: BTreeMap<String, String>,
    #[serde(default)]
    pub experiments: BTreeMap<String, String>,
    pub consent: Option<Consent>,
}

/// What the person agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    pub analytics: bool,
    #[serde(default)]
    pub marketing: bool,
}

/// A JSON object carried as text.
mod json_text {
    use serde::{
        Deserializer, Serializer,
        de::{Error, Visitor},
    };
    use serde_json::{Map, Value};

    pub fn serialize<S: Serializer>(map: &Map<String, Value>, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(map).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Map<String, Value>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object as text")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                serde_json::from_str(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}
