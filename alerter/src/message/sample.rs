//! Notifications to try templates and receivers on.

use std::collections::BTreeMap;

use telemetry_schemas::{
    BreachKind, BreachLevel, BreachReason, BreachStatus, EventTime, Millis, TtfBreach, alert::Notification,
};

use crate::route;

/// 2026-01-31T09:30:00Z
pub const NOW: EventTime = EventTime(1_769_851_800_000);

/// One notification of every kind.
pub fn samples() -> Vec<Notification> {
    let over = |reason| TtfBreach {
        status: BreachStatus::Resolved,
        reason: Some(reason),
        current_stage: None,
        ..breach("ada", BreachLevel::Warning)
    };
    let nobodys = TtfBreach {
        kind: BreachKind::Cohort,
        user_id: String::new(),
        current_stage: None,
        segments: BTreeMap::new(),
        labels: BTreeMap::from([("segment".to_owned(), "plan=team".to_owned())]),
        annotations: BTreeMap::from([("summary".to_owned(), "plan=team completes less than it did".to_owned())]),
        ..breach("", BreachLevel::Critical)
    };
    let many = ["ada", "bob", "cy", "dee", "eve"].map(|user| breach(user, BreachLevel::Escalation));
    let mut samples = vec![
        notification_of(vec![breach("ada", BreachLevel::Critical), breach("ada", BreachLevel::Warning)], "team", NOW),
        notification_of(many.into_iter().chain([over(BreachReason::Revised)]).collect(), "team", NOW),
        notification_of(vec![nobodys.clone()], "team", NOW),
        notification_of(vec![TtfBreach { status: BreachStatus::Resolved, ..nobodys }], "team", NOW),
        notification_of(
            vec![TtfBreach {
                attempt: "again".to_owned(),
                segments: BTreeMap::new(),
                current_stage: None,
                ..breach("ada", BreachLevel::Warning)
            }],
            "team",
            NOW,
        ),
    ];
    for reason in [BreachReason::Completed, BreachReason::Revised, BreachReason::Erased, BreachReason::Unknown] {
        samples.push(notification_of(vec![over(reason)], "team", NOW));
    }
    for reason in ["level_raised", "alerts_added", "repeat_interval_elapsed", "acknowledged", "assigned"] {
        samples.push(Notification {
            reason: reason.to_owned(),
            acknowledged_by: Some("grace".to_owned()),
            assigned_to: Some("grace".to_owned()),
            left_out: 12,
            ..samples[1].clone()
        });
    }
    // Those who were listed are no longer late, others are.
    samples.push(Notification { alerts: Vec::new(), left_out: 30_000, ..samples[1].clone() });
    samples
}

/// The notification of a group of these breaches, which must not be none, to a receiver.
pub fn notification_of(alerts: Vec<TtfBreach>, receiver: &str, now: EventTime) -> Notification {
    let first = &alerts[0];
    let is_personal = alerts.iter().all(|alert| (&alert.user_id, &alert.attempt) == (&first.user_id, &first.attempt));
    let group: &[&str] =
        if is_personal { &["tenant", "journey", "user_id", "attempt"] } else { &["tenant", "journey"] };
    let firing = alerts.iter().filter(|alert| alert.status == BreachStatus::Firing).map(|alert| alert.level).max();
    let highest = alerts.iter().map(|alert| alert.level).max().unwrap_or(BreachLevel::Warning);
    Notification {
        notification_id: "0123456789abcdef0123456789abcdef".to_owned(),
        group_key: format!("ttf:{}:{}:sample", first.tenant, first.journey),
        tenant: first.tenant.clone(),
        journey: first.journey.clone(),
        receiver: receiver.to_owned(),
        level: firing.unwrap_or(highest),
        status: if firing.is_some() { BreachStatus::Firing } else { BreachStatus::Resolved },
        reason: if firing.is_some() { "first_notification" } else { "resolved" }.to_owned(),
        labels: route::labels(first).into_iter().filter(|(name, _)| group.contains(&name.as_str())).collect(),
        created_at: now,
        acknowledged_by: None,
        assigned_to: None,
        left_out: 0,
        alerts,
    }
}

/// A firing breach of the default journey.
pub fn breach(user: &str, level: BreachLevel) -> TtfBreach {
    let minutes = match level {
        BreachLevel::Warning | BreachLevel::Unknown => 75,
        BreachLevel::Critical => 120,
        BreachLevel::Escalation => 180,
    };
    let due_at = NOW.plus(Millis::from_secs(-65));
    TtfBreach {
        breach_id: format!("sample-{user}-{}", level.as_str()),
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
