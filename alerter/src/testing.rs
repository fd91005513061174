//! What the tests of this crate have in common.

use std::collections::BTreeMap;

use service_kit::config::{ConfigError, Sources, load_section};
use telemetry_schemas::{BreachKind, BreachLevel, BreachReason, BreachStatus, EventTime, Millis, TtfBreach};

use crate::config::AlerterConfig;

const DEFAULTS: &str = include_str!("../../config/telemetry.yaml");

/// 2026-01-31T09:30:00Z
pub const NOW: EventTime = EventTime(1_769_851_800_000);

/// The defaults with this section `alerter` over them.
pub fn load(section: &str) -> Result<AlerterConfig, ConfigError> {
    let indented = section.lines().fold("alerter:\n".to_owned(), |text, line| text + "  " + line + "\n");
    let layer = if section.is_empty() { "{}\n".to_owned() } else { indented };
    load_section(Sources::new(DEFAULTS).with_layer("the test", layer), "alerter")
}

pub fn config(section: &str) -> AlerterConfig {
    let config = load(section).unwrap_or_else(|error| panic!("{error}"));
    config.check().unwrap_or_else(|errors| panic!("{errors}"));
    config
}

/// A firing breach of the default journey, detected now.
pub fn breach(user: &str, level: BreachLevel) -> TtfBreach {
    let minutes = match level {
        BreachLevel::Warning | BreachLevel::Unknown => 75,
        BreachLevel::Critical => 120,
        BreachLevel::Escalation => 180,
    };
    let due_at = NOW.plus(Millis::from_secs(-65));
    TtfBreach {
        breach_id: format!("{user}-{}-firing", level.as_str()),
        tenant: "acme".to_owned(),
        journey: "onboarding".to_owned(),
        user_id: user.to_owned(),
        attempt: String::new(),
        kind: BreachKind::Deadline,
        level,
        threshold_ms: Millis::from_minutes(minutes),
        status: BreachStatus::Firing,
        reason: None,
        signup_at: due_at.plus(Millis::from_minutes(-minutes)),
        due_at,
        detected_at: NOW,
        late: false,
        current_stage: Some("first_agent_to_first_workflow".to_owned()),
        segments: BTreeMap::from([("channel".to_owned(), "ads".to_owned()), ("plan".to_owned(), "team".to_owned())]),
        record_revision: 4,
        experiments: BTreeMap::new(),
        release: None,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    }
}

/// The end of that breach.
pub fn resolved(user: &str, level: BreachLevel) -> TtfBreach {
    TtfBreach {
        breach_id: format!("{user}-{}-resolved", level.as_str()),
        status: BreachStatus::Resolved,
        reason: Some(BreachReason::Completed),
        current_stage: None,
        record_revision: 5,
        ..breach(user, level)
    }
}
