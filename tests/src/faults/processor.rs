//! A `ttf processor` of its own process.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::Cluster;
use crate::{
    observe,
    process::{Ttf, free_port},
    wait,
};

/// A restart, a rebalance or a restore has happened by then.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a processor is to be started.
#[derive(Debug, Clone)]
pub struct Spec {
    ordinal: String,
    name: String,
    workers: usize,
    properties: BTreeMap<String, String>,
    settings: Value,
    fault: Option<(String, &'static str)>,
    armed: bool,
    failpoints: String,
}

impl Spec {
    pub fn new(ordinal: &str) -> Self {
        Self {
            ordinal: ordinal.to_owned(),
            name: format!("processor-{ordinal}"),
            workers: 1,
            properties: BTreeMap::from([("session.timeout.ms".to_owned(), "6000".to_owned())]),
            settings: json!({}),
            fault: None,
            armed: false,
            failpoints: String::new(),
        }
    }

    /// Another folder for state and log than the one named after the ordinal.
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// A librdkafka property.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Further configuration.
    pub fn settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    /// Dies at this point as by `kill -9` once it is armed.
    pub fn killed_at(mut self, point: &str) -> Self {
        self.fault = Some((point.to_owned(), "kill"));
        self
    }

    /// Is stopped at this point as by SIGSTOP once it is armed.
    pub fn stopped_at(mut self, point: &str) -> Self {
        self.fault = Some((point.to_owned(), "stop"));
        self
    }

    /// A thread that comes to this point stays there from the start on until it is released.
    pub fn held_at(mut self, point: &str) -> Self {
        self.fault = Some((point.to_owned(), "hold"));
        self.armed = true;
        self
    }

    /// Fail points in the words of the `fail` crate.
    pub fn failpoints(mut self, failpoints: &str) -> Self {
        failpoints.clone_into(&mut self.failpoints);
        self
    }

    pub(super) fn start(&self, cluster: &Cluster, folder: &Path, journeys: Option<&Value>) -> Processor {
        let config = folder.join(format!("{}.yaml", self.name));
        let admin = free_port();
        let mut settings = json!({
            "service": { "admin_listen": format!("127.0.0.1:{admin}") },
            "log": { "properties": self.properties },
            "processor": {
                "ordinal": self.ordinal,
                "workers": self.workers,
                "state_dir": folder.join(format!("{}-state", self.name)),
            },
        });
        if let Some(journeys) = journeys {
            settings["journeys"] = journeys.clone();
        }
        super::cluster::merge(&mut settings, &self.settings);
        cluster.write_config(&config, &settings);
        let armed = folder.join(format!("{}.armed", self.name));
        let fault = self.fault.as_ref();
        let faults = fault.map(|(point, action)| format!("{point}={action}@{}", armed.display())).unwrap_or_default();
        let env = [("TTF_FAULTS", faults.as_str()), ("FAILPOINTS", self.failpoints.as_str())];
        let config = config.to_str().expect("a temporary path is UTF-8");
        if self.armed {
            fs::write(&armed, b"").expect("a writable folder");
        }
        let process = Ttf::start_with(&self.name, folder, &["processor", "--config", config], &env);
        Processor { process, admin, armed, name: self.name.clone() }
    }
}

/// A running processor; killed on drop.
pub struct Processor {
    pub process: Ttf,
    admin: u16,
    armed: PathBuf,
    name: String,
}

impl Processor {
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin)
    }

    /// Waits until it has its partitions and their state.
    pub async fn ready(&mut self) {
        let url = self.url("/ready");
        self.process.ready(&url, PATIENCE).await;
    }

    /// What an admin page answers; 0 when nobody does.
    pub async fn status(&self, path: &str) -> u16 {
        let request = crate::http::client().get(self.url(path)).timeout(Duration::from_secs(5));
        request.send().await.map_or(0, |response| response.status().as_u16())
    }

    pub async fn metrics(&self) -> BTreeMap<String, f64> {
        observe::metrics(&self.url("")).await
    }

    /// The sum of a metric's samples.
    pub async fn metric(&self, name: &str) -> f64 {
        observe::sum(&self.metrics().await, name)
    }

    /// The partitions it has.
    pub async fn partitions(&self) -> BTreeSet<i32> {
        self.owners().await.into_keys().collect()
    }

    /// The partitions it has, and which of its workers has each.
    pub async fn owners(&self) -> BTreeMap<i32, String> {
        let quoted = |name: &str, label: &str| {
            let (_, rest) = name.split_once(&format!("{label}=\""))?;
            Some(rest.split('"').next().unwrap_or_default().to_owned())
        };
        let metrics = self.metrics().await;
        let owned = metrics.keys().filter(|name| name.starts_with("ttf_processor_partition_owned{"));
        owned.filter_map(|name| Some((quoted(name, "partition")?.parse().ok()?, quoted(name, "worker")?))).collect()
    }

    /// How often the group has given it an assignment.
    pub async fn rebalances(&self) -> f64 {
        self.metric("ttf_processor_rebalances_total").await
    }

    /// Ends a fault that holds a thread.
    pub fn release(&self) {
        fs::remove_file(&self.armed).expect("the fault is armed");
    }

    /// SIGSTOP: it does nothing until it is continued, and knows nothing of the time in between.
    pub async fn stop(&self) {
        self.process.send("-STOP");
        let is_stopped = || async { if self.process.is_stopped() { Ok(()) } else { Err("it runs".to_owned()) } };
        wait::until("the process is stopped", PATIENCE, is_stopped).await;
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.process.send("-CONT");
    }

    /// From now on the fault happens when its point is reached.
    pub fn arm(&self) {
        fs::write(&self.armed, b"").expect("a writable folder");
    }

    /// Waits until the armed fault has killed it.
    pub async fn dead(&mut self) {
        self.reached().await;
        let status = self.process.wait(PATIENCE);
        assert!(status.code().is_none(), "{} ended by itself: {status}\n{}", self.name, self.process.output());
    }

    /// Waits until the armed fault has stopped it.
    pub async fn stopped(&mut self) {
        self.reached().await;
        let process = &self.process;
        let is_stopped = || async { if process.is_stopped() { Ok(()) } else { Err("it runs".to_owned()) } };
        wait::until("the process is stopped", PATIENCE, is_stopped).await;
    }

    async fn reached(&self) {
        let reached = || async {
            if self.armed.exists() { Err("is `ttf` built with the feature `failpoints`?".to_owned()) } else { Ok(()) }
        };
        wait::until("the point of the fault is reached", PATIENCE, reached).await;
    }

    /// SIGTERM; must end with code 0 within the drain time-out.
    pub fn drain(&mut self) -> Duration {
        let begin = std::time::Instant::now();
        let status = self.process.terminate(Duration::from_secs(15));
        assert!(status.success(), "{} ended with {status}\n{}", self.name, self.process.output());
        begin.elapsed()
    }
}
