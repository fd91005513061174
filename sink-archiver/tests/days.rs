//! Days of the object archive: closed with a manifest, verified against objects and topics, put back through the pipe.

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use common::{T0, Topics, archiver, erasure, event, object_suite::Stores, record};
use service_kit::Kit;
use sink_archiver::{
    metrics::Metrics,
    objects::{
        days::{DayCloser, Open, newest, verified},
        restore::{Restored, Restorer, Window},
        store::Store,
        tally::{self, Tally},
        verify::{DayReport, Fault, Verifier},
        writer::CutWriter,
    },
};
use stream_runtime::{
    log::{Isolation, Log, NewRecord, Position, Record, TopicPartition, TopicSpec, embedded::EmbeddedLog},
    sink::Sink,
};
use telemetry_schemas::{Codec, Event, EventTime, topics::*};

const PATIENCE: Duration = Duration::from_secs(30);
const DAY: i64 = 86_400_000;
/// The UTC day of `T0`.
const DATE: &str = "2023-11-14";

fn open(folder: &Path, name: &str) -> Store {
    let config = serde_json::json!({"kind": "folder", "path": folder.join(name)});
    Store::open(&serde_json::from_value(config).expect("a config")).expect("opened")
}

/// A log with these topics in it, at the same offsets.
async fn log_of(topics: &Topics) -> Arc<dyn Log> {
    let log = EmbeddedLog::in_memory();
    let specs: Vec<TopicSpec> =
        [EVENTS, TTF_RECORDS, TTF_BREACHES].iter().map(|name| TopicSpec::new(*name, 1)).collect();
    log.create_topics(&specs, PATIENCE).expect("created");
    let log: Arc<dyn Log> = Arc::new(log);
    publish(&log, topics).await;
    log
}

async fn publish(log: &Arc<dyn Log>, topics: &Topics) {
    let publisher = log.publisher().expect("a publisher");
    for record in topics.all().iter().filter(|record| &*record.topic != ERASURES) {
        let key = record.key.clone().expect("a key");
        let new = NewRecord::new(record.topic.clone(), key, record.value.clone().expect("a value"));
        publisher.publish(new.with_timestamp(record.timestamp_ms)).expect("queued").await.expect("published");
    }
}

fn verifier(stores: &Stores, name: &str, log: Option<&Arc<dyn Log>>) -> Verifier {
    let store = stores.store(name);
    let metrics = Metrics::new(&Kit::for_test());
    let writer = CutWriter::new(store.clone(), Arc::clone(&stores.database), Codec::without_registry(), metrics);
    Verifier::new(store, writer, log.cloned())
}

/// A closed day in a store named `a`, with the log it came from.
async fn closed_day() -> (Stores, Topics, Arc<dyn Log>) {
    let stores = Stores::new(open).await;
    let topics = Topics::of_users(6);
    let log = log_of(&topics).await;
    // Cuts at the end of each topic: 24 events, 24 records, 12 breaches.
    stores.process("a", 4).feed(&topics, 9).await.expect("fed");
    let (written, open) =
        DayCloser::new(stores.store("a"), log.clone()).close_due(EventTime(T0 + 2 * DAY)).await.expect("closed");
    assert_eq!(written.len(), 1, "{open:?}");
    (stores, topics, log)
}

fn faults(report: &DayReport) -> Vec<Fault> {
    let mut faults: Vec<Fault> = report.findings.iter().map(|finding| finding.fault).collect();
    faults.dedup();
    faults
}

/// The first object of a dataset in the folder of store `a`.
async fn file_of(stores: &Stores, dataset: &str) -> std::path::PathBuf {
    let manifest = newest(&stores.store("a"), DATE).await.expect("read").expect("closed");
    let object = manifest.objects.iter().find(|object| object.path.contains(dataset)).expect("an object");
    stores.folder.path().join("a").join(&object.path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_is_closed_once_and_only_when_everything_of_it_is_in_complete_objects() {
    let stores = Stores::new(open).await;
    let topics = Topics::of_users(6);
    let log = log_of(&topics).await;
    let closer = DayCloser::new(stores.store("a"), log.clone());
    let later = EventTime(T0 + 2 * DAY);
    assert_eq!(closer.close_due(later).await.expect("asked"), (vec![], Open::Empty));
    // Cuts of 5: the last 4 events are not in one.
    stores.process("a", 5).feed(&topics, 9).await.expect("fed");
    let (written, why) = closer.close_due(later).await.expect("asked");
    assert!(written.is_empty() && matches!(&why, Open::Behind(date, _) if date == DATE), "{why:?}");
    stores.process("a", 1).feed(&topics, 9).await.expect("fed");
    assert!(closer.close_due(EventTime(T0 + 60_000)).await.expect("asked").0.is_empty(), "the day is not over");

    let (written, _) = closer.close_due(later).await.expect("asked");
    let totals: Vec<_> = written[0].totals.iter().map(|t| (t.dataset.as_str(), t.tenant.as_str(), t.rows)).collect();
    assert_eq!(totals, [("events", "acme", 24), ("records", "acme", 24), ("breaches", "acme", 12)]);
    assert_eq!(written[0].date, DATE);
    assert!(closer.close_due(later).await.expect("asked").0.is_empty(), "it is closed once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_for_a_closed_day_makes_a_new_revision() {
    let (stores, mut topics, log) = closed_day().await;
    let mut late = Topics::default();
    let mut of_the_day = event("late", 1);
    of_the_day.received_at = EventTime(T0 + 5_000);
    let mut of_the_next = event("next", 1);
    of_the_next.received_at = EventTime(T0 + DAY);
    for event in [&of_the_day, &of_the_next] {
        topics.event(event);
        late.event(event);
    }
    publish(&log, &late).await;
    stores.process("a", 1).feed(&topics, 9).await.expect("fed");
    let store = stores.store("a");
    assert_eq!(faults(&verifier(&stores, "a", Some(&log)).verify(DATE).await.expect("asked")), [Fault::Unnamed]);
    let (written, _) =
        DayCloser::new(store.clone(), log.clone()).close_due(EventTime(T0 + 3 * DAY)).await.expect("asked");
    let seen: Vec<_> = written.iter().map(|day| (day.date.as_str(), day.revision, day.rows())).collect();
    assert_eq!(seen, [(DATE, 1, 61), ("2023-11-15", 0, 1)]);
    for date in [DATE, "2023-11-15"] {
        let report = verifier(&stores, "a", Some(&log)).verify(date).await.expect("asked");
        assert_eq!(report.findings, [], "{date}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_day_is_verified_against_its_topics_and_marked() {
    let (stores, _, log) = closed_day().await;
    let report =
        verifier(&stores, "a", Some(&log)).verify_and_mark(DATE, EventTime(T0 + 2 * DAY)).await.expect("asked");
    assert_eq!(report.findings, []);
    assert_eq!((report.rows, report.rows_compared, report.rows_beyond_topic), (60, 60, 0));
    let mark = verified(&stores.store("a"), DATE, 0).await.expect("read").expect("marked");
    assert_eq!((mark.rows, mark.rows_compared), (60, 60));
    let without = verifier(&stores, "a", None).verify(DATE).await.expect("asked");
    assert_eq!((without.findings.len(), without.rows_compared, without.rows_beyond_topic), (0, 0, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_changed_in_a_day_is_found() {
    // A byte, a missing object, an object put there by hand, a missing cut.
    let (stores, _, log) = closed_day().await;
    let file = file_of(&stores, "dataset=events").await;
    let sound = std::fs::read(&file).expect("read");
    let mut bytes = sound.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let verifier = verifier(&stores, "a", Some(&log));
    let report = verifier.verify_and_mark(DATE, EventTime(T0)).await.expect("asked");
    assert_eq!(faults(&report), [Fault::Changed]);
    assert_eq!(verified(&stores.store("a"), DATE, 0).await.expect("read"), None, "what is wrong gets no mark");

    std::fs::remove_file(&file).expect("removed");
    assert_eq!(faults(&verifier.verify(DATE).await.expect("asked")), [Fault::Missing]);

    std::fs::write(&file, &sound).expect("written");
    std::fs::write(file.with_file_name("telemetry.events.v1-0-00000000000000000002.parquet"), &sound).expect("written");
    // Nobody has written a cut that starts there: as far as anybody can tell it is in progress.
    assert_eq!(faults(&verifier.verify(DATE).await.expect("asked")), []);

    let cut = stores.folder.path().join("a/_complete/telemetry.events.v1/0/00000000000000000008.json");
    std::fs::remove_file(cut).expect("removed");
    assert_eq!(faults(&verifier.verify(DATE).await.expect("asked")), [Fault::Gap]);
    assert_eq!(faults(&verifier.verify("2024-01-01").await.expect("asked")), [Fault::NotClosed]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_says_other_things_than_its_topic_is_found() {
    let (stores, _, _) = closed_day().await;
    let mut other = Topics::of_users(6);
    let log = log_of(&other).await;
    assert_eq!(faults(&verifier(&stores, "a", Some(&log)).verify(DATE).await.expect("asked")), []);
    // The same offsets, another property in each event.
    other = Topics::default();
    for n in 1..=4 {
        for user in 0..6 {
            let user = format!("user-{user}");
            let mut event = event(&user, n);
            event.properties.insert("plan".to_owned(), "free".into());
            other.event(&event);
            other.record(&record(&user, n));
        }
    }
    let log = log_of(&other).await;
    assert!(faults(&verifier(&stores, "a", Some(&log)).verify(DATE).await.expect("asked")).contains(&Fault::Differs));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_stays_right_when_a_user_of_it_is_erased() {
    let (stores, mut topics, log) = closed_day().await;
    topics.erasure(&erasure("user-1", T0 + 10_000_000));
    let mut database = archiver(&stores.database, "a");
    database.sink.assigned(&topics.partitions()).await.expect("assigned");
    database.sink.write(topics.all()).await.expect("written");
    let report = verifier(&stores, "a", Some(&log)).verify(DATE).await.expect("asked");
    assert_eq!(report.findings, []);
    assert_eq!((report.rows_of_erased, report.rows_compared), (10, 50));
}

fn read_from(log: &Arc<dyn Log>, from: i64) -> Vec<Event> {
    let at = TopicPartition::new(EVENTS, 0);
    let end = log.end_offset(&at, Isolation::ReadCommitted, PATIENCE).expect("an end");
    let mut reader = log.reader(Isolation::ReadCommitted).expect("a reader");
    reader.assign(&[(at.clone(), Position::Offset(from))]).expect("assigned");
    let mut records: Vec<Record> = Vec::new();
    while reader.position(&at).unwrap_or(from) < end {
        reader.poll(1_000, Duration::from_millis(50), &mut |record| records.push(record.to_owned())).expect("polled");
    }
    let codec = Codec::without_registry();
    records.iter().map(|record| codec.decode(record.value.as_deref().expect("a value")).expect("an event")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_events_are_what_was_sent_marked_as_replayed_and_change_nothing() {
    let (stores, mut topics, log) = closed_day().await;
    topics.erasure(&erasure("user-1", T0 + 10_000_000));
    let mut database = archiver(&stores.database, "a");
    database.sink.assigned(&topics.partitions()).await.expect("assigned");
    database.sink.write(topics.all()).await.expect("written");

    let window = Window { from: EventTime(T0 + 2_000), to: EventTime(T0 + 4_000), tenant: None };
    let restore = async |publisher| {
        let codec = Codec::without_registry();
        let restorer = Restorer::new(stores.store("a"), Arc::clone(&stores.database), codec, publisher);
        restorer.restore(&window, &mut |_| {}).await.expect("restored")
    };
    let expected = Restored { objects: 6, events: 10, forgotten: 2 };
    assert_eq!(restore(None).await, expected);
    assert_eq!(read_from(&log, 24), [], "a dry run puts nothing back");
    assert_eq!(restore(Some(log.publisher().expect("a publisher"))).await, expected);

    let mut sent: Vec<Event> =
        [0, 2, 3, 4, 5].into_iter().flat_map(|user| [2, 3].map(|n| event(&format!("user-{user}"), n))).collect();
    for event in &mut sent {
        event.replay = true;
        event.sealed.clear();
    }
    let mut back = read_from(&log, 24);
    let by_id = |a: &Event, b: &Event| a.event_id.cmp(&b.event_id);
    sent.sort_by(by_id);
    back.sort_by(by_id);
    assert_eq!(back, sent);

    let before = stores.data("a").await;
    for event in &back {
        topics.event(event);
    }
    stores.process("a", 1).feed(&topics, 9).await.expect("fed");
    common::object_suite::assert_same(&stores.data("a").await, &before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_is_counted_against_the_database_without_who_was_erased_and_what_is_past_its_time() {
    let (stores, mut topics, _log) = closed_day().await;
    let store = stores.store("a");
    let manifest = newest(&store, DATE).await.expect("read").expect("closed");
    let retention = serde_json::json!({"realtime": "30d", "analytics": "365d", "compliance": "2557d"});
    let retention = serde_json::from_value(retention).expect("a retention");
    let tallies = async |after_days: i64| {
        let now = EventTime(T0 + after_days * DAY);
        let found = tally::of_day(&store, &*stores.database, &retention, &manifest, now).await.expect("counted");
        let even = found.iter().map(Tally::is_even).collect::<Vec<_>>();
        (found.iter().map(|it| (it.archived, it.expected, it.in_database)).collect::<Vec<_>>(), even)
    };
    let (counts, even) = tallies(1).await;
    assert_eq!(counts, [(24, 24, 0), (24, 24, 0), (12, 12, 0)], "nothing is in the database yet");
    assert_eq!(even, [false; 3]);
    let mut process = archiver(&stores.database, "tally");
    process.sink.assigned(&topics.partitions()).await.expect("assigned");
    process.sink.write(topics.all()).await.expect("written");
    assert_eq!(tallies(1).await, (vec![(24, 24, 24), (24, 24, 24), (12, 12, 12)], vec![true; 3]));

    topics.erasure(&erasure("user-1", T0 + DAY));
    process.sink.assigned(&topics.partitions()).await.expect("assigned");
    process.sink.write(&topics.from(ERASURES, 0)).await.expect("erased");
    assert_eq!(tallies(1).await, (vec![(24, 20, 20), (24, 20, 20), (12, 10, 10)], vec![true; 3]));
    // Past their time: they may be there still, or be gone.
    assert_eq!(tallies(40).await.0, [(24, 0, 0), (24, 20, 20), (12, 10, 10)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pseudonyms_that_an_older_copy_of_the_database_does_not_have_name_nobody_and_change_no_object() {
    let (mut stores, mut topics, log) = closed_day().await;
    let before = stores.objects("a").await;
    // An older copy takes the database's place: it has read nothing yet, and its offsets say so.
    stores.database = common::people_in(&stores.folder.path().join("copy")).await;
    let mut database = archiver(&stores.database, "a");
    database.sink.assigned(&topics.partitions()).await.expect("assigned");
    database.sink.write(topics.all()).await.expect("written");

    // Read again from the beginning, as by a group that lost its offsets: the same names and bytes.
    stores.process("a", 4).feed(&topics, 9).await.expect("fed");
    common::object_suite::assert_same(&stores.objects("a").await, &before);
    let report = verifier(&stores, "a", Some(&log)).verify(DATE).await.expect("verified");
    assert_eq!(report.findings, [], "what the objects say is what the topics hold");
    assert_eq!((report.rows_compared, report.rows_of_erased), (0, 60), "counted as those of people who are gone");
    let window = Window { from: EventTime(T0), to: EventTime(T0 + DAY), tenant: None };
    let restorer = Restorer::new(stores.store("a"), Arc::clone(&stores.database), Codec::without_registry(), None);
    let restored = restorer.restore(&window, &mut |_| {}).await.expect("restored");
    assert_eq!((restored.events, restored.forgotten), (0, 24), "nobody knows whose they are");

    // Whoever comes again gets a new pseudonym; what came before stays under the old one.
    let mut later = Topics::default();
    for user in 0..4 {
        let event = event(&format!("user-{user}"), 5);
        topics.event(&event);
        later.event(&event);
    }
    publish(&log, &later).await;
    stores.process("a", 4).feed(&topics, 9).await.expect("fed");
    let after = stores.objects("a").await;
    assert!(after.len() > before.len() && before.iter().all(|(path, bytes)| after[path] == *bytes));
    // A bucket, or a prefix, that is empty is filled from the topics, under pseudonyms that are known.
    stores.process("anew", 4).feed(&topics, 9).await.expect("fed");
    let closer = DayCloser::new(stores.store("anew"), log.clone());
    assert_eq!(closer.close_due(EventTime(T0 + 2 * DAY)).await.expect("closed").0.len(), 1);
    let restorer = Restorer::new(stores.store("anew"), Arc::clone(&stores.database), Codec::without_registry(), None);
    let restored = restorer.restore(&window, &mut |_| {}).await.expect("restored");
    assert_eq!((restored.events, restored.forgotten), (28, 0));
}
