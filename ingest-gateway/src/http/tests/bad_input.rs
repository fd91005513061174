//! Input nobody should send. Each has its answer, and the gateway goes on.

use std::io::Write;

use bytes::Bytes;
use serde_json::{Value, json};
use telemetry_schemas::{rejected::RejectedEvent, topics};

use super::harness::{Running, Setup, answer, start, start_with, track};

struct Case {
    name: &'static str,
    body: Vec<u8>,
    headers: &'static [(&'static str, &'static str)],
    /// Status and code; of the first result where there is one.
    expected: (u16, &'static str),
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const GZIP: &[(&str, &str)] = &[("content-type", "application/json"), ("content-encoding", "gzip")];
const ZSTD: &[(&str, &str)] = &[("content-type", "application/json"), ("content-encoding", "zstd")];
const BROTLI: &[(&str, &str)] = &[("content-type", "application/json"), ("content-encoding", "br")];
const NDJSON: &[(&str, &str)] = &[("content-type", "application/x-ndjson")];

fn case(name: &'static str, body: impl Into<Vec<u8>>, expected: (u16, &'static str)) -> Case {
    Case { name, body: body.into(), headers: JSON, expected }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A frame that asks for a window of 1 GiB.
fn wide_window() -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0];
    frame.extend([0x01, 0x00, 0x00]);
    frame
}

fn event_with(properties: &str) -> String {
    format!(r#"{{"event_name":"x","event_type":"track","user_id":"u","properties":{properties}}}"#)
}

fn cases() -> Vec<Case> {
    let hundred_thousand_keys = (0..100_000).map(|n| format!("\"k{n}\":0")).collect::<Vec<_>>().join(",");
    let many: Vec<Value> = (0..2_501).map(|_| json!({})).collect();
    let whole = gzip(track("u").to_string().as_bytes());
    vec![
        case("empty", "", (400, "invalid_json")),
        case("blank", " \n ", (400, "invalid_json")),
        case("not JSON", "hello", (400, "invalid_json")),
        case("cut off", r#"{"events":[{"event_name""#, (400, "invalid_json")),
        case("a scalar", "42", (400, "invalid_json")),
        case("no events", r#"{"events":[]}"#, (400, "invalid_json")),
        case("events is no array", r#"{"events":{}}"#, (400, "datatype_mismatch")),
        case("an unknown key of the batch", r#"{"events":[{}],"sentAt":"x"}"#, (400, "additional_properties")),
        case("another product's batch", r#"{"batch":[{}]}"#, (422, "additional_properties")),
        case("not a number", event_with(r#"{"n":NaN}"#), (400, "invalid_json")),
        case("infinity", event_with(r#"{"n":-Infinity}"#), (400, "invalid_json")),
        case("a number out of range", event_with(r#"{"n":1e999}"#), (422, "number_out_of_range")),
        case("a lone surrogate", event_with(r#"{"s":"\ud800"}"#), (422, "invalid_json")),
        case("a raw control character", event_with("{\"s\":\"\u{1}\"}"), (400, "invalid_json")),
        case("a key given twice", r#"{"event_name":"x","event_name":"y","event_type":"test"}"#, (422, "duplicate_key")),
        case("deep JSON", event_with(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))), (422, "too_deep")),
        case("a deep body", "[".repeat(1_000_000), (400, "invalid_json")),
        case("many keys", event_with(&format!("{{{hundred_thousand_keys}}}")), (422, "too_large")),
        case("bytes that are no text", b"{\"event_name\":\"\xff\xfe\",\"event_type\":\"test\"}", (422, "invalid_utf8")),
        case("UTF-16", b"\xff\xfe{\x00}\x00", (400, "invalid_json")),
        case("too many events", serde_json::to_vec(&many).unwrap(), (413, "too_many_events")),
        case("too many bytes", vec![b' '; (5 << 20) + 1], (413, "body_too_large")),
        Case { headers: GZIP, ..case("a bomb", gzip(&vec![b' '; 100 << 20]), (413, "body_too_large")) },
        Case {
            headers: ZSTD,
            ..case("a bomb of zstd", zstd::encode_all(&vec![b' '; 100 << 20][..], 1).unwrap(), (413, "body_too_large"))
        },
        Case { headers: ZSTD, ..case("a window of zstd that is too large", wide_window(), (400, "invalid_encoding")) },
        Case { headers: ZSTD, ..case("not zstd", "{}", (400, "invalid_encoding")) },
        Case { headers: BROTLI, ..case("not brotli", "{}{}{}", (400, "invalid_encoding")) },
        Case { headers: GZIP, ..case("not gzip", "{}", (400, "invalid_encoding")) },
        Case { headers: GZIP, ..case("gzip cut off", &whole[..whole.len() - 5], (400, "invalid_encoding")) },
        Case { headers: NDJSON, ..case("no lines", "\n\n", (400, "invalid_json")) },
        Case { headers: NDJSON, ..case("a line that is no JSON", "{\n", (422, "invalid_json")) },
        Case {
            headers: &[("content-type", "application/json"), ("content-encoding", "compress")],
            ..case("an encoding that is not taken", "{}", (415, "unsupported_encoding"))
        },
        Case {
            headers: &[("content-type", "application/json"), ("content-encoding", "gzip, gzip")],
            ..case("two encodings", "{}", (415, "unsupported_encoding"))
        },
        Case {
            headers: &[("content-type", "application/x-www-form-urlencoded")],
            ..case("a form", "a=b", (415, "unsupported_content_type"))
        },
        Case {
            headers: &[("content-type", "application/json; charset=latin1")],
            ..case("another charset", "{}", (415, "unsupported_content_type"))
        },
    ]
}

async fn send(gateway: &Running, case: &Case) -> (u16, Value) {
    let request = gateway.client.post(gateway.url("/api/v1/events")).body(case.body.clone());
    let request = case.headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    answer(request.send().await.unwrap()).await
}

#[tokio::test]
async fn bad_input_has_its_answer_and_the_gateway_goes_on() {
    let gateway = start().await;
    for case in cases() {
        let (status, answer) = send(&gateway, &case).await;
        let code = answer["results"].get(0).unwrap_or(&answer)["code"].as_str().unwrap_or_default();
        assert_eq!((status, code), case.expected, "{}: {answer}", case.name);
        for count in ["accepted", "rejected", "duplicate"] {
            assert!(answer[count].is_u64(), "{}: {answer}", case.name);
        }
        assert_eq!(gateway.send(track("u").to_string()).await.0, 202, "after {}", case.name);
    }
    let received = gateway.metric("ttf_events_received_total", &[]);
    assert_eq!(received, gateway.metric("ttf_events_total", &[]));
    assert_eq!(gateway.metric("ttf_gateway_in_flight_bytes", &[]), 0);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_kept() {
    let gateway = start().await;
    let body = Bytes::from("x".repeat(40_000));
    assert_eq!(gateway.send(body.clone()).await.0, 400);
    let rejected: Vec<RejectedEvent> = gateway.values(topics::EVENTS_REJECTED);
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].payload.len(), 32 * 1024);
    assert_eq!(rejected[0].payload_bytes, 40_000);
    assert_eq!(rejected[0].payload_sha256, hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&body)));
}

#[tokio::test]
async fn beyond_the_bytes_in_flight_requests_are_refused_at_once() {
    let mut setup = Setup::default();
    setup.config.limits.batch_bytes = service_kit::config::ByteSize::from_bytes(64 * 1024);
    setup.config.limits.body_bytes = service_kit::config::ByteSize::from_bytes(64 * 1024);
    setup.config.limits.in_flight_bytes = service_kit::config::ByteSize::from_bytes(280 * 1024);
    let gateway = start_with(setup).await;
    // Two bodies that stay open use the budget up.
    let (first, body) = held_body(60_000);
    let (second, other) = held_body(60_000);
    let open: Vec<_> = [body, other]
        .into_iter()
        .map(|body| tokio::spawn(gateway.post_to("/api/v1/events").body(body).send()))
        .collect();
    super::harness::eventually("the bodies are in flight", || {
        gateway.metric("ttf_gateway_in_flight_bytes", &[]) >= 120_000
    })
    .await;
    let (status, answer) = gateway.send(json!([track(&"u".repeat(100))]).to_string() + &" ".repeat(12_000)).await;
    assert_eq!((status, answer["code"].as_str()), (503, Some("overloaded")));
    drop((first, second));
    for request in open {
        let _ = request.await;
    }
    super::harness::eventually("the budget is back", || gateway.metric("ttf_gateway_in_flight_bytes", &[]) == 0).await;
    assert_eq!(gateway.send(track("u").to_string()).await.0, 202);
}

/// A body of which `bytes` are sent and the rest never comes while the sender is held.
fn held_body(bytes: usize) -> (tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>, reqwest::Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.try_send(Ok(Bytes::from(vec![b' '; bytes]))).unwrap();
    let chunks = futures::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    (sender, reqwest::Body::wrap_stream(chunks))
}
