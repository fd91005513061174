//! An alerter is killed around a delivery.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::json;
use stream_runtime::log::NewRecord;
use telemetry_schemas::{BreachKind, BreachLevel, BreachStatus, EventTime, Millis, RecordKey, TtfBreach, topics};
use ttf_tests::{
    faults::Cluster,
    observe,
    process::{Ttf, free_port},
    receiver::Receiver,
    wait,
};

const KEY: &str = "test";
const KEY_SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

const PATIENCE: Duration = Duration::from_secs(30);

/// One tenant's alerter with a webhook of its own on the shared broker.
struct Alerting {
    cluster: Cluster,
    receiver: Receiver,
    folder: tempfile::TempDir,
    tenant: String,
    group_wait: &'static str,
}

struct Running {
    process: Ttf,
    url: String,
    armed: std::path::PathBuf,
}

impl Alerting {
    async fn new() -> Self {
        Self::on(Cluster::shared()).await
    }

    async fn on(cluster: Cluster) -> Self {
        let tenant = format!("killed-{}", EventTime(now_ms()).0);
        Self {
            cluster,
            receiver: Receiver::start().await,
            folder: tempfile::tempdir().expect("a folder"),
            tenant,
            group_wait: "0s",
        }
    }

    /// Starts the alerter; it dies at this point once it is armed.
    async fn start(&self, point: &str) -> Running {
        self.start_as("0", point).await
    }

    async fn start_as(&self, ordinal: &str, point: &str) -> Running {
        let admin = free_port();
        let name = format!("hook-{}", self.tenant);
        let config = self.folder.path().join(format!("alerter-{ordinal}.yaml"));
        self.cluster.write_config(
            &config,
            &json!({
                "service": { "admin_listen": format!("127.0.0.1:{admin}") },
                "log": { "properties": { "session.timeout.ms": "6000" } },
                "alerter": {
                    "ordinal": ordinal,
                    "state_dir": self.folder.path().join(format!("alerts-{ordinal}")),
                    "route": {
                        "receiver": "log", "group_wait": self.group_wait, "group_interval": "0s",
                        "routes": [{ "receiver": name, "matchers": [format!("tenant={}", self.tenant)] }],
                    },
                    "receivers": [{ "name": "log", "log": {} }, { "name": name, "webhook": { "url": self.receiver.url } }],
                },
            }),
        );
        let armed = self.folder.path().join("armed");
        // Of our receiver: what other suites have left on the topics is delivered to the other one meanwhile.
        let faults = format!("{point}::{name}=kill@{}", armed.display());
        let arguments = ["alerter", "--config", path(&config)];
        let env = [("TTF_FAULTS", faults.as_str())];
        let mut process = Ttf::start_with("alerter", self.folder.path(), &arguments, &env);
        let url = format!("http://127.0.0.1:{admin}");
        process.ready(&format!("{url}/ready"), PATIENCE).await;
        Running { process, url, armed }
    }

    /// Starts a gateway, which takes what admins of the tenant ask.
    async fn start_gateway(&self) -> (Ttf, String) {
        let (port, admin) = (free_port(), free_port());
        let config = self.folder.path().join("gateway.yaml");
        self.cluster.write_config(
            &config,
            &json!({
                "service": { "admin_listen": format!("127.0.0.1:{admin}") },
                "gateway": { "listen": format!("127.0.0.1:{port}") },
                "tenants": { &self.tenant: { "keys": [{ "name": "ops", "sha256": KEY_SHA256, "scopes": ["admin"] }] } },
            }),
        );
        let mut process = Ttf::start("gateway", self.folder.path(), &["gateway", "--config", path(&config)]);
        let url = format!("http://127.0.0.1:{port}");
        process.ready(&format!("{url}/ready"), PATIENCE).await;
        (process, url)
    }

    async fn publish(&self, status: BreachStatus) {
        self.publish_of("u-1", status).await;
    }

    async fn publish_of(&self, user: &str, status: BreachStatus) {
        let now = EventTime(now_ms());
        let breach = TtfBreach {
            breach_id: format!("{}-{user}-{}", self.tenant, status.as_str()),
            tenant: self.tenant.clone(),
            journey: "onboarding".to_owned(),
            user_id: user.to_owned(),
            kind: BreachKind::Deadline,
            level: BreachLevel::Critical,
            threshold_ms: Millis::from_minutes(120),
            status,
            signup_at: now.plus(Millis::from_minutes(-121)),
            due_at: now.plus(Millis::from_minutes(-1)),
            detected_at: now,
            attempt: String::new(),
            reason: None,
            late: false,
            current_stage: None,
            segments: BTreeMap::new(),
            record_revision: 1,
            experiments: BTreeMap::new(),
            release: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        };
        let key = RecordKey::user(&*breach.tenant, &*breach.user_id).to_bytes();
        let value = self.cluster.codec.encode(&breach).expect("a sound breach");
        self.cluster.publish_records(vec![NewRecord::new(topics::TTF_BREACHES, key, value)]).await;
    }

    async fn delivered(&self, count: usize) {
        let is_there = || async {
            let found = self.receiver.deliveries().len();
            if found >= count { Ok(()) } else { Err(format!("{found} deliveries")) }
        };
        wait::until("the notification is delivered", PATIENCE, is_there).await;
        assert_eq!(self.receiver.deliveries().len(), count);
    }
}

impl Running {
    async fn outcome(&self, outcome: &str, count: f64) {
        let part = format!("outcome=\"{outcome}\"");
        let is_so = || async {
            let metrics = observe::metrics(&self.url).await;
            let of_ours = |name: &str| {
                name.starts_with("ttf_alert_deliveries_total") && name.contains("hook-") && name.contains(&part)
            };
            let found: f64 = metrics.iter().filter(|(name, _)| of_ours(name)).map(|(_, value)| value).sum();
            if (found - count).abs() < f64::EPSILON { Ok(()) } else { Err(format!("{outcome}: {found}")) }
        };
        wait::until("it is counted", PATIENCE, is_so).await;
    }

    /// Waits until the armed fault has killed it.
    fn dead(&mut self) {
        let status = self.process.wait(PATIENCE);
        assert!(status.code().is_none(), "it ended by itself: {status}\n{}", self.process.output());
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("a time")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is UTF-8")
}

/// Kills the alerter at `point` of the first delivery, starts it again, and tells the end.
async fn killed_at(point: &str, delivered_before: usize) -> Vec<String> {
    let alerting = Alerting::new().await;
    let mut alerter = alerting.start(point).await;
    std::fs::write(&alerter.armed, b"").expect("a writable folder");
    alerting.publish(BreachStatus::Firing).await;
    alerter.dead();
    assert_eq!(alerting.receiver.deliveries().len(), delivered_before);

    let mut alerter = alerting.start(point).await;
    alerting.delivered(delivered_before + 1).await;
    // Nobody can know whether the receiver had it: it is counted.
    alerter.outcome("redelivered", 1.0).await;
    alerter.outcome("delivered", 1.0).await;

    // What is recorded is not sent again, whatever happens to the process.
    alerter.process.kill();
    let mut alerter = alerting.start(point).await;
    alerting.publish(BreachStatus::Resolved).await;
    alerting.delivered(delivered_before + 2).await;
    alerter.outcome("delivered", 1.0).await;
    alerter.outcome("redelivered", 0.0).await;
    assert!(alerter.process.terminate(Duration::from_secs(15)).success());
    alerting.receiver.deliveries().into_iter().map(|delivery| delivery.idempotency_key).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_decision_and_delivery_loses_no_alarm() {
    let keys = killed_at("delivery::before_send", 0).await;
    assert_ne!(keys[0], keys[1], "the alarm and its end, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_delivery_and_its_record_delivers_again_under_the_same_key_and_counts_it() {
    let keys = killed_at("delivery::taken", 1).await;
    assert_eq!(keys[0], keys[1], "the receiver can tell that it is the same");
    assert_ne!(keys[1], keys[2]);
}

/// Two alerters side by side, each ended in good order and started again, as a rolling update does.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_tells_everything_once() {
    const USERS: usize = 40;
    const NOWHERE: &str = "delivery::before_send";
    let alerting = Alerting::new().await;
    let tell = async |users: std::ops::Range<usize>, status: BreachStatus| {
        for index in users {
            alerting.publish_of(&format!("u-{index}"), status).await;
        }
    };
    let mut first = alerting.start_as("0", NOWHERE).await;
    tell(0..10, BreachStatus::Firing).await;
    let mut second = alerting.start_as("1", NOWHERE).await;
    tell(10..20, BreachStatus::Firing).await;
    assert!(first.process.terminate(PATIENCE).success());
    tell(20..30, BreachStatus::Firing).await;
    let _first = alerting.start_as("0", NOWHERE).await;
    assert!(second.process.terminate(PATIENCE).success());
    tell(30..USERS, BreachStatus::Firing).await;
    let _second = alerting.start_as("1", NOWHERE).await;
    let told = async |count: usize| {
        wait::until("everything is told", PATIENCE * 2, || async {
            let mut keys: Vec<_> =
                alerting.receiver.deliveries().into_iter().map(|delivery| delivery.idempotency_key).collect();
            let all = keys.len();
            keys.sort();
            keys.dedup();
            if keys.len() == count { Ok(all) } else { Err(format!("{} of {count} told", keys.len())) }
        })
        .await
    };
    assert_eq!(told(USERS).await, USERS, "each alarm once");
    tell(0..USERS, BreachStatus::Resolved).await;
    assert_eq!(told(2 * USERS).await, 2 * USERS, "each end once");
}

/// What was asked through one process holds for the groups of all others.
#[tokio::test(flavor = "multi_thread")]
async fn a_silence_asked_for_at_a_gateway_holds_in_every_alerter_until_it_is_taken_away() {
    const NOWHERE: &str = "delivery::before_send";
    // Long enough for the silence to be known wherever groups are.
    let alerting = Alerting { group_wait: "5s", ..Alerting::new().await };
    let (first, second) = (alerting.start_as("0", NOWHERE).await, alerting.start_as("1", NOWHERE).await);
    let (_gateway, gateway) = alerting.start_gateway().await;
    let client = ttf_tests::http::client();
    let silences = format!("{gateway}/api/v1/silences");
    let order = json!({ "matchers": ["level=\"critical\""], "duration": "1h", "comment": "a rehearsal" });
    let answer = client.post(&silences).bearer_auth(KEY).json(&order).send().await.expect("an answer");
    assert_eq!(answer.status(), 202);
    let made: serde_json::Value = answer.json().await.expect("JSON");
    let id = made["id"].as_str().expect("an id").to_owned();
    wait::until("the silence is kept", PATIENCE, || async {
        let shown =
            client.get(&silences).bearer_auth(KEY).send().await.expect("an answer").text().await.expect("a text");
        if shown.contains(&id) { Ok(()) } else { Err(shown) }
    })
    .await;

    // Until both have groups of ours that they keep quiet.
    let silenced = async |running: &Running| {
        let metrics = observe::metrics(&running.url).await;
        metrics.get(r#"ttf_alert_decisions_total{reason="silenced"}"#).copied().unwrap_or_default()
    };
    let mut users = 0;
    let deadline = std::time::Instant::now() + PATIENCE * 3;
    while silenced(&first).await == 0.0 || silenced(&second).await == 0.0 {
        assert!(std::time::Instant::now() < deadline, "one of them keeps nothing quiet");
        for _ in 0..10 {
            alerting.publish_of(&format!("u-{users}"), BreachStatus::Firing).await;
            users += 1;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let all = silenced(&first).await + silenced(&second).await;
    assert!(all >= 2.0 && alerting.receiver.deliveries().is_empty(), "{:?}", alerting.receiver.deliveries());

    let answer = client.delete(format!("{silences}/{id}")).bearer_auth(KEY).send().await.expect("an answer");
    assert_eq!(answer.status(), 202);
    wait::until("everybody is told", PATIENCE * 2, || async {
        let told = alerting.receiver.deliveries().len();
        if told == users { Ok(()) } else { Err(format!("{told} of {users}")) }
    })
    .await;
}

/// Every partition is without a leader for a while, and then has the same one in another epoch.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stands_still_until_it_is_given_up_costs_no_alarm() {
    const NOWHERE: &str = "delivery::before_send";
    const USERS: usize = 40;
    let alerting = Alerting { group_wait: "2s", ..Alerting::on(Cluster::own()).await };
    let _alerters = (alerting.start_as("0", NOWHERE).await, alerting.start_as("1", NOWHERE).await);
    for user in 0..USERS {
        alerting.publish_of(&format!("u-{user}"), BreachStatus::Firing).await;
    }
    alerting.cluster.own_kafka().expect("a broker of its own").pause_broker(1);
    tokio::time::sleep(Duration::from_secs(7)).await;
    alerting.cluster.own_kafka().expect("a broker of its own").resume_broker(1);
    wait::until("everybody is told", PATIENCE * 2, || async {
        let told = alerting.receiver.deliveries().len();
        if told == USERS { Ok(()) } else { Err(format!("{told} of {USERS}")) }
    })
    .await;
}
