//! How long a breach takes to its receiver, and what open alerts cost: the whole alerter on an embedded log, next to a
//! webhook in the same process. Run by `bench/run.sh alerter`.
//!
//!     alerter_speed BREACHES_PER_SECOND SECONDS OPEN_ALERTS

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use alerter::message::sample_breach;
use anyhow::{Context as _, ensure};
use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};
use service_kit::{
    Kit,
    config::{Sources, load_section},
};
use stream_runtime::log::{Cleanup, Log, LogConfig, LogError, NewRecord, Publisher, TopicSpec, config::EmbeddedConfig};
use telemetry_schemas::{BreachLevel, Codec, EventTime, RecordKey, TtfBreach, topics};

const DEFAULTS: &str = include_str!("../../config/telemetry.yaml");
const PARTITIONS: i32 = 4;
const CALL: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(400);

/// When each user's notification came.
type Came = Arc<Mutex<BTreeMap<String, Instant>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let &[rate, seconds, open] = arguments.as_slice() else { anyhow::bail!("alerter_speed RATE SECONDS OPEN_ALERTS") };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = std::env::temp_dir().join(format!("ttf-alerter-speed-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = measure(&folder, rate, seconds, open).await;
    std::fs::remove_dir_all(&folder)?;
    println!("{}", outcome?);
    Ok(())
}

async fn measure(folder: &std::path::Path, rate: usize, seconds: usize, open: usize) -> anyhow::Result<Value> {
    let came = Came::default();
    let url = webhook(came.clone()).await?;
    let log = log(folder)?;
    let kit = Kit::for_test();
    let section = format!(
        "alerter:\n  user_ids: plain\n  state_dir: {}\n  route: {{ receiver: hook, group_wait: 0s, group_interval: 0s }}\n  \
         receivers: [{{ name: hook, webhook: {{ url: '{url}' }} }}]\n",
        folder.join("alerts").display()
    );
    let config = load_section(Sources::new(DEFAULTS).with_layer("the benchmark", section), "alerter")?;
    alerter::run(config, log.clone(), Codec::without_registry(), &kit).await?;
    let publisher = log.publisher()?;

    // Whatever happens once has happened.
    publish(&*publisher, "warm").await?.await?;
    arrived(&came, 1).await?;
    came.lock().expect("no one panicked").clear();

    let count = rate * seconds;
    let mut sent = Vec::with_capacity(count);
    let begin = Instant::now();
    for index in 0..count {
        let at = begin + Duration::from_secs_f64(index as f64 / rate as f64);
        tokio::time::sleep_until(at.into()).await;
        sent.push(Instant::now());
        // The processor's breaches are durable when it goes on; the time counts from before.
        drop(publish(&*publisher, &format!("steady-{index}")).await?);
    }
    arrived(&came, count).await?;
    let delays = {
        let came = came.lock().expect("no one panicked");
        let mut delays: Vec<f64> = (0..count)
            .map(|index| came[&format!("steady-{index}")].duration_since(sent[index]).as_secs_f64() * 1_000.0)
            .collect();
        delays.sort_by(f64::total_cmp);
        delays
    };
    let percentile = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize].round();

    came.lock().expect("no one panicked").clear();
    let before = resident()?;
    let begin = Instant::now();
    for index in 0..open {
        drop(publish(&*publisher, &format!("open-{index}")).await?);
    }
    arrived(&came, open).await?;
    let flood = begin.elapsed();
    // The webhook's own list is not the alerter's.
    came.lock().expect("no one panicked").clear();
    let after = resident()?;
    kit.shutdown().cancel();
    kit.join(Duration::from_secs(15)).await?;
    Ok(json!({
        "breaches_per_second": rate,
        "breach_to_request_p50_ms": percentile(0.5),
        "breach_to_request_p99_ms": percentile(0.99),
        "breach_to_request_max_ms": percentile(1.0),
        "open_alerts": open,
        "bytes_per_open_alert": (after.saturating_sub(before)) / open.max(1) as u64,
        "notifications_per_second_at_full_speed": (open as f64 / flood.as_secs_f64()).round(),
    }))
}

async fn webhook(came: Came) -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/hook", listener.local_addr()?);
    let router = Router::new().route("/hook", post(take)).with_state(came);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

async fn take(State(came): State<Came>, Json(body): Json<Value>) {
    let now = Instant::now();
    let user = body["groupLabels"]["user_id"].as_str().unwrap_or_default().to_owned();
    came.lock().expect("no one panicked").entry(user).or_insert(now);
}

fn log(folder: &std::path::Path) -> anyhow::Result<Arc<dyn Log>> {
    let config = LogConfig::Embedded(EmbeddedConfig { path: folder.join("log"), retention_bytes: 1 << 30 });
    let log = stream_runtime::log::open(&config, "alerter-speed")?;
    let specs: Vec<_> = topics::CATALOGUE
        .iter()
        .map(|topic| TopicSpec {
            cleanup: if topic.is_compacted() { Cleanup::Compact } else { Cleanup::Delete },
            ..TopicSpec::new(topic.name, PARTITIONS)
        })
        .collect();
    log.create_topics(&specs, CALL)?;
    Ok(log)
}

/// Publishes a breach that is found now.
async fn publish(publisher: &dyn Publisher, user: &str) -> anyhow::Result<stream_runtime::log::Delivery> {
    let breach = sample_breach(user, BreachLevel::Warning);
    let now = EventTime(service_kit::clock::now_ms());
    let shift = now.since(breach.detected_at);
    let breach = TtfBreach {
        signup_at: breach.signup_at.plus(shift),
        due_at: breach.due_at.plus(shift),
        detected_at: now,
        ..breach
    };
    let key = RecordKey::user(&*breach.tenant, &*breach.user_id).to_bytes();
    let record = NewRecord::new(topics::TTF_BREACHES, key, Codec::without_registry().encode(&breach)?);
    loop {
        match publisher.publish(record.clone()) {
            Err(LogError::QueueFull) => tokio::time::sleep(Duration::from_millis(1)).await,
            other => return Ok(other?),
        }
    }
}

async fn arrived(came: &Came, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = came.lock().expect("no one panicked").len();
        if found >= count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{found} of {count} notifications came");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Resident memory of this process in bytes.
fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("Linux tells")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1_024)
}
