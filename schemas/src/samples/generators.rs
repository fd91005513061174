//! Random messages, for property tests.

use std::collections::BTreeMap;

use proptest::{collection, option, prelude::*, sample::select};
use serde_json::Value;

use crate::{
    alert::Notification,
    breach::{BreachKind, BreachLevel, BreachReason, BreachStatus, TtfBreach},
    event::{Consent, Event, EventContext, EventType},
    record::{Anomaly, JourneyStatus, StageResult, TtfRecord},
    rejected::{RejectedEvent, RejectionReason},
    time::{EventTime, Millis},
};

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
        maps in (map(), map(), map()),
        release in option::of(text()),
    ) -> TtfBreach {
        let [breach_id, tenant, journey, user_id, attempt] = words.try_into().expect("five");
        TtfBreach {
            breach_id, tenant, journey, user_id, attempt, kind, level, threshold_ms, status, reason,
            signup_at: times.0,
            due_at: times.1,
            detected_at: times.2,
            late, current_stage, segments, record_revision,
            experiments: maps.0,
            release,
            labels: maps.1,
            annotations: maps.2,
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
        who in (option::of(text()), option::of(text())),
        left_out in any::<i64>(),
    ) -> Notification {
        let [notification_id, group_key, tenant, journey, receiver, reason] = words.try_into().expect("six");
        Notification {
            notification_id, group_key, tenant, journey, receiver, level, status, reason, labels, alerts, created_at,
            acknowledged_by: who.0,
            assigned_to: who.1,
            left_out,
        }
    }
}
