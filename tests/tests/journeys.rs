//! Journeys as configuration: several at once, a version that follows another, and definitions that are refused.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use serde_json::{Value, json};
use telemetry_schemas::{TtfBreach, TtfRecord};
use tempfile::TempDir;
use ttf_processor::JourneyDefinition;
use ttf_tests::{
    command::{self, Ran},
    observe::{self, Topics},
    process::{Ttf, free_port},
    scenario::Expected,
    wait,
};

const START: Duration = Duration::from_secs(60);
const PIPE: Duration = Duration::from_secs(60);
const MINUTE_MS: i64 = 60_000;

/// The same journey as the product's, shorter; version 1.
const FIRST: &str = "
- id: onboarding
  version: 1
  milestones:
    - { id: signup, events: [signup] }
    - { id: project, events: [project_created] }
    - { id: success, events: [first_success] }
  stages:
    - { id: signup_to_project, from: signup, to: project, target: 20m }
    - { id: project_to_success, from: project, to: success, target: 40m }
  total: { target: 60m }
  deadlines: [{ level: warning, after: 70m }, { level: critical, after: 2h }]
  segments: [plan]
";

/// Follows it: no stop at the project, other targets, another deadline, another segment.
const SECOND: &str = "
- id: onboarding
  version: 2
  effective_from: EFFECTIVE
  milestones:
    - { id: signup, events: [signup] }
    - { id: success, events: [first_success] }
  stages:
    - { id: signup_to_success, from: signup, to: success, target: 1m }
  total: { target: 1m }
  deadlines: [{ level: warning, after: 2s }]
  segments: [plan, channel]
  grace: 1s
";

/// Shares signup and project with it, but only of teams and only shared ones.
const TEAMS: &str = "
- id: teams
  version: 1
  milestones:
    - { id: team_signup, events: [signup, team_joined], where: { plan: [team, enterprise] } }
    - { id: invited, events: [member_invited] }
    - { id: shared, events: [project_created], where: { kind: shared, members.count: [2, 3] } }
  stages:
    - { id: to_invitation, from: team_signup, to: invited, target: 10m }
    - { id: to_shared_project, from: invited, to: shared, target: 10m }
  total: { target: 30m }
  deadlines: [{ level: escalation, after: 30m }]
  segments: [size]
";

fn definitions(yaml: &[&str]) -> Vec<JourneyDefinition> {
    let text = format!("journeys:\n{}", yaml.concat());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("journeys.yaml");
    fs::write(&file, text).expect("writable");
    let sources = service_kit::config::Sources::new("journeys: []").with_file(&file);
    service_kit::config::load_section(sources, "journeys").expect("sound")
}

/// A `ttf dev` whose configuration can change between two runs.
struct Own {
    folder: TempDir,
    port: u16,
    url: String,
    process: Option<Ttf>,
}

impl Own {
    fn new() -> Self {
        let port = free_port();
        let folder = tempfile::Builder::new().prefix("ttf-journeys-").tempdir().expect("a temporary folder");
        Self { folder, port, url: format!("http://127.0.0.1:{port}"), process: None }
    }

    async fn run_with(&mut self, journeys: &[&str]) {
        if let Some(mut process) = self.process.take() {
            assert!(process.terminate(START).success());
        }
        write(self.folder.path(), "ttf.yaml", &format!("journeys:\n{}", journeys.concat()));
        let listen = format!("127.0.0.1:{}", self.port);
        let arguments = ["dev", "--listen", &listen, "--data-dir", "data", "--config", "ttf.yaml"];
        let mut process = Ttf::start("dev", self.folder.path(), &arguments);
        process.ready(&format!("{}/ready", self.url), START).await;
        self.process = Some(process);
    }

    async fn send(&self, events: &[Value]) {
        for batch in events.chunks(200) {
            let request = ttf_tests::http::client().post(format!("{}/api/v1/events", self.url)).json(&batch);
            let answer = request.send().await.expect("the gateway answers");
            assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap_or_default());
        }
    }

    fn topics(&self) -> Topics {
        Topics::Url(self.url.clone())
    }

    /// Waits until records and breaches are what the oracle says of all events so far.
    async fn settle(&self, definitions: &[JourneyDefinition], events: &[Value]) -> Vec<TtfRecord> {
        wait::until("records and breaches are the oracle's", PIPE, || async {
            let expected = Expected::by(definitions, events, service_kit::clock::now_ms());
            let records = self.topics().read_as::<TtfRecord>("records");
            expected.check_records(&records)?;
            expected.check_breaches(&self.topics().read_as::<TtfBreach>("breaches"))?;
            Ok(records)
        })
        .await
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("a writable folder");
}

fn at(ms: i64) -> String {
    telemetry_schemas::EventTime(ms).to_rfc3339()
}

fn event(user: &str, name: &str, at_ms: i64) -> Value {
    json!({
        "event_name": name, "event_type": "track", "user_id": user, "timestamp": at(at_ms),
        "event_id": format!("{user}:{name}:{at_ms}"),
    })
}

/// Users on both journeys, with attempts, repetitions, wrong and right properties, in no order. Every instant lies
/// five minutes beside a multiple of ten, so that no deadline passes while the test runs.
fn crowd(now_ms: i64, seed: u64) -> Vec<Value> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut events = Vec::new();
    let names = ["signup", "team_joined", "project_created", "member_invited", "first_success", "page_viewed"];
    for user in 0..60 {
        for _ in 0..random.random_range(1..12) {
            let name = names[random.random_range(0..names.len())];
            let ago = 5 + 10 * random.random_range(0..30_i64);
            let mut event = event(&format!("u{user}"), name, now_ms - ago * MINUTE_MS);
            let plan = ["free", "team", "enterprise"][random.random_range(0..3)];
            let kind = ["shared", "private"][random.random_range(0..2)];
            let members = random.random_range(1..4);
            event["properties"] =
                json!({ "plan": plan, "kind": kind, "members": { "count": members }, "size": members });
            event["event_id"] = json!(format!("{user}-{}", events.len()));
            if random.random_bool(0.25) {
                event["journey_id"] = json!("again");
            }
            events.push(event);
        }
    }
    events.shuffle(&mut random);
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn two_journeys_that_share_events_are_each_what_the_oracle_says() {
    let mut own = Own::new();
    own.run_with(&[FIRST, TEAMS]).await;
    let definitions = definitions(&[FIRST, TEAMS]);
    let events = crowd(service_kit::clock::now_ms(), 7);
    own.send(&events[..events.len() / 2]).await;
    own.settle(&definitions, &events[..events.len() / 2]).await;
    own.send(&events[events.len() / 2..]).await;
    let records = own.settle(&definitions, &events).await;

    // The oracle had something to say about both, and about users who are on both.
    let users = |journey: &str| -> BTreeSet<&str> {
        records.iter().filter(|it| it.journey == journey).map(|it| &*it.user_id).collect()
    };
    let (teams, onboarding) = (users("teams"), users("onboarding"));
    assert!(teams.len() > 10 && !teams.is_disjoint(&onboarding), "{} on teams", teams.len());
    let completed = records.iter().any(|it| it.journey == "teams" && it.completed_at.is_some());
    assert!(completed && records.iter().any(|it| it.attempt == "again"));
    let page = observe::metrics(&own.url).await;
    let started = |journey: &str| page[&format!("ttf_journeys_started_total{{journey=\"{journey}\"}}")];
    assert!(started("teams") > 10.0 && started("onboarding") > 10.0);
}

fn show(own: &Own) -> Value {
    let ran =
        command::run(own.folder.path(), &["journeys", "show", "--json", "--config", "ttf.yaml", "--url", &own.url]);
    serde_json::from_str(&ran.ok()).expect("one JSON object")
}

/// Version, state and open journeys of each row.
fn rows(shown: &Value) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |row: &Value| (text(&row["version"]), text(&row["state"]), row["open_journeys"].as_u64().unwrap_or(99));
    shown["journeys"].as_array().expect("a list").iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn running_journeys_stay_with_their_version_over_a_change_and_a_restart() {
    let mut own = Own::new();
    let now = service_kit::clock::now_ms();
    let first = definitions(&[FIRST]);
    own.run_with(&[FIRST]).await;
    let old = |user: &str| event(user, "signup", now - 35 * MINUTE_MS);
    // Signed up before the change: one who will succeed after it, one who stays on the way, one who is late already.
    let mut events = vec![old("old"), event("old", "project_created", now - 25 * MINUTE_MS), old("waits")];
    events.push(event("late", "signup", now - 95 * MINUTE_MS));
    own.send(&events).await;
    own.settle(&first, &events).await;

    let effective = service_kit::clock::now_ms() + 10_000;
    let second = SECOND.replace("EFFECTIVE", &at(effective));
    let both = definitions(&[FIRST, &second]);
    own.run_with(&[FIRST, &second]).await;
    let before = [("1".into(), "in_force".into(), 3), ("2".into(), "to_come".into(), 0)];
    let shown = wait::until("the stored journeys are counted", PIPE, || async {
        let shown = show(&own);
        if rows(&shown) == before { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(shown["problems"], json!([]), "{shown}");

    // After the change by event time; `moves` turns out to have signed up long before.
    let mut more = vec![
        event("new", "signup", effective),
        event("new", "first_success", effective + 1_500),
        event("moves", "signup", effective + 500),
        event("edge", "signup", effective - 1),
        event("old", "first_success", now - 2 * MINUTE_MS),
    ];
    for event in &mut more {
        event["properties"] = json!({ "plan": "team", "channel": "ad" });
    }
    own.send(&more).await;
    events.append(&mut more);
    // Version 2's deadline of two seconds fires on `moves` when its time has come.
    wait::until("version 2 is judged by", PIPE, || async {
        let fired = own.topics().read_as::<TtfBreach>("breaches");
        if fired.iter().any(|it| it.user_id == "moves") { Ok(()) } else { Err(format!("{} breaches", fired.len())) }
    })
    .await;
    own.settle(&both, &events).await;
    events.push(event("moves", "signup", now - 15 * MINUTE_MS));
    own.send(&events[events.len() - 1..]).await;
    let records = own.settle(&both, &events).await;
    let last = |user: &str| records.iter().rfind(|it| it.user_id == user).expect("it has a record");
    let versions = ["old", "waits", "late", "edge", "moves", "new"].map(|user| last(user).journey_version);
    assert_eq!(versions, [1, 1, 1, 1, 1, 2]);
    assert_eq!((last("old").stages.len(), last("new").stages.len()), (2, 1));
    assert_eq!(last("old").stages[1].target_ms.0, 40 * MINUTE_MS, "by its own targets");
    assert!(last("new").segments.contains_key("channel") && !last("old").segments.contains_key("channel"));
    let reasons: Vec<_> = own
        .topics()
        .read("breaches")
        .into_iter()
        .filter(|breach| breach["user_id"] == "moves")
        .map(|breach| (breach["status"].clone(), breach["reason"].clone()))
        .collect();
    assert_eq!(reasons, [(json!("firing"), Value::Null), (json!("resolved"), json!("revised"))]);

    // Removed too early: what belonged to it rests, and everybody says so.
    own.run_with(&[&second]).await;
    let expected = [("2".to_owned(), "in_force".to_owned(), 0), ("1".to_owned(), "not_loaded".to_owned(), 5)];
    let shown = wait::until("the resting journeys are counted", PIPE, || async {
        let shown = show(&own);
        if rows(&shown) == expected { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await;
    assert!(shown["problems"][0].as_str().is_some_and(|it| it.starts_with("5 journeys of version 1")), "{shown}");
    let log = own.process.as_ref().expect("it runs").output();
    assert!(log.contains("there are journeys of a version that is not loaded"), "{log}");
    let top = command::run(own.folder.path(), &["top", "--once", "--interval", "0.1", "--url", &own.url]).ok();
    assert!(top.contains("holds 5 journeys whose version is not in its configuration"), "{top}");
    let count = records.len();
    own.send(&[event("waits", "first_success", now)]).await;
    own.send(&[event("done", "signup", service_kit::clock::now_ms())]).await;
    wait::until("the next journey has its record", PIPE, || async {
        let records = own.topics().read_as::<TtfRecord>("records");
        if records.iter().any(|it| it.user_id == "done") { Ok(()) } else { Err(format!("{} records", records.len())) }
    })
    .await;
    assert!(own.topics().read("records")[count..].iter().all(|it| it["user_id"] != "waits"), "nothing is worked out");

    // Configured again, it is taken up where it stands.
    own.run_with(&[FIRST, &second]).await;
    events.push(event("waits", "first_success", now));
    events.push(event("waits", "project_created", now - 20 * MINUTE_MS));
    own.send(&events[events.len() - 1..]).await;
    wait::until("the journey goes on", PIPE, || async {
        let records = own.topics().read_as::<TtfRecord>("records");
        let last = records.iter().rfind(|it| it.user_id == "waits").expect("it had one");
        if last.completed_at.is_some() { Ok(()) } else { Err(format!("revision {}", last.revision)) }
    })
    .await;
}

fn all(folder: &Path, config: &str) -> Ran {
    command::run(folder, &["all", "--config", config])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_changed_in_place_is_refused_by_line_until_it_is_a_version_of_its_own() {
    let folder = tempfile::Builder::new().prefix("ttf-refused-").tempdir().expect("a temporary folder");
    let folder = folder.path();
    let admin = format!("127.0.0.1:{}", free_port());
    let head = format!(
        "service: {{ admin_listen: '{admin}' }}\ntopics: {{ partitions: 2 }}\n\
         gateway: {{ listen: '127.0.0.1:{}', auth: {{ mode: open }} }}\njourneys:\n",
        free_port()
    );
    write(folder, "a.yaml", &format!("{head}{FIRST}"));
    let run = async |config: &str| {
        let mut process = Ttf::start("all", folder, &["all", "--config", config]);
        process.ready(&format!("http://{admin}/ready"), START).await;
        assert!(process.terminate(START).success());
    };
    run("a.yaml").await;

    let changed = FIRST.replace("target: 40m", "target: 30m").replace("after: 70m", "after: 80m");
    write(folder, "changed.yaml", &format!("{head}{changed}"));
    for refused in [
        all(folder, "changed.yaml"),
        command::run(folder, &["journeys", "check", "--in-force", "--config", "changed.yaml"]),
    ] {
        assert_eq!(refused.code, 78, "{refused:?}");
        for said in [
            "2 problems",
            "journeys[0].stages[1].target (changed.yaml:14:61): is `30m`, but version 1 of `onboarding` has `40m` since",
            "journeys[0].deadlines[0].after (changed.yaml:16:33): is `80m`",
            "add the change as the next version",
        ] {
            assert!(refused.stderr.contains(said), "`{said}` in {}", refused.stderr);
        }
    }

    // As a version of its own, in time.
    let second = |from_ms: i64| SECOND.replace("EFFECTIVE", &at(from_ms));
    let now = service_kit::clock::now_ms();
    write(folder, "past.yaml", &format!("{head}{FIRST}{}", second(now - 1_000)));
    let late = all(folder, "past.yaml");
    assert_eq!(late.code, 78, "{late:?}");
    assert!(late.stderr.contains("journeys[1].effective_from (past.yaml:21:3)"), "{}", late.stderr);
    assert!(late.stderr.contains("were judged by version 1 already"), "{}", late.stderr);
    write(folder, "b.yaml", &format!("{head}{FIRST}{}", second(now + 3_600_000)));
    let check = command::run(folder, &["journeys", "check", "--in-force", "--config", "b.yaml"]).ok();
    assert!(check.contains("new: onboarding version 2") && check.ends_with("2 versions: valid\n"), "{check}");
    run("b.yaml").await;
    // A process that still has the former configuration starts all the same, as in a rolling upgrade.
    run("a.yaml").await;
    let check = command::run(folder, &["journeys", "check", "--in-force", "--config", "a.yaml"]).ok();
    assert!(check.contains("not in this configuration: onboarding version 2"), "{check}");
}

#[test]
fn every_mistake_in_definitions_is_named_by_file_and_line() {
    let folder = tempfile::Builder::new().prefix("ttf-check-").tempdir().expect("a temporary folder");
    let folder = folder.path();
    // What stands in other sections does not matter here.
    let head = "schema_registry: { url: '${env:NOBODY_SETS_THIS}' }\njourneys:\n";
    write(folder, "good.yaml", &format!("{head}{FIRST}{TEAMS}"));
    let good = command::run(folder, &["journeys", "check", "--config", "good.yaml"]).ok();
    assert!(
        good.contains("onboarding version 1: signups from the beginning on; 2 stages from signup to success"),
        "{good}"
    );
    assert!(good.ends_with("2 versions: valid\n"), "{good}");

    let wrong = FIRST
        .replace("from: project, to: success", "from: projects, to: success")
        .replace("after: 2h", "after: 1h")
        .replace("version: 1", "version: 0")
        .replace("plan]", "plan, plan]");
    write(folder, "wrong.yaml", &format!("{head}{wrong}"));
    for arguments in [&["journeys", "check", "--config", "wrong.yaml"][..], &["validate", "--config", "wrong.yaml"]] {
        let ran = command::run(folder, arguments);
        assert_eq!(ran.code, 78, "{ran:?}");
    }
    let ran = command::run(folder, &["journeys", "check", "--config", "wrong.yaml"]);
    for said in [
        "journeys[0].version (wrong.yaml:5:3): must be 1 or more",
        "journeys[0].stages[1].from (wrong.yaml:12:33): unknown milestone `projects`",
        "journeys[0].deadlines[1].after (wrong.yaml:14:66): must be longer than the deadline before it",
        "journeys[0].segments[1] (wrong.yaml:15:20): `plan` is listed twice",
        "4 problems",
    ] {
        assert!(ran.stderr.contains(said), "`{said}` in {}", ran.stderr);
    }
    write(folder, "none.yaml", "journeys: []\n");
    let none = command::run(folder, &["journeys", "check", "--config", "none.yaml"]);
    none.assert_one_line(78, &["journeys (none.yaml:1:1): has no journey"]);
    write(folder, "typo.yaml", &format!("{head}{}", FIRST.replace("milestones:", "milestone:")));
    let typo = command::run(folder, &["journeys", "check", "--config", "typo.yaml"]);
    assert_eq!(typo.code, 78);
    assert!(typo.stderr.contains("typo.yaml:6:3") && typo.stderr.contains("did you mean"), "{}", typo.stderr);
}
