//! What the tests of this crate have in common.

use service_kit::config::{ConfigError, Sources, load_section};
use telemetry_schemas::{BreachLevel, BreachReason, BreachStatus, Millis, TtfBreach, cohort::CohortSummary};

pub use crate::message::sample::NOW;
use crate::{config::AlerterConfig, message::sample};

const DEFAULTS: &str = include_str!("../../config/telemetry.yaml");

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
    TtfBreach { breach_id: format!("{user}-{}-firing", level.as_str()), ..sample::breach(user, level) }
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

/// Of those who reached a stage, so many did it within target; in seconds half of them.
pub fn cohort(
    window: &str,
    stage: &str,
    plan: Option<&str>,
    reached: i64,
    within: i64,
    median_s: i64,
) -> CohortSummary {
    CohortSummary {
        tenant: "acme".to_owned(),
        journey: "onboarding".to_owned(),
        stage: stage.to_owned(),
        window: window.to_owned(),
        segment_name: plan.map(|_| "plan".to_owned()),
        segment_value: plan.map(str::to_owned),
        started: reached,
        reached,
        completed: within,
        within_target: within,
        median_ms: Some(Millis::from_secs(median_s)),
        p90_ms: Some(Millis::from_secs(median_s * 2)),
        efficiency_score: None,
        breaches_open: 0,
        evaluated_at: NOW,
    }
}
