//! Personal data does not get past the gateway, whichever way an event goes.

use serde_json::{Value, json};
use telemetry_schemas::{event::Event, rejected::RejectedEvent, topics};

use super::harness::{Running, Setup, start, start_with};

const ADDRESS: &str = "ada@example.com";

/// Everything that was written anywhere, as text.
fn written(gateway: &Running) -> String {
    let topics = [topics::EVENTS, topics::EVENTS_REJECTED, topics::AUDIT, topics::ERASURES];
    let records = topics.into_iter().flat_map(|topic| gateway.records(topic));
    records.filter_map(|record| record.value).map(|value| String::from_utf8_lossy(&value).into_owned()).collect()
}

#[tokio::test]
async fn an_address_is_written_nowhere_however_the_event_ends() {
    let gateway = start().await;
    let good = json!({"event_name": "x", "event_type": "track", "user_id": "u", "properties": {"note": format!("by {ADDRESS}")}});
    let bad =
        json!({"event_name": "x", "event_type": "track", "user_id": "u", ADDRESS: 1, "properties": {"note": ADDRESS}});
    assert_eq!(gateway.send(json!([good, bad]).to_string()).await.0, 207);
    assert_eq!(gateway.send(format!("{{\"note\":\"{ADDRESS}\", oops")).await.0, 400);
    assert_eq!(gateway.send(format!("[\"{}\"]", ADDRESS.replace('@', "\\u0040"))).await.0, 422);
    let accepted: Event = gateway.values(topics::EVENTS).remove(0);
    assert_eq!(accepted.properties["note"], "by ***");
    assert_eq!(gateway.records(topics::EVENTS_REJECTED).len(), 3);
    let written = written(&gateway);
    assert!(!written.contains("ada@") && !written.contains("ada\\u0040"), "{written}");
    assert!(gateway.metric("ttf_pii_redactions_total", &["email", "mask"]) >= 3);
}

#[tokio::test]
async fn a_compressed_body_that_is_damaged_is_not_kept() {
    let gateway = start().await;
    let sent = gateway.post_to("/api/v1/events").header("content-encoding", "gzip").body(format!("no gzip: {ADDRESS}"));
    assert_eq!(sent.send().await.unwrap().status(), 400);
    let rejected: RejectedEvent = gateway.values(topics::EVENTS_REJECTED).remove(0);
    assert_eq!((rejected.payload.len(), rejected.payload_bytes), (0, 24));
}

fn with_keys(fields: Value) -> Setup {
    let mut setup = Setup::default();
    let policy = json!({"fields": fields, "keys": [{"id": "k1", "secret": "a secret of the tests"}]});
    setup.privacy = serde_json::from_value(policy).unwrap();
    setup
}

#[tokio::test]
async fn a_sealed_field_travels_in_the_sealed_map_alone() {
    let gateway = start_with(with_keys(json!({"properties.email": "seal"}))).await;
    let event = json!({"event_name": "x", "event_type": "identify", "user_id": "u", "properties": {"email": ADDRESS}});
    assert_eq!(gateway.send(event.to_string()).await.0, 202);
    let event: Event = gateway.values(topics::EVENTS).remove(0);
    assert!(event.properties.is_empty() && event.sealed["properties.email"].starts_with("x1.k1."));
    assert!(!written(&gateway).contains("ada@"));
}

#[tokio::test]
async fn without_consent_the_sender_is_told_and_nothing_is_kept() {
    let gateway = start_with(with_keys(json!({}))).await;
    let event = |kind: &str| json!({"event_name": "x", "event_type": kind, "user_id": ADDRESS, "context": {"consent": {"analytics": false}}});
    let (status, answer) = gateway.send(json!([event("track"), event("ttf_milestone")]).to_string()).await;
    assert_eq!((status, &answer["results"][0]["code"]), (207, &json!("consent_missing")));
    let rejected: RejectedEvent = gateway.values(topics::EVENTS_REJECTED).remove(0);
    assert!(rejected.payload.is_empty());
    let milestone: Event = gateway.values(topics::EVENTS).remove(0);
    assert!(milestone.user_id.is_some_and(|id| id.starts_with("p_")));
    assert!(!written(&gateway).contains("ada@"));
}

#[tokio::test]
async fn who_is_forgotten_is_forgotten_under_pseudonyms_too() {
    let gateway = start_with(with_keys(json!({}))).await;
    let asked = gateway.post_to("/api/v1/privacy/erasures").body(json!({"user_id": "ada"}).to_string());
    assert_eq!(asked.send().await.unwrap().status(), 202);
    let users: Vec<String> = gateway
        .values(topics::ERASURES)
        .into_iter()
        .map(|erasure: telemetry_schemas::erasure::Erasure| erasure.user_id)
        .collect();
    assert_eq!(users.len(), 2, "{users:?}");
    assert!(users.contains(&"ada".to_owned()) && users.iter().any(|id| id.starts_with("p_")));
}
