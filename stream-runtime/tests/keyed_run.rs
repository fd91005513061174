//! `keyed::run` as a service uses it: threads of a kit, wall clock, readiness, drain.

mod support;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use service_kit::{
    Kit,
    config::{ByteSize, HumanDuration},
};
use stream_runtime::{
    keyed::{self, Clock, KeyedOptions, RuntimeConfig},
    log::{Cleanup, Isolation, Log, Position, TopicPartition, TopicSpec, Verdict, embedded::EmbeddedLog},
};
use support::{
    faulty::{Call, Faults, FaultyLog},
    tally::{FIRST, Json, OUT, REJECTED, SECOND, STATE, Tally, add, final_states},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn options(state_dir: &Path, commit_interval: &str) -> KeyedOptions {
    let config = RuntimeConfig {
        ordinal: "0".to_owned(),
        workers: 2,
        state_dir: state_dir.to_owned(),
        commit_interval: commit_interval.parse::<HumanDuration>().unwrap(),
        commit_records: 1_000,
        commit_bytes: ByteSize::from_bytes(1 << 20),
        cache: ByteSize::from_bytes(1 << 20),
        timer_grace: "0s".parse().unwrap(),
        poison_share: 0.5,
        poison_minimum: 100,
        prefetch: ByteSize::from_bytes(1 << 20),
    };
    let inputs = vec![FIRST.to_owned(), SECOND.to_owned()];
    KeyedOptions::new("tally", "tally", inputs, STATE, "ttf_tally", &config)
}

fn log() -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::in_memory();
    let spec = |name: &str, cleanup| TopicSpec { cleanup, ..TopicSpec::new(name, 4) };
    let plain = [FIRST, SECOND, OUT, REJECTED].map(|name| spec(name, Cleanup::Delete));
    log.create_topics(&plain, PATIENCE).unwrap();
    log.create_topics(&[spec(STATE, Cleanup::Compact)], PATIENCE).unwrap();
    Arc::new(log)
}

fn publish(log: &EmbeddedLog, count: usize) {
    let publisher = log.publisher().unwrap();
    for number in 0..count {
        let topic = if number % 2 == 0 { FIRST } else { SECOND };
        let record = add(topic, &format!("key-{}", number % 10), i64::MAX / 2, 1);
        drop(publisher.publish(record).unwrap());
    }
    publisher.flush(PATIENCE).unwrap();
}

/// The number of records the committed outputs account for.
fn counted(log: &EmbeddedLog) -> u64 {
    let mut records = Vec::new();
    for partition in 0..4 {
        let at = TopicPartition::new(OUT, partition);
        let end = log.end_offset(&at, Isolation::ReadCommitted, PATIENCE).unwrap();
        let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
        reader.assign(&[(at.clone(), Position::Beginning)]).unwrap();
        while end > 0 && reader.position(&at).is_none_or(|position| position < end) {
            reader.poll(1_000, PATIENCE, &mut |record| records.push(record.to_owned())).unwrap();
        }
    }
    final_states(&records).values().map(|state| state.count).sum()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_share_the_partitions_and_a_drain_commits_what_is_open() {
    let (log, folder) = (log(), tempfile::tempdir().unwrap());
    let kit = Kit::for_test();
    let processor = || Arc::new(Tally { open_ms: 1 });
    let codec = || Arc::new(Json::default());
    keyed::run(options(folder.path(), "10ms"), log.clone(), processor(), codec(), &kit).unwrap();
    until("readiness", || kit.health().not_ready().is_empty()).await;
    publish(&log, 500);
    until("the outputs", || counted(&log) == 500).await;
    kit.shutdown().cancel();
    kit.join(PATIENCE).await.unwrap();

    // A commit interval that does not come: what is committed was committed by the drain.
    let kit = Kit::for_test();
    keyed::run(options(folder.path(), "1h"), log.clone(), processor(), codec(), &kit).unwrap();
    until("readiness", || kit.health().not_ready().is_empty()).await;
    publish(&log, 40);
    until("the records", || kit.metrics().render().contains("ttf_tally_records_in_total 40")).await;
    assert_eq!(counted(&log), 500);
    kit.shutdown().cancel();
    kit.join(PATIENCE).await.unwrap();
    assert_eq!(counted(&log), 540);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_folder_in_use_is_refused_with_a_clear_line() {
    let (log, folder, kit) = (log(), tempfile::tempdir().unwrap(), Kit::for_test());
    let run = || {
        keyed::run(
            options(folder.path(), "10ms"),
            log.clone(),
            Arc::new(Tally { open_ms: 1 }),
            Arc::new(Json::default()),
            &kit,
        )
    };
    run().unwrap();
    let error = run().unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error:#}");
    kit.shutdown().cancel();
    kit.join(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_ends_the_process_and_is_named() {
    let (folder, kit) = (tempfile::tempdir().unwrap(), Kit::for_test());
    let log = Arc::new(EmbeddedLog::in_memory());
    let processor = Arc::new(Tally { open_ms: 1 });
    keyed::run(options(folder.path(), "10ms"), log, processor, Arc::new(Json::default()), &kit).unwrap();
    let error = kit.join(PATIENCE).await.unwrap_err();
    assert!(format!("{error:#}").contains("topic `first` does not exist"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hangs_is_silent() {
    let (log, folder, kit) = (log(), tempfile::tempdir().unwrap(), Kit::for_test());
    let hangs = Arc::new(AtomicBool::new(false));
    let hanging = hangs.clone();
    let mut options = options(folder.path(), "10ms");
    options.call_timeout = Duration::from_millis(50);
    options.retry_timeout = Duration::from_millis(50);
    // A worker asks for the time whenever it goes round.
    options.clock = Clock::new(move || {
        while hanging.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        service_kit::clock::now_ms()
    });
    keyed::run(options, log, Arc::new(Tally { open_ms: 1 }), Arc::new(Json::default()), &kit).unwrap();
    until("readiness", || kit.health().not_ready().is_empty()).await;
    hangs.store(true, Ordering::Relaxed);
    until("silence", || kit.health().silent(Instant::now()).len() == 2).await;
    hangs.store(false, Ordering::Relaxed);
    until("progress", || kit.health().silent(Instant::now()).is_empty()).await;
    kit.shutdown().cancel();
    kit.join(PATIENCE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_waits_for_a_slow_log_is_not_silent() {
    let (log, folder, kit) = (log(), tempfile::tempdir().unwrap(), Kit::for_test());
    let faults = Faults::default();
    let slow = Arc::new(FaultyLog { inner: log.clone(), faults: faults.clone() });
    let mut options = options(folder.path(), "10ms");
    // The faults come one at a time: a second worker would slip through between two.
    options.workers = 1;
    options.call_timeout = Duration::from_millis(400);
    options.retry_timeout = Duration::from_millis(200);
    let max_silence = options.retry_timeout * 2 + options.call_timeout * 3;
    keyed::run(options, slow, Arc::new(Tally { open_ms: 1 }), Arc::new(Json::default()), &kit).unwrap();
    until("readiness", || kit.health().not_ready().is_empty()).await;
    // More than there is time for.
    for _ in 0..1_000 {
        faults.add(Call::Commit, Verdict::Retry);
    }
    publish(&log, 10);
    // Commits are tried again and again, for longer than anybody may be silent.
    let begin = Instant::now();
    while begin.elapsed() < max_silence * 2 {
        assert_eq!(kit.health().silent(Instant::now()), []);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!faults.is_empty());
    assert_eq!(counted(&log), 0);
    faults.clear();
    until("the outputs", || counted(&log) == 10).await;
    kit.shutdown().cancel();
    kit.join(PATIENCE).await.unwrap();
}
