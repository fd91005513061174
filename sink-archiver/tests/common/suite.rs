//! What every database must do; run against each by `database_suite!`.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use sink_archiver::database::{Database, Person, SubjectKind};
use stream_runtime::{
    log::{Position, Record, TopicPartition},
    sink::{Sink, SinkError},
};
use telemetry_schemas::{BreachReason, BreachStatus, JourneyStatus, time::EventTime, topics::*};

use super::{Archiver, T0, Topics, archiver, breach, erasure, event, record};

/// A database of a test's own.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Migrated, with its ledger open.
    fn database(&self) -> Arc<dyn Database>;
    /// Every row of a table as text, sorted.
    async fn rows(&self, table: &str) -> Vec<String>;
    async fn execute(&self, sql: &str);
}

const TABLES: [&str; 8] = [
    "events",
    "ttf_records",
    "journeys",
    "stage_durations",
    "breaches",
    "breach_status",
    "erasure_ledger",
    "user_pseudonyms",
];

async fn everything(fixture: &dyn Fixture) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::new();
    for table in TABLES {
        all.insert(table, fixture.rows(table).await);
    }
    all
}

async fn counts(fixture: &dyn Fixture) -> BTreeMap<&'static str, usize> {
    everything(fixture).await.into_iter().map(|(table, rows)| (table, rows.len())).collect()
}

/// Feeds a sink as its runner does: from where it says, in batches, in the order of the log.
async fn feed(archiver: &mut Archiver, topics: &Topics, batch: usize) {
    let positions = archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    let start: BTreeMap<TopicPartition, i64> = positions.into_iter().map(|(at, p)| (at, offset(p))).collect();
    let due: Vec<Record> = topics.all().iter().filter(|r| r.offset >= start[&r.at()]).cloned().collect();
    for batch in due.chunks(batch) {
        archiver.sink.write(batch).await.expect("written");
    }
}

fn offset(position: Position) -> i64 {
    match position {
        Position::Beginning => 0,
        Position::Offset(offset) => offset,
        Position::End => panic!("a sink never skips to the end"),
    }
}

pub async fn rows_equal_what_was_sent(fixture: &dyn Fixture) {
    let topics = Topics::of_users(10);
    let mut archiver = archiver(&fixture.database(), "a");
    feed(&mut archiver, &topics, 7).await;
    let expected = BTreeMap::from([
        ("events", 40),
        ("ttf_records", 40),
        ("journeys", 10),
        ("stage_durations", 40),
        ("breaches", 20),
        ("breach_status", 10),
        ("erasure_ledger", 0),
        ("user_pseudonyms", 0),
    ]);
    assert_eq!(counts(fixture).await, expected);
    let journeys = fixture.database().journeys("acme", "user-3").await.expect("read");
    assert_eq!(journeys, vec![record("user-3", 4)], "a journey reads back as it was sent");
    assert!(fixture.rows("breach_status").await.iter().all(|row| row.contains("resolved")));
    assert!(fixture.rows("events").await.iter().all(|row| !row.contains("ciphertext")), "sealed values stay out");
    assert!(archiver.dead_letters.all().is_empty());
}

pub async fn where_an_event_is_can_be_asked(fixture: &dyn Fixture) {
    use sink_archiver::whereabouts::{Sought, Whereabouts, row};
    let mut topics = Topics::default();
    let (kept, erased, later) = (event("ada", 1), event("bob", 1), event("ada", 2));
    topics.event(&kept);
    topics.event(&erased);
    topics.erasure(&erasure("bob", erased.received_at.0 + 1));
    feed(&mut archiver(&fixture.database(), "a"), &topics, 10).await;
    let database = fixture.database();
    let at = async |event: &telemetry_schemas::Event, offset: i64| {
        let sought = Sought { event: event.clone(), at: TopicPartition::new(EVENTS, 0), offset };
        row(&*database, &sought).await.expect("it answers")
    };
    assert_eq!(at(&kept, 0).await, Whereabouts::Row { received_at: kept.received_at.to_rfc3339() });
    assert_eq!(at(&erased, 1).await, Whereabouts::Gone);
    assert_eq!(at(&later, 2).await, Whereabouts::Waiting { next_offset: 2 });
}

pub async fn a_replay_of_any_suffix_changes_nothing(fixture: &dyn Fixture) {
    let topics = Topics::of_users(4);
    let mut first = archiver(&fixture.database(), "a");
    feed(&mut first, &topics, 9).await;
    let before = everything(fixture).await;
    for back_to in 0..12 {
        // The database goes back in time with its offsets only; the rows are there already.
        fixture.execute(&format!("UPDATE sink_offsets SET next_offset = {back_to}")).await;
        let mut again = archiver(&fixture.database(), "a");
        feed(&mut again, &topics, 5).await;
        assert_eq!(everything(fixture).await, before, "replayed from {back_to}");
        assert_eq!(again.live_view.journeys("acme", "user-1").await.expect("read"), vec![record("user-1", 4)]);
    }
}

pub async fn records_in_any_order_end_in_the_same_journey(fixture: &dyn Fixture) {
    for (user, order) in [("a", [1, 2, 3, 4]), ("b", [4, 3, 2, 1]), ("c", [2, 4, 1, 3]), ("d", [3, 3, 4, 4])] {
        let mut topics = Topics::default();
        for revision in order {
            topics.record(&record(user, revision));
        }
        fixture.execute("DELETE FROM sink_offsets").await;
        feed(&mut archiver(&fixture.database(), "a"), &topics, if user == "b" { 1 } else { 4 }).await;
        let journeys = fixture.database().journeys("acme", user).await.expect("read");
        assert_eq!(journeys, vec![record(user, 4)]);
    }
    // The signup moved with the third revision: no stage of the old signup stays.
    assert_eq!(fixture.rows("stage_durations").await.len(), 16);
}

pub async fn a_newer_generation_replaces_a_higher_revision(fixture: &dyn Fixture) {
    let mut topics = Topics::default();
    topics.record(&record("ada", 4));
    let mut replayed = record("ada", 1);
    replayed.generation = 2;
    "record-of-the-second-generation".clone_into(&mut replayed.record_id);
    topics.record(&replayed);
    feed(&mut archiver(&fixture.database(), "a"), &topics, 1).await;
    assert_eq!(fixture.database().journeys("acme", "ada").await.expect("read"), vec![replayed]);
    assert_eq!(fixture.rows("ttf_records").await.len(), 2);
}

pub async fn another_owner_is_fenced(fixture: &dyn Fixture) {
    let topics = Topics::of_users(2);
    let mut zombie = archiver(&fixture.database(), "zombie");
    zombie.sink.assigned(&topics.partitions()).await.expect("assigned");
    zombie.sink.write(&topics.all()[..4]).await.expect("written");
    let mut owner = archiver(&fixture.database(), "owner");
    feed(&mut owner, &topics, 100).await;
    let before = everything(fixture).await;
    let error = zombie.sink.write(&topics.all()[4..]).await.expect_err("fenced");
    assert!(matches!(error, SinkError::Moved(_)), "{error}");
    assert_eq!(everything(fixture).await, before, "the fenced batch is rolled back whole");
}

pub async fn the_log_of_another_cluster_is_refused_while_there_are_offsets(fixture: &dyn Fixture) {
    let database = fixture.database();
    database.follow("one").await.expect("the first");
    let topics = Topics::of_users(2);
    feed(&mut archiver(&database, "a"), &topics, 10).await;
    database.follow("one").await.expect("the same");
    let refused = database.follow("other").await.expect_err("its offsets count other records").to_string();
    assert!(refused.contains("`one`") && refused.contains("`other`"), "{refused}");
    fixture.execute("DELETE FROM sink_offsets").await;
    database.follow("other").await.expect("a new beginning");
    feed(&mut archiver(&database, "a"), &topics, 10).await;
    database.follow("one").await.expect_err("the former one is another now");
}

pub async fn a_database_that_went_back_in_time_converges(fixture: &dyn Fixture) {
    let topics = Topics::of_users(3);
    let mut archiver = archiver(&fixture.database(), "a");
    feed(&mut archiver, &topics, 10).await;
    let before = everything(fixture).await;
    // An older copy: some rows and the offsets behind them are gone.
    fixture.execute("DELETE FROM events WHERE event_id LIKE '%-4'").await;
    fixture.execute(&format!("UPDATE sink_offsets SET next_offset = 9 WHERE topic = '{EVENTS}'")).await;
    let mut extended = Topics::of_users(3);
    extended.event(&event("user-9", 1));
    let tail = extended.from(EVENTS, 12);
    let error = archiver.sink.write(&tail).await.expect_err("the offsets are not where they were left");
    assert!(matches!(error, SinkError::Moved(_)), "{error}");
    feed(&mut archiver, &topics, 10).await;
    assert_eq!(everything(fixture).await, before);
}

pub async fn a_lost_answer_to_a_commit_writes_nothing_twice(fixture: &dyn Fixture) {
    let topics = Topics::of_users(2);
    let mut archiver = archiver(&fixture.database(), "a");
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    archiver.sink.write(topics.all()).await.expect("written");
    let before = everything(fixture).await;
    // The runner was told "unavailable" and comes with the same batch again, to a sink that knows no better.
    let mut unaware = super::archiver(&fixture.database(), "a");
    fixture.execute("UPDATE sink_offsets SET next_offset = 0").await;
    unaware.sink.assigned(&topics.partitions()).await.expect("assigned");
    fixture.execute("UPDATE sink_offsets SET next_offset = 8").await;
    let error = unaware.sink.write(topics.all()).await.expect_err("moved");
    assert!(matches!(error, SinkError::Moved(_)), "{error}");
    assert_eq!(everything(fixture).await, before);
}

/// `poison` makes one event that the database refuses.
pub async fn a_poison_row_is_dead_lettered_alone(
    fixture: &dyn Fixture,
    code: &str,
    poison: impl FnOnce(&mut telemetry_schemas::Event),
) {
    let mut topics = Topics::default();
    for n in 0..20 {
        topics.event(&event("ada", n));
    }
    let mut refused = event("eve", 1);
    poison(&mut refused);
    topics.event(&refused);
    topics.push_bytes(EVENTS, "acme", "mallory", Some(b"not avro at all".to_vec()));
    topics.push_bytes(EVENTS, "acme", "mallory", None);
    for n in 20..40 {
        topics.event(&event("ada", n));
        topics.record(&record("ada", n));
    }
    let mut archiver = archiver(&fixture.database(), "a");
    feed(&mut archiver, &topics, 100).await;
    assert_eq!(fixture.rows("events").await.len(), 40);
    assert_eq!(fixture.rows("ttf_records").await.len(), 20);
    let mut letters: Vec<_> = archiver
        .dead_letters
        .all()
        .into_iter()
        .map(|letter| (letter.offset.expect("an offset"), letter.reasons[0].code.clone(), letter.tenant))
        .collect();
    letters.sort();
    let letter = |offset: i64, code: &str| (offset, code.to_owned(), "acme".to_owned());
    assert_eq!(letters, vec![letter(20, code), letter(21, "undecodable"), letter(22, "tombstone")]);
}

pub async fn an_erasure_removes_what_came_before_it(fixture: &dyn Fixture) {
    let mut topics = Topics::of_users(3);
    let mut archiver = archiver(&fixture.database(), "a");
    feed(&mut archiver, &topics, 10).await;
    let people = |id: &str, kind| (Person { tenant: "acme".to_owned(), kind, id: id.to_owned() }, EventTime(T0));
    let wanted = vec![
        people("user-1", SubjectKind::User),
        people("device-user-1", SubjectKind::Anonymous),
        people("user-2", SubjectKind::User),
    ];
    fixture.database().resolve(wanted).await.expect("resolved");
    let others: Vec<String> = rows_without(fixture, "user-1").await;
    assert_eq!(archiver.live_view.journeys("acme", "user-1").await.expect("read").len(), 1);

    topics.erasure(&erasure("user-1", T0 + 10_000_000));
    let mut again = super::archiver(&fixture.database(), "a");
    feed(&mut again, &topics, 10).await;
    assert_eq!(rows_with(fixture, "user-1").await, Vec::<String>::new());
    assert_eq!(rows_without(fixture, "user-1").await, others, "nobody else lost a row");
    assert_eq!(again.live_view.journeys("acme", "user-1").await.expect("read"), vec![]);
    assert_eq!(fixture.rows("erasure_ledger").await.len(), 1);

    // A replay of everything from before brings nothing back; what comes after is kept.
    let mut later = event("user-1", 5);
    later.received_at = EventTime(T0 + 10_000_001);
    topics.event(&later);
    fixture.execute("UPDATE sink_offsets SET next_offset = 0").await;
    feed(&mut again, &topics, 10).await;
    assert_eq!(rows_with(fixture, "user-1").await.len(), 1, "only the later event");
    assert_eq!(rows_without(fixture, "user-1").await, others);
    let resolved = fixture.database().resolve(vec![people("user-1", SubjectKind::User)]).await.expect("resolved");
    let resolved = resolved.values().next().expect("one");
    assert_eq!((resolved.pseudonym.as_deref(), resolved.erased_at), (None, Some(EventTime(T0 + 10_000_000))));
}

pub async fn what_says_erased_ends_the_journey_and_not_its_new_start(fixture: &dyn Fixture) {
    let mut topics = Topics::of_users(2);
    let mut end = record("user-1", 5);
    end.status = JourneyStatus::Erased;
    topics.record(&end);
    let mut closed = breach("user-1", BreachStatus::Resolved);
    closed.reason = Some(BreachReason::Erased);
    closed.detected_at = EventTime(T0 + 5_000_000);
    topics.breach(&closed);
    let mut archiver = archiver(&fixture.database(), "a");
    feed(&mut archiver, &topics, 3).await;
    assert_eq!(rows_with(fixture, "user-1").await.len(), 4, "only the events, which no erasure covers yet");
    assert_eq!(counts(fixture).await["stage_durations"], 4);
    assert_eq!(archiver.live_view.journeys("acme", "user-1").await.expect("read"), vec![]);

    let mut start = record("user-1", 6);
    start.status = JourneyStatus::InProgress;
    topics.record(&start);
    let mut late = breach("user-1", BreachStatus::Firing);
    late.detected_at = EventTime(T0 + 9_000_000);
    "breach-of-the-new-start".clone_into(&mut late.breach_id);
    topics.breach(&late);
    for batch in [100, 1] {
        // Whichever topic is read again, alone or not, the new start stays.
        for topic in [TTF_RECORDS, TTF_BREACHES, "%"] {
            feed(&mut archiver, &topics, batch).await;
            assert_eq!(fixture.database().journeys("acme", "user-1").await.expect("read"), vec![start.clone()]);
            assert_eq!(counts(fixture).await["breach_status"], 2);
            assert_eq!(counts(fixture).await["breaches"], 3);
            assert_eq!(counts(fixture).await["ttf_records"], 5);
            fixture.execute(&format!("UPDATE sink_offsets SET next_offset = 0 WHERE topic LIKE '{topic}'")).await;
        }
    }
}

async fn rows_with(fixture: &dyn Fixture, user: &str) -> Vec<String> {
    everything(fixture).await.into_values().flatten().filter(|row| row.contains(user)).collect()
}

async fn rows_without(fixture: &dyn Fixture, user: &str) -> Vec<String> {
    let all = everything(fixture).await.into_iter().filter(|(table, _)| *table != "erasure_ledger");
    all.flat_map(|(_, rows)| rows).filter(|row| !row.contains(user)).collect()
}

pub async fn pseudonyms_are_random_and_stay(fixture: &dyn Fixture) {
    let database = fixture.database();
    let person = |id: &str, kind| Person { tenant: "acme".to_owned(), kind, id: id.to_owned() };
    let asked = vec![
        (person("ada", SubjectKind::User), EventTime(T0)),
        (person("ada", SubjectKind::Anonymous), EventTime(T0)),
        (person("bob", SubjectKind::User), EventTime(T0)),
    ];
    let first = database.resolve(asked.clone()).await.expect("resolved");
    let again = database.resolve(asked).await.expect("resolved");
    assert_eq!(first, again);
    let mut pseudonyms: Vec<_> = first.values().map(|resolved| resolved.pseudonym.clone().expect("one")).collect();
    pseudonyms.sort();
    pseudonyms.dedup();
    assert_eq!(pseudonyms.len(), 3);
    assert!(pseudonyms.iter().all(|pseudonym| pseudonym.len() == 32));
}

pub async fn the_live_view_follows_the_database(fixture: &dyn Fixture) {
    let mut archiver = archiver(&fixture.database(), "a");
    let mut topics = Topics::default();
    assert_eq!(archiver.live_view.journeys("acme", "ada").await.expect("read"), vec![]);
    for revision in 1..=3 {
        topics.record(&record("ada", revision));
        let mut second_attempt = record("ada", revision);
        "again".clone_into(&mut second_attempt.attempt);
        second_attempt.record_id = format!("again-{revision}");
        topics.record(&second_attempt);
        feed(&mut archiver, &topics, 100).await;
        let journeys = archiver.live_view.journeys("acme", "ada").await.expect("read");
        assert_eq!(journeys, vec![record("ada", revision), second_attempt]);
    }
    assert_eq!(archiver.live_view.journeys("other", "ada").await.expect("read"), vec![]);
}

pub async fn a_breach_that_fires_again_is_open_again(fixture: &dyn Fixture) {
    let mut topics = Topics::default();
    topics.breach(&breach("ada", BreachStatus::Firing));
    topics.breach(&breach("ada", BreachStatus::Resolved));
    let mut again = breach("ada", BreachStatus::Firing);
    again.detected_at = EventTime(T0 + 9_000_000);
    "again".clone_into(&mut again.breach_id);
    topics.breach(&again);
    feed(&mut archiver(&fixture.database(), "a"), &topics, 2).await;
    assert_eq!(fixture.rows("breaches").await.len(), 3);
    let status = fixture.rows("breach_status").await;
    assert!(status.len() == 1 && status[0].contains("firing"), "{status:?}");
}

/// One test per behaviour, each on a database of its own.
#[macro_export]
macro_rules! database_suite {
    ($fixture:path: $($behaviour:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                common::suite::$behaviour(&$fixture().await).await;
            }
        )*
    };
    ($fixture:path) => {
        database_suite!($fixture:
            rows_equal_what_was_sent,
            a_replay_of_any_suffix_changes_nothing,
            records_in_any_order_end_in_the_same_journey,
            a_newer_generation_replaces_a_higher_revision,
            where_an_event_is_can_be_asked,
            another_owner_is_fenced,
            the_log_of_another_cluster_is_refused_while_there_are_offsets,
            a_database_that_went_back_in_time_converges,
            a_lost_answer_to_a_commit_writes_nothing_twice,
            an_erasure_removes_what_came_before_it,
            what_says_erased_ends_the_journey_and_not_its_new_start,
            pseudonyms_are_random_and_stay,
            the_live_view_follows_the_database,
            a_breach_that_fires_again_is_open_again,
        );
    };
}
