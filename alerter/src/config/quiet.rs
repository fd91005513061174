//! What keeps alerts quiet by configuration: inhibition, maintenance windows; and who is told when nobody answers.

use serde::{Deserialize, Serialize, de};
use service_kit::config::HumanDuration;
use telemetry_schemas::EventTime;

use super::Matcher;

/// While an alert that matches `source_matchers` fires, those that match `target_matchers` are not told, where both
/// agree in the labels of `equal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InhibitRule {
    #[serde(default)]
    pub name: Option<String>,
    pub source_matchers: Vec<Matcher>,
    pub target_matchers: Vec<Matcher>,
    #[serde(default)]
    pub equal: Vec<String>,
}

/// A silence that is known beforehand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    pub name: String,
    #[serde(deserialize_with = "instant", serialize_with = "rfc3339")]
    pub starts_at: EventTime,
    #[serde(deserialize_with = "instant", serialize_with = "rfc3339")]
    pub ends_at: EventTime,
    /// Which alerts it keeps quiet; none: all.
    #[serde(default)]
    pub matchers: Vec<Matcher>,
    #[serde(default)]
    pub comment: String,
}

/// Who is told, too, when nobody has acknowledged an alert for so long after it was first told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EscalationStep {
    pub after: HumanDuration,
    pub receiver: String,
}

fn instant<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<EventTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    EventTime::parse(&text).map_err(|_| {
        de::Error::custom(format!("`{text}` is no instant; expected RFC 3339, such as `2026-12-24T18:00:00Z`"))
    })
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn rfc3339<S: serde::Serializer>(at: &EventTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&at.to_rfc3339())
}
