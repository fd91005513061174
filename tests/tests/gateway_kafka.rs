//! The gateway on a real Kafka of its own: what was acknowledged is there, whatever ends the process; what producers of
//! all kinds put on the raw topic comes out once.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
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
    async fn start(cluster: &Cluster) -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-gateway-").tempdir().expect("a temporary folder");
        let listen = format!("127.0.0.1:{}", free_port());
        let admin = format!("127.0.0.1:{}", free_port());
        let config = folder.path().join("ttf.yaml");
        let settings = json!({
            "service": { "admin_listen": admin },
            "log": { "properties": { "session.timeout.ms": "6000" } },
            "gateway": { "listen": listen, "auth": { "mode": "open" }, "ack_timeout": "2s" },
        });
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
    let mut gateway = Gateway::start(&cluster).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_away_senders_are_told_to_come_again_and_nothing_is_lost() {
    let cluster = Cluster::own();
    let gateway = Gateway::start(&cluster).await;
    let client = ttf_tests::http::client();
    let send = async |id: &str| {
        let event = json!({"event_name": "x", "event_type": "track", "user_id": "u", "event_id": id});
        let request = client.post(format!("{}/api/v1/events", gateway.url)).json(&event);
        request.timeout(PATIENCE).send().await.expect("the gateway answers")
    };
    assert_eq!(send("before").await.status(), 202);
    cluster.own_kafka().expect("its own").stop_broker(1);
    let refused = send("meanwhile").await;
    assert_eq!(refused.status(), 503);
    let seconds: u64 = refused.headers()["retry-after"].to_str().expect("text").parse().expect("whole seconds");
    assert!(seconds >= 1);
    let health: Value =
        client.get(format!("{}/health", gateway.url)).send().await.expect("answers").json().await.expect("JSON");
    assert_eq!(health["status"], "degraded", "{health}");
    cluster.own_kafka().expect("its own").start_broker(1);
    wait::until("events are taken again", PATIENCE, || async {
        let answer = send("meanwhile").await;
        if answer.status() == 202 { Ok(()) } else { Err(format!("{}", answer.status())) }
    })
    .await;
    let events = gateway.events();
    for id in ["before", "meanwhile"] {
        assert!(events.iter().any(|event| event["event_id"] == id), "{id} is in Kafka");
    }
}

/// Events each producer sends.
const PRODUCED: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_any_producer_puts_on_the_raw_topic_comes_out_once_although_the_gateway_is_killed() {
    let cluster = Cluster::own();
    let mut gateway = Gateway::start(&cluster).await;
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
