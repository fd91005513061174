use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use serde_json::Value;
use telemetry_schemas::{BreachKind, BreachLevel, BreachReason, BreachStatus, Millis, TtfBreach, alert::Notification};

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

/// What is wrong with templates, as a start with this folder says it.
fn refusal(files: &[(&str, &str)], more: &str) -> String {
    let folder = tempfile::TempDir::new().expect("a folder");
    for (name, source) in files {
        std::fs::write(folder.path().join(name), source).expect("written");
    }
    let config = config(&format!("templates: {}\n{more}", folder.path().display()));
    let error = Messages::new(&config, Arc::new(Routes::new(&config))).map(drop).expect_err("it is refused");
    error.to_string().replace(&folder.path().display().to_string(), "<folder>")
}

#[test]
fn damaged_templates_are_refused_with_file_and_line() {
    let said = refusal(&[("slack_title.jinja", "{{ level }}\n\n{% if late %}\n")], "");
    assert!(said.starts_with("<folder>/slack_title.jinja:") && said.contains("unexpected end"), "{said}");
    // Found by trying it on every kind of notification.
    let said =
        refusal(&[("email_text.jinja", "{% if status == 'resolved' %}\nover\n{{ nobody.knows }}\n{% endif %}")], "");
    assert!(said.starts_with("<folder>/email_text.jinja:3: "), "{said}");
    let said = refusal(&[("slack_titel.jinja", "x")], "");
    assert!(said.starts_with("<folder>/slack_titel.jinja: stands in for no template; there are "), "{said}");
    let said = refusal(&[], "journey_url: 'https://x/{{ user'");
    assert!(said.starts_with("alerter.journey_url:1: "), "{said}");
}

#[test]
fn a_template_of_ones_own_stands_in_for_the_built_in_one() {
    let folder = tempfile::TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("slack_title.jinja"), "{{ journey }} <b>!\n").expect("written");
    let section = format!("templates: {}", folder.path().display());
    assert_eq!(message(&section, &firing()).slack.title, "onboarding <b>!", "what the template itself says is kept");
}

#[test]
fn links_lead_to_the_journey_and_the_runbook_whatever_the_user_is_called() {
    let mut late = firing();
    for alert in &mut late.alerts {
        alert.user_id = "a/b?<x>&ä".to_owned();
    }
    let section = "user_ids: plain
external_url: https://ttf.example.com/
journey_url: '{{ external_url }}/journeys/{{ journey }}?user={{ user }}'
runbook_url: 'https://wiki.example.com/{{ level }}'";
    let person = message(section, &late).people.remove(0);
    let url = "https://ttf.example.com/journeys/onboarding?user=a%2Fb%3F%3Cx%3E%26%C3%A4";
    assert_eq!(person.journey_url.as_deref(), Some(url));
    assert_eq!(person.runbook_url.as_deref(), Some("https://wiki.example.com/critical"));
    assert!(person.slack.contains(&format!("<{url}|Journey>")), "{}", person.slack);
    assert!(person.slack.contains("<https://wiki.example.com/critical|Runbook>"), "{}", person.slack);
}

/// Exactly what each kind of receiver would be sent.
#[test]
fn previews_show_what_would_be_sent_without_secrets() {
    let section = "external_url: https://ttf.example.com
receivers:
  - { name: log, log: {} }
  - { name: pagerduty, pagerduty: { routing_key: s3cret-s3cret } }
  - { name: slack, slack: { token: s3cret, channel: C0123456789, signing_secret: s3cret } }
  - { name: email, email: { smarthost: 'mail:587', username: x, password: s3cret, from: ttf@example.com, to: [team@example.com] } }
  - { name: alertmanager, alertmanager: { url: 'http://s3cret:9093' } }
  - { name: webhook, webhook: { url: 'https://s3cret/', secret: s3cret } }";
    let config = config(section);
    let mut shown = String::new();
    for receiver in &config.receivers {
        let preview = crate::tryout::preview(&config, &receiver.name, &firing()).expect("a preview");
        let _ = writeln!(shown, "=== {}\n{preview}\n", receiver.name);
    }
    assert!(!shown.contains("s3cret"), "{shown}");
    // A mail's parts are separated by chance.
    let boundary = shown.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("parts").to_owned();
    insta::assert_snapshot!(shown.replace(&boundary, "<boundary>"));
    let error = crate::tryout::preview(&config, "nobody", &firing()).expect_err("there is none");
    assert!(error.to_string().contains("there is no receiver `nobody` (there are: log, pagerduty"), "{error}");
}

/// A huge event must still be one that is taken.
#[test]
fn pagerduty_events_stay_within_its_limits() {
    let nasty = "<ä\"\n>".repeat(2_000);
    let alerts: Vec<_> = (0..400)
        .map(|index| TtfBreach {
            journey: nasty.clone(),
            user_id: format!("{index}{nasty}"),
            attempt: nasty.clone(),
            current_stage: Some(nasty.clone()),
            ..breach("u", BreachLevel::Escalation)
        })
        .collect();
    let mut huge = notification(BreachLevel::Escalation, BreachStatus::Firing, alerts);
    huge.journey.clone_from(&nasty);
    huge.group_key = format!("ttf:acme:{nasty}:00");
    let message = message("user_ids: plain\nexternal_url: https://ttf.example.com", &huge);
    crate::tests::strict::pagerduty(&crate::receivers::pagerduty::body(&message, "0123456789abcdef0123456789abcdef"));
}

#[test]
fn those_who_are_late_and_not_listed_are_counted_in_every_message() {
    let labels = [("tenant", "acme"), ("journey", "onboarding")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    for (alerts, unlisted) in [(0, 30_000), (4, 29_996), (60, 29_940)] {
        let alerts = (0..alerts).map(|index| breach(&format!("u-{index}"), BreachLevel::Critical)).collect();
        let crowd = Notification { labels: Clone::clone(&labels), left_out: unlisted, alerts, ..firing() };
        let message = message("", &crowd);
        let listed = crowd.alerts.len();
        let texts = [
            (&message.line, "30000 attempts".to_owned()),
            (&message.headline, "30000 users late".to_owned()),
            (&message.slack.title, "30000 attempts".to_owned()),
            (&message.slack.fallback, format!("{} ", 30_000 - listed.min(3))),
            (&message.slack.update, format!("And {} more", 30_000 - listed.min(3))),
            (message.slack.overview.as_ref().expect("several"), format!("30000 late*, of whom {listed} are listed")),
            (&message.email.text, format!("30000 late now, of whom {listed} are listed")),
            (&message.email.text, format!("{} more", 30_000 - listed.min(50))),
            (&message.email.html, format!("{} more", 30_000 - listed.min(50))),
        ];
        for (text, expected) in texts {
            assert!(text.contains(&expected), "{listed} listed: {expected:?} in {text}");
        }
        let webhook = serde_json::to_value(Body::new(&message, 0)).expect("JSON");
        assert_eq!(webhook["truncatedAlerts"], unlisted);
    }
}

#[test]
fn two_alerts_that_are_no_users_are_told_apart_by_their_names() {
    let found = |name: &str| TtfBreach {
        kind: BreachKind::Application,
        labels: [("alertname", name), ("check", "application"), ("operation", "save")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..breach("", BreachLevel::Critical)
    };
    let alerts = vec![found("TtfErrorRateHigh"), found("TtfResponseTimeHigh")];
    let message = message("", &notification(BreachLevel::Critical, BreachStatus::Firing, alerts));
    let names: Vec<_> = message.alerts.iter().map(|alert| alert.labels["alertname"].as_str()).collect();
    assert_eq!(names, ["TtfErrorRateHigh", "TtfResponseTimeHigh"]);
    assert_ne!(message.alerts[0].fingerprint, message.alerts[1].fingerprint, "the end of one is not the other's");
}
