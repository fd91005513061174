//! The registry against a stand-in that answers what a test tells it to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{codec::Codec, event::Event, samples};

/// Answers each request with what `answer` makes of its first line and headers: (status, body).
struct StandIn {
    url: String,
    requests: Arc<AtomicUsize>,
}

impl StandIn {
    fn start(answer: impl Fn(usize, &str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut reader = BufReader::new(&stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if reader.read_line(&mut head).expect("readable") == 0 {
                        break;
                    }
                }
                let length = head
                    .lines()
                    .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned))
                    .map_or(0, |length| length.trim().parse().expect("a number"));
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("readable");
                let (status, body) = answer(counter.fetch_add(1, Ordering::SeqCst), &head);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn codec(&self, attempts: u32) -> Codec {
        let config = RegistryConfig { attempts, timeout: Duration::from_secs(5), ..RegistryConfig::new(&self.url) };
        Codec::with_registry(config).expect("the settings are valid")
    }
}

fn event_schema() -> String {
    serde_json::json!({ "schema": MessageType::Event.schema_json() }).to_string()
}

fn confluent(schema_id: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, schema_id];
    bytes.extend_from_slice(&Codec::without_registry().encode(&samples::event()).expect("encodes")[10..]);
    bytes
}

#[test]
fn a_schema_is_asked_for_once() {
    let registry = StandIn::start(|_, head| {
        if head.starts_with("POST /subjects/telemetry.events.v1-value/versions") {
            (200, r#"{"id":7}"#.to_owned())
        } else {
            (200, event_schema())
        }
    });
    let (writer, reader) = (registry.codec(1), registry.codec(1));
    for _ in 0..5 {
        let bytes = writer.encode(&samples::event()).expect("encodes");
        assert_eq!(bytes, confluent(7));
        assert_eq!(reader.clone().decode(&bytes), Ok(samples::event()));
    }
    assert_eq!(registry.requests(), 2);
}

#[test]
fn a_failure_that_passes_is_retried() {
    let registry = StandIn::start(|request, _| match request {
        0 => (503, r#"{"error_code":50301,"message":"starting"}"#.to_owned()),
        1 => (500, "oops".to_owned()),
        _ => (200, event_schema()),
    });
    assert_eq!(registry.codec(3).decode(&confluent(7)), Ok(samples::event()));
    assert_eq!(registry.requests(), 3);
}

#[test]
fn an_outage_is_retriable_and_costs_one_wait_for_all_callers() {
    let registry = StandIn::start(|_, _| (503, String::new()));
    let codec = registry.codec(2);
    for _ in 0..10 {
        let error = codec.decode::<Event>(&confluent(7)).expect_err("unavailable");
        assert!(matches!(error, DecodeError::RegistryUnavailable(_)), "{error:?}");
        assert!(error.is_retriable());
        let error = codec.encode(&samples::event()).expect_err("unavailable");
        assert!(error.is_retriable(), "{error:?}");
    }
    // Two attempts; more only if the calls took longer than the pause.
    assert!(registry.requests() <= 4, "{}", registry.requests());
}

#[test]
fn what_is_known_outlives_an_outage() {
    let registry = StandIn::start(|request, _| match request {
        0 => (200, event_schema()),
        _ => (503, String::new()),
    });
    let codec = registry.codec(1);
    assert_eq!(codec.decode(&confluent(7)), Ok(samples::event()));
    assert!(codec.decode::<Event>(&confluent(8)).is_err());
    assert_eq!(codec.decode(&confluent(7)), Ok(samples::event()));
}

#[test]
fn what_was_written_here_is_read_here_through_an_outage() {
    let registry = StandIn::start(|request, _| match request {
        0 => (200, r#"{"id": 7}"#.to_owned()),
        _ => (503, String::new()),
    });
    let codec = registry.codec(1);
    let bytes = codec.encode(&samples::event()).expect("registered");
    assert_eq!(codec.decode::<Event>(&bytes).expect("never asked for"), samples::event());
    assert_eq!(registry.requests(), 1);
}

#[test]
fn a_schema_the_registry_does_not_have_is_not_retriable() {
    let registry = StandIn::start(|_, _| (404, r#"{"error_code":40403,"message":"Schema not found"}"#.to_owned()));
    let codec = registry.codec(3);
    for _ in 0..3 {
        let error = codec.decode::<Event>(&confluent(7)).expect_err("unknown");
        assert!(matches!(error, DecodeError::UnknownSchemaId { schema_id: 7, .. }), "{error:?}");
    }
    assert_eq!(registry.requests(), 1);
}

#[test]
fn a_refused_schema_is_not_retriable() {
    let registry = StandIn::start(|_, _| (409, r#"{"error_code":409,"message":"incompatible"}"#.to_owned()));
    let error = registry.codec(3).encode(&samples::event()).expect_err("refused");
    assert!(
        matches!(&error, EncodeError::SchemaRefused { detail, .. } if detail.contains("incompatible")),
        "{error:?}"
    );
    assert!(!error.is_retriable());
    assert_eq!(registry.requests(), 1);
}

#[test]
fn refused_credentials_lose_no_data() {
    let registry = StandIn::start(|_, _| (401, r#"{"error_code":40101,"message":"who are you"}"#.to_owned()));
    assert!(registry.codec(1).decode::<Event>(&confluent(7)).expect_err("refused").is_retriable());
}

#[test]
fn credentials_are_sent_and_not_shown() {
    let registry = StandIn::start(|_, head| {
        let expected = "authorization: basic dXNlcjpwYXNz";
        if head.lines().any(|line| line.eq_ignore_ascii_case(expected)) {
            (200, event_schema())
        } else {
            (401, String::new())
        }
    });
    let url = registry.url.replace("http://", "http://user:pass@");
    let codec = Codec::with_registry(RegistryConfig { attempts: 1, ..RegistryConfig::new(url) }).expect("valid");
    assert_eq!(codec.decode(&confluent(7)), Ok(samples::event()));

    let nobody_listens = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let config = RegistryConfig { attempts: 1, ..RegistryConfig::new(format!("http://user:secret@{nobody_listens}")) };
    let error = Codec::with_registry(config).expect("valid").decode::<Event>(&confluent(7)).expect_err("no server");
    assert!(error.is_retriable() && !error.to_string().contains("secret"), "{error}");
}

#[test]
fn a_schema_that_is_no_message_of_ours_is_named() {
    let schema = r#"{"type":"record","name":"Order","namespace":"com.example","fields":[]}"#;
    let registry = StandIn::start(move |_, _| (200, serde_json::json!({ "schema": schema }).to_string()));
    let error = registry.codec(1).decode::<Event>(&confluent(7)).expect_err("another's");
    assert_eq!(error.to_string(), "value is not a well-formed Event: schema id 7 is that of com.example.Order");
}

#[test]
fn a_schema_that_is_not_avro_is_unknown() {
    let registry = StandIn::start(|_, _| (200, r#"{"schemaType":"JSON","schema":"{}"}"#.to_owned()));
    let error = registry.codec(1).decode::<Event>(&confluent(7)).expect_err("JSON");
    assert!(matches!(error, DecodeError::UnknownSchemaId { schema_id: 7, .. }), "{error:?}");
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    let error = Codec::with_registry(RegistryConfig::new("registry:8081")).expect_err("no scheme");
    assert_eq!(error.to_string(), "schema registry settings cannot be used: its URL is neither http nor https");
}

/// A reqwest client that blocks panics there; ours runs elsewhere.
#[tokio::test]
async fn it_may_be_used_and_dropped_on_an_async_worker() {
    let registry = StandIn::start(|_, _| (200, event_schema()));
    let codec = registry.codec(1);
    assert_eq!(codec.decode(&confluent(7)), Ok(samples::event()));
    drop(codec);
}

#[test]
fn what_a_newer_program_wrote_is_read_but_not_taken_for_ones_own() {
    let mut schema: serde_json::Value = serde_json::from_str(MessageType::Event.schema_json()).expect("JSON");
    let added = serde_json::json!({ "name": "added_later", "type": ["null", "string"], "default": null });
    schema["fields"].as_array_mut().expect("a list").push(added);
    let newer = serde_json::json!({ "schema": schema.to_string() }).to_string();
    let mut with_null = confluent(7);
    with_null.push(0);
    for (schema, bytes, own) in [
        (newer, with_null, Err(DecodeError::Newer { message: "Event" })),
        (event_schema(), confluent(7), Ok(samples::event())),
    ] {
        let registry = StandIn::start(move |_, _| (200, schema.clone()));
        let codec = registry.codec(1);
        assert_eq!(codec.decode::<Event>(&bytes), Ok(samples::event()));
        assert_eq!(codec.decode_own::<Event>(&bytes), own);
    }
}
