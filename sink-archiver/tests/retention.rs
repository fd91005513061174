//! Retention on real PostgreSQL and on SQLite: what is past its time goes, and nothing before it is archived and verified.

mod common;

use std::{path::Path, sync::Arc};

use common::{Topics, archiver, breach, event, object_suite::Stores, record};
use service_kit::Kit;
use sink_archiver::{
    config::RetentionConfig,
    database::{Database, Postgres},
    metrics::Metrics,
    objects::{days::DayCloser, store::Store, verify::Verifier, writer::CutWriter},
    retention::{Report, Retention},
};
use stream_runtime::{
    log::{Log, NewRecord, TopicSpec, embedded::EmbeddedLog},
    sink::Sink,
};
use telemetry_schemas::{BreachStatus, Codec, EventTime, topics::*};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
const DAY: i64 = 86_400_000;
/// How long ago things happened.
const DAYS: [i64; 4] = [400, 40, 20, 3];
const NOW: i64 = 1_795_392_000_000;

fn open(folder: &Path, name: &str) -> Store {
    let config = serde_json::json!({"kind": "folder", "path": folder.join(name)});
    Store::open(&serde_json::from_value(config).expect("a config")).expect("opened")
}

fn config(tenants: &serde_json::Value) -> RetentionConfig {
    let config = serde_json::json!({"realtime": "30d", "analytics": "365d", "compliance": "2557d", "tenants": tenants});
    serde_json::from_value(config).expect("a retention")
}

/// Events of two tenants 3, 20, 40 and 400 days ago, with a record and a breach each.
fn history() -> Topics {
    let mut topics = Topics::default();
    for days in DAYS {
        for tenant in ["acme", "bank"] {
            let at = EventTime(NOW - days * DAY);
            let user = format!("user-{days}");
            let mut event = event(&user, 1);
            tenant.clone_into(&mut event.tenant);
            (event.timestamp, event.received_at) = (at, at);
            topics.event(&event);
            let mut record = record(&user, 1);
            tenant.clone_into(&mut record.tenant);
            record.record_id = format!("{tenant}-{}", record.record_id);
            (record.signup_at, record.emitted_at) = (at, at);
            record.stages.truncate(1);
            record.stages[0].from_at = Some(at);
            record.stages[0].to_at = Some(at);
            topics.record(&record);
            let mut breach = breach(&user, BreachStatus::Firing);
            tenant.clone_into(&mut breach.tenant);
            breach.breach_id = format!("{tenant}-{}", breach.breach_id);
            (breach.signup_at, breach.detected_at) = (at, at);
            topics.breach(&breach);
        }
    }
    topics
}

async fn log_of(topics: &Topics) -> Arc<dyn Log> {
    let log = EmbeddedLog::in_memory();
    let spec = |name: &&str| TopicSpec::new(*name, 1);
    let specs: Vec<TopicSpec> = [EVENTS, TTF_RECORDS, TTF_BREACHES].iter().map(spec).collect();
    log.create_topics(&specs, PATIENCE).expect("created");
    let publisher = log.publisher().expect("a publisher");
    for record in topics.all() {
        let key = record.key.clone().expect("a key");
        let new = NewRecord::new(record.topic.clone(), key, record.value.clone().expect("a value"));
        // As when each was written: two of a topic on each day.
        let days = DAYS[usize::try_from(record.offset).expect("an offset") / 2];
        publisher.publish(new.with_timestamp(NOW - days * DAY)).expect("queued").await.expect("published");
    }
    Arc::new(log)
}

/// What, of which tenant, due, waiting, deleted.
type Seen = (String, Option<String>, u64, u64, Option<u64>);

/// What a report says is due, waiting and deleted of each table and tenant.
fn seen(report: &Report) -> Vec<Seen> {
    let lines = report.lines.iter().filter(|line| line.due + line.waiting > 0 || line.deleted.is_some());
    lines.map(|line| (line.what.clone(), line.tenant.clone(), line.due, line.waiting, line.deleted)).collect()
}

fn of(what: &str, due: u64, waiting: u64, deleted: Option<u64>) -> Seen {
    (what.to_owned(), None, due, waiting, deleted)
}

async fn nothing_goes_before_it_is_archived_and_verified(database: Arc<dyn Database>) {
    let topics = history();
    let mut sink = archiver(&database, "retention");
    sink.sink.assigned(&topics.partitions()).await.expect("assigned");
    sink.sink.write(topics.all()).await.expect("written");
    let stores = Stores::new(open).await;
    let store = stores.store("a");
    let now = EventTime(NOW);
    let retention = |tenants| Retention::new(config(&tenants), None, Arc::clone(&database), store.clone());
    let ours = retention(serde_json::json!({}));

    let waiting = [
        of("events", 0, 4, None),
        of("ttf_records", 0, 2, None),
        of("stage_durations", 0, 2, None),
        of("breaches", 0, 2, None),
        of("breach_status", 0, 2, None),
        of("journeys", 0, 2, None),
    ];
    assert_eq!(seen(&ours.plan(now).await.expect("planned")), waiting);
    assert_eq!(seen(&ours.apply(now).await.expect("applied")), waiting, "nothing is archived yet");

    let log = log_of(&topics).await;
    stores.process("a", 1).feed(&topics, 9).await.expect("fed");
    DayCloser::new(store.clone(), log.clone()).close_due(now).await.expect("closed");
    assert_eq!(seen(&ours.apply(now).await.expect("applied")), waiting, "nothing is verified yet");
    let metrics = Metrics::new(&Kit::for_test());
    let writer = CutWriter::new(store.clone(), Arc::clone(&stores.database), Codec::without_registry(), metrics);
    let verifier = Verifier::new(store.clone(), writer, Some(log));
    for date in sink_archiver::objects::days::closed(&store).await.expect("days") {
        let report = verifier.verify_and_mark(&date, now).await.expect("verified");
        assert_eq!(report.findings, [], "{date}");
    }

    // One tenant keeps its events shorter, the other longer.
    let own = retention(serde_json::json!({"acme": {"realtime": "10d"}, "bank": {"realtime": "100d"}}));
    let events: Vec<_> =
        seen(&own.plan(now).await.expect("planned")).into_iter().filter(|line| line.0 == "events").collect();
    let line = |tenant: &str, due| ("events".to_owned(), Some(tenant.to_owned()), due, 0, None);
    assert_eq!(events, [line("acme", 3), line("bank", 1)]);

    let due = [
        ("events", 4),
        ("ttf_records", 2),
        ("stage_durations", 2),
        ("breaches", 2),
        ("breach_status", 2),
        ("journeys", 2),
    ];
    assert_eq!(seen(&ours.plan(now).await.expect("planned")), due.map(|(what, due)| of(what, due, 0, None)));
    assert_eq!(seen(&ours.apply(now).await.expect("applied")), due.map(|(what, due)| of(what, due, 0, Some(due))));
    assert_eq!(seen(&ours.apply(now).await.expect("applied again")), [], "what is gone is gone");
    for (user, kept) in [("user-40", 1), ("user-400", 0)] {
        assert_eq!(database.journeys("acme", user).await.expect("read").len(), kept, "{user}");
    }

    // Objects of the oldest day go when even the archive's time is over.
    let short = Retention::new(
        serde_json::from_value(serde_json::json!({"realtime": "30d", "analytics": "365d", "compliance": "390d",
            "tenants": {"bank": {"compliance": "9999d"}}}))
        .expect("a retention"),
        None,
        Arc::clone(&database),
        store.clone(),
    );
    let report = short.apply(now).await.expect("applied");
    assert_eq!(seen(&report), [of("objects", 3, 0, Some(3))], "only of those who do not keep longer");
    assert_eq!(report.verified_until, ours.plan(now).await.expect("planned").verified_until);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_from_sqlite_before_it_is_archived_and_verified() {
    let folder = tempfile::tempdir().expect("a folder");
    nothing_goes_before_it_is_archived_and_verified(common::people_in(folder.path()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_from_postgresql_before_it_is_archived_and_verified() {
    let url = std::env::var("TTF_TEST_POSTGRES")
        .expect("TTF_TEST_POSTGRES must name a PostgreSQL server; `make services-up` starts one");
    let name = format!("retention_{}_{}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
    let (server, _) = url.rsplit_once('/').expect("a database in the URL");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("connected");
    let connection = tokio::spawn(connection);
    client.execute(&format!("CREATE DATABASE {name}"), &[]).await.expect("made");
    let config = serde_json::json!({"url": format!("{server}/{name}")});
    let database = Postgres::open(&serde_json::from_value(config).expect("a config")).expect("opened");
    database.migrate().await.expect("migrated");
    database.open_ledger(None).await.expect("opened");
    let database: Arc<dyn Database> = Arc::new(database);
    nothing_goes_before_it_is_archived_and_verified(Arc::clone(&database)).await;
    drop(database);
    client.execute(&format!("DROP DATABASE {name} WITH (FORCE)"), &[]).await.expect("dropped");
    connection.abort();
}
