//! `ttf replay`: what was emitted against what the events make of it, on both logs.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Value, json};
use stream_runtime::log::{Isolation, NewRecord, Position, TopicPartition};
use telemetry_schemas::{
    AvroMessage, BreachStatus, EventTime, RecordKey, TtfBreach, TtfRecord, audit::AuditEntry, state::JourneyState,
    topics,
};
use ttf_tests::{
    command::{self, Ran},
    dev::Dev,
    faults::{Cluster, PARTITIONS, Spec, Trial},
    process::Ttf,
    wait,
};

const EQUAL: i32 = 0;
const DIFFERENT: i32 = 1;
const FAILED: i32 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a replay and reads its report.
fn replay(folder: &Path, arguments: &[&str]) -> (Ran, Value) {
    let report = folder.join("report.json");
    let _ = std::fs::remove_file(&report);
    let output = ["--output", "report.json"];
    let ran = command::run(folder, &[&["replay"], arguments, &output].concat());
    let report = std::fs::read(&report).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).expect("JSON"));
    (ran, report)
}

/// The default journeys, changed.
fn journeys(change: impl FnOnce(&mut Value)) -> Value {
    let default: Value =
        serde_json::to_value(ttf_tests::scenario::default_journeys()).expect("definitions are made of JSON");
    let mut changed = default;
    change(&mut changed);
    changed
}

/// A first stage of one minute, and a warning after half an hour.
fn stricter() -> Value {
    journeys(|journeys| {
        journeys[0]["stages"][0]["target"] = json!("1m");
        journeys[0]["deadlines"][0]["after"] = json!("30m");
    })
}

fn event(user: &str, name: &str, minutes_ago: i64) -> Value {
    let at = EventTime(service_kit::clock::now_ms() - minutes_ago * 60_000);
    json!({
        "event_id": format!("{user}:{name}"), "event_name": name, "event_type": "track", "user_id": user,
        "timestamp": at.to_rfc3339(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_a_stopped_dev_is_compared_and_put_right_for_other_journeys() {
    let mut dev = Dev::start().await;
    // Ten who took three minutes for the first stage an hour ago, five who took half a minute, one erased.
    let mut events = Vec::new();
    for number in 0..10 {
        let user = format!("slow{number}");
        events.extend([event(&user, "signup", 60), event(&user, "first_project_created", 57)]);
    }
    for number in 0..5 {
        let user = format!("fast{number}");
        let mut quick = event(&user, "first_project_created", 60);
        let half = EventTime(service_kit::clock::now_ms() - 60 * 60_000 + 30_000);
        quick["timestamp"] = json!(half.to_rfc3339());
        events.extend([event(&user, "signup", 60), quick, event(&user, "first_success", 40)]);
    }
    events.push(event("gone", "signup", 60));
    assert_eq!(dev.post(&json!(events)).await.0, 202);
    dev.milestones("slow9", 2).await;
    dev.milestones("gone", 1).await;
    let (status, _) = dev.post_to("/api/v1/privacy/erasures", &json!({ "user_id": "gone" })).await;
    assert!(status < 300, "{status}");
    wait::until("the user is erased", PATIENCE, || async {
        let erased = dev.topic("records").iter().any(|record| record["status"] == "erased");
        if erased { Ok(()) } else { Err("no erased record".to_owned()) }
    })
    .await;

    let (locked, _) = replay(dev.folder(), &["--data-dir", "data", "--dry-run"]);
    locked.assert_one_line(FAILED, &["in use by another ttf process", "stop that process first"]);
    assert!(dev.process.terminate(Duration::from_secs(15)).success());
    let folder = dev.folder().to_owned();

    let (equal, report) = replay(&folder, &["--data-dir", "data", "--dry-run"]);
    assert_eq!(equal.code, EQUAL, "{equal:?}");
    let users = &report["report"]["users"];
    // The one who was erased left a mark under their pseudonym, too.
    assert_eq!((&users["total"], &users["equal"]), (&json!(17), &json!(17)), "{report}");
    assert_eq!(report["report"]["attempts"]["equal"], 16, "{report}");

    std::fs::write(folder.join("stricter.yaml"), json!({ "journeys": stricter() }).to_string()).expect("writable");
    let other = ["--data-dir", "data", "--config", "stricter.yaml"];
    let dry = [&other[..], &["--dry-run", "--show-ids", "--examples", "100"]].concat();
    let (differs, report) = replay(&folder, &dry);
    assert_eq!(differs.code, DIFFERENT, "{differs:?}");
    let expected = json!({
        "stages.signup_to_first_project.target_ms": 15,
        "stages.signup_to_first_project.met": 10,
    });
    assert_eq!(report["report"]["fields"], expected, "{report}");
    assert_eq!(report["report"]["users"]["differ"], 15, "{report}");
    assert_eq!(report["report"]["users"]["equal"], 2, "the erased one, under both names: {report}");
    assert_eq!(report["report"]["pending_deadlines"], 10, "the processor has only just heard of them: {report}");
    let examples = report["report"]["examples"].as_array().expect("a list");
    assert_eq!(examples.len(), 15);
    assert!(examples.iter().any(|example| example["user"] == "slow3" && example["class"] == "differs"));
    let (hashed, _) = replay(&folder, &[&other[..], &["--dry-run"]].concat());
    assert!(!hashed.all().contains("slow") && hashed.stdout.contains("differs: tenant default, user "), "{hashed:?}");

    let (unasked, _) = replay(&folder, &other);
    assert_eq!(unasked.code, FAILED, "{unasked:?}");
    assert!(unasked.stderr.contains("15 users differ") && unasked.stderr.contains("give --yes"), "{unasked:?}");
    let (put_right, report) = replay(&folder, &[&other[..], &["--yes"]].concat());
    assert_eq!(put_right.code, EQUAL, "{put_right:?}");
    assert_eq!((&report["applied"]["users"], &report["applied"]["records"]), (&json!(15), &json!(15)), "{report}");
    let (again, report) = replay(&folder, &other);
    assert_eq!((again.code, &report["report"]["users"]["equal"]), (EQUAL, &json!(17)), "{again:?}");
    assert_eq!(report["applied"], Value::Null, "nothing is left to be written");

    // Under the processor's own journeys again: what was written is gone on with, and nobody hears of it.
    dev.start_again().await;
    assert_eq!(dev.post(&json!([event("slow0", "first_agent_created", 1)])).await.0, 202);
    let record = dev.milestones("slow0", 3).await;
    let records: Vec<Value> = dev.topic("records").into_iter().filter(|record| record["user_id"] == "slow0").collect();
    let numbers =
        |name: &str| records.iter().map(|record| record[name].as_i64().expect("a number")).collect::<Vec<_>>();
    let (generations, revisions) = (numbers("generation"), numbers("revision"));
    assert!(
        generations.is_sorted() && generations[0] < record["generation"].as_i64().expect("a number"),
        "{records:?}"
    );
    assert_eq!(revisions.last(), Some(&2), "{records:?}");
    assert_eq!(dev.topic("breaches"), Vec::<Value>::new());
    assert_eq!(dev.topic("notifications"), Vec::<Value>::new());
}

/// Every committed record of a topic.
fn all<T: AvroMessage>(cluster: &Cluster, topic: &str) -> Vec<T> {
    cluster
        .read_topic(topic, &BTreeMap::new(), Isolation::ReadCommitted, |_: &T| true)
        .into_iter()
        .map(|seen| seen.value)
        .collect()
}

/// The last record of each attempt.
fn latest(cluster: &Cluster) -> BTreeMap<(String, String), TtfRecord> {
    all::<TtfRecord>(cluster, topics::TTF_RECORDS)
        .into_iter()
        .map(|record| ((record.user_id.clone(), record.attempt.clone()), record))
        .collect()
}

fn of_user<T: AvroMessage>(cluster: &Cluster, topic: &'static str, user: &str, value: &T) -> NewRecord {
    let key = RecordKey::user("default", user).to_bytes();
    NewRecord::new(topic, key, cluster.codec.encode(value).expect("our own message"))
}

/// The states in the changelog.
fn states(cluster: &Cluster) -> BTreeMap<String, JourneyState> {
    let mut states = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let at = TopicPartition::new(topics::TTF_STATE, partition);
        let end = cluster.log.end_offset(&at, Isolation::ReadCommitted, PATIENCE).expect("the broker answers");
        let mut reader = cluster.log.reader(Isolation::ReadCommitted).expect("a reader");
        reader.assign(&[(at.clone(), Position::Beginning)]).expect("it can be read");
        while reader.position(&at).is_none_or(|position| position < end) && end > 0 {
            let visit = &mut |record: &stream_runtime::log::RecordRef<'_>| {
                let key = RecordKey::parse(record.key.unwrap_or_default());
                let (Ok(key), Some(value)) = (key, record.value) else { return };
                let user = key.user_id().expect("states are of users").to_owned();
                states.insert(user, cluster.codec.decode(value).expect("our own state"));
            };
            reader.poll(1_000, Duration::from_millis(50), visit).expect("the broker answers");
        }
    }
    states
}

struct Operator {
    folder: tempfile::TempDir,
}

impl Operator {
    fn of(cluster: &Cluster) -> Self {
        let folder = tempfile::Builder::new().prefix("ttf-replay-test-").tempdir().expect("a temporary folder");
        let session = json!({ "log": { "properties": { "session.timeout.ms": "6000" } } });
        cluster.write_config(&folder.path().join("ttf.yaml"), &session);
        Self { folder }
    }

    fn replay(&self, arguments: &[&str]) -> (Ran, Value) {
        replay(self.folder.path(), &[&["--config", "ttf.yaml"], arguments].concat())
    }

    /// Begins to write, one user at a time, and waits until it is in the middle of it.
    async fn slowly(&self, name: &str) -> Ttf {
        let arguments = ["replay", "--config", "ttf.yaml", "--yes", "--users-per-transaction", "1"];
        let writing = Ttf::start(name, self.folder.path(), &arguments);
        wait::until("it writes", PATIENCE, || async {
            if writing.output().contains("writing: ") { Ok(()) } else { Err(writing.output()) }
        })
        .await;
        writing
    }
}

fn counts(report: &Value) -> [u64; 5] {
    let users = &report["report"]["users"];
    ["total", "equal", "differ", "incomplete", "moving"].map(|name| users[name].as_u64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn on_kafka_what_was_tampered_with_is_found_and_put_right_whatever_interrupts_it() {
    let mut trial = Trial::on(Cluster::own());
    let operator = Operator::of(&trial.cluster);
    let mut processor = trial.start_ready(&Spec::new("0")).await;
    let cohort = trial.cohort("all", 900, 7);
    trial.send(&cohort).await;
    trial.settled().await;

    // Beside the running processor everything is right, and nothing may be written.
    let (equal, report) = operator.replay(&["--dry-run"]);
    assert_eq!(equal.code, EQUAL, "{equal:?}");
    let total = counts(&report)[0];
    assert_eq!(counts(&report), [total, total, 0, 0, 0], "{report}");
    let (refused, _) = operator.replay(&["--yes", "--wait", "0s"]);
    assert_eq!(refused.code, FAILED, "{refused:?}");
    assert!(refused.stderr.contains("the processor is running (ttf-processor-0-0): stop it first"), "{refused:?}");
    processor.drain();

    // Every record wrong in one field, one state without a milestone, one attempt invented, one page withdrawn.
    let cluster = trial.cluster.clone();
    let right = tokio::task::block_in_place(|| latest(&cluster));
    let before = tokio::task::block_in_place(|| states(&cluster));
    let mut forged = Vec::new();
    for record in right.values() {
        let wrong = TtfRecord { release: Some("forged".to_owned()), revision: record.revision + 1, ..record.clone() };
        forged.push(of_user(&cluster, topics::TTF_RECORDS, &record.user_id, &wrong));
    }
    let only_one = |user: &&(String, String)| before[&user.0].attempts.len() == 1 && user.1.is_empty();
    let (user, _) = right.keys().find(only_one).expect("most have one attempt");
    let invented = TtfRecord { attempt: "invented".to_owned(), ..right.values().next().expect("one").clone() };
    forged.push(of_user(&cluster, topics::TTF_RECORDS, user, &invented));
    let mut state = before[user].clone();
    state.attempts[0].milestones.remove("signup");
    forged.push(of_user(&cluster, topics::TTF_STATE, user, &state));
    let all_breaches = tokio::task::block_in_place(|| all::<TtfBreach>(&cluster, topics::TTF_BREACHES));
    let open = all_breaches.iter().filter(|breach| breach.status == BreachStatus::Firing);
    let is_last = |breach: &&TtfBreach| {
        let same = |other: &&TtfBreach| {
            (&other.user_id, &other.attempt, other.level) == (&breach.user_id, &breach.attempt, breach.level)
        };
        all_breaches.iter().filter(same).count() == 1
    };
    let page = open.clone().find(is_last).expect("somebody is late").clone();
    let reason = Some(telemetry_schemas::BreachReason::Revised);
    let withdrawn = TtfBreach { status: BreachStatus::Resolved, reason, ..page.clone() };
    forged.push(of_user(&cluster, topics::TTF_BREACHES, &page.user_id, &withdrawn));
    cluster.publish_records(forged).await;
    let mark = cluster.mark();

    let (found, report) = operator.replay(&["--dry-run"]);
    assert_eq!(found.code, DIFFERENT, "{found:?}");
    let attempts = right.len() as u64;
    assert_eq!(report["report"]["attempts"]["differs"], attempts, "{report}");
    assert_eq!(report["report"]["attempts"]["extra"], 1, "{report}");
    assert_eq!(report["report"]["fields"]["release"], attempts, "{report}");
    assert_eq!(report["report"]["fields"]["state.milestones.signup.at"], 1, "{report}");
    assert_eq!(report["report"]["fields"][format!("breaches.{}", page.level.as_str())], 1, "{report}");
    let wrong = counts(&report)[2];

    // A processor that starts in the middle of it wins.
    let mut writing = operator.slowly("joined").await;
    let mut processor = trial.start_ready(&Spec::new("0")).await;
    assert_eq!(writing.wait(PATIENCE).code(), Some(FAILED), "{}", writing.output());
    assert!(writing.output().contains("a processor has joined its group meanwhile"), "{}", writing.output());
    let (_, report) = operator.replay(&["--dry-run"]);
    let left = counts(&report)[2];
    assert!(0 < left && left < wrong, "{left} of {wrong} are left");
    processor.drain();

    // Killed in the middle of it, and run again.
    let mut writing = operator.slowly("killed").await;
    writing.kill();
    let (put_right, report) = operator.replay(&["--yes"]);
    assert_eq!(put_right.code, EQUAL, "{put_right:?}");
    let applied = report["applied"]["users"].as_u64().expect("it wrote");
    assert!(0 < applied && applied < left, "{applied} of {left}");
    let (again, report) = operator.replay(&["--dry-run"]);
    assert_eq!((again.code, counts(&report)), (EQUAL, [total, total, 0, 0, 0]), "{again:?}");

    // The processor goes on from there, and nobody was paged.
    let mut processor = trial.start_ready(&Spec::new("0")).await;
    let more = trial.cohort("more", 50, 8);
    trial.send(&more).await;
    trial.caught_up().await;
    wait::until("everything is equal again", PATIENCE, || async {
        let (ran, _) = operator.replay(&["--dry-run"]);
        if ran.code == EQUAL { Ok(()) } else { Err(ran.all()) }
    })
    .await;
    processor.drain();
    let written = tokio::task::block_in_place(|| {
        cluster.read_topic(topics::TTF_BREACHES, &mark, Isolation::ReadCommitted, |breach: &TtfBreach| {
            breach.status == BreachStatus::Firing
                && right.contains_key(&(breach.user_id.clone(), breach.attempt.clone()))
        })
    });
    assert_eq!(written.len(), 1, "the page that was withdrawn: {written:?}");
    assert!(written[0].value.late);
    let (last, after) = tokio::task::block_in_place(|| (latest(&cluster), states(&cluster)));
    for (name, record) in &right {
        let now = &last[name];
        assert!(now.generation > record.generation, "{name:?}");
        assert_eq!((&now.release, &now.stages, now.total_ms), (&record.release, &record.stages, record.total_ms));
        assert!(after[&name.0].generation > before[&name.0].generation);
    }
    let mut audit = tokio::task::block_in_place(|| all::<AuditEntry>(&cluster, topics::AUDIT));
    // Topics that were made and journeys that came into force are told there as well.
    audit.retain(|entry| entry.action == "replay");
    let phases: Vec<&str> = audit.iter().map(|entry| entry.details["phase"].as_str()).collect();
    assert_eq!(phases, ["begin", "begin", "begin", "end"], "joined, killed, done");
    assert!(audit.iter().all(|entry| entry.tenant == "default"));
}
