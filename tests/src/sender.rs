//! Sends a scenario the way products do: over HTTP in every body form, and straight to Kafka.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::Value;

use crate::{scenario::Malformed, servers};

/// How long a batch is tried again while the gateway is away.
const PATIENCE: Duration = Duration::from_secs(60);

/// A line of a scenario: an event's JSON, or something broken.
#[derive(Debug, Clone)]
pub struct Line {
    pub json: String,
    pub broken: bool,
}

/// Mixes valid and malformed events in a random, repeatable order.
pub fn lines(events: &[Value], malformed: &[Malformed], seed: u64) -> Vec<Line> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut lines: Vec<_> = events.iter().map(|event| Line { json: event.to_string(), broken: false }).collect();
    for malformed in malformed {
        let place = rng.random_range(0..=lines.len());
        lines.insert(place, Line { json: malformed.bytes.clone(), broken: malformed.broken });
    }
    lines
}

/// Posts `lines` in batches, each in another body form. A batch without an answer, or answered with "later", is sent
/// again as it is.
pub async fn post(url: &str, lines: &[Line]) {
    post_counting(url, lines, &AtomicUsize::new(0)).await;
}

/// Like [`post`]; counts the batches that are acknowledged, so that another can act in the middle of it.
pub async fn post_counting(url: &str, lines: &[Line], acknowledged: &AtomicUsize) {
    let client = crate::http::client();
    for (number, batch) in lines.chunks(37).enumerate() {
        let broken = batch.iter().any(|line| line.broken);
        let (content_type, body, gzip) = body(if broken { 2 } else { number % 5 }, batch);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut request = client
                .post(format!("{url}/api/v1/events"))
                .header("content-type", content_type)
                .timeout(Duration::from_secs(20))
                .body(body.clone());
            if gzip {
                request = request.header("content-encoding", "gzip");
            }
            match request.send().await {
                Ok(response) if matches!(response.status().as_u16(), 202 | 207 | 422) => {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Ok(response) if response.status().as_u16() != 503 => {
                    panic!(
                        "a batch was answered with {}: {}",
                        response.status(),
                        response.text().await.unwrap_or_default()
                    )
                }
                _ => {}
            }
            assert!(Instant::now() < deadline, "no answer from the gateway within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn body(form: usize, batch: &[Line]) -> (&'static str, Vec<u8>, bool) {
    let jsons: Vec<_> = batch.iter().map(|line| line.json.as_str()).collect();
    let array = format!("[{}]", jsons.join(","));
    match form {
        0 => ("application/json", array.into_bytes(), false),
        1 => ("application/json", format!("{{\"events\":{array}}}").into_bytes(), false),
        2 => ("application/x-ndjson", (jsons.join("\n") + "\n").into_bytes(), false),
        3 => ("application/json", gzip(&array), true),
        _ => ("application/x-ndjson", gzip(&jsons.join("\n")), true),
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Produces `lines` to `telemetry.events.raw.v1` with Apache Kafka's own console producer. Blocks.
pub fn produce_raw(brokers: &str, lines: &[Line]) {
    let libs = servers::require("TTF_TEST_KAFKA_LIBS");
    let mut child = Command::new("java")
        .args(["-cp", &format!("{libs}/*"), "org.apache.kafka.tools.ConsoleProducer"])
        .args(["--bootstrap-server", brokers, "--topic", telemetry_schemas::topics::EVENTS_RAW])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("java is there");
    let mut input = child.stdin.take().expect("it is piped");
    for line in lines {
        writeln!(input, "{}", line.json).expect("the producer reads on");
    }
    drop(input);
    let output = child.wait_with_output().expect("the producer ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
