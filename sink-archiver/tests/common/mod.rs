//! What the suites share: messages, topics made of them, and sinks on a store of their own.
#![allow(dead_code, reason = "each suite uses its part")]

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use service_kit::Kit;
use sink_archiver::{
    LiveView,
    config::RotationConfig,
    database::{Database, Sqlite, sink::DatabaseSink},
    live_view::{MemoryCache, ReadThrough},
    metrics::Metrics,
    objects::{sink::ObjectSink, start::CommittedOffsets, store::Store, writer::CutWriter},
    rejects::Rejects,
};
use stream_runtime::log::{Delivery, LogError, NewRecord, Publisher, Record, TopicPartition};
use telemetry_schemas::{
    AvroMessage, BreachKind, BreachLevel, BreachReason, BreachStatus, Codec, Event, EventType, JourneyStatus,
    RecordKey, StageResult, TtfBreach, TtfRecord,
    erasure::Erasure,
    event::EventContext,
    rejected::RejectedEvent,
    time::{EventTime, Millis},
    topics::{ERASURES, EVENTS, TTF_BREACHES, TTF_RECORDS},
};

pub mod cluster;
pub mod cohort_suite;
pub mod kafka;
pub mod object_suite;
pub mod sql_suite;
pub mod stretches_suite;
pub mod suite;

pub const T0: i64 = 1_700_000_000_000;

pub fn event(user: &str, n: i64) -> Event {
    Event {
        tenant: "acme".to_owned(),
        source: "http".to_owned(),
        event_id: format!("event-{user}-{n}"),
        event_name: "project_created".to_owned(),
        event_type: EventType::Track,
        timestamp: EventTime(T0 + n),
        original_timestamp: (n % 2 == 0).then_some(EventTime(T0 - 5)),
        sent_at: None,
        received_at: EventTime(T0 + n * 1_000),
        user_id: Some(user.to_owned()),
        anonymous_id: Some(format!("device-{user}")),
        session_id: None,
        journey_id: None,
        properties: serde_json::json!({"plan": "pro", "n": n, "nested": {"a": [1, 2.5, null]}})
            .as_object()
            .expect("an object")
            .clone(),
        context: EventContext {
            library_name: Some("telemetry-python".to_owned()),
            release: Some("1.2".to_owned()),
            segments: BTreeMap::from([("plan".to_owned(), "pro".to_owned())]),
            ..EventContext::default()
        },
        sealed: BTreeMap::from([("email".to_owned(), "ciphertext-of-an-address".to_owned())]),
        replay: false,
    }
}

/// A record of the user's default attempt: one more stage is done with each revision.
pub fn record(user: &str, revision: i64) -> TtfRecord {
    let stage = |n: i64| StageResult {
        id: format!("stage-{n}"),
        from_at: Some(EventTime(T0 + n * 60_000)),
        to_at: (n < revision).then_some(EventTime(T0 + (n + 1) * 60_000)),
        duration_ms: (n < revision).then_some(Millis(60_000)),
        target_ms: Millis(300_000),
        met: (n < revision).then_some(true),
        anomaly: None,
    };
    TtfRecord {
        record_id: format!("record-{user}-{revision}"),
        tenant: "acme".to_owned(),
        journey: "onboarding".to_owned(),
        journey_version: 1,
        user_id: user.to_owned(),
        attempt: String::new(),
        revision,
        generation: 1,
        status: if revision >= 4 { JourneyStatus::Completed } else { JourneyStatus::InProgress },
        // An earlier signup arrives late with the third revision.
        signup_at: EventTime(if revision < 3 { T0 } else { T0 - 60_000 }),
        completed_at: (revision >= 4).then_some(EventTime(T0 + 240_000)),
        total_ms: (revision >= 4).then_some(Millis(300_000)),
        stages: (0..4).map(stage).collect(),
        current_stage: (revision < 4).then(|| format!("stage-{revision}")),
        efficiency_score: (revision >= 4).then_some(84.744_708_333_333_34),
        breach_level: (revision >= 2).then_some(BreachLevel::Warning),
        segments: BTreeMap::from([("plan".to_owned(), "pro".to_owned())]),
        experiments: BTreeMap::from([("wizard".to_owned(), "b".to_owned())]),
        release: Some("1.2".to_owned()),
        cause_event_id: Some(format!("event-{user}-{revision}")),
        emitted_at: EventTime(T0 + revision * 1_000),
    }
}

pub fn breach(user: &str, status: BreachStatus) -> TtfBreach {
    let resolved = status == BreachStatus::Resolved;
    TtfBreach {
        breach_id: format!("breach-{user}-{resolved}"),
        tenant: "acme".to_owned(),
        journey: "onboarding".to_owned(),
        user_id: user.to_owned(),
        attempt: String::new(),
        kind: BreachKind::Deadline,
        level: BreachLevel::Warning,
        threshold_ms: Millis(4_500_000),
        status,
        reason: resolved.then_some(BreachReason::Completed),
        signup_at: EventTime(T0),
        due_at: EventTime(T0 + 4_500_000),
        detected_at: EventTime(T0 + 4_505_000 + i64::from(resolved)),
        late: false,
        current_stage: Some("stage-2".to_owned()),
        segments: BTreeMap::new(),
        record_revision: if resolved { 3 } else { 2 },
        experiments: BTreeMap::new(),
        release: None,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    }
}

pub fn erasure(user: &str, erased_at: i64) -> Erasure {
    Erasure {
        erasure_id: format!("erasure-{erased_at}"),
        tenant: "acme".to_owned(),
        user_id: user.to_owned(),
        erased_at: EventTime(erased_at),
        requested_by: "operator".to_owned(),
        reason: None,
    }
}

/// A log in miniature: one partition per topic, offsets counted up, timestamps a second apart.
#[derive(Default)]
pub struct Topics {
    records: Vec<Record>,
    next: BTreeMap<&'static str, i64>,
}

impl Topics {
    pub fn push<T: AvroMessage>(&mut self, topic: &'static str, tenant: &str, user: &str, message: &T) {
        let value = Codec::without_registry().encode(message).expect("encoded");
        self.push_bytes(topic, tenant, user, Some(value));
    }

    pub fn push_bytes(&mut self, topic: &'static str, tenant: &str, user: &str, value: Option<Vec<u8>>) {
        let next = self.next.entry(topic).or_default();
        self.records.push(Record {
            topic: topic.into(),
            partition: 0,
            offset: *next,
            timestamp_ms: T0 + *next * 1_000,
            key: Some(Bytes::from(RecordKey::user(tenant, user).to_bytes())),
            value: value.map(Bytes::from),
            headers: Vec::new(),
        });
        *next += 1;
    }

    pub fn event(&mut self, event: &Event) {
        self.push(EVENTS, &event.tenant, event.user_id.as_deref().unwrap_or_default(), event);
    }

    pub fn record(&mut self, record: &TtfRecord) {
        self.push(TTF_RECORDS, &record.tenant, &record.user_id, record);
    }

    pub fn breach(&mut self, breach: &TtfBreach) {
        self.push(TTF_BREACHES, &breach.tenant, &breach.user_id, breach);
    }

    pub fn erasure(&mut self, erasure: &Erasure) {
        self.push(ERASURES, &erasure.tenant, &erasure.user_id, erasure);
    }

    /// Without the topics that only the database reads.
    pub fn archived(&self) -> Vec<TopicPartition> {
        self.partitions().into_iter().filter(|at| &*at.topic != ERASURES).collect()
    }

    /// All records, in the order they were written.
    pub fn all(&self) -> &[Record] {
        &self.records
    }

    /// A topic's records from an offset on.
    pub fn from(&self, topic: &str, offset: i64) -> Vec<Record> {
        self.records.iter().filter(|r| &*r.topic == topic && r.offset >= offset).cloned().collect()
    }

    pub fn partitions(&self) -> Vec<TopicPartition> {
        self.next.keys().map(|topic| TopicPartition::new(*topic, 0)).collect()
    }

    /// Events, records and breaches of some users, interleaved.
    pub fn of_users(users: usize) -> Self {
        let mut topics = Self::default();
        for n in 1..=4 {
            for user in 0..users {
                let user = format!("user-{user}");
                topics.event(&event(&user, n));
                topics.record(&record(&user, n));
                match n {
                    2 => topics.breach(&breach(&user, BreachStatus::Firing)),
                    3 => topics.breach(&breach(&user, BreachStatus::Resolved)),
                    _ => {}
                }
            }
        }
        topics
    }
}

/// Keeps what is published.
#[derive(Default)]
pub struct DeadLetters(Mutex<Vec<NewRecord>>);

impl DeadLetters {
    pub fn all(&self) -> Vec<RejectedEvent> {
        let codec = Codec::without_registry();
        let letters = self.0.lock();
        letters.iter().map(|r| codec.decode(r.value.as_deref().expect("a value")).expect("decoded")).collect()
    }
}

impl Publisher for DeadLetters {
    fn publish(&self, record: NewRecord) -> Result<Delivery, LogError> {
        self.0.lock().push(record);
        Ok(Box::pin(async { Ok((0, 0)) }))
    }

    fn flush(&self, _timeout: std::time::Duration) -> Result<(), LogError> {
        Ok(())
    }
}

/// A database sink with its surroundings.
pub struct Archiver {
    pub sink: DatabaseSink,
    pub live_view: Arc<dyn LiveView>,
    pub dead_letters: Arc<DeadLetters>,
}

/// A sink of its own owner on a database that is set up.
pub fn archiver(database: &Arc<dyn Database>, owner: &str) -> Archiver {
    let cache = Box::new(MemoryCache::new(1_000));
    let live_view: Arc<dyn LiveView> = Arc::new(ReadThrough::new(cache, Arc::clone(database), &Kit::for_test()));
    archiver_with(database, &live_view, owner)
}

/// A sink on a database and a live view.
pub fn archiver_with(database: &Arc<dyn Database>, live_view: &Arc<dyn LiveView>, owner: &str) -> Archiver {
    let live_view = Arc::clone(live_view);
    let dead_letters = Arc::new(DeadLetters::default());
    let codec = Codec::without_registry();
    let sink = DatabaseSink::new(
        Arc::clone(database),
        Arc::clone(&live_view),
        codec.clone(),
        Rejects::new(dead_letters.clone(), codec),
        Metrics::new(&Kit::for_test()),
        owner.to_owned(),
    );
    Archiver { sink, live_view, dead_letters }
}

pub fn rotation(records: usize) -> RotationConfig {
    serde_json::from_value(serde_json::json!({
        "records": records, "bytes": "32MiB", "interval": "1d", "memory": "256MiB",
    }))
    .expect("a rotation")
}

/// What a group has committed, in a test.
#[derive(Default)]
pub struct Committed(Mutex<BTreeMap<TopicPartition, i64>>);

impl Committed {
    pub fn set(&self, at: &TopicPartition, next: i64) {
        self.0.lock().insert(at.clone(), next);
    }
}

impl CommittedOffsets for Committed {
    fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let committed = self.0.lock();
        Ok(partitions.iter().map(|at| committed.get(at).copied()).collect())
    }
}

/// An object sink on a store and a database.
pub fn object_sink(
    store: &Store,
    database: &Arc<dyn Database>,
    committed: &Arc<Committed>,
    rotation: &RotationConfig,
) -> ObjectSink {
    let metrics = Metrics::new(&Kit::for_test());
    let writer = CutWriter::new(store.clone(), Arc::clone(database), Codec::without_registry(), metrics.clone());
    ObjectSink::new(store.clone(), writer, Arc::clone(committed) as Arc<dyn CommittedOffsets>, rotation, metrics)
}

/// A database for pseudonyms, in a folder.
pub async fn people_in(folder: &std::path::Path) -> Arc<dyn Database> {
    let database = Sqlite::open(&folder.join("people.sqlite")).expect("opened");
    database.migrate().await.expect("migrated");
    database.open_ledger(None).await.expect("opened");
    Arc::new(database)
}

/// The rows of a plain query, columns separated by tabs.
///
/// # Panics
/// When the query failed.
pub fn rows_of(
    answer: Result<Vec<tokio_postgres::SimpleQueryMessage>, tokio_postgres::Error>,
    sql: &str,
) -> Vec<String> {
    let answer = answer.unwrap_or_else(|error| panic!("{error:?} in {sql}"));
    let rows = answer.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).unwrap_or_default()).collect::<Vec<_>>().join("\t"))
        }
        _ => None,
    });
    rows.collect()
}
