//! What senders are told, and what is on the topics afterwards.

use std::io::Read;

use flate2::Compression;
use serde_json::{Value, json};
use telemetry_schemas::{
    RecordKey,
    event::{Event, EventType},
    rejected::RejectedEvent,
    topics,
};

use super::harness::{Fate, Scripted, Setup, answer, start, start_with, track};

fn shape(answered: &(u16, Value)) -> String {
    format!("{}\n{}", answered.0, serde_json::to_string_pretty(&answered.1).unwrap())
}

#[tokio::test]
async fn the_smoke_test_of_the_documentation_works() {
    let gateway = start().await;
    let answered = gateway.send(r#"{"events":[{"event_name":"test","event_type":"test"}]}"#).await;
    insta::assert_snapshot!(shape(&answered));
    let events: Vec<Event> = gateway.values(topics::EVENTS);
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].event_type, events[0].tenant.as_str()), (EventType::Test, "default"));
    assert_eq!(events[0].timestamp, events[0].received_at);
    assert_eq!(gateway.records(topics::EVENTS)[0].key, None);
}

#[tokio::test]
async fn every_form_of_body_is_taken() {
    let gateway = start().await;
    let mut event = track("u-1");
    event.as_object_mut().unwrap().remove("event_id");
    let events = "application/x-ndjson";
    let forms = [
        (event.to_string(), "application/json"),
        (json!([event, event]).to_string(), "application/json; charset=UTF-8"),
        (json!({"events": [event], "sent_at": "2026-11-23T00:00:00Z"}).to_string(), "application/json"),
        (format!("{event}\n\r\n{event}\n"), events),
    ];
    for (body, content_type) in forms {
        let request = gateway.client.post(gateway.url("/api/v1/events")).header("content-type", content_type);
        let (status, answer) = answer(request.body(body.clone()).send().await.unwrap()).await;
        assert_eq!((status, answer["rejected"].as_u64()), (202, Some(0)), "{body}");
    }
    assert_eq!(gateway.records(topics::EVENTS).len(), 6);
}

#[tokio::test]
async fn compressed_bodies_are_taken() {
    let gateway = start().await;
    let body = json!([track("u-1"), track("u-2")]).to_string();
    for (coding, encoded) in [
        ("gzip", compressed(flate2::read::GzEncoder::new(body.as_bytes(), Compression::fast()))),
        ("deflate", compressed(flate2::read::ZlibEncoder::new(body.as_bytes(), Compression::fast()))),
        ("deflate", compressed(flate2::read::DeflateEncoder::new(body.as_bytes(), Compression::fast()))),
        ("zstd", zstd::encode_all(body.as_bytes(), 1).unwrap()),
        ("br", BROTLI.to_vec()),
    ] {
        let request = gateway.post_to("/api/v1/events").header("content-encoding", coding);
        let (status, answered) = answer(request.body(encoded).send().await.unwrap()).await;
        assert_eq!((status, &answered["rejected"]), (202, &json!(0)), "{coding}: {answered}");
    }
    assert_eq!(gateway.records(topics::EVENTS).len(), 3, "repeats are recognised");
}

/// `{"event_name":"test","event_type":"test"}`, by Google's encoder.
const BROTLI: &[u8] = &[
    27, 40, 0, 248, 157, 201, 227, 222, 251, 229, 137, 133, 28, 47, 69, 230, 246, 146, 14, 78, 36, 89, 116, 250, 170,
    44, 15, 54, 224, 8, 3, 131, 44, 221, 248, 28, 33, 7, 92, 182, 156, 94, 72, 224, 13,
];

fn compressed(mut encoder: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoder.read_to_end(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn one_bad_event_never_costs_the_good_ones() {
    let gateway = start().await;
    let bad = r#"{"event_name": "x", "event_type":"track", "userId":"u", "event_id":"e-bad"}"#;
    let answered = gateway.send(format!(r#"{{"events":[{},{bad}, 17]}}"#, track("u-1"))).await;
    insta::assert_snapshot!(shape(&answered));

    let events: Vec<Event> = gateway.values(topics::EVENTS);
    assert_eq!(events.iter().map(|event| event.event_id.as_str()).collect::<Vec<_>>(), ["e-u-1"]);
    let mut rejected: Vec<RejectedEvent> = gateway.values(topics::EVENTS_REJECTED);
    rejected.sort_by_key(|event| event.payload.len());
    assert_eq!(rejected[0].payload, b"17");
    assert_eq!(rejected[1].payload, bad.as_bytes(), "the original bytes");
    let codes: Vec<&str> = rejected[1].reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["additional_properties", "required_missing"]);
}

#[tokio::test]
async fn every_event_is_listed_when_asked_for() {
    let gateway = start().await;
    let body = json!([track("u-1"), {"event_name": "x"}]).to_string();
    let request = gateway.post_to("/api/v1/events?verbose=1").body(body);
    insta::assert_snapshot!(shape(&answer(request.send().await.unwrap()).await));
}

#[tokio::test]
async fn checking_only_publishes_and_counts_nothing() {
    let gateway = start().await;
    let check = |body: Value| gateway.post_to("/api/v1/events?validate_only=1").body(body.to_string()).send();
    let valid = answer(check(track("u-1")).await.unwrap()).await;
    assert_eq!((valid.0, valid.1["code"].as_str()), (202, Some("valid")));
    assert_eq!(answer(check(json!({"event_name": "x"})).await.unwrap()).await.0, 422);
    assert_eq!(answer(check(json!("x")).await.unwrap()).await.0, 400);
    assert_eq!(gateway.records(topics::EVENTS).len() + gateway.records(topics::EVENTS_REJECTED).len(), 0);
    assert_eq!(gateway.metric("ttf_events_received_total", &[]), 0);
}

#[tokio::test]
async fn an_event_is_keyed_by_its_person_and_carries_its_headers() {
    let gateway = start().await;
    let anonymous = json!({"event_name": "Page seen", "event_type": "page", "anonymous_id": "a-1"});
    gateway.send(json!([track("u-1"), anonymous]).to_string()).await;
    let mut records = gateway.records(topics::EVENTS);
    records.sort_by_key(|record| record.key.clone());
    let keys: Vec<_> = records.iter().map(|record| RecordKey::parse(record.key.as_ref().unwrap()).unwrap()).collect();
    assert_eq!(keys, [RecordKey::anonymous("default", "a-1"), RecordKey::user("default", "u-1")]);
    let header = |name: &str| records[0].as_ref().header(name).map(<[u8]>::to_vec);
    assert_eq!(header("event_name"), Some(b"Page seen".to_vec()));
    assert_eq!(header("event_type"), Some(b"page".to_vec()));
}

#[tokio::test]
async fn what_the_sender_said_arrives_unchanged_and_what_was_missing_is_filled_in() {
    let gateway = start().await;
    let event = json!({
        "event_name": "signup", "event_type": "ttf_milestone", "user_id": "ü-1", "session_id": "s", "journey_id": "j",
        "timestamp": "2026-01-02T03:04:05.678+01:00",
        "properties": {"big": 9_007_199_254_740_993_i64, "nested": {"list": [1, 2.5, null, "ä"]}},
        "context": {
            "library": {"name": "lib", "version": "1"}, "locale": "de-CH", "ip": "203.0.113.77",
            "segments": {"plan": "pro"}, "consent": {"analytics": true},
        },
    });
    assert_eq!(gateway.send(event.to_string()).await.0, 202);
    let mut event: Event = gateway.values(topics::EVENTS).remove(0);
    assert_eq!(event.event_id.len(), 36, "a UUID");
    event.event_id = "assigned".into();
    event.received_at = telemetry_schemas::EventTime(0);
    insta::assert_json_snapshot!(telemetry_schemas::json::to_json(&event));
}

#[tokio::test]
async fn the_privacy_policy_reaches_the_rejected_topic() {
    let gateway = start().await;
    let bad = json!({"event_name": "x", "event_type": "track", "context": {"ip": "203.0.113.77"}});
    assert_eq!(gateway.send(bad.to_string()).await.0, 422);
    let rejected: RejectedEvent = gateway.values(topics::EVENTS_REJECTED).remove(0);
    let payload = String::from_utf8(rejected.payload).unwrap();
    assert!(payload.contains("203.0.113.0") && !payload.contains("203.0.113.77"), "{payload}");
    assert_eq!(gateway.metric("ttf_pii_redactions_total", &["context.ip", "truncate"]), 1);
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected() {
    let gateway = start().await;
    let event = json!({
        "event_name": "x", "event_type": "track", "user_id": "u", "timestamp": "2001-01-01T00:00:00Z",
    });
    let body = json!({"events": [event], "sent_at": "2001-01-01T00:00:30Z"});
    assert_eq!(gateway.send(body.to_string()).await.0, 202);
    let event: Event = gateway.values(topics::EVENTS).remove(0);
    assert_eq!(event.received_at.since(event.timestamp).0, 30_000);
    assert_eq!(event.original_timestamp.unwrap().to_rfc3339(), "2001-01-01T00:00:00.000Z");
    // Without the sending time it is simply too old.
    let alone = json!({"event_name": "x", "event_type": "track", "user_id": "u", "timestamp": "2001-01-01T00:00:00Z"});
    assert_eq!(gateway.send(alone.to_string()).await.1["results"][0]["code"], "timestamp_too_old");
}

#[tokio::test]
async fn without_an_acknowledgement_there_is_no_success() {
    for (fate, code) in [(Fate::Fail, "log_unavailable"), (Fate::QueueFull, "overloaded"), (Fate::Hang, "ack_timeout")]
    {
        let mut setup = Setup { publisher: Some(Scripted::new([fate])), ..Setup::default() };
        setup.config.ack_timeout = service_kit::config::HumanDuration::from_millis(50);
        let gateway = start_with(setup).await;
        let response = gateway.post_to("/api/v1/events").body(json!([track("u"), 1]).to_string()).send().await.unwrap();
        assert_eq!(response.headers()["retry-after"], "5");
        let answered = answer(response).await;
        assert_eq!((answered.0, answered.1["code"].as_str()), (503, Some(code)));
        assert_eq!(answered.1["results"][0]["status"], "retry");
        assert_eq!(answered.1["results"][1]["status"], "retry", "nor is a rejection final before it is recorded");
        let (_, health) = answer(gateway.get("/health").await).await;
        assert_eq!(health["status"], "degraded");
    }
}

#[tokio::test]
async fn a_log_that_fails_midway_is_told_per_event() {
    let script = [Fate::Acknowledge, Fate::Fail, Fate::Acknowledge];
    let gateway = start_with(Setup { publisher: Some(Scripted::new(script)), ..Setup::default() }).await;
    let answered = gateway.send(json!([track("a"), track("b"), {"event_name": "bad"}]).to_string()).await;
    insta::assert_snapshot!(shape(&answered));
}

#[tokio::test]
async fn the_outcome_counts_although_the_client_went_away() {
    let mut setup = Setup { publisher: Some(Scripted::new([Fate::Hang])), ..Setup::default() };
    setup.config.ack_timeout = service_kit::config::HumanDuration::from_millis(300);
    let gateway = start_with(setup).await;
    let request = tokio::spawn(gateway.post_to("/api/v1/events").body(track("u").to_string()).send());
    super::harness::eventually("the event is in", || gateway.metric("ttf_events_received_total", &[]) == 1).await;
    request.abort();
    assert!(request.await.is_err_and(|error| error.is_cancelled()), "it went away before the answer");
    super::harness::eventually("the outcome", || gateway.metric("ttf_events_total", &["outcome=\"retry\""]) == 1).await;
}
