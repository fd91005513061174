//! Journeys as they are written in YAML (section `journeys`).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use service_kit::config::HumanDuration;
use telemetry_schemas::{BreachLevel, EventTime};

/// One version of one journey. Several versions of a journey are several entries with the same `id`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JourneyDefinition {
    /// Name of the journey, on every record.
    pub id: String,
    /// Counts up from 1.
    pub version: i32,
    /// Signups from this instant on (event time) belong to this version. In the future when it is loaded first.
    /// The oldest version loaded takes every earlier signup too, and needs none.
    #[serde(default, with = "optional_instant", skip_serializing_if = "Option::is_none")]
    pub effective_from: Option<EventTime>,
    /// In the journey's order. The first starts the clock, the last is success.
    pub milestones: Vec<MilestoneDefinition>,
    /// A chain from the first milestone to the last.
    pub stages: Vec<StageDefinition>,
    /// The whole way.
    pub total: TotalDefinition,
    /// Ascending.
    #[serde(default)]
    pub deadlines: Vec<DeadlineDefinition>,
    /// Names of properties or context values that records carry as segments; nothing else is taken.
    #[serde(default)]
    pub segments: Vec<String>,
    /// Names of experiments that records carry.
    #[serde(default)]
    pub experiments: Vec<String>,
    /// How long after a deadline an event may still come in before the deadline is judged.
    #[serde(default = "default_grace")]
    pub grace: HumanDuration,
    /// A deadline found missed longer after it was due than this is recorded as late and never notified.
    #[serde(default = "default_max_alert_lateness")]
    pub max_alert_lateness: HumanDuration,
    /// Without success this long after signup, a journey is labelled abandoned (until success comes after all).
    #[serde(default = "default_abandon_after")]
    pub abandon_after: HumanDuration,
    /// How long a user's state is kept after the last event was received. The longest of all journeys counts.
    #[serde(default = "default_state_ttl")]
    pub state_ttl: HumanDuration,
}

/// What counts as reaching a milestone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MilestoneDefinition {
    pub id: String,
    /// Event names, any of which counts.
    pub events: Vec<String>,
    /// Property name → the value, or the list of values one of which it must have. A name with dots that is not
    /// itself a property is a path into nested objects. All must hold.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub conditions: BTreeMap<String, Value>,
}

/// The way between two milestones.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageDefinition {
    pub id: String,
    pub from: String,
    pub to: String,
    pub target: HumanDuration,
}

/// The way from the first milestone to the last.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TotalDefinition {
    pub target: HumanDuration,
}

/// A time after signup by which success is due.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadlineDefinition {
    pub level: BreachLevel,
    pub after: HumanDuration,
}

fn default_grace() -> HumanDuration {
    duration("5s")
}

fn default_max_alert_lateness() -> HumanDuration {
    duration("24h")
}

fn default_abandon_after() -> HumanDuration {
    duration("14d")
}

fn default_state_ttl() -> HumanDuration {
    duration("430d")
}

fn duration(text: &str) -> HumanDuration {
    text.parse().expect("the durations written here parse")
}

/// An instant as RFC 3339.
mod optional_instant {
    use super::{Deserialize, Deserializer, EventTime, Serializer};

    #[allow(clippy::ref_option, reason = "the signature is serde's")]
    pub fn serialize<S: Serializer>(instant: &Option<EventTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match instant {
            Some(instant) => serializer.serialize_str(&instant.to_rfc3339()),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EventTime>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        EventTime::parse(&text)
            .map(Some)
            .map_err(|error| serde::de::Error::custom(format!("`{text}` is not an RFC 3339 instant: {error}")))
    }
}
