//! Messages for unit tests.

use std::collections::BTreeMap;

use telemetry_schemas::StageResult;
use telemetry_schemas::{
    JourneyStatus, TtfRecord,
    time::{EventTime, Millis},
};

/// A record of a user of `acme` in this revision.
pub fn record(user_id: &str, revision: i64) -> TtfRecord {
    TtfRecord {
        record_id: format!("record-{user_id}-{revision}"),
        tenant: "acme".to_owned(),
        journey: "onboarding".to_owned(),
        journey_version: 1,
        user_id: user_id.to_owned(),
        attempt: String::new(),
        revision,
        generation: 0,
        status: JourneyStatus::InProgress,
        signup_at: EventTime(1_700_000_000_000),
        completed_at: None,
        total_ms: None,
        stages: vec![StageResult {
            id: "signup_to_first_project".to_owned(),
            from_at: Some(EventTime(1_700_000_000_000)),
            to_at: None,
            duration_ms: None,
            target_ms: Millis(300_000),
            met: None,
            anomaly: None,
        }],
        current_stage: Some("signup_to_first_project".to_owned()),
        efficiency_score: None,
        breach_level: None,
        segments: BTreeMap::from([("plan".to_owned(), "pro".to_owned())]),
        experiments: BTreeMap::new(),
        release: None,
        cause_event_id: None,
        emitted_at: EventTime(1_700_000_000_500 + revision),
    }
}
