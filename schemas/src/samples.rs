//! One full sample of every message, for tests; random ones are made in [`generators`].

pub mod generators;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    alert::{AlertAction, AlertCommand, AlertInstance, AlertState, Decided, Notification, Notified},
    audit::AuditEntry,
    breach::{BreachKind, BreachLevel, BreachReason, BreachStatus, TtfBreach},
    cohort::CohortSummary,
    erasure::Erasure,
    event::{Consent, Event, EventContext, EventType},
    record::{Anomaly, JourneyStatus, StageResult, TtfRecord},
    rejected::{RejectedEvent, RejectionReason},
    state::{AttemptState, Attribute, ByName, DeadlineState, JourneyState, Occurrence},
    time::{EventTime, Millis},
};

/// 2026-11-23T09:15:30.250Z
pub const NOW: EventTime = EventTime(1_795_425_330_250);

pub fn at(seconds: i64) -> EventTime {
    NOW.plus(Millis::from_secs(seconds))
}

pub fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => panic!("not an object"),
    }
}

pub fn event() -> Event {
    Event {
        tenant: "acme".into(),
        source: "http".into(),
        event_id: "018f6f8e-7d4e-7c3a-9b1a-2f6d3c1e5a90".into(),
        event_name: "first_project_created".into(),
        event_type: EventType::TtfMilestone,
        timestamp: NOW,
        original_timestamp: Some(at(-600)),
        sent_at: Some(at(-599)),
        received_at: at(1),
        user_id: Some("u-42".into()),
        anonymous_id: Some("a-7".into()),
        session_id: Some("s-1".into()),
        journey_id: Some("2026-q4".into()),
        properties: object(json!({"project_id": "p-1", "size": 3, "tags": ["a", null], "nested": {"ok": true}})),
        context: EventContext {
            library_name: Some("telemetry-python".into()),
            library_version: Some("1.2.0".into()),
            locale: Some("de-CH".into()),
            timezone: Some("Europe/Zurich".into()),
            ip: Some("203.0.113.0".into()),
            user_agent: Some("Mozilla/5.0".into()),
            release: Some("2026.47".into()),
            segments: strings(&[("plan", "pro"), ("region", "emea")]),
            experiments: strings(&[("onboarding", "b")]),
            consent: Some(Consent { analytics: true, marketing: false }),
        },
        sealed: strings(&[("email", "v1:9f8e")]),
        replay: true,
    }
}

pub fn bare_event() -> Event {
    Event {
        event_type: EventType::Test,
        event_name: "test".into(),
        original_timestamp: None,
        sent_at: None,
        user_id: None,
        anonymous_id: None,
        session_id: None,
        journey_id: None,
        properties: Map::new(),
        context: EventContext::default(),
        sealed: BTreeMap::new(),
        replay: false,
        ..event()
    }
}

pub fn rejected() -> RejectedEvent {
    RejectedEvent {
        tenant: "acme".into(),
        source: "http".into(),
        received_at: NOW,
        reasons: vec![RejectionReason {
            code: "required_missing".into(),
            path: "/event_name".into(),
            message: "event_name is required".into(),
        }],
        payload: br#"{"event_type":"track"}"#.to_vec(),
        payload_bytes: 22,
        payload_sha256: "c0ffee".into(),
        schema_version: 1,
        topic: Some("telemetry.events.raw.v1".into()),
        partition: Some(3),
        offset: Some(42),
    }
}

pub fn state() -> JourneyState {
    let attribute = Attribute { value: "pro".into(), at: at(-5), event_id: "e-2".into() };
    JourneyState {
        generation: 1,
        erased_at: Some(at(-1_000)),
        last_received_at: NOW,
        attempts: vec![AttemptState {
            journey: "onboarding".into(),
            attempt: "".into(),
            journey_version: 2,
            revision: 3,
            milestones: ByName::from_iter([("signup".into(), Occurrence { at: at(-60), event_id: "e-1".into() })]),
            segments: ByName::from_iter([("plan".into(), attribute.clone())]),
            experiments: ByName::from_iter([("onboarding".into(), attribute.clone())]),
            release: Some(attribute.clone()),
            deadlines: vec![DeadlineState { level: BreachLevel::Warning, firing: true, late: true, detected_at: NOW }],
            abandoned: true,
        }],
        segments: ByName::from_iter([("plan".into(), attribute.clone())]),
        experiments: ByName::from_iter([("pricing".into(), attribute.clone())]),
        release: Some(attribute),
    }
}

pub fn record() -> TtfRecord {
    TtfRecord {
        record_id: "0f".repeat(16),
        tenant: "acme".into(),
        journey: "onboarding".into(),
        journey_version: 1,
        user_id: "u-42".into(),
        attempt: "2026-q4".into(),
        revision: 4,
        generation: 1,
        status: JourneyStatus::Completed,
        signup_at: at(-3_600),
        completed_at: Some(NOW),
        total_ms: Some(Millis(3_600_000)),
        stages: vec![
            StageResult {
                id: "signup_to_first_project".into(),
                from_at: Some(at(-3_600)),
                to_at: Some(at(-3_500)),
                duration_ms: Some(Millis(100_000)),
                target_ms: Millis::from_minutes(5),
                met: Some(true),
                anomaly: Some(Anomaly::OutOfOrder),
            },
            StageResult {
                id: "first_project_to_first_agent".into(),
                from_at: Some(at(-3_500)),
                to_at: None,
                duration_ms: None,
                target_ms: Millis::from_minutes(10),
                met: None,
                anomaly: Some(Anomaly::Skipped),
            },
        ],
        current_stage: Some("first_project_to_first_agent".into()),
        efficiency_score: Some(87.5),
        breach_level: Some(BreachLevel::Critical),
        segments: strings(&[("plan", "pro")]),
        experiments: strings(&[("onboarding", "b")]),
        release: Some("2026.47".into()),
        cause_event_id: Some("e-9".into()),
        emitted_at: at(2),
    }
}

pub fn breach() -> TtfBreach {
    TtfBreach {
        breach_id: "0e".repeat(16),
        tenant: "acme".into(),
        journey: "onboarding".into(),
        user_id: "u-42".into(),
        attempt: String::new(),
        kind: BreachKind::Deadline,
        level: BreachLevel::Escalation,
        threshold_ms: Millis::from_minutes(180),
        status: BreachStatus::Resolved,
        reason: Some(BreachReason::Revised),
        signup_at: at(-10_800),
        due_at: NOW,
        detected_at: at(6),
        late: true,
        current_stage: Some("first_workflow_to_first_success".into()),
        segments: strings(&[("plan", "pro")]),
        record_revision: 5,
        experiments: strings(&[("onboarding", "b")]),
        release: Some("2026.47".into()),
        labels: strings(&[("check", "completion")]),
        annotations: strings(&[("summary", "fewer complete it")]),
    }
}

pub fn cohort() -> CohortSummary {
    CohortSummary {
        tenant: "acme".into(),
        journey: "onboarding".into(),
        stage: "total".into(),
        window: "24h".into(),
        segment_name: Some("plan".into()),
        segment_value: Some("pro".into()),
        started: 100,
        reached: 80,
        completed: 60,
        within_target: 40,
        median_ms: Some(Millis::from_minutes(42)),
        p90_ms: Some(Millis::from_minutes(120)),
        efficiency_score: Some(61.25),
        breaches_open: 3,
        evaluated_at: NOW,
    }
}

pub fn audit() -> AuditEntry {
    AuditEntry {
        audit_id: "au-1".into(),
        tenant: "acme".into(),
        at: NOW,
        actor: "ops-key".into(),
        action: "silence".into(),
        target: "ttf:acme:onboarding:plan=pro".into(),
        origin: "203.0.113.0".into(),
        details: strings(&[("until", "2026-11-24")]),
    }
}

pub fn alert_state() -> AlertState {
    AlertState {
        group_key: "ttf:acme:onboarding:plan=pro".into(),
        labels: strings(&[("plan", "pro")]),
        alerts: vec![AlertInstance { breach: breach(), received_at: at(7), told_at: Some(at(8)) }],
        notified: vec![Notified {
            receiver: "slack".into(),
            level: BreachLevel::Warning,
            status: BreachStatus::Firing,
            at: NOW,
            fingerprint: "ab12".into(),
        }],
        acknowledged_by: Some("ada".into()),
        silenced_until: Some(at(3_600)),
        next_flush_at: Some(at(30)),
        sequence: 2,
        acknowledged_at: Some(at(60)),
        acknowledged_level: Some(BreachLevel::Warning),
        assigned_to: Some("grace".into()),
        silenced_by: Some("ada".into()),
        silence_comment: Some("known outage".into()),
        silence_matchers: vec![r#"level="warning""#.into()],
        silence_starts_at: Some(NOW),
        first_told_at: Some(NOW),
        escalated: 1,
        left_out: 3,
        left_out_told: 2,
        left_out_at: Some(NOW),
        unlisted: b"\x01\x02\x03\x04\x05\x06\x07\x09".to_vec(),
        unlisted_ended: b"\x08\x02\x03\x04\x05\x06\x07\x09".to_vec(),
        routed_to: vec!["ttf:acme:onboarding:ab".into()],
        history: vec![Decided {
            at: NOW,
            last_at: at(60),
            times: 2,
            reason: "first_notification".into(),
            told: vec!["slack".into()],
            detail: "1 firing".into(),
        }],
    }
}

pub fn notification() -> Notification {
    Notification {
        notification_id: "0d".repeat(16),
        group_key: "ttf:acme:onboarding:plan=pro".into(),
        tenant: "acme".into(),
        journey: "onboarding".into(),
        receiver: "slack".into(),
        level: BreachLevel::Critical,
        status: BreachStatus::Firing,
        reason: "level_raised".into(),
        labels: strings(&[("plan", "pro")]),
        alerts: vec![breach()],
        created_at: NOW,
        acknowledged_by: Some("ada".into()),
        assigned_to: Some("grace".into()),
        left_out: 3,
    }
}

pub fn command() -> AlertCommand {
    AlertCommand {
        command_id: "c-1".into(),
        group_key: "ttf:acme:onboarding:plan=pro".into(),
        action: AlertAction::Silence,
        by: "ada".into(),
        at: NOW,
        until: Some(at(3_600)),
        comment: Some("known outage".into()),
        matchers: vec![r#"level="warning""#.into()],
        starts_at: Some(NOW),
        assignee: Some("grace".into()),
    }
}

pub fn erasure() -> Erasure {
    Erasure {
        erasure_id: "er-1".into(),
        tenant: "acme".into(),
        user_id: "u-42".into(),
        erased_at: NOW,
        requested_by: "privacy-key".into(),
        reason: Some("request 7".into()),
    }
}

/// Calls `$check!(sample)` for a sample of every message.
macro_rules! for_every_message {
    ($check:ident) => {{
        use crate::samples;
        $check!(samples::event());
        $check!(samples::rejected());
        $check!(samples::state());
        $check!(samples::record());
        $check!(samples::breach());
        $check!(samples::cohort());
        $check!(samples::audit());
        $check!(samples::alert_state());
        $check!(samples::notification());
        $check!(samples::command());
        $check!(samples::erasure());
    }};
}
pub(crate) use for_every_message;
