//! The gateway on a real Kafka of its own: what was acknowledged is there, whatever ends the process; what producers of
//! all kinds put on the raw topic comes out once.

#[path = "gateway_kafka/full.rs"]
mod full;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use stream_runtime::log::NewRecord;
use telemetry_schemas::topics;
use ttf_tests::{
    clients,
    faults::Cluster,
    observe::Topics,
    process::{Ttf, free_port},
    servers, wait,
};

const START: Duration = Duration::from_secs(40);
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway on the cluster, in a folder of its own.
struct Gateway {
    process: Ttf,
    url: String,
    config: PathBuf,
    admin: String,
    folder: tempfile::TempDir,
}

impl Gateway {
    /// `gateway` is merged over what the tests share of the section.
    async fn start(cluster: &Cluster, gateway: Value) -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-gateway-").tempdir().expect("a temporary folder");
        let listen = format!("127.0.0.1:{}", free_port());
        let admin = format!("127.0.0.1:{}", free_port());
        let config = folder.path().join("ttf.yaml");
        let mut settings = json!({
            "service": { "admin_listen": admin },
            "log": { "properties": { "session.timeout.ms": "6000" } },
            "gateway": { "listen": listen, "auth": { "mode": "open" }, "ack_timeout": "2s" },
        });
        settings["gateway"]
            .as_object_mut()
            .expect("a section")
            .extend(gateway.as_object().cloned().unwrap_or_default());
        cluster.write_config(&config, &settings);
        let process = launch(&folder, &config);
        let mut gateway = Self { process, url: format!("http://{listen}"), config, admin, folder };
        gateway.ready().await;
        gateway
    }

    async fn ready(&mut self) {
        self.process.ready(&format!("http://{}/ready", self.admin), START).await;
    }

    async fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.folder, &self.config);
        self.ready().await;
    }

    fn events(&self) -> Vec<Value> {
        Topics::Config(self.config.clone()).read("events")
    }
}

fn launch(folder: &tempfile::TempDir, config: &std::path::Path) -> Ttf {
    let config = config.to_str().expect("a temporary path is UTF-8");
    Ttf::start("gateway", folder.path(), &["gateway", "--config", config])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_that_got_a_2xx_is_in_kafka_whenever_the_gateway_is_killed() {
    const KILLS: usize = 3;
    let cluster = Cluster::own();
    // Without the ingress, whose group would be waited for after every kill.
    let mut gateway = Gateway::start(&cluster, json!({ "kafka_ingress": { "enabled": false } })).await;
    let (acknowledged, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let senders: Vec<_> = (0..8)
        .map(|sender| {
            let (url, acknowledged, is_over) = (gateway.url.clone(), acknowledged.clone(), is_over.clone());
            tokio::spawn(async move {
                let client = ttf_tests::http::client();
                let mut taken = BTreeSet::new();
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let ids: Vec<String> = (0..5).map(|part| format!("{sender}-{number}-{part}")).collect();
                    let event = |id: &String| {
                        json!({"event_name": "x", "event_type": "track", "user_id": format!("u-{sender}"), "event_id": id})
                    };
                    let body = json!(ids.iter().map(event).collect::<Vec<_>>());
                    let sent = client.post(format!("{url}/api/v1/events")).json(&body).timeout(PATIENCE).send().await;
                    match sent {
                        Ok(answer) if answer.status().as_u16() == 202 => {
                            acknowledged.fetch_add(ids.len(), Ordering::Relaxed);
                            taken.extend(ids);
                        }
                        _ => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
                taken
            })
        })
        .collect();
    for _ in 0..KILLS {
        let before = acknowledged.load(Ordering::Relaxed);
        wait::until("events are taken", PATIENCE, || async {
            let taken = acknowledged.load(Ordering::Relaxed) - before;
            if taken >= 400 { Ok(()) } else { Err(format!("{taken}")) }
        })
        .await;
        gateway.kill_and_restart().await;
    }
    is_over.store(true, Ordering::Relaxed);
    let mut taken = BTreeSet::new();
    for sender in senders {
        taken.extend(sender.await.expect("no sender panics"));
    }
    assert!(taken.len() >= 400 * KILLS);
    let events = gateway.events();
    let there: BTreeSet<&str> = events.iter().filter_map(|event| event["event_id"].as_str()).collect();
    let lost: Vec<&String> = taken.iter().filter(|id| !there.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged events are not in Kafka: {lost:?}", lost.len(), taken.len());
}

/// Sends events to one gateway and looks at the answers.
struct Sender {
    client: reqwest::Client,
    url: String,
}

impl Sender {
    fn to(gateway: &Gateway) -> Self {
        Self { client: ttf_tests::http::client(), url: format!("{}/api/v1/events", gateway.url) }
    }

    async fn send(&self, id: &str) -> reqwest::Response {
        let event = json!({"event_name": "x", "event_type": "track", "user_id": "u", "event_id": id});
        let request = self.client.post(&self.url).json(&event);
        request.timeout(PATIENCE).send().await.expect("the gateway answers")
    }

    /// Sends an event until it is taken.
    async fn insist(&self, id: &str) {
        wait::until("the event is taken", PATIENCE, || async {
            let answer = self.send(id).await;
            if answer.status() == 202 { Ok(()) } else { Err(format!("{}", answer.status())) }
        })
        .await;
    }
}

/// Asserts that the sender is told when to come again.
fn assert_comes_again(answer: &reqwest::Response) {
    assert_eq!(answer.status(), 503);
    let seconds: u64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("whole seconds");
    assert!(seconds >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_senders_are_told_to_come_again_and_nothing_is_lost() {
    let cluster = Cluster::own();
    let kafka = cluster.own_kafka().expect("its own");
    let gateway = Gateway::start(&cluster, json!({ "kafka_ingress": { "enabled": false } })).await;
    let sender = Sender::to(&gateway);
    assert_eq!(sender.send("before").await.status(), 202);

    kafka.stop_broker(1);
    assert_comes_again(&sender.send("away").await);
    let health = sender.client.get(format!("{}/health", gateway.url)).send().await.expect("answers");
    let health: Value = health.json().await.expect("JSON");
    assert_eq!(health["status"], "degraded", "{health}");
    kafka.start_broker(1);
    sender.insist("away").await;
    let events = gateway.events();
    for id in ["before", "away"] {
        assert!(events.iter().any(|event| event["event_id"] == id), "{id} is in Kafka");
    }
}

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_broker_is_told_to_senders_before_memory_grows() {
    const CONFIGS: &str = "kafka.admin.ConfigCommand";
    const IN_FLIGHT: u64 = 8 * MIB;
    /// Of each event; what a batch cannot be compressed to less than.
    const PADDING: usize = 6_000;
    let cluster = Cluster::own();
    let kafka = cluster.own_kafka().expect("its own");
    let settings = json!({
        "kafka_ingress": { "enabled": false },
        "limits": { "in_flight_bytes": format!("{}MiB", IN_FLIGHT / MIB), "batch_bytes": "1MiB", "body_bytes": "1MiB" },
    });
    let gateway = Gateway::start(&cluster, settings).await;
    let sender = Arc::new(Sender::to(&gateway));
    assert_eq!(sender.send("before").await.status(), 202);
    let of_gateway = ["--alter", "--entity-type", "clients", "--entity-name", "ttf-gateway"];
    kafka.tool(CONFIGS, &[&of_gateway[..], &["--add-config", "producer_byte_rate=100000"]].concat());

    let before = gateway.process.memory("VmRSS");
    let senders: Vec<_> = (0..16_u64)
        .map(|number| {
            let sender = sender.clone();
            tokio::spawn(async move {
                let (mut taken, mut refused, mut bytes) = (BTreeSet::new(), 0, 0);
                for round in 0..12_u64 {
                    let ids: Vec<String> = (0..40).map(|part| format!("{number}-{round}-{part}")).collect();
                    let event = |id: &String| {
                        let padding = noise(number * 1_000 + round, PADDING);
                        json!({"event_name": "x", "event_type": "track", "user_id": id, "event_id": id, "properties": { "padding": padding }})
                    };
                    let body = json!(ids.iter().map(event).collect::<Vec<_>>()).to_string();
                    bytes += body.len() as u64;
                    let request = sender.client.post(&sender.url).header("content-type", "application/json");
                    let answer = request.body(body).timeout(PATIENCE).send().await.expect("the gateway answers");
                    if answer.status() == 202 {
                        taken.extend(ids);
                    } else {
                        let comes_again = answer.headers().contains_key("retry-after");
                        assert!(comes_again && matches!(answer.status().as_u16(), 503 | 207), "{}", answer.status());
                        refused += 1;
                    }
                }
                (taken, refused, bytes)
            })
        })
        .collect();
    let (mut taken, mut refused, mut bytes) = (BTreeSet::new(), 0, 0);
    for sender in senders {
        let (of_sender, times, sent) = sender.await.expect("no sender fails");
        taken.extend(of_sender);
        refused += times;
        bytes += sent;
    }
    let grown = gateway.process.memory("VmHWM").saturating_sub(before);
    // Each byte in flight is there as the producer's copy, too; the rest is for connections, threads and the allocator.
    let bound = 2 * IN_FLIGHT + 24 * MIB;
    assert!(bytes > bound && refused > 0, "{bytes} bytes and {refused} refusals would not show");
    assert!(grown < bound, "it has grown by {} MiB, allowed are {}", grown / MIB, bound / MIB);

    kafka.tool(CONFIGS, &[&of_gateway[..], &["--delete-config", "producer_byte_rate"]].concat());
    sender.insist("after").await;
    let events = gateway.events();
    let there: BTreeSet<&str> = events.iter().filter_map(|event| event["event_id"].as_str()).collect();
    let lost = taken.iter().filter(|id| !there.contains(id.as_str())).count();
    assert_eq!(lost, 0, "of {} that got a 2xx", taken.len());
}

/// Text that does not compress well.
fn noise(seed: u64, length: usize) -> String {
    let word = |at: u64| (seed * 1_000_003 + at).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
    (0..length as u64 / 16).fold(String::new(), |mut text, at| {
        write!(text, "{:016x}", word(at).wrapping_mul(0xD1B5_4A32_D192_ED03)).expect("a string takes it");
        text
    })
}

/// Events each producer sends.
const PRODUCED: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_any_producer_puts_on_the_raw_topic_comes_out_once_although_the_gateway_is_killed() {
    let cluster = Cluster::own();
    let mut gateway = Gateway::start(&cluster, json!({})).await;
    let brokers = cluster.brokers.clone();
    let java = tokio::task::spawn_blocking({
        let brokers = brokers.clone();
        move || console_producer(&brokers)
    });
    let python = tokio::task::spawn_blocking({
        let arguments = [brokers, PRODUCED.to_string()];
        move || clients::run("kafka_producer.py", &arguments, PATIENCE)
    });
    let publisher = cluster.log.publisher().expect("sound settings");
    for number in 0..PRODUCED {
        let record = if number % 10 == 9 {
            NewRecord::new(topics::EVENTS_RAW, format!("{number}"), "no JSON")
        } else {
            let event = json!({"specversion": "1.0", "id": format!("rust-{number}"), "source": "/rust", "type": "project_created", "subject": format!("rust-{number}")});
            NewRecord::new(topics::EVENTS_RAW, format!("{number}"), event.to_string())
                .with_header("content-type", "application/cloudevents+json")
        };
        publisher.publish(record).expect("the queue takes it").await.expect("the broker takes it");
        if number == PRODUCED / 2 {
            gateway.kill_and_restart().await;
        }
    }
    java.await.expect("the console producer delivers");
    python.await.expect("the Python producer delivers");

    let expected = PRODUCED * 2 + PRODUCED - PRODUCED / 10;
    let events = wait::until("everything came out", PATIENCE, || async {
        let events = gateway.events();
        if events.len() >= expected { Ok(events) } else { Err(format!("{} of {expected}", events.len())) }
    })
    .await;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for event in &events {
        *times.entry(event["event_id"].as_str().expect("each has one").to_owned()).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "once each: {times:?}");
    assert_eq!(times.len(), expected);
    let source = |id: &str| events.iter().find(|event| event["event_id"] == id).map(|event| event["source"].clone());
    assert_eq!(source("java-0"), Some(json!("kafka")));
    assert_eq!(source("python-0"), Some(json!("/python")));
    assert_eq!(source("rust-0"), Some(json!("/rust")));
    let rejected = Topics::Config(gateway.config.clone()).read("rejected");
    assert_eq!(rejected.len(), PRODUCED / 10);
}

/// Apache's own console producer, fed with native events, one a line.
fn console_producer(brokers: &str) {
    let libs = format!("{}/*", servers::require("TTF_TEST_KAFKA_LIBS"));
    let mut child = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp", &libs, "org.apache.kafka.tools.ConsoleProducer"])
        .args(["--bootstrap-server", brokers, "--topic", topics::EVENTS_RAW, "--request-required-acks", "all"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("java is there");
    let mut input = child.stdin.take().expect("it is piped");
    for number in 0..PRODUCED {
        let event = json!({"event_name": "project_created", "event_type": "track", "user_id": format!("java-{number}"), "event_id": format!("java-{number}")});
        writeln!(input, "{event}").expect("it reads");
    }
    drop(input);
    assert!(child.wait().expect("the child is ours").success());
}
