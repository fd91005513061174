//! Malformed input en masse: never a crash, always an answer of the right class, and the books balance.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

pub use rand_core::SmallRandom;
use serde_json::json;

use super::harness::{start, track};

/// A xorshift generator: the same inputs in every run of a seed.
mod rand_core {
    pub struct SmallRandom(pub u64);

    impl SmallRandom {
        pub fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % bound as u64) as usize
        }
    }
}

/// How long the bombardment lasts.
const LENGTH: Duration = Duration::from_secs(8);

const PATHS: [&str; 6] = ["/api/v1/events", "/v1/batch", "/batch/", "/i/v1/analytics/events", "/track", "/engage"];

const TYPES: [&str; 6] = [
    "application/json",
    "application/x-ndjson",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "application/x-www-form-urlencoded",
    "text/plain",
];

/// Pieces that parsers stumble over.
const PIECES: [&[u8]; 22] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"\\u",
    b"\\ud800",
    b"\xff",
    b"\x00",
    b"NaN",
    b"-",
    b"1e999",
    b"null",
    b"\"events\":",
    b"\"batch\":",
    b"9007199254740993",
    b"\r\n",
    b"data=",
    b"%",
    b"\xef\xbb\xbf",
];

static GOOD: LazyLock<[String; 5]> = LazyLock::new(|| {
    let event = track("u");
    [
        event.to_string(),
        json!({"events": [event, {"event_name": 1}], "sent_at": "2026-11-23T00:00:00Z"}).to_string(),
        json!({"batch": [{"type": "track", "event": "e", "userId": "u"}], "api_key": "k"}).to_string(),
        json!([{"event": "e", "properties": {"token": "t", "distinct_id": "u"}}]).to_string(),
        json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {}}).to_string(),
    ]
});

pub fn mangled(random: &mut SmallRandom) -> Vec<u8> {
    let good = &*GOOD;
    let mut body = good[random.below(good.len())].clone().into_bytes();
    for _ in 0..=random.below(4) {
        let at = random.below(body.len().max(1));
        match random.below(5) {
            0 => body.truncate(at),
            1 => drop(body.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
            2 if !body.is_empty() => body[at] = random.below(256) as u8,
            3 if !body.is_empty() => drop(body.remove(at)),
            _ => {
                let piece = PIECES[random.below(PIECES.len())].repeat(random.below(200));
                drop(body.splice(at..at, piece));
            }
        }
    }
    body
}

#[tokio::test]
async fn whatever_is_sent_gets_its_answer() {
    let gateway = start().await;
    let seed = std::env::var("TTF_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed);
    let mut random = SmallRandom(seed);
    let started = Instant::now();
    let mut sent = 0_u64;
    while started.elapsed() < LENGTH {
        let body = mangled(&mut random);
        let path = PATHS[random.below(PATHS.len())];
        let content_type = TYPES[random.below(TYPES.len())];
        let request = gateway.client.post(gateway.url(path)).header("content-type", content_type);
        let encoded = random.below(12);
        let request = match encoded {
            0 => request.header("content-encoding", "gzip"),
            1 => request.header("content-encoding", "zstd"),
            2 => request.header("content-encoding", "br"),
            3 => request.header("content-encoding", "deflate"),
            _ => request,
        };
        let response = request.body(body.clone()).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let shown = String::from_utf8_lossy(&body);
        let expected: &[u16] =
            if path == "/api/v1/events" { &[202, 207, 400, 413, 415, 422] } else { &[200, 400, 413, 415] };
        assert!(expected.contains(&status), "seed {seed}: {status} {text} to {path} {content_type}: {shown}");
        assert!(!text.contains("panicked") && text.len() < 64 * 1024, "seed {seed}: {text}");
        sent += 1;
    }
    assert!(sent > 500, "{sent} requests in {LENGTH:?}");
    assert_eq!(gateway.metric("ttf_events_received_total", &[]), gateway.metric("ttf_events_total", &[]));
    assert_eq!(gateway.metric("ttf_gateway_in_flight_bytes", &[]), 0);
    assert_eq!(gateway.metric("ttf_gateway_requests_total", &["code=\"500\""]), 0);
    assert_eq!(gateway.send(track("still there").to_string()).await.0, 202);
}
