//! CloudEvents over HTTP, in all three modes.

use serde_json::{Value, json};
use telemetry_schemas::{event::Event, rejected::RejectedEvent, topics};

use super::harness::{Running, answer, start};

fn cloud_event(id: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "project.created", "subject": "u-1",
        "time": "2026-11-23T00:00:00Z", "datacontenttype": "application/json", "data": {"plan": "pro"},
    })
}

async fn send(gateway: &Running, content_type: &str, body: String) -> (u16, Value) {
    let request = gateway.client.post(gateway.url("/api/v1/events")).header("content-type", content_type).body(body);
    answer(request.send().await.unwrap()).await
}

fn binary(gateway: &Running) -> reqwest::RequestBuilder {
    gateway
        .post_to("/api/v1/events")
        .header("ce-specversion", "1.0")
        .header("ce-source", "/shop")
        .header("ce-type", "project.created")
        .header("ce-subject", "J%C3%BCrg")
}

#[tokio::test]
async fn every_mode_is_taken() {
    let gateway = start().await;
    let one = send(&gateway, "application/cloudevents+json; charset=utf-8", cloud_event("1").to_string()).await;
    assert_eq!(one.0, 202, "{}", one.1);
    let batch = json!([cloud_event("2"), cloud_event("3")]).to_string();
    let batch = send(&gateway, "application/cloudevents-batch+json", batch).await;
    assert_eq!((batch.0, &batch.1["accepted"]), (202, &json!(2)), "{}", batch.1);
    let headers = binary(&gateway).header("ce-id", "4").body(r#"{"plan":"pro"}"#).send().await.unwrap();
    assert_eq!(headers.status(), 202);

    let mut events: Vec<Event> = gateway.values(topics::EVENTS);
    events.sort_by(|a, b| a.event_id.cmp(&b.event_id));
    assert_eq!(events.len(), 4);
    for event in &events {
        assert_eq!((event.source.as_str(), event.event_name.as_str()), ("/shop", "project.created"));
        assert_eq!(Value::from(event.properties.clone()), json!({"plan": "pro"}));
    }
    assert_eq!(events[3].user_id.as_deref(), Some("Jürg"), "header values are percent-encoded");
    assert_eq!(gateway.metric("ttf_events_total", &["source=\"http\"", "outcome=\"accepted\""]), 4);
}

#[tokio::test]
async fn the_identity_is_source_and_id() {
    let gateway = start().await;
    let json = "application/cloudevents+json";
    assert_eq!(send(&gateway, json, cloud_event("1").to_string()).await.1["accepted"], 1);
    assert_eq!(send(&gateway, json, cloud_event("1").to_string()).await.1["duplicate"], 1);
    let mut elsewhere = cloud_event("1");
    elsewhere["source"] = "/other".into();
    assert_eq!(send(&gateway, json, elsewhere.to_string()).await.1["accepted"], 1);
}

#[tokio::test]
async fn what_is_wrong_is_named_in_the_senders_words() {
    let gateway = start().await;
    let mut bad = cloud_event("1");
    bad["subject"] = "x\u{7}".into();
    let batch = json!([cloud_event("2"), bad, {"specversion": "1.0"}]).to_string();
    let (status, answered) = send(&gateway, "application/cloudevents-batch+json", batch).await;
    assert_eq!((status, &answered["accepted"]), (207, &json!(1)));
    let told: Vec<_> =
        answered["results"].as_array().unwrap().iter().map(|result| (&result["code"], &result["path"])).collect();
    assert_eq!(
        told,
        [(&json!("control_character"), &json!("/subject")), (&json!("required_missing"), &json!("/source"))]
    );
    let rejected: Vec<RejectedEvent> = gateway.values(topics::EVENTS_REJECTED);
    assert!(rejected.iter().any(|event| event.payload == br#"{"specversion":"1.0"}"#));

    let refused = binary(&gateway).header("ce-id", "4").body("{").send().await.unwrap();
    assert_eq!(refused.status(), 400);
    let avro = send(&gateway, "application/cloudevents+avro", String::new()).await;
    assert_eq!((avro.0, avro.1["code"].as_str()), (415, Some("unsupported_content_type")));
}
