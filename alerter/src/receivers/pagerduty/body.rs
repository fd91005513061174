//! A notification as an event, within `PagerDuty`'s limits.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use telemetry_schemas::{BreachLevel, BreachStatus};

use crate::message::{Message, clip};

/// Characters of the summary.
const MAX_SUMMARY: usize = 1_024;
/// Characters of the key by which events are folded into an incident.
const MAX_DEDUP_KEY: usize = 255;
/// Bytes of an event; `PagerDuty`'s limit is 512 KB.
const MAX_EVENT: usize = 500_000;
/// Alerts that are described one by one; the others are counted.
const MAX_ALERTS: usize = 50;

/// What the event does to the incident.
pub fn action(message: &Message) -> &'static str {
    match (message.status, message.reason.as_str()) {
        (BreachStatus::Resolved, _) => "resolve",
        (_, "acknowledged") => "acknowledge",
        _ => "trigger",
    }
}

/// The event's JSON. As many alerts are described as fit.
pub fn body(message: &Message, routing_key: &str) -> Value {
    let mut shown = message.alerts.len().min(MAX_ALERTS);
    loop {
        let body = with_alerts(message, routing_key, shown);
        if shown == 0 || body.to_string().len() <= MAX_EVENT {
            return body;
        }
        shown /= 2;
    }
}

fn with_alerts(message: &Message, routing_key: &str, shown: usize) -> Value {
    let action = action(message);
    let mut event = json!({"routing_key": routing_key, "event_action": action, "dedup_key": dedup_key(message)});
    if action != "trigger" {
        return event;
    }
    let first = message.people.first();
    let mut details = Map::new();
    details.insert("what".to_owned(), clip(&message.line, MAX_SUMMARY).into());
    details.insert("reason".to_owned(), message.reason.clone().into());
    details.insert("level".to_owned(), message.level.as_str().into());
    if let Some(person) = first {
        details.insert("late".to_owned(), person.late.clone().into());
        if !person.segments.is_empty() {
            details.insert("segments".to_owned(), person.segments.clone().into());
        }
        if let Some(runbook) = &person.runbook_url {
            details.insert("runbook".to_owned(), runbook.clone().into());
        }
    }
    let left_out = message.alerts.len() - shown + message.left_out;
    if left_out > 0 {
        details.insert("alerts_not_listed".to_owned(), left_out.into());
    }
    let alerts = message.alerts[..shown].iter().map(|alert| {
        json!({"status": alert.status.as_str(), "labels": alert.labels, "summary": alert.annotations.get("summary"),
            "late": alert.annotations.get("late"), "stage": alert.annotations.get("stage")})
    });
    details.insert("alerts".to_owned(), alerts.collect());
    event["payload"] = json!({
        "summary": clip(&message.headline, MAX_SUMMARY),
        "source": clip(&format!("ttf/{}/{}", message.tenant, message.journey), MAX_SUMMARY),
        "severity": severity(message.level),
        "timestamp": message.created_at.to_rfc3339(),
        "group": clip(&message.journey, MAX_SUMMARY),
        "class": message.alerts.first().and_then(|alert| alert.labels.get("alertname")),
        "component": first.and_then(|person| person.stage.clone()),
        "custom_details": details,
    });
    event["client"] = "TTF".into();
    let links: Vec<Value> = first
        .into_iter()
        .flat_map(|person| [("Journey", &person.journey_url), ("Runbook", &person.runbook_url)])
        .filter_map(|(text, href)| Some((text, href.as_deref().filter(|href| href.starts_with("http"))?)))
        .map(|(text, href)| json!({"href": href, "text": text}))
        .collect();
    if let Some(link) = links.first() {
        event["client_url"] = link["href"].clone();
        event["links"] = links.into();
    }
    event
}

/// What is over before anybody is told of it is no incident: a change event, which is shown beside incidents and wakes
/// nobody (<https://developer.pagerduty.com/docs/send-change-event>).
pub fn change(message: &Message, routing_key: &str) -> Value {
    let alert = message.alerts.first();
    let summary = alert.and_then(|alert| alert.annotations.get("summary")).unwrap_or(&message.line);
    let mut event = json!({"routing_key": routing_key, "payload": {
        "summary": clip(summary, MAX_SUMMARY),
        "source": clip(&format!("ttf/{}/{}", message.tenant, message.journey), MAX_SUMMARY),
        "timestamp": message.created_at.to_rfc3339(),
        "custom_details": {"labels": alert.map(|alert| &alert.labels), "annotations": alert.map(|alert| &alert.annotations)},
    }});
    if let Some(url) = message.external_url.as_deref().filter(|href| href.starts_with("http")) {
        event["links"] = json!([{"href": url, "text": "TTF"}]);
    }
    event
}

/// The group's key; where that is too long, a hash of it.
fn dedup_key(message: &Message) -> String {
    let key = &message.group_key;
    if key.chars().count() <= MAX_DEDUP_KEY {
        return key.clone();
    }
    format!("ttf:{}", hex::encode(Sha256::digest(key)))
}

fn severity(level: BreachLevel) -> &'static str {
    match level {
        BreachLevel::Warning | BreachLevel::Unknown => "warning",
        BreachLevel::Critical => "error",
        BreachLevel::Escalation => "critical",
    }
}
