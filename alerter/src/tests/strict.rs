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
    assert!(body.to_string().chars().count() < 10_000, "{}", body.to_string().chars().count());
    let top = object(body);
    assert!(top.keys().all(|key| ["text", "blocks", "channel"].contains(&key.as_str())), "{:?}", top.keys());
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
            other => panic!("block type {other}"),
        }
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
