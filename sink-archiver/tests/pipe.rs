//! The whole archiver on the embedded log, SQLite, a folder and memory: what `ttf dev` runs.

mod common;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use common::{T0, Topics, erasure, event, record};
use service_kit::Kit;
use sink_archiver::{ArchiveConfig, LiveView, RetentionConfig, cohorts::rows::Targets, open_live_view, run};
use stream_runtime::log::{Log, NewRecord, TopicSpec, embedded::EmbeddedLog};
use telemetry_schemas::{Codec, topics::*};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(folder: &Path) -> ArchiveConfig {
    serde_json::from_value(serde_json::json!({
        "database": {"kind": "sqlite", "path": folder.join("ttf.sqlite")},
        "s3": {"kind": "folder", "path": folder.join("archive")},
        "rotation": {"records": 7, "bytes": "1MiB", "interval": "1s", "memory": "64MiB"},
        "live_view": {"kind": "memory", "users": 100},
        "cohorts": {"interval": "200ms", "windows": ["24h", "7d"], "segment_values": 5},
        "erasure_key": null,
    }))
    .expect("a config")
}

fn retention() -> RetentionConfig {
    serde_json::from_value(serde_json::json!({"realtime": "30d", "analytics": "1y", "compliance": "7y"}))
        .expect("a retention")
}

fn log() -> Arc<dyn Log> {
    let log = EmbeddedLog::in_memory();
    let specs: Vec<TopicSpec> = [EVENTS, EVENTS_REJECTED, TTF_RECORDS, TTF_BREACHES, ERASURES]
        .iter()
        .map(|name| TopicSpec::new(*name, 3))
        .collect();
    log.create_topics(&specs, PATIENCE).expect("created");
    Arc::new(log)
}

async fn publish(log: &Arc<dyn Log>, topics: &Topics) {
    let publisher = log.publisher().expect("a publisher");
    for record in topics.all() {
        let key = record.key.clone().expect("a key");
        let new = NewRecord::new(record.topic.clone(), key, record.value.clone().expect("a value"));
        publisher.publish(new.with_timestamp(record.timestamp_ms)).expect("queued").await.expect("published");
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn count(folder: &Path, table: &str) -> i64 {
    let connection = rusqlite::Connection::open(folder.join("ttf.sqlite")).expect("opened");
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap_or(-1)
}

fn archived_rows(folder: &Path, dataset: &str) -> u64 {
    let mut rows = 0;
    let mut open = vec![folder.join("archive/_complete")];
    while let Some(path) = open.pop() {
        let Ok(entries) = std::fs::read_dir(path) else { continue };
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                open.push(path);
                continue;
            }
            // A file that is being written has another ending.
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            let manifest: sink_archiver::objects::writer::Manifest =
                serde_json::from_slice(&std::fs::read(path).expect("read")).expect("a manifest");
            let objects = manifest.objects.iter().filter(|o| o.path.starts_with(&format!("dataset={dataset}/")));
            rows += objects.map(|object| object.rows).sum::<u64>();
        }
    }
    rows
}

async fn start(folder: &Path, log: &Arc<dyn Log>) -> (Kit, Arc<dyn LiveView>) {
    let kit = Kit::for_test();
    let config = config(folder);
    let live_view = open_live_view(&config, &kit).await.expect("a live view");
    run(config, retention(), Targets::default(), log.clone(), Codec::without_registry(), live_view.clone(), &kit)
        .await
        .expect("started");
    (kit, live_view)
}

async fn stop(kit: Kit) {
    kit.shutdown().cancel();
    kit.join(PATIENCE).await.expect("ended in good order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_archived_once_over_restarts_until_it_is_erased() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let log = log();
    publish(&log, &Topics::of_users(20)).await;
    let (kit, live_view) = start(folder, &log).await;
    until("events and records are in the database", || {
        count(folder, "events") == 80 && count(folder, "ttf_records") == 80 && count(folder, "breaches") == 40
    })
    .await;
    assert_eq!(live_view.journeys("acme", "user-7").await.expect("read"), vec![record("user-7", 4)]);
    until("events and records are in objects", || {
        archived_rows(folder, "events") == 80 && archived_rows(folder, "records") == 80
    })
    .await;
    until("it is ready", || kit.health().not_ready().is_empty()).await;
    stop(kit).await;

    let mut more = Topics::default();
    for user in 20..30 {
        more.event(&event(&format!("user-{user}"), 1));
    }
    more.erasure(&erasure("user-7", T0 + 10_000_000));
    publish(&log, &more).await;
    let (kit, live_view) = start(folder, &log).await;
    until("later events are there, the erased user's are gone", || {
        count(folder, "events") == 90 - 4 && count(folder, "journeys") == 19
    })
    .await;
    assert_eq!(live_view.journeys("acme", "user-7").await.expect("read"), vec![]);
    until("later events are in objects", || archived_rows(folder, "events") == 90).await;
    let shown = kit.metrics().render();
    let names: BTreeSet<&str> = shown.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for name in ["ttf_pipeline_latency_seconds_count", "ttf_sink_deliveries_total", "ttf_archive_objects_total"] {
        assert!(names.contains(name), "{name} is not among {names:?}");
    }
    stop(kit).await;
}
