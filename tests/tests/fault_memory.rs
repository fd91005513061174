//! What a processor holds in memory while what it puts out is taken slowly. Needs a `ttf` that was built with the
//! feature `failpoints`.

use std::{fmt::Write as _, time::Duration};

use serde_json::json;
use ttf_tests::{
    faults::{Cluster, Spec, Trial},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(60);
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const MIB: u64 = 1 << 20;
/// What the configuration lets it read ahead, and gather before it commits.
const PREFETCH: u64 = MIB;
const COMMIT: u64 = MIB;
/// A fetch on its way, besides what is already read: as much again, at most. What is gathered is in the overlay and
/// encoded in the producer's queue. The rest is for the allocator, the indexes of the local state, and threads.
const BOUND: u64 = 2 * PREFETCH + 2 * COMMIT + 24 * MIB;
/// Seconds; what is read ahead is read by then.
const STUCK_FOR: f64 = 5.0;
/// Bytes of each event that no journey looks at.
const PADDING: usize = 6_000;
const USERS: usize = 3_000;

/// A quota on what the processor produces; what it reads comes as fast as ever.
fn slow_down(trial: &Trial, slow: bool) {
    let change =
        if slow { ["--add-config", "producer_byte_rate=10000"] } else { ["--delete-config", "producer_byte_rate"] };
    let of = ["--alter", "--entity-type", "clients", "--entity-name", "ttf-processor"];
    trial.to_brokers(|kafka| kafka.tool(CONFIGS, &[&of[..], &change[..]].concat()));
}

/// What a batch cannot be compressed to less than: the bound is on what comes over the wire.
fn noise(seed: u64) -> String {
    let word = |at: u64| (seed * 1_000_003 + at).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
    (0..PADDING as u64 / 16).fold(String::new(), |mut text, at| {
        write!(text, "{:016x}", word(at).wrapping_mul(0xD1B5_4A32_D192_ED03)).expect("a string takes it");
        text
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_while_brokers_take_records_slowly() {
    let mut trial = Trial::on(Cluster::own());
    let spec = Spec::new("0").settings(json!({
        "processor": { "prefetch": "1MiB", "commit_bytes": "1MiB", "commit_interval": "1s", "cache": "1MiB" },
    }));
    let mut processor = trial.start_ready(&spec).await;
    let warm = trial.cohort("warm", 50, 90);
    trial.send(&warm).await;
    trial.settled().await;
    let before = processor.process.memory("VmRSS");

    slow_down(&trial, true);
    let mut events = trial.cohort("a", USERS, 91);
    for (number, event) in events.iter_mut().enumerate() {
        event.properties.insert("padding".to_owned(), json!(noise(number as u64)));
    }
    let sent = (events.len() * PADDING) as u64;
    assert!(sent > 2 * BOUND, "{sent} bytes would not show");
    for part in events.chunks(1_000) {
        trial.send(part).await;
    }
    let is_stuck = async || {
        let age = processor.metric("ttf_processor_open_transaction_age_seconds").await;
        if age >= STUCK_FOR { Ok(()) } else { Err(format!("its transaction is open for {age} s")) }
    };
    wait::until("a transaction is stuck", PATIENCE, is_stuck).await;
    let grown = processor.process.memory("VmHWM").saturating_sub(before);
    assert!(grown < BOUND, "it has grown by {} MiB, allowed are {}", grown / MIB, BOUND / MIB);

    slow_down(&trial, false);
    trial.settled().await;
    processor.drain();
}
