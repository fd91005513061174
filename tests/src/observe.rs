//! Looks at what came of a scenario, through the doors users have: `ttf tail`, HTTP, the database, the objects.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use serde_json::Value;
use telemetry_schemas::{AvroMessage, json::from_json};

use crate::process;

/// How `ttf tail` reaches the topics.
#[derive(Debug, Clone)]
pub enum Topics {
    Url(String),
    Config(PathBuf),
}

impl Topics {
    /// Everything committed on a stream so far, in offset order within each partition.
    pub fn read(&self, stream: &str) -> Vec<Value> {
        let mut command = Command::new(process::binary());
        command.args(["tail", stream, "--json", "--from", "beginning", "--no-follow"]);
        command.env_remove("TELEMETRY_CONFIG").env_remove("TELEMETRY_URL");
        match self {
            Self::Url(url) => command.args(["--url", url]),
            Self::Config(path) => command.arg("--config").arg(path),
        };
        let output = command.output().expect("the binary starts");
        assert!(output.status.success(), "ttf tail {stream}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout)
            .expect("JSON is UTF-8")
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect()
    }

    pub fn read_as<T: AvroMessage + serde::de::DeserializeOwned>(&self, stream: &str) -> Vec<T> {
        self.read(stream).into_iter().map(|value| from_json(value).expect("its own JSON form")).collect()
    }
}

/// The samples of a Prometheus page by name with labels.
pub async fn metrics(url: &str) -> BTreeMap<String, f64> {
    let text = crate::http::client()
        .get(format!("{url}/metrics"))
        .send()
        .await
        .expect("metrics answer")
        .text()
        .await
        .expect("text");
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// The sum of all samples of one metric.
pub fn sum(metrics: &BTreeMap<String, f64>, name: &str) -> f64 {
    metrics
        .iter()
        .filter(|(key, _)| key.as_str() == name || key.starts_with(&format!("{name}{{")))
        .map(|(_, value)| value)
        .sum()
}
