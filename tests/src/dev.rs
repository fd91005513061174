//! A `ttf dev` in a folder of its own, as someone has it after the first minute.

use std::{path::Path, time::Duration};

use serde_json::Value;

use crate::{
    command::{self, Ran},
    observe::Topics,
    process::{Ttf, free_port},
    system::Store,
    wait,
};

const START: Duration = Duration::from_secs(60);
/// How long anything may take through the whole pipe on a busy machine.
pub const PIPE: Duration = Duration::from_secs(30);

/// A running `ttf dev`, its address and its folder; ended with the value.
pub struct Dev {
    pub url: String,
    pub process: Ttf,
    pub client: reqwest::Client,
    port: u16,
    env: Vec<(&'static str, &'static str)>,
    folder: tempfile::TempDir,
}

impl Dev {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(env: &[(&'static str, &'static str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-first-").tempdir().expect("a temporary folder");
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let process = launch(folder.path(), port, env);
        let client = crate::http::client();
        let mut dev = Self { url, process, client, port, env: env.to_vec(), folder };
        dev.process.ready(&format!("{}/ready", dev.url), START).await;
        dev
    }

    /// Starts again on the same folder and port.
    pub async fn start_again(&mut self) {
        self.process = launch(self.folder.path(), self.port, &self.env);
        self.process.ready(&format!("{}/ready", self.url), START).await;
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The archive, as it lies on the disk.
    pub fn store(&self) -> Store {
        let data = self.folder.path().join("data");
        Store::Embedded { database: data.join("ttf.sqlite"), objects: data.join("archive") }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs a command against this process.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        command::run_with(self.folder.path(), arguments, &[("TELEMETRY_URL", &self.url)], input)
    }

    pub fn topic(&self, stream: &str) -> Vec<Value> {
        Topics::Url(self.url.clone()).read(stream)
    }

    /// Posts a body of events; returns the status and the answer.
    pub async fn post(&self, body: &Value) -> (u16, Value) {
        self.post_to("/api/v1/events", body).await
    }

    pub async fn post_to(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).json(body);
        let response = request.send().await.expect("the gateway answers");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }

    /// The live view's answer about a user.
    pub async fn journey(&self, user: &str) -> (u16, Value) {
        let request = self.client.get(format!("{}/api/v1/users/{user}/journey", self.url));
        let response = request.send().await.expect("the gateway answers");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }

    /// Waits until the live view knows as many reached milestones of a user (signup included); returns the record.
    pub async fn milestones(&self, user: &str, reached: usize) -> Value {
        wait::until("the live view shows the milestones", PIPE, || async {
            let (status, answer) = self.journey(user).await;
            let record = &answer["journeys"][0];
            let stages = record["stages"]
                .as_array()
                .map_or(0, |stages| stages.iter().filter(|stage| !stage["to_at"].is_null()).count() + 1);
            if status == 200 && stages >= reached { Ok(record.clone()) } else { Err(format!("{status}: {answer}")) }
        })
        .await
    }
}

fn launch(folder: &Path, port: u16, env: &[(&str, &str)]) -> Ttf {
    let listen = format!("127.0.0.1:{port}");
    Ttf::start_with("dev", folder, &["dev", "--listen", &listen, "--data-dir", "data"], env)
}
