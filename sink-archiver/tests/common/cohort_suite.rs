//! What the cohort evaluator must do, whichever the database.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use service_kit::Kit;
use sink_archiver::{
    cohorts::{self, rows::Targets},
    config::CohortsConfig,
    database::Database,
};
use stream_runtime::{
    log::{Cleanup, Isolation, Log, Position, TopicPartition, TopicSpec, embedded::EmbeddedLog},
    sink::Sink,
};
use telemetry_schemas::{
    Codec, Millis, TtfRecord,
    cohort::CohortSummary,
    time::EventTime,
    topics::{TTF_COHORTS, TTF_RECORDS},
};

use super::{Topics, archiver, breach, record};

const PATIENCE: Duration = Duration::from_secs(30);

fn log() -> Arc<dyn Log> {
    let log = EmbeddedLog::in_memory();
    let topic = TopicSpec { cleanup: Cleanup::Compact, ..TopicSpec::new(TTF_COHORTS, 2) };
    log.create_topics(&[topic], PATIENCE).expect("created");
    Arc::new(log)
}

fn config() -> CohortsConfig {
    serde_json::from_value(serde_json::json!({"interval": "50ms", "windows": ["24h", "7d"], "segment_values": 5}))
        .expect("a config")
}

fn targets() -> Targets {
    [(("onboarding".to_owned(), 1), Millis::from_minutes(60))].into_iter().collect()
}

fn start(database: &Arc<dyn Database>, log: &Arc<dyn Log>) -> Kit {
    let kit = Kit::for_test();
    let codec = Codec::without_registry();
    cohorts::start(&config(), targets(), Arc::clone(database), Arc::clone(log), codec, &kit).expect("started");
    kit
}

async fn stop(kit: Kit) {
    kit.shutdown().cancel();
    kit.join(PATIENCE).await.expect("ended in good order");
}

/// How often a round ended so.
fn rounds(kit: &Kit, outcome: &str) -> u64 {
    let series = format!("ttf_cohort_evaluations_total{{outcome=\"{outcome}\"}} ");
    let page = kit.metrics().render();
    page.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or_default()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The topic as a reader of the compacted topic has it.
fn shown(log: &Arc<dyn Log>) -> HashMap<Vec<u8>, CohortSummary> {
    let mut shown = HashMap::new();
    for partition in 0..2 {
        let at = TopicPartition::new(TTF_COHORTS, partition);
        let end = log.end_offset(&at, Isolation::ReadCommitted, PATIENCE).expect("an end");
        let mut reader = log.reader(Isolation::ReadCommitted).expect("a reader");
        reader.assign(&[(at.clone(), Position::Beginning)]).expect("assigned");
        while end > 0 && reader.position(&at).is_none_or(|position| position < end) {
            reader
                .poll(1_000, Duration::from_millis(100), &mut |record| {
                    let key = record.key.expect("a key").to_vec();
                    match record.value {
                        Some(value) => shown.insert(key, Codec::without_registry().decode(value).expect("decoded")),
                        None => shown.remove(&key),
                    };
                })
                .expect("polled");
        }
    }
    shown
}

/// A record of a user who signed up so many minutes ago, on a plan.
fn signup(user: &str, minutes_ago: i64, revision: i64, plan: &str) -> TtfRecord {
    let shift = service_kit::clock::now_ms() - minutes_ago * 60_000 - super::T0;
    let mut record = record(user, revision);
    let later = |at: EventTime| EventTime(at.0 + shift);
    record.signup_at = EventTime(super::T0 + shift);
    record.completed_at = record.completed_at.map(later);
    for stage in &mut record.stages {
        stage.from_at = stage.from_at.map(later);
        stage.to_at = stage.to_at.map(later);
    }
    record.segments = BTreeMap::from([("plan".to_owned(), plan.to_owned())]);
    record
}

async fn write(database: &Arc<dyn Database>, topics: &Topics) {
    let mut archiver = archiver(database, "writer");
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    archiver.sink.write(topics.all()).await.expect("written");
}

fn find<'a>(
    shown: &'a HashMap<Vec<u8>, CohortSummary>,
    stage: &str,
    window: &str,
    plan: Option<&str>,
) -> Option<&'a CohortSummary> {
    shown.values().find(|c| c.stage == stage && c.window == window && c.segment_value.as_deref() == plan)
}

pub async fn what_is_published_are_the_figures_of_the_journeys(database: Arc<dyn Database>) {
    let mut topics = Topics::default();
    topics.record(&signup("ada", 100, 4, "pro"));
    topics.record(&signup("bob", 90, 3, "pro"));
    topics.record(&signup("cleo", 3 * 24 * 60, 4, "free"));
    topics.record(&signup("old", 8 * 24 * 60, 4, "gone"));
    topics.breach(&breach("bob", telemetry_schemas::BreachStatus::Firing));
    write(&database, &topics).await;
    let log = log();
    let kit = start(&database, &log);
    until("a round published", || rounds(&kit, "published") >= 1).await;
    let cohorts = shown(&log);
    let total = find(&cohorts, "total", "24h", None).expect("the cohort of everyone");
    assert_eq!((total.started, total.reached, total.completed, total.within_target), (2, 2, 1, 1));
    assert_eq!((total.median_ms, total.p90_ms), (Some(Millis(300_000)), None));
    assert_eq!((total.efficiency_score, total.breaches_open), (Some(50.0), 1));
    let stage = find(&cohorts, "stage-3", "7d", None).expect("the last stage");
    assert_eq!((stage.started, stage.reached, stage.completed), (3, 3, 2));
    assert_eq!(stage.breaches_open, 1, "bob is in it");
    assert_eq!(find(&cohorts, "stage-0", "7d", None).expect("the first stage").breaches_open, 0);
    assert_eq!(find(&cohorts, "total", "7d", Some("free")).expect("free").completed, 1);
    assert_eq!(find(&cohorts, "total", "24h", Some("free")).expect("free").started, 0);
    assert!(find(&cohorts, "total", "7d", Some("gone")).is_none());

    // A value nobody has any more goes from the topic, also when another process finds it there.
    stop(kit).await;
    let mut topics = Topics::default();
    let mut moved = signup("cleo", 60, 4, "pro");
    moved.revision = 9;
    topics.record(&moved);
    let mut archiver = archiver(&database, "writer");
    archiver.sink.assigned(&[TopicPartition::new(TTF_RECORDS, 0)]).await.expect("assigned");
    let mut next = topics.all()[0].clone();
    next.offset = 4;
    archiver.sink.write(&[next]).await.expect("written");
    let kit = start(&database, &log);
    until("the value is gone", || find(&shown(&log), "total", "7d", Some("free")).is_none()).await;
    assert_eq!(find(&shown(&log), "total", "7d", Some("pro")).expect("pro").completed, 2);
    stop(kit).await;
}

pub async fn one_of_two_publishes_and_the_other_takes_over(databases: [Arc<dyn Database>; 2]) {
    let mut topics = Topics::default();
    topics.record(&signup("ada", 100, 4, "pro"));
    write(&databases[0], &topics).await;
    let log = log();
    let first = start(&databases[0], &log);
    until("the first published", || rounds(&first, "published") >= 1).await;
    let second = start(&databases[1], &log);
    until("the second stands by", || rounds(&second, "standby") >= 5).await;
    assert_eq!(rounds(&second, "published"), 0);
    assert_eq!((rounds(&first, "failed"), rounds(&second, "failed")), (0, 0));
    stop(first).await;
    let before = find(&shown(&log), "total", "24h", None).expect("a cohort").evaluated_at;
    until("the second took over", || rounds(&second, "published") >= 2).await;
    assert!(find(&shown(&log), "total", "24h", None).expect("a cohort").evaluated_at > before);
    stop(second).await;
}
