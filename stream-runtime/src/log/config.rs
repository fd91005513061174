//! Section `log` of the configuration.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Which log to use: `log.kind: kafka | embedded`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LogConfig {
    Kafka(KafkaConfig),
    Embedded(EmbeddedConfig),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port,host:port`.
    pub brokers: String,
    /// Further librdkafka settings for every client (`security.protocol`, `sasl.mechanism`, …).
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedConfig {
    /// Folder of the log; made when missing; used by one process at a time.
    pub path: PathBuf,
    /// Bytes kept per partition of a `delete` topic; the oldest records go first.
    pub retention_bytes: u64,
}
