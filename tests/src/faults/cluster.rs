//! The brokers of a trial: who may use them, what is in their topics.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde_json::{Value, json};
use stream_runtime::log::{
    Isolation, Log, LogConfig, LogError, NewRecord, Position, Publisher, TopicPartition, config::KafkaConfig,
};
use telemetry_schemas::{AvroMessage, Codec, Event, RecordKey, topics};

use super::{Outcome, Seen};
use crate::{
    command,
    servers::{self, OwnKafka},
};

/// Of every topic.
pub const PARTITIONS: i32 = 4;
const CALL: Duration = Duration::from_secs(10);
/// A reader has read to the end by then, or the broker is in trouble.
const READ: Duration = Duration::from_secs(30);

/// Brokers with the topics of TTF.
pub struct Cluster {
    pub brokers: String,
    pub log: Arc<dyn Log>,
    pub codec: Codec,
    publisher: Arc<dyn Publisher>,
    replication: i32,
    /// Held while the shared broker is ours: topics and group have the same names in every trial.
    _exclusive: Option<File>,
    own: Option<OwnKafka>,
}

/// Where the output topics ended at some time.
pub type Mark = BTreeMap<TopicPartition, i64>;

impl Cluster {
    /// The broker all suites share. Trials on it take turns.
    pub fn shared() -> Self {
        let brokers = servers::require("TTF_TEST_KAFKA");
        let name = format!("ttf-faults-{}.lock", brokers.replace([':', ','], "-"));
        let lock = File::create(std::env::temp_dir().join(name)).expect("a writable temporary folder");
        lock.lock().expect("a lock is to be had");
        Self::on(brokers, 1, Some(lock), None)
    }

    /// A broker of its own, for what others would suffer from.
    pub fn own() -> Self {
        let kafka = OwnKafka::start();
        Self::on(kafka.brokers.clone(), 1, None, Some(kafka))
    }

    /// Three brokers of its own that keep every record three times and want two for a write.
    pub fn three() -> Self {
        let kafka = OwnKafka::start_three();
        Self::on(kafka.brokers.clone(), 3, None, Some(kafka))
    }

    fn on(brokers: String, replication: i32, exclusive: Option<File>, own: Option<OwnKafka>) -> Self {
        // What is sent while a broker is away is taken when it is back.
        let properties = BTreeMap::from([("message.timeout.ms".to_owned(), "120000".to_owned())]);
        let config = LogConfig::Kafka(KafkaConfig { brokers: brokers.clone(), properties });
        let log = stream_runtime::log::open(&config, "ttf-faults").expect("sound settings");
        let publisher = log.publisher().expect("sound settings");
        let codec = Codec::without_registry();
        let cluster = Self { brokers, log, codec, publisher, replication, _exclusive: exclusive, own };
        cluster.make_topics();
        cluster
    }

    /// Makes what is missing, as an operator does.
    pub fn make_topics(&self) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("ttf.yaml");
        self.write_config(&config, &json!({}));
        command::run(folder.path(), &["topics", "apply", "--config", "ttf.yaml"]).ok();
    }

    /// Writes a configuration for this cluster, `extra` merged over it.
    pub fn write_config(&self, path: &Path, extra: &Value) {
        let min_insync = if self.replication > 1 { 2 } else { 1 };
        let mut settings = json!({
            "service": { "log_format": "json", "log_level": "info,stream_runtime=debug" },
            "log": { "kind": "kafka", "brokers": self.brokers },
            "topics": {
                "partitions": PARTITIONS,
                "replication_factor": self.replication,
                "min_insync_replicas": min_insync,
            },
        });
        merge(&mut settings, extra);
        std::fs::write(path, settings.to_string()).expect("a writable folder");
    }

    pub fn own_kafka(&self) -> Option<&OwnKafka> {
        self.own.as_ref()
    }

    /// Publishes events as the gateway does, in order; returns when all are acknowledged.
    pub async fn publish(&self, events: &[Event]) {
        let records = events.iter().map(|event| self.record_of(event)).collect();
        self.publish_records(records).await;
    }

    pub fn record_of(&self, event: &Event) -> NewRecord {
        let user_id = event.user_id.as_deref().expect("the trials' events have users");
        let key = RecordKey::user(&*event.tenant, user_id).to_bytes();
        let value = self.codec.encode(event).expect("a sound event");
        let kind = serde_json::to_value(event.event_type).expect("a name");
        let kind = kind.as_str().expect("a name").to_owned();
        NewRecord::new(topics::EVENTS, key, value)
            .with_header(topics::HEADER_EVENT_NAME, event.event_name.clone())
            .with_header(topics::HEADER_EVENT_TYPE, kind)
            .with_timestamp(event.received_at.0)
    }

    pub async fn publish_records(&self, records: Vec<NewRecord>) {
        let deliveries: Vec<_> =
            records.into_iter().map(|record| self.publisher.publish(record).expect("the queue has room")).collect();
        try_join_all(deliveries).await.expect("the broker takes them");
    }

    /// Publishes events a few at a time over about `duration`; what the brokers do not take at once they take later.
    pub fn publish_slowly(&self, events: &[Event], duration: Duration) -> tokio::task::JoinHandle<()> {
        let publisher = self.log.publisher().expect("a producer");
        let records: Vec<_> = events.iter().map(|event| self.record_of(event)).collect();
        let steps = u32::try_from(duration.as_millis() / 20).expect("a short time").max(1);
        let size = records.len().div_ceil(steps as usize).max(1);
        tokio::spawn(async move {
            let mut deliveries = Vec::new();
            for batch in records.chunks(size) {
                let batch = batch.iter().cloned();
                deliveries.extend(batch.map(|record| publisher.publish(record).expect("the queue has room")));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            try_join_all(deliveries).await.expect("the brokers take them in the end");
        })
    }

    /// Where everything stands now.
    pub fn mark(&self) -> Mark {
        [topics::TTF_RECORDS, topics::TTF_BREACHES, topics::EVENTS_REJECTED]
            .iter()
            .flat_map(|topic| partitions(topic))
            .map(|at| {
                let end = self.end(&at, Isolation::ReadUncommitted);
                (at, end)
            })
            .collect()
    }

    /// The end of a partition; waits for a broker that has just been told of the topic.
    pub fn end(&self, at: &TopicPartition, isolation: Isolation) -> i64 {
        answered(|| self.log.end_offset(at, isolation, CALL))
    }

    /// Records of the input that no processor has committed yet.
    pub fn lag(&self) -> i64 {
        let inputs = partitions(topics::EVENTS);
        let committed = answered(|| self.log.committed(ttf_processor::GROUP, &inputs, CALL));
        committed.iter().map(|known| self.end(&known.at, Isolation::ReadUncommitted) - known.next.unwrap_or(0)).sum()
    }

    /// What is in the output topics from `mark` on, of users whose id begins with `users`.
    pub fn read(&self, mark: &Mark, isolation: Isolation, users: &str) -> Outcome {
        Outcome {
            records: self.read_topic(topics::TTF_RECORDS, mark, isolation, |record: &telemetry_schemas::TtfRecord| {
                record.user_id.starts_with(users)
            }),
            breaches: self.read_topic(
                topics::TTF_BREACHES,
                mark,
                isolation,
                |breach: &telemetry_schemas::TtfBreach| breach.user_id.starts_with(users),
            ),
        }
    }

    pub fn read_topic<T: AvroMessage>(
        &self,
        topic: &str,
        mark: &Mark,
        isolation: Isolation,
        wanted: impl Fn(&T) -> bool,
    ) -> Vec<Seen<T>> {
        let mut seen = Vec::new();
        let ends: Vec<_> = partitions(topic).into_iter().map(|at| (self.end(&at, isolation), at)).collect();
        let left: Vec<_> = ends.iter().filter(|(end, at)| mark.get(at).is_none_or(|from| from < end)).collect();
        let from: Vec<_> =
            left.iter().map(|(_, at)| (at.clone(), Position::Offset(mark.get(at).copied().unwrap_or(0)))).collect();
        if from.is_empty() {
            return seen;
        }
        let mut reader = self.log.reader(isolation).expect("a reader");
        reader.assign(&from).expect("partitions can be read");
        let deadline = Instant::now() + READ;
        while left.iter().any(|(end, at)| reader.position(at).is_none_or(|position| position < *end)) {
            assert!(Instant::now() < deadline, "{topic} could not be read to its end within {READ:?}");
            let visit = &mut |record: &stream_runtime::log::RecordRef<'_>| {
                let value: T = self.codec.decode(record.value.unwrap_or_default()).expect("our own record");
                if wanted(&value) {
                    seen.push(Seen { partition: record.partition, offset: record.offset, value });
                }
            };
            match reader.poll(1_000, Duration::from_millis(50), visit) {
                Err(error) if !error.is_retriable() => panic!("{topic} cannot be read: {error}"),
                _ => {}
            }
        }
        seen.sort_by_key(|seen| (seen.partition, seen.offset));
        seen
    }
}

/// Asks again while a leader is being elected, or a broker has not heard of a new topic.
fn answered<T>(mut ask: impl FnMut() -> Result<T, LogError>) -> T {
    let deadline = Instant::now() + READ;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "the broker does not answer: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn partitions(topic: &str) -> Vec<TopicPartition> {
    (0..PARTITIONS).map(|partition| TopicPartition::new(topic, partition)).collect()
}

pub(super) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
