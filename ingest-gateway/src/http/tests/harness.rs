//! A running gateway and what it has written.

use std::{
    net::SocketAddr,
    sync::{Arc, Once},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::Router;
use parking_lot::Mutex;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use service_kit::{
    Kit,
    config::{MetricsConfig, TenantsConfig},
};
use stream_runtime::log::{
    Delivery, Isolation, Log, LogError, NewRecord, Position, Publisher, Record, TopicPartition, TopicSpec,
    embedded::EmbeddedLog,
};
use telemetry_schemas::{AvroMessage, Codec, TtfRecord, topics};

use crate::{
    AuthMode, GatewayConfig, JourneyLookup, Milestones, Parts, PlanConfig, PrivacyConfig, Settings, TenantsSource,
    run_with, testing,
};

/// The TLS provider that the client's library wants to see, although nothing here uses TLS.
static PROVIDER: Once = Once::new();

pub const DEADLINE: Duration = Duration::from_secs(20);

/// So long [`Fate::Late`] takes.
const LATE: Duration = Duration::from_millis(50);

/// What a gateway of a test differs in from the usual one: defaults, but open.
pub struct Setup {
    pub config: GatewayConfig,
    pub tenants: TenantsConfig,
    pub privacy: PrivacyConfig,
    pub plan: PlanConfig,
    pub metrics: MetricsConfig,
    pub tenants_source: Option<TenantsSource>,
    pub publisher: Option<Arc<dyn Publisher>>,
    pub codec: Codec,
    pub journeys: Arc<dyn JourneyLookup>,
    pub extra: Router,
}

impl Setup {
    fn settings(&self) -> Settings {
        Settings {
            gateway: self.config.clone(),
            tenants: self.tenants.clone(),
            privacy: self.privacy.clone(),
            plan: self.plan.clone(),
            metrics: self.metrics.clone(),
            milestones: Milestones::default(),
            tenants_source: self.tenants_source.clone(),
        }
    }
}

impl Default for Setup {
    fn default() -> Self {
        let mut config = testing::gateway_config();
        config.auth.mode = AuthMode::Open;
        Self {
            config,
            tenants: testing::tenants(),
            privacy: testing::privacy_config(),
            plan: PlanConfig::default(),
            metrics: MetricsConfig { segment_by: None, segment_values: Vec::new() },
            tenants_source: None,
            publisher: None,
            codec: Codec::without_registry(),
            journeys: Arc::new(Journeys::default()),
            extra: Router::new(),
        }
    }
}

pub struct Running {
    pub address: SocketAddr,
    pub log: EmbeddedLog,
    pub kit: Kit,
    pub client: Client,
}

pub async fn start() -> Running {
    start_with(Setup::default()).await
}

pub async fn start_with(setup: Setup) -> Running {
    try_start(setup).await.expect("the gateway starts")
}

pub async fn try_start(setup: Setup) -> anyhow::Result<Running> {
    let log = EmbeddedLog::in_memory();
    let names = [
        topics::EVENTS,
        topics::EVENTS_RAW,
        topics::EVENTS_REJECTED,
        topics::ERASURES,
        topics::AUDIT,
        topics::TTF_COHORTS,
    ];
    log.create_topics(&names.map(topic), DEADLINE)?;
    let kit = Kit::for_test();
    let settings = setup.settings();
    let publisher = match setup.publisher {
        Some(publisher) => publisher,
        None => log.publisher()?,
    };
    let parts = Parts {
        settings,
        publisher,
        codec: setup.codec,
        journeys: setup.journeys,
        extra: setup.extra,
        log: Some(Arc::new(log.clone())),
    };
    let address = run_with(parts, &kit).await?;
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let client = Client::builder().timeout(DEADLINE).no_proxy().build()?;
    Ok(Running { address, log, kit, client })
}

fn topic(name: &str) -> TopicSpec {
    TopicSpec::new(name, 2)
}

impl Running {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn post_to(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path)).header("content-type", "application/json")
    }

    /// Sends events and returns the status and the answer.
    pub async fn send(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        answer(self.post_to("/api/v1/events").body(body).send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// Everything on a topic that is there now.
    pub fn records(&self, topic: &str) -> Vec<Record> {
        let mut found = Vec::new();
        for partition in 0..2 {
            let at = TopicPartition::new(topic, partition);
            let end = self.log.end_offset(&at, Isolation::ReadCommitted, DEADLINE).unwrap();
            let mut reader = self.log.reader(Isolation::ReadCommitted).unwrap();
            reader.assign(&[(at.clone(), Position::Beginning)]).unwrap();
            let started = Instant::now();
            while end > 0 && reader.position(&at).is_none_or(|position| position < end) {
                assert!(started.elapsed() < DEADLINE, "{topic} cannot be read to its end");
                reader.poll(1_000, Duration::from_millis(100), &mut |record| found.push(record.to_owned())).unwrap();
            }
        }
        found
    }

    pub fn values<T: AvroMessage>(&self, topic: &str) -> Vec<T> {
        let codec = Codec::without_registry();
        self.records(topic).iter().map(|record| codec.decode(record.value.as_ref().unwrap()).unwrap()).collect()
    }

    /// The sum of a metric over the lines that hold every one of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let text = self.kit.metrics().render();
        let lines =
            text.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
    }
}

pub async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} with a body that is not JSON: {text}"));
    (status, body)
}

/// An event of its own user.
pub fn track(user: &str) -> Value {
    json!({"event_name": "project_created", "event_type": "track", "user_id": user, "event_id": format!("e-{user}")})
}

pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "{what} did not come true in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A live view that knows what it is given.
#[derive(Default)]
pub struct Journeys {
    pub known: Vec<TtfRecord>,
    pub is_away: bool,
}

#[async_trait]
impl JourneyLookup for Journeys {
    async fn journeys(&self, tenant: &str, user_id: &str) -> anyhow::Result<Vec<TtfRecord>> {
        anyhow::ensure!(!self.is_away, "connection refused");
        let of_user = |record: &&TtfRecord| record.tenant == tenant && record.user_id == user_id;
        Ok(self.known.iter().filter(of_user).cloned().collect())
    }
}

/// What a [`Scripted`] publisher does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Acknowledge,
    Fail,
    QueueFull,
    /// Acknowledges after a while.
    Late,
    /// Never answers.
    Hang,
}

/// A publisher that follows a script, over and over.
pub struct Scripted {
    script: Vec<Fate>,
    next: Mutex<usize>,
    pub taken: Mutex<Vec<NewRecord>>,
}

impl Scripted {
    pub fn new(script: impl Into<Vec<Fate>>) -> Arc<Self> {
        Arc::new(Self { script: script.into(), next: Mutex::new(0), taken: Mutex::default() })
    }
}

impl Publisher for Scripted {
    fn publish(&self, record: NewRecord) -> Result<Delivery, LogError> {
        let mut next = self.next.lock();
        let fate = self.script[*next % self.script.len()];
        *next += 1;
        match fate {
            Fate::Acknowledge => {
                self.taken.lock().push(record);
                Ok(Box::pin(async { Ok((0, 0)) }))
            }
            Fate::Late => {
                self.taken.lock().push(record);
                Ok(Box::pin(async {
                    tokio::time::sleep(LATE).await;
                    Ok((0, 0))
                }))
            }
            Fate::Fail => Ok(Box::pin(async { Err(LogError::Unavailable("broker is down".into())) })),
            Fate::QueueFull => Err(LogError::QueueFull),
            Fate::Hang => Ok(Box::pin(std::future::pending())),
        }
    }

    fn flush(&self, _timeout: Duration) -> Result<(), LogError> {
        Ok(())
    }
}
