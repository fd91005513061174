//! Old records go, by age and by size; of a compacted topic the latest value of each key stays.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use stream_runtime::log::{
    Cleanup, Isolation, Log, LogError, NewRecord, Position, TopicSpec,
    config::EmbeddedConfig,
    embedded::{EmbeddedLog, Options},
};

use super::support::{LONG, LOOK, at, publish, read_all, spec, values};

const HOUR_MS: i64 = 3_600_000;

/// A clock set by hand.
#[derive(Clone)]
pub struct Hands(Arc<AtomicI64>);

impl Hands {
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_790_000_000_000)))
    }

    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn options(&self) -> Options {
        let hands = self.clone();
        Options { clock: Arc::new(move || hands.now()), ..Options::default() }
    }
}

fn kept_for(hours: u64) -> TopicSpec {
    TopicSpec { retention: Some(Duration::from_secs(hours * 3600)), ..spec("t", 2) }
}

fn compacted() -> TopicSpec {
    TopicSpec { cleanup: Cleanup::Compact, ..spec("t", 1) }
}

fn record(value: &str) -> NewRecord {
    NewRecord::new("t", "k", value.to_owned()).with_partition(0)
}

fn keyed(key: &str, value: Option<&str>) -> NewRecord {
    NewRecord { value: value.map(|value| value.to_owned().into()), ..NewRecord::new("t", key.to_owned(), "") }
}

fn kept(log: &EmbeddedLog) -> Vec<(String, Option<String>, i64)> {
    read_all(log, "t")
        .into_iter()
        .map(|record| {
            let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            (record.key.map(text).unwrap_or_default(), record.value.map(text), record.offset)
        })
        .collect()
}

#[test]
fn records_go_by_age_and_never_come_back() {
    let hands = Hands::new();
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { path: folder.path().to_owned(), retention_bytes: u64::MAX };
    let log = EmbeddedLog::open_with(&config, hands.options()).unwrap();
    log.create_topics(&[kept_for(2)], LONG).unwrap();
    publish(&log, [record("0"), record("1")]);
    hands.advance(HOUR_MS);
    publish(&log, [record("2")]);
    hands.advance(HOUR_MS + 1);
    assert_eq!(log.sweep().unwrap().records, 2);
    assert_eq!(log.start_offset(&at("t", 0), LONG).unwrap(), 2);
    assert_eq!(values(&read_all(&log, "t")), ["2"]);
    assert_eq!(log.sweep().unwrap().records, 0);
    hands.advance(HOUR_MS);
    assert_eq!(log.sweep().unwrap().records, 1);
    drop(log);
    let log = EmbeddedLog::open_with(&config, hands.options()).unwrap();
    assert_eq!(log.start_offset(&at("t", 0), LONG).unwrap(), 3);
    assert_eq!(publish(&log, [record("3")]), [(0, 3)], "offsets go on where they were");
    assert_eq!(values(&read_all(&log, "t")), ["3"]);
}

#[test]
fn age_is_counted_from_the_moment_of_writing() {
    let hands = Hands::new();
    let log = EmbeddedLog::in_memory_with(hands.options());
    log.create_topics(&[kept_for(2)], LONG).unwrap();
    publish(&log, [record("backfilled").with_timestamp(hands.now() - 100 * HOUR_MS)]);
    publish(&log, [record("a clock ahead").with_timestamp(hands.now() + 100 * HOUR_MS)]);
    assert_eq!(log.sweep().unwrap().records, 0);
    hands.advance(2 * HOUR_MS + 1);
    assert_eq!(log.sweep().unwrap().records, 2);
}

#[test]
fn topics_without_retention_keep_everything() {
    let hands = Hands::new();
    let log = EmbeddedLog::in_memory_with(hands.options());
    log.create_topics(&[spec("t", 1)], LONG).unwrap();
    publish(&log, [record("0")]);
    hands.advance(100_000 * HOUR_MS);
    assert_eq!(log.sweep().unwrap().records, 0);
    // A retention given later is heeded.
    log.create_topics(&[TopicSpec { partitions: 1, ..kept_for(2) }], LONG).unwrap();
    assert_eq!(log.sweep().unwrap().records, 1);
}

#[test]
fn the_oldest_records_go_when_a_partition_grows_too_large() {
    let log = EmbeddedLog::in_memory_with(Options { retention_bytes: 50_000, ..Options::default() });
    log.create_topics(&[spec("t", 2)], LONG).unwrap();
    publish(&log, (0..100).map(|_| record(&"x".repeat(1_000))));
    publish(&log, [NewRecord::new("t", "k", "alone").with_partition(1)]);
    let swept = log.sweep().unwrap();
    assert!((50..56).contains(&swept.records), "{swept:?}");
    let start = log.start_offset(&at("t", 0), LONG).unwrap();
    assert_eq!(start, swept.records as i64);
    assert_eq!(log.start_offset(&at("t", 1), LONG).unwrap(), 0);
    assert_eq!(read_all(&log, "t").len() as i64, 101 - start);
    assert_eq!(log.sweep().unwrap().records, 0);
}

#[test]
fn a_sweep_of_many_records_goes_on_to_its_end() {
    let hands = Hands::new();
    let log = EmbeddedLog::in_memory_with(hands.options());
    log.create_topics(&[kept_for(1)], LONG).unwrap();
    publish(&log, (0..25_000).map(|number| NewRecord::new("t", "k", "v").with_partition(number % 2)));
    hands.advance(HOUR_MS + 1);
    assert_eq!(log.sweep().unwrap().records, 25_000);
    for partition in 0..2 {
        assert_eq!(log.start_offset(&at("t", partition), LONG).unwrap(), 12_500);
    }
}

#[test]
fn a_reader_overtaken_by_retention_is_told() {
    let hands = Hands::new();
    let log = EmbeddedLog::in_memory_with(hands.options());
    log.create_topics(&[kept_for(1)], LONG).unwrap();
    publish(&log, (0..10).map(|number| record(&number.to_string())));
    let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
    reader.assign(&[(at("t", 0), Position::Beginning)]).unwrap();
    assert_eq!(reader.poll(3, LOOK, &mut |_| {}).unwrap(), 3);
    hands.advance(HOUR_MS + 1);
    publish(&log, [record("10")]);
    log.sweep().unwrap();
    match reader.poll(3, LOOK, &mut |_| {}) {
        Err(LogError::OffsetOutOfRange { offset: 3, start: 10, end: 11, .. }) => {}
        other => panic!("expected an offset out of range, got {other:?}"),
    }
    assert_eq!(reader.position(&at("t", 0)), Some(3));
}

#[test]
fn the_latest_value_of_each_key_stays() {
    let log = EmbeddedLog::in_memory();
    log.create_topics(&[compacted()], LONG).unwrap();
    // Some in batches, some one by one.
    publish(&log, [keyed("a", Some("1")), keyed("b", Some("1")), keyed("a", Some("2"))]);
    publish(&log, [keyed("a", Some("3"))]);
    publish(&log, [keyed("c", Some("1")), keyed("b", None)]);
    let owned = |key: &str, value: Option<&str>, offset| (key.to_owned(), value.map(str::to_owned), offset);
    assert_eq!(kept(&log), [owned("a", Some("3"), 3), owned("c", Some("1"), 4), owned("b", None, 5)]);
    assert_eq!(log.end_offset(&at("t", 0), Isolation::ReadCommitted, LONG).unwrap(), 6);
    assert_eq!(log.start_offset(&at("t", 0), LONG).unwrap(), 0);
}

#[test]
fn a_compacted_topic_is_never_emptied_by_age_or_size() {
    let hands = Hands::new();
    let log = EmbeddedLog::in_memory_with(Options { retention_bytes: 10, ..hands.options() });
    log.create_topics(&[TopicSpec { retention: Some(Duration::from_secs(1)), ..compacted() }], LONG).unwrap();
    publish(&log, [keyed("a", Some("1")), keyed("b", Some("1"))]);
    hands.advance(100_000 * HOUR_MS);
    log.sweep().unwrap();
    assert_eq!(kept(&log).len(), 2);
}

#[test]
fn a_deleted_key_is_seen_for_a_day_and_then_forgotten() {
    let hands = Hands::new();
    let log = EmbeddedLog::in_memory_with(hands.options());
    log.create_topics(&[compacted()], LONG).unwrap();
    publish(&log, [keyed("a", Some("1")), keyed("b", Some("1"))]);
    publish(&log, [keyed("a", None), keyed("b", None)]);
    publish(&log, [keyed("b", Some("2"))]);
    hands.advance(23 * HOUR_MS);
    assert_eq!(log.sweep().unwrap().records, 0);
    assert_eq!(kept(&log).len(), 2);
    hands.advance(HOUR_MS);
    assert_eq!(log.sweep().unwrap().records, 1);
    assert_eq!(kept(&log), [("b".to_owned(), Some("2".to_owned()), 4)]);
    // The key may come back.
    publish(&log, [keyed("a", Some("3"))]);
    assert_eq!(kept(&log).len(), 2);
    hands.advance(48 * HOUR_MS);
    assert_eq!(log.sweep().unwrap().records, 0);
    assert_eq!(kept(&log).len(), 2);
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let log = EmbeddedLog::in_memory();
    log.create_topics(&[compacted()], LONG).unwrap();
    let refused = log.publisher().unwrap().publish(NewRecord { key: None, ..record("v") }).err().unwrap();
    assert!(matches!(refused, LogError::Invalid(_)), "{refused}");
}

#[test]
fn a_reader_gets_to_the_end_of_a_topic_that_was_emptied() {
    let hands = Hands::new();
    let log = EmbeddedLog::in_memory_with(hands.options());
    log.create_topics(&[compacted()], LONG).unwrap();
    publish(&log, [keyed("a", Some("1"))]);
    publish(&log, [keyed("a", None)]);
    hands.advance(25 * HOUR_MS);
    log.sweep().unwrap();
    let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
    reader.assign(&[(at("t", 0), Position::Beginning)]).unwrap();
    assert_eq!(reader.poll(3, LOOK, &mut |_| {}).unwrap(), 0);
    assert_eq!(reader.position(&at("t", 0)), Some(2));
}
