//! What becomes of a person's data: where it must never be, and how it is forgotten.

use serde_json::{Value, json};
use telemetry_schemas::{Codec, erasure::Erasure, state::JourneyState, topics};
use ttf_tests::{
    dev::{Dev, PIPE},
    search, wait,
};

/// Whoever finds these in a log has found personal data.
const USER: &str = "zq-user-7f3a91";
const ANONYMOUS: &str = "zq-anon-55c2";
const EMAIL: &str = "zq.person@example.org";
const ADDRESS: &str = "203.0.113.77";
const MARKS: [&str; 5] = [USER, ANONYMOUS, EMAIL, "zq.person", ADDRESS];

fn event(name: &str, minutes_ago: i64) -> Value {
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes_ago);
    json!({
        "event_name": name, "event_type": "ttf_milestone", "user_id": USER, "timestamp": at.to_string(),
        "properties": { "email": EMAIL }, "context": { "ip": ADDRESS },
    })
}

/// Everything that is written about: valid, rejected in each way, broken, asked for, late, erased.
async fn live_through(dev: &Dev) {
    // Missed by all deadlines, so that the alerter has something to tell the log receiver.
    let (status, _) = dev.post(&json!([event("signup", 200)])).await;
    assert_eq!(status, 202);
    let anonymous = json!({"event_name": "page", "event_type": "page", "anonymous_id": ANONYMOUS});
    let (status, _) = dev.post(&json!([anonymous])).await;
    assert_eq!(status, 202);
    let mut wrong = event("signup", 1);
    wrong["event_type"] = json!(EMAIL);
    let mut unknown = event("signup", 1);
    unknown[USER] = json!(EMAIL);
    let (status, answer) = dev.post(&json!([wrong, unknown, EMAIL])).await;
    assert_eq!(status, 422, "{answer}");
    for body in [format!("{{\"user_id\":\"{USER}\", \"{EMAIL}"), format!("{USER} {EMAIL}")] {
        let request = dev.client.post(format!("{}/api/v1/events", dev.url)).header("content-type", "application/json");
        let response = request.header("x-forwarded-for", ADDRESS).body(body).send().await.unwrap();
        assert_eq!(response.status(), 400);
    }
    for path in [format!("/api/v1/users/{EMAIL}/journey"), format!("/api/{USER}"), format!("/?user={EMAIL}")] {
        let response = dev.client.get(format!("{}{path}", dev.url)).send().await.unwrap();
        assert!(!response.status().is_server_error());
    }
    dev.milestones(USER, 1).await;
    wait::until("the alerter has told the log", PIPE, || async {
        let told = dev.process.output().contains("escalation");
        if told { Ok(()) } else { Err(dev.process.output()) }
    })
    .await;
    let (status, answer) = dev.post_to("/api/v1/privacy/erasures", &json!({ "user_id": USER, "reason": EMAIL })).await;
    assert_eq!(status, 202, "{answer}");
    wait::until("the live view has forgotten", PIPE, || async {
        let (status, answer) = dev.journey(USER).await;
        if status == 404 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_names_a_person() {
    for level in ["info", "debug"] {
        let mut dev = Dev::start_with(&[("TELEMETRY__SERVICE__LOG_LEVEL", level)]).await;
        live_through(&dev).await;
        assert!(dev.process.terminate(std::time::Duration::from_secs(12)).success(), "{}", dev.process.output());
        let output = dev.process.output();
        assert!(output.contains("the gateway takes events"), "the log was read");
        for line in output.lines() {
            for mark in MARKS {
                assert!(!line.contains(mark), "`{mark}` at level {level}: {line}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_metric_names_a_person() {
    let dev = Dev::start().await;
    live_through(&dev).await;
    let page = dev.client.get(format!("{}/metrics", dev.url)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("ttf_events_total"));
    for mark in MARKS {
        assert!(!page.contains(mark), "{mark}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_is_forgotten_everywhere_and_may_come_back() {
    // Objects soon, so that there is a pseudonym to forget.
    let mut dev = Dev::start_with(&[("TELEMETRY__ARCHIVE__ROTATION__INTERVAL", "1s")]).await;
    let store = dev.store();
    let signup = json!({ "event_id": "first", "event_name": "signup", "event_type": "ttf_milestone", "user_id": USER,
        "timestamp": (jiff::Timestamp::now() - jiff::SignedDuration::from_mins(100)).to_string() });
    let bystander = json!({ "event_name": "signup", "event_type": "ttf_milestone", "user_id": "bystander" });
    let mut project = signup.clone();
    (project["event_id"], project["event_name"]) = (json!("second"), json!("first_project_created"));
    dev.post(&json!([signup, project, bystander])).await;
    dev.milestones(USER, 2).await;
    dev.milestones("bystander", 1).await;
    let tables = [
        ("events", "user_id"),
        ("ttf_records", "user_id"),
        ("journeys", "user_id"),
        ("stage_durations", "user_id"),
        ("breaches", "user_id"),
        ("breach_status", "user_id"),
        ("user_pseudonyms", "subject_id"),
    ];
    let rows = |(table, column): (&'static str, &'static str)| {
        let store = &store;
        async move { store.count(&format!("SELECT count(*) FROM {table} WHERE {column} = '{USER}'")).await }
    };
    for table in tables {
        wait::until("the archive has rows of the user", PIPE, || async {
            if rows(table).await? > 0 { Ok(()) } else { Err(format!("no row in {table:?}")) }
        })
        .await;
    }

    let (status, answer) = dev.post_to("/api/v1/privacy/erasures", &json!({ "user_id": USER })).await;
    assert_eq!((status, &answer["status"]), (202, &json!("accepted")), "{answer}");
    let erased_at = answer["erased_at"].as_str().unwrap().to_owned();
    let of_user = |stream: &str| -> Vec<Value> {
        dev.topic(stream).into_iter().filter(|value| value["user_id"] == USER).collect()
    };
    wait::until("the journey is erased", PIPE, || async {
        let last = of_user("records").pop().unwrap_or_default();
        if last["status"] == "erased" { Ok(()) } else { Err(last.to_string()) }
    })
    .await;
    wait::until("the live view has forgotten", PIPE, || async {
        let (status, answer) = dev.journey(USER).await;
        if status == 404 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    for table in tables {
        wait::until("the archive has forgotten", PIPE, || async {
            let left = rows(table).await?;
            if left == 0 { Ok(()) } else { Err(format!("{left} rows in {table:?}")) }
        })
        .await;
    }
    wait::until("the erasures are certified complete", PIPE, || async {
        let complete = "SELECT count(*) FROM erasure_certificates WHERE complete_at IS NOT NULL";
        let complete = store.count(complete).await?;
        // Of the id the user gave, and of the pseudonym they would have had without consent.
        if complete == 2 { Ok(()) } else { Err(format!("{complete} are")) }
    })
    .await;
    assert_eq!(dev.run(&["user", USER]).code, 1);
    let (status, _) = dev.journey("bystander").await;
    assert_eq!(status, 200, "others are untouched");

    // An archive made anew from the log reads the old events again, and passes them over.
    assert!(dev.process.terminate(std::time::Duration::from_secs(12)).success(), "{}", dev.process.output());
    std::fs::remove_file(dev.folder().join("data/ttf.sqlite")).unwrap();
    for beside in ["data/ttf.sqlite-wal", "data/ttf.sqlite-shm"] {
        let _ = std::fs::remove_file(dev.folder().join(beside));
    }
    dev.start_again().await;
    // The ledger has the person under the id they gave, and under the pseudonym they would have had without consent.
    wait::until("the archive is made anew", PIPE, || async {
        let others = store.count("SELECT count(*) FROM journeys WHERE user_id = 'bystander'").await?;
        let erased = store.count("SELECT count(*) FROM erasure_ledger").await?;
        if (others, erased) == (1, 2) { Ok(()) } else { Err(format!("{others}, {erased}")) }
    })
    .await;
    for table in tables {
        wait::until("the new archive has nothing of the user", PIPE, || async {
            let left = rows(table).await?;
            if left == 0 { Ok(()) } else { Err(format!("{left} rows in {table:?}")) }
        })
        .await;
    }

    // Whoever signs up after that begins anew.
    let of_user = || dev.topic("records").into_iter().filter(|value| value["user_id"] == USER).count();
    let before = of_user();
    let back = json!({ "event_id": "back", "event_name": "signup", "event_type": "ttf_milestone", "user_id": USER });
    dev.post(&json!([back])).await;
    let record = dev.milestones(USER, 1).await;
    assert!(record["signup_at"].as_str().unwrap() > erased_at.as_str(), "anew: {record}");
    assert_eq!(record["status"], "in_progress");
    assert_eq!(of_user(), before + 1);
}

/// A segment's value of the user's, which state, records, breaches and alerts carry along.
const PLAN: &str = "zq-plan-81c4";

/// With the alerter told, since deadlines were missed; refused for good.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_an_erased_person_is_left_but_what_the_certificate_names_and_later_events_are_refused() {
    let env = [
        ("TELEMETRY__ARCHIVE__ROTATION__INTERVAL", "1s"),
        ("TELEMETRY__PRIVACY__AFTER_ERASURE", "refuse"),
        ("TELEMETRY__SERVICE__LOG_LEVEL", "info"),
    ];
    let mut dev = Dev::start_with(&env).await;
    let store = dev.store();
    let of_user = |name: &str, minutes_ago: i64| {
        let mut event = event(name, minutes_ago);
        event["properties"]["plan"] = json!(PLAN);
        event
    };
    let bystander = |name: &str| json!({ "event_name": name, "event_type": "ttf_milestone", "user_id": "bystander" });
    dev.post(&json!([of_user("signup", 200), of_user("first_project_created", 190), bystander("signup")])).await;
    dev.milestones("bystander", 1).await;
    wait::until("the alerter has told the log", PIPE, || async {
        let told = dev.process.output().contains("escalation");
        if told { Ok(()) } else { Err(dev.process.output()) }
    })
    .await;
    wait::until("the objects have the events", PIPE, || async {
        let objects = store.objects("events").await?;
        let rows: usize = objects.iter().map(|object| object.column("offset").len()).sum();
        if rows >= 3 { Ok(()) } else { Err(format!("{rows} rows")) }
    })
    .await;
    let (status, answer) = dev.post_to("/api/v1/privacy/erasures", &json!({ "user_id": USER })).await;
    assert_eq!((status, answer["after_erasure"].as_str()), (202, Some("refuse")), "{answer}");
    let id = answer["erasure_id"].as_str().unwrap().to_owned();
    wait::until("the erasures are certified complete", PIPE, || async {
        let open = "SELECT count(*) FROM erasure_certificates WHERE complete_at IS NOT NULL";
        let complete = store.count(open).await?;
        if complete == 2 { Ok(()) } else { Err(format!("{complete} are")) }
    })
    .await;

    // The gateway does not know who was erased; whoever is behind it does.
    let (status, _) = dev.post(&json!([of_user("signup", 100), of_user("first_success", 1)])).await;
    assert_eq!(status, 202);
    dev.post(&json!([bystander("first_project_created")])).await;
    dev.milestones("bystander", 2).await;
    wait::until("the archive is past the later events", PIPE, || async {
        let rows = store.count("SELECT count(*) FROM events WHERE user_id = 'bystander'").await?;
        if rows == 2 { Ok(()) } else { Err(format!("{rows} rows")) }
    })
    .await;
    assert_eq!(dev.journey(USER).await.0, 404);
    let told: Vec<Value> = dev.topic("records").into_iter().filter(|value| value["user_id"] == USER).collect();
    assert_eq!(told.last().map(|record| &record["status"]), Some(&json!("erased")), "{told:?}");

    assert!(dev.process.terminate(std::time::Duration::from_secs(12)).success(), "{}", dev.process.output());
    let data = dev.folder().join("data");
    let database = data.join("ttf.sqlite");
    let ran = ttf_tests::command::run_with(
        dev.folder(),
        &["certificate", &id],
        &[("TELEMETRY__ARCHIVE__DATABASE__PATH", database.to_str().unwrap())],
        "",
    );
    let certificate: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
    assert!(certificate["later_events"].as_str().unwrap().contains("nothing of them is kept"), "{certificate}");
    let texts = [USER, PLAN];

    // Topics: what ages out is named, with until when; what is compacted has the processor's marker alone.
    let named: Vec<&str> = certificate["stores"]["topics"]["topics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let found = search::in_topics(&data.join("log"), &texts);
    assert!(search::topics_of(&found).contains(topics::EVENTS), "the search finds what is there");
    for topic in search::topics_of(&found) {
        assert!(topic == topics::TTF_STATE || named.contains(&topic), "{topic} has something of the user");
    }
    let markers: Vec<JourneyState> = found
        .iter()
        .filter(|found| found.topic == topics::TTF_STATE)
        .map(|found| Codec::without_registry().decode(&found.value).expect("a state"))
        .collect();
    let [marker] = &*markers else { panic!("{markers:?}") };
    assert_eq!((marker.erased_at, marker.attempts.len()), (Some(Erasure::FOR_GOOD), 0));
    assert!(marker.segments.is_empty() && found.iter().all(|it| it.topic != topics::TTF_STATE || !it.in_value));

    // Stores: rows and columns as a reader sees them.
    for table in tables(&store).await {
        for row in store.rows(&format!("SELECT * FROM {table}")).await.unwrap() {
            let row = format!("{row:?}");
            assert!(texts.iter().all(|text| !row.contains(text)), "{table}: {row}");
        }
    }
    for dataset in ["events", "records", "breaches"] {
        for object in store.objects(dataset).await.unwrap_or_default() {
            let texts_of = format!("{:?}", object.batches);
            assert!(!texts_of.contains(USER), "{}", object.key);
        }
    }
    // What was overwritten in local state is at most in the store's journal, which is rotated.
    for folder in ["state", "alerts", "archive/_days", "archive/_cuts", "archive/_complete"] {
        let folder = data.join(folder);
        let files = if folder.exists() { search::in_files(&folder, &texts) } else { Vec::new() };
        assert!(files.iter().all(|file| file.extension().is_some_and(|it| it == "jnl")), "{files:?}");
    }
}

/// The names of the database's tables.
async fn tables(store: &ttf_tests::system::Store) -> Vec<String> {
    let rows = store.rows("SELECT name FROM sqlite_master WHERE type = 'table'").await.unwrap();
    rows.into_iter().map(|row| row[0].clone().unwrap()).collect()
}
