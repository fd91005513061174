//! Restores on Apache Kafka, from changelogs that have changed under the store. Needs the brokers named by
//! `TTF_TEST_KAFKA`.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
};
use stream_runtime::{
    keyed::{is_marker, test_driver::TestDriver},
    log::{Cleanup, Isolation, NewRecord, Position, Record, TopicPartition, TopicSpec},
};
use support::{
    folder::copy,
    kafka::{brokers, driver, fresh_names, open},
    tally::{FIRST, Json, OUT, STATE, Tally, Totals, add, final_states, forget, restored},
};

const CALL: Duration = Duration::from_secs(10);
/// The broker looks for segments to compact every few seconds at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// A changelog that the broker compacts as soon as it can, forgetting deletions at once.
fn create_eager_changelog(names: &Json) {
    let settings = [
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("min.compaction.lag.ms", "0"),
        ("max.compaction.lag.ms", "100"),
        ("delete.retention.ms", "0"),
    ];
    create_changelog(names, settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

fn create_changelog(names: &Json, settings: BTreeMap<String, String>) {
    let spec = TopicSpec { cleanup: Cleanup::Compact, settings, ..TopicSpec::new(names.topic(STATE), 1) };
    open().create_topics(&[spec], CALL).unwrap();
}

/// The changelog as a reader finds it.
fn changelog(names: &Json) -> Vec<Record> {
    let (log, at) = (open(), TopicPartition::new(names.topic(STATE), 0));
    let end = log.end_offset(&at, Isolation::ReadUncommitted, CALL).unwrap();
    let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
    reader.assign(&[(at.clone(), Position::Beginning)]).unwrap();
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while end > 0 && reader.position(&at).is_none_or(|position| position < end) {
        reader.poll(1_000, CALL, &mut |record| records.push(record.to_owned())).unwrap();
        assert!(Instant::now() < deadline, "the changelog cannot be read to its end");
    }
    records
}

fn publish(record: NewRecord) {
    let publisher = open().publisher().unwrap();
    drop(publisher.publish(record).unwrap());
    publisher.flush(CALL).unwrap();
}

/// Writes to the changelog until the broker has compacted away every record that `is_old` names.
fn until_compacted(driver: &mut TestDriver<Tally, Json>, names: &Json, is_old: impl Fn(&Record) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while changelog(names).iter().any(&is_old) {
        assert!(Instant::now() < deadline, "the broker does not compact the changelog");
        // The segment being written is never compacted: a record later than `segment.ms` begins another.
        driver.pipe_input(add(&names.topic(FIRST), "filler", driver.now_ms(), 1)).unwrap();
        driver.commit().unwrap();
    }
}

#[test]
fn a_changelog_compacted_past_the_stored_position_completes_the_store_while_deletions_are_kept() {
    let names = fresh_names();
    create_eager_changelog(&names);
    let mut driver = driver(&names);
    let (first, now_ms) = (names.topic(FIRST), driver.now_ms());
    for number in 0..20 {
        driver.publish(add(&first, &format!("key-{number}"), now_ms, 1)).unwrap();
    }
    driver.commit().unwrap();
    let old = tempfile::tempdir().unwrap();
    driver.restart_after(|state| copy(state, old.path())).unwrap();
    driver.settle().unwrap();
    // Everything is written anew, so that nothing of what the store has seen is left, nor its position.
    let position = changelog(&names).iter().map(|record| record.offset).max().unwrap();
    for _ in 0..2 {
        for number in 0..20 {
            driver.publish(add(&first, &format!("key-{number}"), now_ms, 1)).unwrap();
        }
        driver.commit().unwrap();
    }
    until_compacted(&mut driver, &names, |record| record.offset <= position && !is_marker(record.key.as_deref()));
    driver.restart_after(|state| copy(old.path(), state)).unwrap();
    for number in 0..20 {
        driver.publish(add(&first, &format!("key-{number}"), now_ms, 1)).unwrap();
    }
    driver.commit().unwrap();
    let states = final_states(&driver.read_all(&names.topic(OUT)).unwrap());
    assert!((0..20).all(|number| states[&format!("key-{number}")].count == 4), "{states:?}");
}

#[test]
fn a_store_older_than_deletions_are_kept_is_restored_from_the_beginning() {
    let names = fresh_names();
    create_eager_changelog(&names);
    let mut driver = driver(&names);
    let (first, now_ms) = (names.topic(FIRST), driver.now_ms());
    for key in ["kept", "deleted"] {
        driver.publish(add(&first, key, now_ms, 1)).unwrap();
    }
    driver.commit().unwrap();
    driver.restart_with(|options| options.changelog_delete_retention = Duration::from_secs(30)).unwrap();
    driver.settle().unwrap();
    let old = tempfile::tempdir().unwrap();
    driver.restart_after(|state| copy(state, old.path())).unwrap();
    driver.settle().unwrap();

    driver.pipe_input(forget(&first, "deleted")).unwrap();
    driver.commit().unwrap();
    until_compacted(&mut driver, &names, |record| record.key.as_deref() == Some(b"deleted"));
    // The old store says that there is a state, and nothing in the tail says otherwise.
    driver.advance_to(now_ms + 60_000).unwrap();
    driver.restart_after(|state| copy(old.path(), state)).unwrap();
    let at_ms = driver.now_ms();
    driver.pipe_input(add(&first, "deleted", at_ms, 1)).unwrap();
    driver.pipe_input(add(&first, "kept", at_ms, 1)).unwrap();
    driver.commit().unwrap();
    let states = final_states(&driver.read_all(&names.topic(OUT)).unwrap());
    assert_eq!((states["deleted"].count, states["deleted"].revision), (1, 1));
    assert_eq!(states["kept"].count, 2);
}

#[test]
fn a_changelog_made_anew_under_the_same_name_is_not_taken_for_the_one_before() {
    let names = fresh_names();
    let mut driver = driver(&names);
    let (first, now_ms) = (names.topic(FIRST), driver.now_ms());
    for number in 0..5 {
        driver.publish(add(&first, &format!("key-{number}"), now_ms, 1)).unwrap();
    }
    driver.commit().unwrap();
    assert!(is_marker(changelog(&names)[0].key.as_deref()));

    driver
        .restart_after(|_| {
            let client: AdminClient<DefaultClientContext> =
                ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
            let topic = names.topic(STATE);
            let deleted = client.delete_topics(&[&topic], &AdminOptions::new());
            futures::executor::block_on(deleted).unwrap().remove(0).unwrap();
            let deadline = Instant::now() + PATIENCE;
            while !open().topics(Some(&[&topic]), CALL).unwrap().is_empty() {
                assert!(Instant::now() < deadline, "the topic is not deleted");
            }
            create_changelog(&names, BTreeMap::new());
            // Longer than the store's position, and with other states.
            for _ in 0..10 {
                for number in 0..5 {
                    let state = Totals { count: 100, sum: 100, first_at_ms: now_ms, closed: false, revision: 1 };
                    let value = serde_json::to_vec(&state).unwrap();
                    publish(NewRecord::new(topic.clone(), format!("key-{number}"), value).with_partition(0));
                }
            }
            Ok(())
        })
        .unwrap();
    driver.pipe_input(add(&first, "key-3", now_ms, 1)).unwrap();
    driver.commit().unwrap();
    assert_eq!(final_states(&driver.read_all(&names.topic(OUT)).unwrap())["key-3"].count, 101);
}

#[test]
fn only_the_tail_is_read_after_a_crash() {
    let names = fresh_names();
    let mut driver = driver(&names);
    let (first, now_ms) = (names.topic(FIRST), driver.now_ms());
    for number in 0..2_000 {
        driver.publish(add(&first, &format!("key-{number}"), now_ms, 1)).unwrap();
    }
    driver.commit().unwrap();
    // The position stored with a transaction is from before it.
    driver.pipe_input(add(&first, "one more", now_ms, 1)).unwrap();
    driver.commit().unwrap();
    driver.crash_and_restart().unwrap();
    driver.settle().unwrap();
    assert!(restored(&driver) < 10, "{} records were read", restored(&driver));
    driver.lose_state_and_restart().unwrap();
    driver.settle().unwrap();
    assert!(restored(&driver) > 2_000);
    let keys: BTreeSet<_> = changelog(&names).into_iter().filter_map(|record| record.key).collect();
    assert_eq!(keys.len(), 2_002, "the marker is one of them");
}
