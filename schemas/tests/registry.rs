//! The codec against a real schema registry with Confluent's API; its base URL is `TTF_TEST_REGISTRY`.

use std::time::Duration;

use telemetry_schemas::{
    Codec, DecodeError, Event, EventTime, MessageType, RegistryConfig, erasure::Erasure, event::EventContext,
};

fn url() -> String {
    std::env::var("TTF_TEST_REGISTRY")
        .expect("TTF_TEST_REGISTRY names the registry to test against; `make test` starts one")
}

fn codec() -> Codec {
    Codec::with_registry(RegistryConfig::new(url())).expect("the settings are valid")
}

fn event() -> Event {
    Event {
        tenant: "acme".into(),
        source: "http".into(),
        event_id: "e-1".into(),
        event_name: "signup".into(),
        event_type: telemetry_schemas::EventType::Track,
        timestamp: EventTime(1_795_425_330_250),
        original_timestamp: None,
        sent_at: None,
        received_at: EventTime(1_795_425_330_251),
        user_id: Some("u-1".into()),
        anonymous_id: None,
        session_id: None,
        journey_id: None,
        properties: serde_json::Map::new(),
        context: EventContext::default(),
        sealed: [("email".to_owned(), "v1:ab".to_owned())].into(),
        replay: false,
    }
}

fn erasure() -> Erasure {
    Erasure {
        erasure_id: "er-1".into(),
        tenant: "acme".into(),
        user_id: "u-1".into(),
        erased_at: EventTime(1_795_425_330_250),
        requested_by: "key".into(),
        reason: None,
    }
}

#[test]
fn what_one_process_writes_another_reads() {
    let bytes = codec().encode(&event()).expect("the schema is registered");
    assert_eq!(bytes[0], 0, "Confluent's wire format");
    assert_eq!(codec().decode(&bytes), Ok(event()));
}

#[test]
fn the_same_schema_has_the_same_id_for_everybody() {
    let [a, b] = [codec(), codec()].map(|codec| codec.encode(&erasure()).expect("registers"));
    assert_eq!(a, b);
}

#[test]
fn single_object_encoding_is_read_beside_it() {
    let bytes = Codec::without_registry().encode(&event()).expect("encodes");
    assert_eq!(codec().decode(&bytes), Ok(event()));
}

#[test]
fn an_id_of_another_message_is_malformed() {
    let bytes = codec().encode(&erasure()).expect("registers");
    let error = codec().decode::<Event>(&bytes).expect_err("is an erasure");
    assert!(matches!(error, DecodeError::Malformed { message: "Event", .. }), "{error:?}");
}

#[test]
fn an_id_nobody_registered_is_unknown_and_not_retriable() {
    let error = codec().decode::<Event>(&[0, 0x7F, 0xFF, 0xFF, 0xFE, 0]).expect_err("no such id");
    assert!(matches!(error, DecodeError::UnknownSchemaId { schema_id: 0x7FFF_FFFE, .. }), "{error:?}");
    assert!(!error.is_retriable());
}

#[test]
fn every_message_can_be_registered() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http =
        reqwest::blocking::Client::builder().timeout(Duration::from_secs(10)).no_proxy().build().expect("a client");
    for &message in MessageType::ALL {
        let response = http
            .post(format!("{}/subjects/{}/versions", url(), message.subject()))
            .header("Content-Type", "application/vnd.schemaregistry.v1+json")
            .body(serde_json::json!({"schema": message.schema().json()}).to_string())
            .send()
            .expect("the registry answers");
        assert!(response.status().is_success(), "{}: {}", message.name(), response.status());
    }
}

#[tokio::test]
async fn it_may_be_called_on_an_async_worker() {
    let codec = codec();
    let bytes = codec.encode(&event()).expect("registers");
    assert_eq!(codec.decode(&bytes), Ok(event()));
    drop(codec);
}
