//! What the privacy policy costs an event, next to reading the event's JSON in the same run.
//!
//! `cargo bench -p ingest-gateway --bench privacy`

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use ingest_gateway::privacy::{Milestones, Policy, PrivacyConfig};
use serde_json::{Map, Value, json};

/// Short runs, many of them: on a busy machine some are left alone.
const RUN: Duration = Duration::from_millis(2);
const RUNS: usize = 400;

/// Nanoseconds of one call: the best of several runs, which is the one least disturbed.
fn nanoseconds(mut work: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let started = Instant::now();
        let mut calls = 0_u32;
        while started.elapsed() < RUN {
            for _ in 0..10 {
                work();
            }
            calls += 10;
        }
        best = best.min(started.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    best
}

fn policy(config: Value) -> Policy {
    let config: PrivacyConfig = serde_json::from_value(config).expect("is a policy");
    Policy::compile(&config, Milestones::default()).expect("it compiles")
}

/// A usual event of about 800 bytes with nothing to find, and the same with an address in a text.
fn event(note: &str) -> String {
    json!({
        "event_name": "project_created", "event_type": "track", "event_id": "0190f3a2-7c1e-7bb0-9e3a-3f1f6d2a4c11",
        "timestamp": "2026-11-23T09:15:30.250Z", "user_id": "u-81725", "session_id": "s-0190f3a27c1e",
        "properties": {
            "plan": "team", "source": "onboarding wizard", "template": "customer support agent", "project_id": "prj_8f2k1m0q",
            "workspace": "acme-production", "page": "https://app.example.com/projects/new?step=3&from=home", "count": 3,
            "duration_ms": 1234.5, "tags": ["first", "guided", "europe"], "note": note,
            "settings": {"region": "eu-central-1", "model": "large-2026-10", "memory": true},
        },
        "context": {
            "library": {"name": "telemetry-python", "version": "1.4.2"}, "locale": "de-CH", "ip": "203.0.113.0", "release": "2026.11.3",
            "user_agent": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
            "segments": {"plan": "team", "country": "CH", "company_size": "51-200"},
        },
    })
    .to_string()
}

fn main() {
    let masks: Map<String, Value> = ["email", "phone", "card", "national_id", "secret"]
        .map(|name| (name.to_owned(), json!("mask")))
        .into_iter()
        .collect();
    let mut detectors = Value::Object(masks);
    detectors["ip"] = json!("truncate");
    let fields = json!({"context.ip": "truncate"});
    let off = policy(json!({"fields": fields}));
    let on = policy(json!({"fields": fields, "detectors": detectors}));
    let sealing = policy(json!({"detectors": {"email": "seal"}, "keys": [{"id": "k", "secret": "0123456789abcdef"}]}));
    let hashing = policy(json!({"detectors": {"email": "hash"}, "keys": [{"id": "k", "secret": "0123456789abcdef"}]}));

    let plain = event("created from the second step of the wizard, without any help");
    let personal = event("created from the second step for ada.lovelace@example.com");
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).expect("is JSON");
    let parse = nanoseconds(|| drop(black_box(read(black_box(&plain)))));
    println!("an event of {} bytes; reading its JSON: {parse:.0} ns", plain.len());
    let cases = [
        ("detectors off, one field rule", &off, &plain),
        ("all detectors on, nothing to find", &on, &plain),
        ("all detectors on, an address masked", &on, &personal),
        ("an address hashed", &hashing, &personal),
        ("an address sealed", &sealing, &personal),
    ];
    for (what, policy, text) in cases {
        let map = read(text);
        let copy = nanoseconds(|| drop(black_box(map.clone())));
        let both = nanoseconds(|| {
            let mut map = map.clone();
            let _ = black_box(policy.apply("acme", &mut map));
            drop(black_box(map));
        });
        let cost = both - copy;
        println!("{what}: {cost:.0} ns an event, {:.0} % of reading it", 100.0 * cost / parse);
    }
    let raw = plain.repeat(40);
    let cost = nanoseconds(|| drop(black_box(on.apply_to_raw(black_box(raw.as_bytes())))));
    println!("rejected bytes that are no JSON: {:.2} ns a byte", cost / raw.len() as f64);
}
