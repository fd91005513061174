//! What is kept, as operators see it: JSON with users named as messages name them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use telemetry_schemas::{BreachStatus, EventTime, TtfBreach, alert::AlertState};

use crate::{
    config::Matcher,
    delivery::receipts::{self, Receipt, Undelivered},
    group::{
        decide::{self, Reason},
        room, state,
    },
    message::Naming,
    mutes::{Mutes, Silence},
    route::{Labels, Routes, all_labels},
};

/// Alerts that are listed one by one.
const MAX_EXAMPLES: usize = 50;

/// The short name of a group.
pub fn id(group: &AlertState) -> &str {
    group.group_key.rsplit(':').next().unwrap_or_default()
}

/// One word for where a group stands.
pub fn status(group: &AlertState, mutes: &Mutes, now: EventTime) -> &'static str {
    if state::is_over(group) {
        return "over";
    }
    let firing: Vec<_> = group.alerts.iter().filter(|alert| alert.breach.status == BreachStatus::Firing).collect();
    let is_unlisted = state::has_unlisted(group);
    if firing.is_empty() && !is_unlisted {
        return "resolving";
    }
    if group.silenced_until.is_some_and(|until| now < until)
        || !firing.is_empty() && firing.iter().all(|alert| mutes.check(&all_labels(&alert.breach), now).is_some())
    {
        return "suppressed";
    }
    if group.acknowledged_by.is_some() { "acknowledged" } else { "firing" }
}

/// Whether all matchers match the group's labels or those of one of its alerts.
pub fn matches(group: &AlertState, matchers: &[Matcher]) -> bool {
    let all = |labels: &Labels| matchers.iter().all(|matcher| matcher.matches(labels));
    all(&group.labels) || group.alerts.iter().any(|alert| all(&all_labels(&alert.breach)))
}

/// A group in a list.
pub fn summary(group: &AlertState, naming: &Naming, mutes: &Mutes, now: EventTime) -> Value {
    let firing = || group.alerts.iter().filter(|alert| alert.breach.status == BreachStatus::Firing);
    let users: BTreeSet<_> = firing().map(|alert| (&alert.breach.user_id, &alert.breach.attempt)).collect();
    let not_listed = room::not_listed(group);
    let since = group.alerts.iter().map(|alert| alert.breach.due_at).min();
    let last = group.history.last();
    json!({
        "id": id(group),
        "group_key": group.group_key,
        "status": status(group, mutes, now),
        "level": decide::firing_level(group).map(telemetry_schemas::BreachLevel::as_str),
        "labels": named(&group.labels, naming),
        "firing": firing().count(),
        "users": users.len() + not_listed,
        "left_out": not_listed,
        "since": since.map(EventTime::to_rfc3339),
        "told": group.notified.iter().map(|told| json!({
            "receiver": told.receiver, "level": told.level.as_str(), "at": told.at.to_rfc3339(),
        })).collect::<Vec<_>>(),
        "acknowledged_by": group.acknowledged_by,
        "acknowledged_at": group.acknowledged_at.map(EventTime::to_rfc3339),
        "assigned_to": group.assigned_to,
        "silenced_until": group.silenced_until.filter(|until| now < *until).map(EventTime::to_rfc3339),
        "silenced_by": group.silenced_by,
        "silence_comment": group.silence_comment,
        "next_look_at": group.next_flush_at.filter(|_| !state::is_over(group)).map(EventTime::to_rfc3339),
        "last_decision": last.map(|decided| decided.reason.clone()),
    })
}

/// A group with its alerts.
pub fn whole(group: &AlertState, naming: &Naming, mutes: &Mutes, now: EventTime) -> Value {
    let mut whole = summary(group, naming, mutes, now);
    let alert = |breach: &TtfBreach, told: Option<EventTime>| {
        let muted = mutes.check(&all_labels(breach), now).map(|muted| muted.describe());
        json!({
            "labels": named(&all_labels(breach), naming),
            "annotations": breach.annotations,
            "status": breach.status.as_str(),
            "due_at": breach.due_at.to_rfc3339(),
            "detected_at": breach.detected_at.to_rfc3339(),
            "told_at": told.map(EventTime::to_rfc3339),
            "suppressed": muted,
        })
    };
    let alerts: Vec<Value> =
        group.alerts.iter().take(MAX_EXAMPLES).map(|known| alert(&known.breach, known.told_at)).collect();
    whole["alerts"] = alerts.into();
    whole
}

/// What was decided about a group and why; what is still to come.
pub fn why(group: &AlertState, routes: &Routes, naming: &Naming, mutes: &Mutes, now: EventTime) -> Value {
    let meaning = |reason: &str| {
        Reason::ALL.into_iter().find(|known| known.as_str() == reason).map_or("", |known| known.explain())
    };
    let decisions: Vec<Value> = group
        .history
        .iter()
        .map(|decided| {
            json!({
                "at": decided.at.to_rfc3339(), "last_at": decided.last_at.to_rfc3339(), "times": decided.times,
                "reason": decided.reason, "meaning": meaning(&decided.reason), "told": decided.told,
                "detail": decided.detail,
            })
        })
        .collect();
    let mut why = summary(group, naming, mutes, now);
    why["decisions"] = decisions.into();
    let alert = group.alerts.first().map(|alert| all_labels(&alert.breach));
    if let Some(routed) = alert.and_then(|labels| routes.find(&group.group_key, &labels)) {
        let steps = routed.steps.iter().map(|step| json!({ "after_ms": step.after.0, "receiver": step.receiver }));
        why["route"] = json!({
            "receiver": routed.receiver,
            "group_by": routed.labels.keys().collect::<Vec<_>>(),
            "group_wait_ms": routed.timing.group_wait.0,
            "group_interval_ms": routed.timing.group_interval.0,
            "repeat_interval_ms": routed.timing.repeat_interval.map(|interval| interval.0),
            "escalation": steps.collect::<Vec<_>>(),
            "may_speak_now": routed.hours.check(now).is_ok(),
        });
    }
    why
}

/// What each receiver has heard of a group, and what it was not told.
pub fn deliveries(receipts: &BTreeMap<String, Receipt>) -> Value {
    let undelivered = |entry: &Undelivered| {
        json!({
            "at": EventTime(entry.at).to_rfc3339(), "decision": entry.decision, "outcome": entry.outcome,
            "meaning": receipts::meaning(&entry.outcome), "detail": entry.detail,
        })
    };
    let delivery = |(receiver, receipt): (&String, &Receipt)| {
        json!({
            "receiver": receiver,
            "heard_by": receipt.told.keys().collect::<Vec<_>>(),
            "is_being_tried": receipt.trying.is_some(),
            "undelivered": receipt.undelivered.iter().map(undelivered).collect::<Vec<_>>(),
        })
    };
    receipts.iter().map(delivery).collect()
}

/// A silence.
pub fn silence(state: &AlertState, now: EventTime) -> Option<Value> {
    let silence = Silence::read(state)?;
    let status = if silence.is_active(now) { "active" } else { "pending" };
    let is_over = now >= silence.ends_at;
    Some(json!({
        "id": silence.id,
        "status": if is_over { "expired" } else { status },
        "matchers": silence.matchers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "starts_at": silence.starts_at.to_rfc3339(),
        "ends_at": silence.ends_at.to_rfc3339(),
        "created_by": silence.by,
        "comment": silence.comment,
    }))
}

/// Where an alert with these labels would go.
pub fn destinations(routes: &Routes, labels: &Labels, mutes: &Mutes, now: EventTime) -> Value {
    let routed = routes.route(labels);
    let muted = mutes.check(labels, now).map(|muted| muted.describe());
    let destinations: Vec<Value> = routed
        .iter()
        .map(|routed| {
            let closed = routed.hours.check(now).err().map(|closed| format!("{closed:?}"));
            let steps = routed.steps.iter().map(|step| json!({ "after_ms": step.after.0, "receiver": step.receiver }));
            json!({
                "receiver": routed.receiver, "group_by": routed.labels.keys().collect::<Vec<_>>(),
                "group_wait_ms": routed.timing.group_wait.0, "closed": closed, "escalation": steps.collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "destinations": destinations, "suppressed": muted })
}

fn named(labels: &Labels, naming: &Naming) -> Labels {
    let mut labels = labels.clone();
    let tenant = labels.get("tenant").cloned().unwrap_or_default();
    if let Some(user) = labels.get_mut("user_id").filter(|user| !user.is_empty()) {
        *user = naming.user(&tenant, user);
    }
    labels.retain(|_, value| !value.is_empty());
    labels
}
