//! What providers document, held against what is sent.

use serde_json::{Map, Value};
use telemetry_schemas::EventTime;

/// Alertmanager's webhook, version 4.
pub fn alertmanager(body: &Value) {
    let top = object(body);
    keys(
        top,
        &[
            "alerts",
            "commonAnnotations",
            "commonLabels",
            "externalURL",
            "groupKey",
            "groupLabels",
            "receiver",
            "status",
            "truncatedAlerts",
            "version",
        ],
    );
    assert_eq!(top["version"], "4");
    assert!(top["truncatedAlerts"].is_u64());
    for key in ["groupKey", "receiver"] {
        assert!(!text(&top[key]).is_empty(), "{key}");
    }
    text(&top["externalURL"]);
    for key in ["groupLabels", "commonLabels", "commonAnnotations"] {
        for value in object(&top[key]).values() {
            text(value);
        }
    }
    let alerts = top["alerts"].as_array().expect("alerts is a list");
    assert!(!alerts.is_empty());
    for alert in alerts.iter().map(object) {
        keys(alert, &["annotations", "endsAt", "fingerprint", "generatorURL", "labels", "startsAt", "status"]);
        let starts = EventTime::parse(text(&alert["startsAt"])).expect("RFC 3339");
        let ends = EventTime::parse(text(&alert["endsAt"])).expect("RFC 3339");
        match text(&alert["status"]) {
            "firing" => assert_eq!(alert["endsAt"], "0001-01-01T00:00:00Z"),
            "resolved" => assert!(ends >= starts),
            other => panic!("status {other}"),
        }
        let fingerprint = text(&alert["fingerprint"]);
        assert!(fingerprint.len() == 16 && fingerprint.bytes().all(|digit| digit.is_ascii_hexdigit()), "{fingerprint}");
        for (name, value) in object(&alert["labels"]) {
            let is_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            assert!(name.bytes().all(is_label) && !name.as_bytes()[0].is_ascii_digit(), "label {name}");
            assert!(!text(value).is_empty(), "label {name} is empty");
        }
        assert!(alert["labels"]["alertname"].is_string());
        for (name, value) in object(&top["commonLabels"]) {
            assert_eq!(&alert["labels"][name], value, "{name} is not common");
        }
    }
    let is_firing = alerts.iter().any(|alert| alert["status"] == "firing");
    assert_eq!(top["status"] == "firing", is_firing, "Alertmanager's status is firing while any alert is");
}

/// Slack's message payload and its limits.
pub fn slack(body: &Value) {
    slack_message(body, &["text", "blocks", "channel"]);
}

/// `chat.postMessage`: a new message, or a reply in a thread.
pub fn slack_post(body: &Value) {
    assert!(!text(&body["channel"]).is_empty());
    if body.get("thread_ts").is_some() {
        let top = object(body);
        let known = ["channel", "thread_ts", "text", "unfurl_links", "reply_broadcast"];
        assert!(top.keys().all(|key| known.contains(&key.as_str())), "{:?}", top.keys());
        limited(&top["text"], 4_000);
        return;
    }
    slack_message(body, &["text", "blocks", "channel", "unfurl_links", "unfurl_media"]);
}

/// `chat.update`.
pub fn slack_update(body: &Value) {
    assert!(!text(&body["channel"]).is_empty() && !text(&body["ts"]).is_empty());
    slack_message(body, &["text", "blocks", "channel", "ts"]);
}

fn slack_message(body: &Value, known: &[&str]) {
    assert!(body.to_string().chars().count() < 10_000, "{}", body.to_string().chars().count());
    let top = object(body);
    assert!(top.keys().all(|key| known.contains(&key.as_str())), "{:?}", top.keys());
    assert!(!text(&top["text"]).is_empty(), "a fallback text");
    let blocks = top["blocks"].as_array().expect("blocks is a list");
    assert!((1..=50).contains(&blocks.len()));
    for block in blocks.iter().map(object) {
        match text(&block["type"]) {
            "header" => {
                keys(block, &["text", "type"]);
                assert_eq!(block["text"]["type"], "plain_text", "headers are plain");
                limited(&block["text"]["text"], 150);
            }
            "section" => {
                keys(block, &["text", "type"]);
                assert_eq!(block["text"]["type"], "mrkdwn");
                limited(&block["text"]["text"], 3_000);
            }
            "context" => {
                keys(block, &["elements", "type"]);
                let elements = block["elements"].as_array().expect("a list");
                assert!((1..=10).contains(&elements.len()));
                for element in elements {
                    assert_eq!(element["type"], "mrkdwn");
                    limited(&element["text"], 3_000);
                }
            }
            "actions" => {
                keys(block, &["block_id", "elements", "type"]);
                limited(&block["block_id"], 255);
                let elements = block["elements"].as_array().expect("a list");
                assert!((1..=25).contains(&elements.len()));
                for element in elements {
                    assert_eq!(element["type"], "button");
                    limited(&element["action_id"], 255);
                    limited(&element["value"], 2_000);
                    assert_eq!(element["text"]["type"], "plain_text", "buttons are plain");
                    limited(&element["text"]["text"], 75);
                    assert!(element.get("style").is_none_or(|style| style == "primary" || style == "danger"));
                }
            }
            other => panic!("block type {other}"),
        }
    }
}

/// `PagerDuty`'s Events API v2 and its limits: <https://developer.pagerduty.com/docs/send-alert-event>.
pub fn pagerduty(body: &Value) {
    assert!(body.to_string().len() <= 512 * 1_024, "{} bytes", body.to_string().len());
    let top = object(body);
    let known = ["routing_key", "event_action", "dedup_key", "payload", "client", "client_url", "links", "images"];
    assert!(top.keys().all(|key| known.contains(&key.as_str())), "{:?}", top.keys());
    assert_eq!(text(&top["routing_key"]).len(), 32, "an integration key has 32 characters");
    limited(&top["dedup_key"], 255);
    match text(&top["event_action"]) {
        "trigger" => {
            let payload = object(&top["payload"]);
            let known = ["summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"];
            assert!(payload.keys().all(|key| known.contains(&key.as_str())), "{:?}", payload.keys());
            limited(&payload["summary"], 1_024);
            limited(&payload["source"], 1_024);
            assert!(["critical", "error", "warning", "info"].contains(&text(&payload["severity"])));
            EventTime::parse(text(&payload["timestamp"])).expect("ISO 8601");
            for link in top.get("links").and_then(Value::as_array).into_iter().flatten() {
                assert!(text(&link["href"]).starts_with("http"));
            }
        }
        "acknowledge" | "resolve" => assert!(top.get("payload").is_none()),
        other => panic!("event_action {other}"),
    }
}

/// A change event: <https://developer.pagerduty.com/docs/send-change-event>.
pub fn pagerduty_change(body: &Value) {
    let top = object(body);
    assert!(
        top.keys().all(|key| ["routing_key", "payload", "links", "images"].contains(&key.as_str())),
        "{:?}",
        top.keys()
    );
    assert_eq!(text(&top["routing_key"]).len(), 32, "an integration key has 32 characters");
    let payload = object(&top["payload"]);
    let known = ["summary", "source", "timestamp", "custom_details"];
    assert!(payload.keys().all(|key| known.contains(&key.as_str())), "{:?}", payload.keys());
    limited(&payload["summary"], 1_024);
    EventTime::parse(text(&payload["timestamp"])).expect("ISO 8601");
    for link in top.get("links").and_then(Value::as_array).into_iter().flatten() {
        assert!(text(&link["href"]).starts_with("http") && !text(&link["text"]).is_empty());
    }
}

/// `POST /api/v2/alerts` of Alertmanager.
pub fn alertmanager_alerts(body: &Value) {
    let alerts = body.as_array().expect("a list");
    assert!(!alerts.is_empty());
    for alert in alerts.iter().map(object) {
        let known = ["labels", "annotations", "startsAt", "endsAt", "generatorURL"];
        assert!(alert.keys().all(|key| known.contains(&key.as_str())), "{:?}", alert.keys());
        assert!(!object(&alert["labels"]).is_empty());
        for value in object(&alert["labels"]).values() {
            assert!(!text(value).is_empty());
        }
        let starts = EventTime::parse(text(&alert["startsAt"])).expect("RFC 3339");
        let ends = EventTime::parse(text(&alert["endsAt"])).expect("RFC 3339");
        assert!(starts <= ends, "start time must be before end time");
    }
}

fn limited(value: &Value, limit: usize) {
    let length = text(value).chars().count();
    assert!((1..=limit).contains(&length), "{length} characters, at most {limit}");
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("not an object: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

fn keys(map: &Map<String, Value>, expected: &[&str]) {
    let mut found: Vec<_> = map.keys().map(String::as_str).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
}
