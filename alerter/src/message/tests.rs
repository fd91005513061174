use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use serde_json::Value;
use telemetry_schemas::{BreachLevel, BreachReason, BreachStatus, Millis, TtfBreach, alert::Notification};

use super::*;
use crate::{
    receivers::{slack, webhook::Body},
    testing::{NOW, breach, config, resolved},
};

fn notification(level: BreachLevel, status: BreachStatus, alerts: Vec<TtfBreach>) -> Notification {
    let is_personal = alerts.iter().all(|alert| alert.user_id == alerts[0].user_id);
    let group: &[&str] =
        if is_personal { &["tenant", "journey", "user_id", "attempt"] } else { &["tenant", "journey"] };
    let labels = route::labels(&alerts[0]).into_iter().filter(|(name, _)| group.contains(&name.as_str())).collect();
    Notification {
        notification_id: "0123456789abcdef0123456789abcdef".to_owned(),
        group_key: "ttf:acme:onboarding:00112233445566778899aabbccddeeff".to_owned(),
        tenant: "acme".to_owned(),
        journey: "onboarding".to_owned(),
        receiver: "team".to_owned(),
        level,
        status,
        reason: "first_notification".to_owned(),
        labels,
        alerts,
        created_at: NOW,
        acknowledged_by: None,
        assigned_to: None,
        left_out: 0,
    }
}

fn firing() -> Notification {
    let alerts =
        vec![breach("ada@example.com", BreachLevel::Critical), breach("ada@example.com", BreachLevel::Warning)];
    notification(BreachLevel::Critical, BreachStatus::Firing, alerts)
}

fn message(section: &str, notification: &Notification) -> Message {
    let config = config(section);
    let messages = Messages::new(&config, Arc::new(Routes::new(&config))).expect("the templates are sound");
    messages.message(notification).expect("they can say everything")
}

/// Everything a person may read of it.
fn texts(message: &Message) -> String {
    let mut text = format!("line: {}\n\nslack title: {}\n", message.line, message.slack.title);
    for person in &message.people {
        let _ = writeln!(text, "slack person:\n{}", person.slack);
    }
    let _ = writeln!(text, "slack footer: {}\nslack fallback: {}", message.slack.footer, message.slack.fallback);
    for alert in &message.alerts {
        let _ = writeln!(text, "\n{}\n---\n{}", alert.annotations["summary"], alert.annotations["description"]);
    }
    text
}

fn slack_texts(body: &Value) -> Vec<String> {
    match body {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(slack_texts).collect(),
        Value::Object(map) => map.values().flat_map(slack_texts).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_user_is_late() {
    insta::assert_snapshot!(texts(&message("", &firing())));
}

#[test]
fn a_user_has_succeeded() {
    let alerts = vec![resolved("u-1", BreachLevel::Critical), resolved("u-1", BreachLevel::Warning)];
    let over = notification(BreachLevel::Critical, BreachStatus::Resolved, alerts);
    insta::assert_snapshot!(texts(&message("user_ids: plain", &over)));
}

#[test]
fn several_users_are_late() {
    let mut alerts: Vec<_> = ["u-1", "u-2", "u-3", "u-4"].map(|user| breach(user, BreachLevel::Escalation)).into();
    alerts.push(TtfBreach {
        attempt: "again".to_owned(),
        segments: BTreeMap::new(),
        reason: Some(BreachReason::Revised),
        ..resolved("u-1", BreachLevel::Warning)
    });
    alerts.push(TtfBreach { reason: Some(BreachReason::Erased), ..resolved("u-5", BreachLevel::Warning) });
    let group = notification(BreachLevel::Escalation, BreachStatus::Firing, alerts);
    insta::assert_snapshot!(texts(&message("user_ids: plain\nroute: { repeat_interval: 4h }", &group)));
}

#[test]
fn the_webhooks_body() {
    let message = message("external_url: https://ttf.example.com", &firing());
    let body = serde_json::to_string_pretty(&Body::new(&message, 0)).expect("JSON");
    insta::assert_snapshot!(body);
    let short = serde_json::to_value(Body::new(&message, 1)).expect("JSON");
    assert_eq!((short["truncatedAlerts"].as_u64(), short["alerts"].as_array().map(Vec::len)), (Some(1), Some(1)));
}

#[test]
fn the_slack_body() {
    let body = slack::body(&message("", &firing()), Some("#ttf"), slack::Buttons::None);
    insta::assert_snapshot!(serde_json::to_string_pretty(&body).expect("JSON"));
}

#[test]
fn users_are_named_by_a_keyed_hash_unless_configured() {
    let everything = |section: &str| {
        let message = message(section, &firing());
        format!(
            "{}{}{}",
            texts(&message),
            serde_json::to_string(&Body::new(&message, 0)).expect("JSON"),
            slack::body(&message, None, slack::Buttons::None)
        )
    };
    let hashed = everything("");
    assert!(!hashed.contains("ada@example.com"), "{hashed}");
    assert_ne!(hashed, everything("user_id_key: secret"));
    assert!(everything("user_ids: plain").contains("ada@example.com"));
}

#[test]
fn an_alert_is_known_again_when_it_is_over() {
    let fired = message("", &firing()).alerts.remove(0);
    let over = TtfBreach { segments: BTreeMap::new(), ..resolved("ada@example.com", BreachLevel::Critical) };
    let over = message("", &notification(BreachLevel::Critical, BreachStatus::Resolved, vec![over])).alerts.remove(0);
    assert_eq!(fired.labels, over.labels);
    assert_eq!(fired.fingerprint, over.fingerprint);
}

/// What users and products send must not be read as mark-up, and must fit.
#[test]
fn slack_messages_stay_within_slacks_limits() {
    let nasty = "<!channel> & *bold* ~x~ `code`\n".repeat(300);
    let alerts: Vec<_> = (0..60)
        .map(|index| {
            let segments = (0..40).map(|segment| (format!("s{segment}{nasty}"), nasty.clone())).collect();
            TtfBreach {
                journey: nasty.clone(),
                user_id: format!("{index}{nasty}"),
                attempt: nasty.clone(),
                current_stage: Some(nasty.clone()),
                segments,
                ..breach("u", BreachLevel::Warning)
            }
        })
        .collect();
    let mut huge = notification(BreachLevel::Warning, BreachStatus::Firing, alerts);
    huge.journey.clone_from(&nasty);
    huge.tenant.clone_from(&nasty);
    let body = slack::body(&message("user_ids: plain", &huge), None, slack::Buttons::None);
    crate::tests::strict::slack(&body);
    let blocks = body["blocks"].as_array().expect("blocks");
    assert!(blocks.len() >= 4, "some are shown: {}", blocks.len());
    for text in slack_texts(&body) {
        assert!(!text.contains('<') && !text.contains('>'), "{text}");
    }
    let more = &blocks[blocks.len() - 2]["text"]["text"];
    assert!(more.as_str().is_some_and(|text| text.starts_with("… and ") && text.ends_with(" more")), "{more}");
}

#[test]
fn texts_are_cut_between_characters_and_entities() {
    assert_eq!(clip("short", 5), "short");
    assert_eq!(clip("longer", 5), "long…");
    assert_eq!(clip("äöüäöü", 5), "äöüä…");
    assert_eq!(clip("ab&amp;cd", 6), "ab…");
    assert_eq!(clip("a&lt;bcdef", 8), "a&lt;bc…");
}

#[test]
fn how_late_it_is_counts_from_the_level_that_was_missed() {
    let mut earlier = breach("u-1", BreachLevel::Warning);
    earlier.due_at = earlier.due_at.plus(Millis::from_minutes(-45));
    let both = vec![breach("u-1", BreachLevel::Critical), earlier];
    let line = message("", &notification(BreachLevel::Critical, BreachStatus::Firing, both)).line;
    assert!(line.contains("1m 5s past the critical deadline of 2h"), "{line}");
}
