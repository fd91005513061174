//! A Kafka broker of a test's own: the topics have the names they have in production, which tests would share.

use std::{sync::Arc, time::Duration};

use stream_runtime::log::{self, Log, NewRecord, TopicSpec};
use telemetry_schemas::topics::{EVENTS, TTF_BREACHES, TTF_RECORDS};

use super::{Topics, cluster::services};

pub const PATIENCE: Duration = Duration::from_secs(90);
pub const PARTITIONS: i32 = 2;

/// One broker; ended with the value.
pub struct Kafka {
    folder: tempfile::TempDir,
    brokers: String,
}

impl Kafka {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-kafka-").tempdir().expect("a folder");
        services(folder.path(), &["up", "kafka"], "");
        let env = std::fs::read_to_string(folder.path().join("env")).expect("the script writes its addresses");
        let brokers = env.lines().find_map(|line| line.strip_prefix("export TTF_TEST_KAFKA="));
        Self { brokers: brokers.expect("its address is among them").to_owned(), folder }
    }

    /// Its log, with the topics that go into objects.
    pub fn log(&self) -> Arc<dyn Log> {
        let config = serde_json::json!({"kind": "kafka", "brokers": self.brokers});
        let log = log::open(&serde_json::from_value(config).expect("a config"), "test").expect("opened");
        let specs = [EVENTS, TTF_RECORDS, TTF_BREACHES].map(|name| TopicSpec::new(name, PARTITIONS));
        log.create_topics(&specs, PATIENCE).expect("created");
        log
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        services(self.folder.path(), &["down"], "");
    }
}

/// Puts what goes into objects on the log, each topic's records in turn on its partitions, at the times they have.
pub async fn publish(log: &Arc<dyn Log>, topics: &Topics) {
    let publisher = log.publisher().expect("a publisher");
    let mut deliveries = Vec::new();
    for record in topics.all() {
        let (key, value) = (record.key.clone().expect("a key"), record.value.clone().unwrap_or_default());
        let new = NewRecord::new(record.topic.clone(), key, value).with_timestamp(record.timestamp_ms);
        let partition = i32::try_from(record.offset).expect("a small offset") % PARTITIONS;
        deliveries.push(publisher.publish(new.with_partition(partition)).expect("queued"));
    }
    for delivery in deliveries {
        delivery.await.expect("published");
    }
}
