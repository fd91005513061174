//! A log in memory, and alerters that are started and stopped on it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use service_kit::Kit;
use stream_runtime::log::{
    Cleanup, Isolation, Log, NewRecord, Position, TopicPartition, TopicSpec, embedded::EmbeddedLog,
};
use telemetry_schemas::{BreachStatus, Codec, EventTime, RecordKey, TtfBreach, alert::Notification, topics};
use tempfile::TempDir;

use crate::testing::config;

const PARTITIONS: i32 = 2;
const CALL: Duration = Duration::from_secs(5);
/// A test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Installation {
    pub log: Arc<dyn Log>,
    codec: Codec,
    state: TempDir,
}

/// An alerter that runs.
pub struct Running {
    pub kit: Kit,
}

impl Running {
    pub async fn stop(self) {
        self.kit.shutdown().cancel();
        self.kit.join(Duration::from_secs(10)).await.expect("it ends in good order");
    }

    pub fn metric(&self, line: &str) -> Option<f64> {
        let shown = self.kit.metrics().render();
        shown.lines().find_map(|known| known.strip_prefix(line)?.trim().parse().ok())
    }
}

impl Installation {
    pub fn new() -> Self {
        Self::keeping(None)
    }

    /// With topics that keep records for this time.
    pub fn keeping(retention: Option<Duration>) -> Self {
        let log = EmbeddedLog::in_memory();
        let specs: Vec<_> = topics::CATALOGUE
            .iter()
            .map(|topic| TopicSpec {
                cleanup: if topic.is_compacted() { Cleanup::Compact } else { Cleanup::Delete },
                retention: if topic.is_compacted() { None } else { retention },
                ..TopicSpec::new(topic.name, PARTITIONS)
            })
            .collect();
        log.create_topics(&specs, CALL).expect("topics");
        Self { log: Arc::new(log), codec: Codec::without_registry(), state: TempDir::new().expect("a folder") }
    }

    /// Starts an alerter that waits for nothing, with this over its section.
    pub async fn start(&self, section: &str) -> Running {
        let section = format!("state_dir: {}\n{section}", self.state.path().display());
        let kit = Kit::for_test();
        crate::run(config(&section), self.log.clone(), self.codec.clone(), &kit).await.expect("it starts");
        Running { kit }
    }

    /// Starts an alerter beside another one, as a rolling update does.
    pub async fn start_another(&self, section: &str) -> Running {
        let state = self.state.path().join("another");
        let section = format!("state_dir: {}\nordinal: '1'\n{section}", state.display());
        let kit = Kit::for_test();
        crate::run(config(&section), self.log.clone(), self.codec.clone(), &kit).await.expect("it starts");
        Running { kit }
    }

    /// Publishes a breach as the processor does, as if it were found now.
    pub async fn publish(&self, breach: TtfBreach) {
        let now = EventTime(service_kit::clock::now_ms());
        let shift = now.since(breach.detected_at);
        let breach = TtfBreach {
            signup_at: breach.signup_at.plus(shift),
            due_at: breach.due_at.plus(shift),
            detected_at: now,
            ..breach
        };
        self.publish_as_it_is(&breach).await;
    }

    pub async fn publish_as_it_is(&self, breach: &TtfBreach) {
        let key = RecordKey::user(&*breach.tenant, &*breach.user_id).to_bytes();
        self.publish_record(NewRecord::new(topics::TTF_BREACHES, key, self.codec.encode(breach).expect("Avro"))).await;
    }

    pub async fn publish_record(&self, record: NewRecord) {
        self.log.publisher().expect("a publisher").publish(record).expect("room").await.expect("it is written");
    }

    /// Everything in the outbox.
    pub fn outbox(&self) -> Vec<Notification> {
        self.read(topics::ALERT_NOTIFICATIONS)
            .iter()
            .map(|value| self.codec.decode(value).expect("a notification"))
            .collect()
    }

    /// Values of all committed records of a topic.
    pub fn read(&self, topic: &str) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        for partition in 0..PARTITIONS {
            let at = TopicPartition::new(topic, partition);
            let end = self.log.end_offset(&at, Isolation::ReadCommitted, CALL).expect("an end");
            let mut reader = self.log.reader(Isolation::ReadCommitted).expect("a reader");
            reader.assign(&[(at.clone(), Position::Beginning)]).expect("assigned");
            while end > 0 && reader.position(&at).is_none_or(|position| position < end) {
                let keep = &mut |record: &stream_runtime::log::RecordRef<'_>| {
                    values.push(record.value.unwrap_or_default().to_vec());
                };
                reader.poll(100, Duration::from_millis(20), keep).expect("records");
            }
        }
        values
    }

    /// How many notifications of this status are in the outbox.
    pub fn outbox_count(&self, status: BreachStatus) -> usize {
        self.outbox().iter().filter(|notification| notification.status == status).count()
    }
}

/// Waits until it is so.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
