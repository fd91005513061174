//! A whole TTF under test: on the embedded log, or on real servers.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    observe::Topics,
    process::{Ttf, free_port},
    servers::{self, OwnKafka},
};

const START: Duration = Duration::from_secs(60);

/// Processes that make up one TTF, their folder and their addresses.
pub struct System {
    pub url: String,
    pub topics: Topics,
    pub store: Store,
    processes: Vec<Part>,
    config: PathBuf,
    folder: tempfile::TempDir,
    /// Dropped last: the processes end before their broker.
    kafka: Option<OwnKafka>,
}

struct Part {
    role: &'static str,
    admin: u16,
    process: Ttf,
}

/// Where the archive is.
pub enum Store {
    Embedded { database: PathBuf, objects: PathBuf },
    Servers { database: String, bucket_prefix: String },
}

impl System {
    /// `ttf dev`: one process, nothing else.
    pub async fn embedded(webhook: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-dev-").tempdir().expect("a temporary folder");
        let data = folder.path().join("data");
        let config = folder.path().join("dev.yaml");
        let settings = json!({
            "service": { "log_format": "json" },
            "archive": { "rotation": { "interval": "1s" } },
            "alerter": alerter(webhook),
        });
        fs::write(&config, settings.to_string()).expect("a writable folder");
        let url = format!("http://127.0.0.1:{}", free_port());
        let store = Store::Embedded { database: data.join("ttf.sqlite"), objects: data.join("archive") };
        let mut system =
            Self { topics: Topics::Url(url.clone()), url, store, processes: Vec::new(), config, folder, kafka: None };
        system.start("dev").await;
        system
    }

    /// The given roles as processes of their own (or `all` in one) on real Kafka, PostgreSQL, Redis, S3 and a
    /// registry.
    pub async fn on_servers(roles: &[&'static str], name: &str, redis_database: u8, webhook: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-servers-").tempdir().expect("a temporary folder");
        let kafka = OwnKafka::start();
        let database = fresh_database(name).await;
        let bucket_prefix = format!("{name}-{}", std::process::id());
        let port = free_port();
        let settings = json!({
            "service": { "log_format": "json" },
            "log": { "kind": "kafka", "brokers": kafka.brokers, "properties": { "session.timeout.ms": "6000" } },
            "topics": { "partitions": 4, "replication_factor": 1, "min_insync_replicas": 1 },
            "schema_registry": { "url": servers::require("TTF_TEST_REGISTRY") },
            "gateway": { "listen": format!("127.0.0.1:{port}"), "auth": { "mode": "open" } },
            "processor": { "state_dir": "state" },
            "archive": {
                "database": { "kind": "postgres", "url": database },
                "s3": {
                    "kind": "s3", "bucket": "ttf-test", "region": "us-east-1", "allow_http": true,
                    "endpoint": servers::require("TTF_TEST_S3_ENDPOINT"),
                    "access_key": servers::require("TTF_TEST_S3_ACCESS_KEY"),
                    "secret_key": servers::require("TTF_TEST_S3_SECRET_KEY"),
                    "prefix": bucket_prefix,
                },
                "rotation": { "interval": "1s" },
                "live_view": { "kind": "redis", "url": format!("{}/{redis_database}", servers::require("TTF_TEST_REDIS")) },
            },
            "alerter": alerter(webhook),
        });
        let config = folder.path().join("ttf.yaml");
        fs::write(&config, settings.to_string()).expect("a writable folder");
        let url = format!("http://127.0.0.1:{port}");
        let mut system = Self {
            topics: Topics::Config(config.clone()),
            url,
            store: Store::Servers { database, bucket_prefix },
            processes: Vec::new(),
            config,
            folder,
            kafka: Some(kafka),
        };
        system.run_to_end(&["topics", "apply"]);
        for role in roles {
            system.start(role).await;
        }
        system
    }

    /// Starts a role and waits until it is ready.
    pub async fn start(&mut self, role: &'static str) {
        let admin = free_port();
        let admin_listen = format!("127.0.0.1:{admin}");
        let listen = self.url.trim_start_matches("http://").to_owned();
        let config = self.config.to_str().expect("a temporary path is UTF-8").to_owned();
        let arguments = if role == "dev" {
            vec![role, "--listen", &listen, "--data-dir", "data", "--config", &config]
        } else {
            vec![role, "--config", &config]
        };
        let env = [("TELEMETRY__SERVICE__ADMIN_LISTEN", admin_listen.as_str())];
        let mut process = Ttf::start_with(role, self.folder.path(), &arguments, &env);
        let ready = if role == "dev" { format!("{}/ready", self.url) } else { format!("http://{admin_listen}/ready") };
        process.ready(&ready, START).await;
        self.processes.push(Part { role, admin, process });
    }

    /// `kill -9`, then a new start.
    pub async fn kill_and_restart(&mut self, role: &'static str) {
        let index = self.processes.iter().position(|part| part.role == role).expect("the role runs");
        self.processes.remove(index).process.kill();
        self.start(role).await;
    }

    /// Ends every process in good order; each must end with code 0.
    pub fn stop(&mut self) {
        for mut part in self.processes.drain(..) {
            let status = part.process.terminate(Duration::from_secs(30));
            assert!(status.success(), "{} ended with {status}:\n{}", part.role, part.process.output());
        }
    }

    /// Pages of `/metrics` of all processes.
    pub fn metrics_urls(&self) -> Vec<String> {
        self.processes
            .iter()
            .map(|part| if part.role == "dev" { self.url.clone() } else { format!("http://127.0.0.1:{}", part.admin) })
            .collect()
    }

    pub fn brokers(&self) -> Option<&str> {
        self.kafka.as_ref().map(|kafka| kafka.brokers.as_str())
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    fn run_to_end(&self, arguments: &[&str]) {
        let output = std::process::Command::new(crate::process::binary())
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .current_dir(self.folder.path())
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "ttf {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Tells the webhook at once, in clear.
fn alerter(webhook: &str) -> Value {
    json!({
        "state_dir": "alerts",
        "user_ids": "plain",
        "route": { "receiver": "hook", "group_wait": "100ms", "group_interval": "200ms" },
        "receivers": [{ "name": "hook", "webhook": { "url": webhook } }],
    })
}

/// An empty database of this run's own.
async fn fresh_database(name: &str) -> String {
    let admin = servers::require("TTF_TEST_POSTGRES");
    let (client, connection) =
        tokio_postgres::connect(&admin, tokio_postgres::NoTls).await.expect("PostgreSQL answers");
    tokio::spawn(connection);
    let database = format!("{name}_{}", std::process::id());
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {database}")).await.expect("allowed");
    client.batch_execute(&format!("CREATE DATABASE {database}")).await.expect("allowed");
    let (server, _) = admin.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{database}")
}
