//! One full and one bare sample of every message, and generators, for tests.

use std::collections::BTreeMap;

use proptest::{collection, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use crate::{
    alert::{AlertAction, AlertCommand, AlertInstance, AlertState, Notification, Notified},
    audit::AuditEntry,
    breach::{BreachKind, BreachLevel, BreachReason, BreachStatus, TtfBreach},
    cohort::CohortSummary,
    erasure::Erasure,
    event::{Consent, Event, EventContext, EventType},
    record::{Anomaly, JourneyStatus, StageResult, TtfRecord},
    rejected::{RejectedEvent, RejectionReason},
    state::{AttemptState, Attribute, DeadlineState, JourneyState, Occurrence},
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
            attempt: String::new(),
            journey_version: 2,
            revision: 3,
            milestones: BTreeMap::from([("signup".into(), Occurrence { at: at(-60), event_id: "e-1".into() })]),
            segments: BTreeMap::from([("plan".into(), attribute.clone())]),
            experiments: BTreeMap::from([("onboarding".into(), attribute.clone())]),
            release: Some(attribute.clone()),
            deadlines: vec![DeadlineState { level: BreachLevel::Warning, firing: true, late: true, detected_at: NOW }],
            abandoned: true,
        }],
        segments: BTreeMap::from([("plan".into(), attribute.clone())]),
        experiments: BTreeMap::from([("pricing".into(), attribute.clone())]),
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
        alerts: vec![AlertInstance { breach: breach(), received_at: at(7) }],
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

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,12}"
}

fn time() -> impl Strategy<Value = EventTime> {
    // From 1900 to 2500.
    (-2_208_988_800_000_i64..16_725_225_600_000).prop_map(EventTime)
}

fn millis() -> impl Strategy<Value = Millis> {
    any::<i64>().prop_map(Millis)
}

fn map() -> impl Strategy<Value = BTreeMap<String, String>> {
    collection::btree_map(text(), text(), 0..3)
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::btree_map(text(), inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn context()(
        words in collection::vec(option::of(text()), 7),
        segments in map(),
        experiments in map(),
        consent in option::of((any::<bool>(), any::<bool>())),
    ) -> EventContext {
        let mut words = words.into_iter();
        let mut word = || words.next().flatten();
        EventContext {
            library_name: word(),
            library_version: word(),
            locale: word(),
            timezone: word(),
            ip: word(),
            user_agent: word(),
            release: word(),
            segments,
            experiments,
            consent: consent.map(|(analytics, marketing)| Consent { analytics, marketing }),
        }
    }
}

prop_compose! {
    pub fn any_event()(
        words in collection::vec(text(), 4),
        ids in collection::vec(option::of(text()), 4),
        event_type in select(vec![EventType::Track, EventType::TtfMilestone, EventType::Page, EventType::Unknown]),
        timestamp in time(),
        received_at in time(),
        original_timestamp in option::of(time()),
        sent_at in option::of(time()),
        properties in collection::btree_map(text(), json_value(), 0..4),
        context in context(),
        sealed in map(),
        replay in any::<bool>(),
    ) -> Event {
        let [tenant, source, event_id, event_name] = words.try_into().expect("four");
        let [user_id, anonymous_id, session_id, journey_id] = ids.try_into().expect("four");
        Event {
            tenant, source, event_id, event_name, event_type, timestamp, original_timestamp, sent_at, received_at,
            user_id, anonymous_id, session_id, journey_id,
            properties: properties.into_iter().collect(),
            context, sealed, replay,
        }
    }
}

prop_compose! {
    pub fn any_rejected()(
        words in collection::vec(text(), 3),
        received_at in time(),
        reasons in collection::vec((text(), text(), text()), 0..3),
        payload in collection::vec(any::<u8>(), 0..40),
        payload_bytes in any::<i64>(),
        schema_version in any::<i32>(),
        place in option::of((text(), any::<i32>(), any::<i64>())),
    ) -> RejectedEvent {
        let [tenant, source, payload_sha256] = words.try_into().expect("three");
        let (topic, partition, offset) = place.map_or((None, None, None), |(t, p, o)| (Some(t), Some(p), Some(o)));
        RejectedEvent {
            tenant, source, received_at,
            reasons: reasons
                .into_iter()
                .map(|(code, path, message)| RejectionReason { code, path, message })
                .collect(),
            payload, payload_bytes, payload_sha256, schema_version, topic, partition, offset,
        }
    }
}

prop_compose! {
    fn stage()(
        id in text(),
        from_at in option::of(time()),
        to_at in option::of(time()),
        duration_ms in option::of(millis()),
        target_ms in millis(),
        met in option::of(any::<bool>()),
        anomaly in option::of(select(vec![Anomaly::OutOfOrder, Anomaly::Skipped, Anomaly::Unknown])),
    ) -> StageResult {
        StageResult { id, from_at, to_at, duration_ms, target_ms, met, anomaly }
    }
}

prop_compose! {
    pub fn any_record()(
        words in collection::vec(text(), 5),
        options in collection::vec(option::of(text()), 3),
        numbers in (any::<i32>(), any::<i64>(), any::<i32>()),
        status in select(vec![JourneyStatus::InProgress, JourneyStatus::Abandoned, JourneyStatus::Erased]),
        times in (time(), option::of(time()), time()),
        total_ms in option::of(millis()),
        stages in collection::vec(stage(), 0..4),
        efficiency_score in option::of(0.0..=100.0_f64),
        breach_level in option::of(select(BreachLevel::ALL.to_vec())),
        maps in (map(), map()),
    ) -> TtfRecord {
        let [record_id, tenant, journey, user_id, attempt] = words.try_into().expect("five");
        let [current_stage, release, cause_event_id] = options.try_into().expect("three");
        TtfRecord {
            record_id, tenant, journey, user_id, attempt, status, total_ms, stages, current_stage,
            efficiency_score, breach_level, release, cause_event_id,
            journey_version: numbers.0,
            revision: numbers.1,
            generation: numbers.2,
            signup_at: times.0,
            completed_at: times.1,
            emitted_at: times.2,
            segments: maps.0,
            experiments: maps.1,
        }
    }
}

prop_compose! {
    pub fn any_breach()(
        words in collection::vec(text(), 5),
        kind in select(vec![BreachKind::Deadline, BreachKind::Predicted]),
        level in select(BreachLevel::ALL.to_vec()),
        status in select(vec![BreachStatus::Firing, BreachStatus::Resolved]),
        reason in option::of(select(vec![BreachReason::Completed, BreachReason::Revised, BreachReason::Erased])),
        threshold_ms in millis(),
        times in (time(), time(), time()),
        late in any::<bool>(),
        current_stage in option::of(text()),
        segments in map(),
        record_revision in any::<i64>(),
    ) -> TtfBreach {
        let [breach_id, tenant, journey, user_id, attempt] = words.try_into().expect("five");
        TtfBreach {
            breach_id, tenant, journey, user_id, attempt, kind, level, threshold_ms, status, reason,
            signup_at: times.0,
            due_at: times.1,
            detected_at: times.2,
            late, current_stage, segments, record_revision,
        }
    }
}

prop_compose! {
    pub fn any_notification()(
        words in collection::vec(text(), 6),
        level in select(BreachLevel::ALL.to_vec()),
        status in select(vec![BreachStatus::Firing, BreachStatus::Resolved]),
        labels in map(),
        alerts in collection::vec(any_breach(), 0..3),
        created_at in time(),
    ) -> Notification {
        let [notification_id, group_key, tenant, journey, receiver, reason] = words.try_into().expect("six");
        Notification {
            notification_id, group_key, tenant, journey, receiver, level, status, reason, labels, alerts, created_at,
        }
    }
}
