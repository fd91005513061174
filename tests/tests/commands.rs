//! The operator's commands: what they print, and what they exit with.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Value, json};
use ttf_tests::{
    command::{self, run},
    dev::Dev,
    process::{Ttf, free_port},
    servers::{OwnKafka, workspace},
    wait,
};

const USAGE: i32 = 64;
const CONFIG: i32 = 78;

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ttf-commands-").tempdir().expect("a temporary folder")
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a writable folder");
    path.to_str().expect("a temporary path is UTF-8").to_owned()
}

#[test]
fn every_command_explains_itself() {
    let folder = folder();
    let all = run(folder.path(), &["--help"]).ok();
    for (command, options) in [
        (vec!["dev"], vec!["--listen", "--data-dir", "--config", "TELEMETRY_CONFIG"]),
        (vec!["all"], vec!["--config"]),
        (vec!["gateway"], vec!["--config"]),
        (vec!["processor"], vec!["--config"]),
        (vec!["archiver"], vec!["--config"]),
        (vec!["alerter"], vec!["--config"]),
        (vec!["topics"], vec!["plan", "apply"]),
        (vec!["topics", "plan"], vec!["--config"]),
        (vec!["topics", "apply"], vec!["--config"]),
        (vec!["db"], vec!["migrate", "status"]),
        (vec!["db", "migrate"], vec!["--config"]),
        (vec!["validate"], vec!["--config", "[FILE]"]),
        (vec!["send"], vec!["<FILE>", "--batch", "--url", "--api-key", "TELEMETRY_URL"]),
        (vec!["tail"], vec!["--json", "--from", "--no-follow", "--config", "--url", "records", "rejected"]),
        (vec!["user"], vec!["<ID>", "--json", "--url", "--config"]),
        (
            vec!["replay"],
            vec![
                "--from",
                "--to",
                "--dry-run",
                "--yes",
                "--output",
                "--examples",
                "--show-ids",
                "--data-dir",
                "Exit code",
            ],
        ),
        (vec!["demo"], vec!["--users", "--speed-up", "--hours", "--seed", "--url"]),
    ] {
        assert!(all.contains(&format!("\n  {} ", command[0])), "`{}` is listed: {all}", command[0]);
        let help = run(folder.path(), &[&command[..], &["--help"]].concat()).ok();
        for option in options {
            assert!(help.contains(option), "`{option}` in {command:?}: {help}");
        }
        assert!(!help.contains('\u{1b}'), "no colour in a pipe: {help:?}");
    }
    assert!(run(folder.path(), &["--version"]).ok().starts_with("ttf "));
}

#[test]
fn what_cannot_be_asked_for_is_a_usage_error() {
    let folder = folder();
    for arguments in [
        &["bogus"][..],
        &["dev", "--bogus"],
        &["dev", "--listen", "nowhere"],
        &["send"],
        &["send", "-", "--batch", "0"],
        &["tail", "nothing"],
        &["tail", "events", "--from", "yesterday"],
        &["tail", "events", "--config", "a.yaml", "--url", "http://127.0.0.1:1"],
        &["topics"],
        &["replay", "--from", "yesterday"],
        &["replay", "--users-per-transaction", "0"],
        &["demo", "--speed-up", "0"],
        &["demo", "--users", "0"],
    ] {
        let ran = run(folder.path(), arguments);
        assert_eq!(ran.code, USAGE, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("error: ") || ran.stderr.contains("Usage: "), "{arguments:?}: {ran:?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_by_every_role_with_place_and_remedy() {
    let folder = folder();
    let folder = folder.path();
    let typo = write(folder, "typo.yaml", "service:\n  log_level: info\ngateway:\n  listn: 127.0.0.1:1\n");
    for role in ["all", "gateway", "processor", "archiver", "alerter", "dev", "validate"] {
        let ran = run(folder, &[role, "--config", &typo]);
        ran.assert_one_line(
            CONFIG,
            &["gateway.listn", "typo.yaml:4:3", "unknown key", "did you mean `gateway.listen`?"],
        );
    }
    let journey = "journeys:
  - id: short
    version: 1
    milestones: [{ id: signup, events: [signup] }, { id: done, events: [done] }]
    stages: [{ id: only, from: signup, to: nowhere, target: 5m }]
    total: { target: 5m }
    deadlines: []
    segments: []
    experiments: []
    grace: 5s
    max_alert_lateness: 24h
    abandon_after: 14d
    state_ttl: 430d
";
    for (name, text, says) in [
        ("plan.yaml", "plan: { acme: { mode: loud, events: [] } }", "`loud`"),
        ("limits.yaml", "gateway: { limits: { event_bytes: 9MiB } }", "limits.event_bytes"),
        ("privacy.yaml", "privacy: { detectors: { emial: mask } }", "did you mean `email`"),
        ("journey.yaml", journey, "nowhere"),
        ("alerts.yaml", "alerter: { route: { receiver: nobody } }", "nobody"),
        ("broken.yaml", "gateway: [", "broken.yaml"),
    ] {
        let path = write(folder, name, text);
        for command in ["validate", "dev"] {
            let ran = run(folder, &[command, "--config", &path]);
            assert_eq!(ran.code, CONFIG, "{command} {name}: {ran:?}");
            assert!(ran.stderr.starts_with("ttf: ") && ran.stderr.contains(says), "{command} {name}: {ran:?}");
        }
    }
    for (name, value, says) in [
        ("TELEMETRY__GATEWAY__LISTN", "127.0.0.1:1", "did you mean"),
        ("TELEMETRY__SERVICE__LOG_LEVEL", "info,ttf=loud", "service.log_level"),
        ("TELEMETRY__GATEWAY__LISTEN", "nowhere", "gateway.listen"),
    ] {
        let listen = ["dev", "--data-dir", "made"];
        command::run_with(folder, &listen, &[(name, value)], "").assert_one_line(CONFIG, &[says]);
    }
    run(folder, &["all", "--config", "absent.yaml"]).assert_one_line(CONFIG, &["absent.yaml", "No such file"]);
    assert!(!folder.join("ttf-data").exists(), "nothing was made");
    assert_eq!(run(folder, &["validate"]).ok(), "configuration is valid\n");
}

#[test]
fn a_role_of_its_own_needs_a_log_that_several_processes_share() {
    let folder = folder();
    for role in ["gateway", "processor", "archiver", "alerter"] {
        run(folder.path(), &[role]).assert_one_line(CONFIG, &["log.kind", "`ttf dev` or `ttf all`", role]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_in_one_process_also_runs_on_the_embedded_log_and_asks_for_keys() {
    let folder = folder();
    let (port, admin) = (free_port(), free_port());
    let settings = json!({
        "service": { "admin_listen": format!("127.0.0.1:{admin}") },
        "gateway": { "listen": format!("127.0.0.1:{port}") },
    });
    let config = write(folder.path(), "all.yaml", &settings.to_string());
    let mut all = Ttf::start("all", folder.path(), &["all", "--config", &config]);
    all.ready(&format!("http://127.0.0.1:{admin}/ready"), Duration::from_secs(60)).await;
    let client = ttf_tests::http::client();
    for (event_type, status) in [("test", 202), ("track", 401)] {
        let body = json!({"events": [{ "event_name": "test", "event_type": event_type, "user_id": "u" }]});
        let request = client.post(format!("http://127.0.0.1:{port}/api/v1/events")).json(&body);
        assert_eq!(request.send().await.unwrap().status(), status, "{event_type}");
    }
    run(folder.path(), &["all", "--config", &config])
        .assert_one_line(1, &[&format!("127.0.0.1:{admin}"), "in use", "service.admin_listen"]);
    let refused = run(folder.path(), &["user", "u", "--url", &format!("http://127.0.0.1:{port}")]);
    refused.assert_one_line(1, &["answered 401"]);
    assert!(all.terminate(Duration::from_secs(12)).success(), "{}", all.output());
}

#[test]
fn a_broker_that_is_not_there_is_named_in_bounded_time() {
    let folder = folder();
    let broker = format!("127.0.0.1:{}", free_port());
    let text = format!("log: {{ kind: kafka, brokers: \"{broker}\" }}\nservice: {{ admin_listen: \"127.0.0.1:0\" }}\n");
    let config = write(folder.path(), "kafka.yaml", &text);
    for arguments in [&["topics", "plan"][..], &["tail", "events", "--no-follow"]] {
        let ran = run(folder.path(), &[arguments, &["--config", &config]].concat());
        ran.assert_one_line(1, &["ttf: log is not available", &broker]);
        assert!(ran.took < Duration::from_secs(20), "{ran:?}");
        assert!(ran.stderr.lines().count() < 30, "no flood: {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_waits_for_a_broker_that_is_not_there_and_is_not_ready_meanwhile() {
    let folder = folder();
    let (broker, admin) = (format!("127.0.0.1:{}", free_port()), free_port());
    let text =
        format!("log: {{ kind: kafka, brokers: \"{broker}\" }}\nservice: {{ admin_listen: \"127.0.0.1:{admin}\" }}\n");
    let config = write(folder.path(), "kafka.yaml", &text);
    let mut all = Ttf::start("all", folder.path(), &["all", "--config", &config]);
    wait::until("it says what it waits for", Duration::from_secs(30), || async {
        let output = all.output();
        let waits = output.lines().any(|line| line.contains("waiting for the log") && line.contains(&broker));
        if waits { Ok(()) } else { Err(output) }
    })
    .await;
    let status = async |path: &str| {
        let url = format!("http://127.0.0.1:{admin}/{path}");
        ttf_tests::http::client().get(url).send().await.unwrap().status().as_u16()
    };
    assert_eq!((status("live").await, status("ready").await), (200, 503));
    assert!(all.output().lines().count() < 30, "no flood: {}", all.output());
    // What asks the broker at this moment ends within its own limit (10 s).
    assert!(all.terminate(Duration::from_secs(15)).success(), "told to end, it has not failed: {}", all.output());
}

#[test]
fn a_gateway_that_is_not_there_is_named_in_one_line() {
    let folder = folder();
    let url = format!("http://127.0.0.1:{}", free_port());
    let events = write(folder.path(), "events.ndjson", "{\"event_name\":\"test\",\"event_type\":\"test\"}\n");
    for arguments in [&["send", &events][..], &["user", "u"], &["demo", "--users", "1"], &["tail", "events"]] {
        let ran = run(folder.path(), &[arguments, &["--url", &url]].concat());
        ran.assert_one_line(1, &[&format!("ttf: no answer from {url}"), "ttf dev", "Connection refused"]);
    }
    run(folder.path(), &["send", "absent.ndjson", "--url", &url]).assert_one_line(1, &["cannot open absent.ndjson"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn send_takes_the_good_lines_and_says_what_is_wrong_with_the_others() {
    let dev = Dev::start().await;
    let good =
        |id: u32| json!({"event_name": "signup", "event_type": "track", "user_id": "u", "event_id": id.to_string()});
    let mut wrong = good(3);
    wrong["userId"] = wrong["user_id"].take();
    wrong.as_object_mut().unwrap().remove("user_id");
    let text = format!("{}\n\n{{broken\n{wrong}\n{}\n", good(1), good(2));
    let path = write(dev.folder(), "mixed.ndjson", &text);
    let ran = dev.run(&["send", &path]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.stdout, "accepted 2, duplicate 0, rejected 2\n");
    assert!(ran.stderr.contains("line 3: not JSON: "), "{ran:?}");
    assert!(ran.stderr.contains("line 4: additional_properties at /userId: "), "{ran:?}");
    assert!(ran.stderr.contains("  hint: did you mean `user_id`?"), "{ran:?}");

    let piped = dev.run_with(&["send", "-"], &format!("{}\n{}\n", good(4), good(5))).ok();
    assert_eq!(piped, "accepted 2, duplicate 0, rejected 0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn send_splits_a_big_file_into_requests_the_gateway_takes() {
    let dev = Dev::start().await;
    // 9 MB: twice what one request may hold, and more events than one may.
    let padding = "x".repeat(3_000);
    let lines: Vec<_> = (0..3_000)
        .map(|n| {
            let (user, properties) = (format!("u{n}"), json!({ "padding": padding }));
            json!({ "event_name": "page", "event_type": "page", "user_id": user, "properties": properties }).to_string()
        })
        .collect();
    let path = write(dev.folder(), "big.ndjson", &(lines.join("\n") + "\n"));
    for batch in ["500", "2500"] {
        assert_eq!(dev.run(&["send", &path, "--batch", batch]).ok(), "accepted 3000, duplicate 0, rejected 0\n");
    }
    assert_eq!(dev.topic("events").len(), 6_000);
}

/// The events every implementation of the contract is held against, by name.
fn vectors(kind: &str) -> Vec<(String, Value)> {
    let folder = workspace().join("schemas/testdata/events").join(kind);
    let mut vectors: Vec<_> = std::fs::read_dir(folder)
        .expect("the vectors lie there")
        .map(|entry| {
            let path = entry.expect("readable").path();
            let text = std::fs::read_to_string(&path).expect("readable");
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, serde_json::from_str(&text).expect("JSON"))
        })
        .collect();
    vectors.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(vectors.len() > 10, "{kind}");
    vectors
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_judges_events_as_the_gateway_does() {
    let dev = Dev::start().await;
    let gateway = async |event: &Value| {
        let (_, answer) = dev.post_to("/api/v1/events?validate_only=1", &json!([event])).await;
        answer
    };
    for (name, event) in vectors("valid") {
        let answer = gateway(&event).await;
        assert_eq!(answer["accepted"], 1, "{name}: {answer}");
        let shown = dev.run_with(&["validate", "-"], &event.to_string()).ok();
        assert_eq!(shown, "1 events checked, 0 not valid\n", "{name}");
    }
    for (name, vector) in vectors("invalid") {
        let answer = gateway(&vector["event"]).await;
        assert_eq!(answer["rejected"], 1, "{name}: {answer}");
        let ran = dev.run_with(&["validate", "-"], &vector["event"].to_string());
        assert_eq!((ran.code, ran.stdout.as_str()), (1, "1 events checked, 1 not valid\n"), "{name}: {ran:?}");
        let text = |field: &str| answer["results"][0][field].as_str().unwrap_or_default().to_owned();
        let said = format!("line 1: {} at {}: {}", text("code"), text("path"), text("message"));
        assert!(ran.stderr.contains(&said), "{name}: `{said}` in {ran:?}");
        let hint = text("hint");
        assert!(ran.stderr.contains(&hint), "{name}: `{hint}` in {ran:?}");
    }
}

#[test]
fn topics_are_planned_made_once_and_never_grown() {
    let kafka = OwnKafka::start();
    let folder = folder();
    let config = |partitions: u32| {
        let settings = json!({
            "log": { "kind": "kafka", "brokers": kafka.brokers },
            "topics": { "partitions": partitions, "replication_factor": 1, "min_insync_replicas": 1 },
        });
        write(folder.path(), &format!("{partitions}.yaml"), &settings.to_string())
    };
    let (three, five) = (config(3), config(5));
    let topics = telemetry_schemas::topics::CATALOGUE.len();
    let count = |text: &str, part: &str| text.matches(part).count();
    let topics_command = |action: &str, config: &str| run(folder.path(), &["topics", action, "--config", config]);

    let missing = run(folder.path(), &["all", "--config", &three]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.stderr.contains("topics are missing") && missing.stderr.contains("`ttf topics apply`"));

    let plan = topics_command("plan", &three).ok();
    assert_eq!((count(&plan, " create"), count(&plan, "is there")), (topics, 0), "{plan}");
    let applied = topics_command("apply", &three).ok();
    assert_eq!(count(&applied, " created"), topics, "{applied}");
    let plan = topics_command("plan", &three).ok();
    assert_eq!((count(&plan, " create"), count(&plan, "is there")), (0, topics), "{plan}");
    let again = topics_command("apply", &three).ok();
    assert_eq!(count(&again, "is there"), topics, "{again}");

    for (action, says) in [("plan", "has 3 partitions"), ("apply", "refused: it has 3 partitions, not 5")] {
        let refused = topics_command(action, &five);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert_eq!(count(&refused.stdout, says), topics, "{refused:?}");
        assert!(refused.stderr.contains("partition counts never change"), "{refused:?}");
    }
    assert_eq!(count(&topics_command("plan", &three).ok(), "is there"), topics, "nothing was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demos_table_says_what_the_api_says() {
    let dev = Dev::start().await;
    let ran = dev.run(&["demo", "--users", "60", "--speed-up", "100000", "--hours", "2"]);
    let shown = ran.ok();
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert_eq!(shown.matches("within target").count(), 1, "one table: {shown}");
    assert!(shown.contains("signed up 60 of 60, known to the pipe 60;"), "{shown}");

    let users: std::collections::BTreeSet<_> =
        dev.topic("records").iter().map(|record| record["user_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(users.len(), 60);
    let mut reached: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    for user in users {
        let (status, answer) = dev.journey(&user).await;
        assert_eq!(status, 200);
        let record = &answer["journeys"][0];
        let mut stages = record["stages"].as_array().unwrap().clone();
        stages.push(json!({ "id": "total", "from_at": record["signup_at"], "duration_ms": record["total_ms"] }));
        for stage in stages {
            let figures = reached.entry(stage["id"].as_str().unwrap().to_owned()).or_default();
            figures.0 += usize::from(!stage["from_at"].is_null());
            figures.1 += usize::from(!stage["duration_ms"].is_null());
        }
        if let (Some(level), "in_progress") = (record["breach_level"].as_str(), record["status"].as_str().unwrap()) {
            *open.entry(level.to_owned()).or_default() += 1;
        }
    }
    for (stage, (entered, reached)) in reached {
        let row = shown.lines().find(|line| line.trim_start().starts_with(&stage)).expect("a row a stage");
        let cells: Vec<_> = row.split_whitespace().collect();
        assert_eq!(cells[1..3], [entered.to_string(), reached.to_string()], "{row}");
    }
    let level = |name: &str| format!("{} {name}", open.get(name).copied().unwrap_or(0));
    let said = format!("open breaches: {}, {}, {}", level("warning"), level("critical"), level("escalation"));
    assert!(shown.contains(&said), "{said}: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_coloured_where_nobody_sees_colours() {
    let dev = Dev::start().await;
    dev.post(&json!([{"event_name": "signup", "event_type": "track", "user_id": "u"}, {}])).await;
    dev.milestones("u", 1).await;
    for arguments in [
        &["user", "u"][..],
        &["user", "u", "--json"],
        &["tail", "events", "--from", "beginning", "--no-follow"],
        &["tail", "rejected", "--from", "beginning", "--no-follow", "--json"],
        &["send", "absent"],
        &["validate"],
        &["topics", "plan"],
        &["bogus"],
        &["help"],
    ] {
        for env in [&[("TELEMETRY_URL", dev.url.as_str())][..], &[("TELEMETRY_URL", &dev.url), ("NO_COLOR", "1")]] {
            let all = command::run_with(dev.folder(), arguments, env, "").all();
            assert!(!all.contains('\u{1b}'), "{arguments:?}: {all:?}");
            assert!(!all.is_empty(), "{arguments:?}");
        }
    }
    assert!(!dev.process.output().contains('\u{1b}'));
}

#[test]
fn the_database_s_schema_is_shown_brought_up_to_date_and_refused_when_it_is_newer() {
    let folder = folder();
    let before = run(folder.path(), &["db", "status"]);
    assert_eq!(before.code, 1, "{before:?}");
    assert!(before.stdout.contains("schema version 0: `ttf db migrate` brings it to "), "{before:?}");
    let done = run(folder.path(), &["db", "migrate"]).ok();
    assert!(done.contains("went from schema version 0 to "), "{done}");
    assert!(run(folder.path(), &["db", "migrate"]).ok().contains("nothing to do"));
    assert!(run(folder.path(), &["db", "status"]).ok().contains("up to date"));
    let database = rusqlite::Connection::open(folder.path().join("ttf-data/ttf.sqlite")).expect("it is there");
    database.execute("INSERT INTO schema_migrations (version, name) VALUES (1000, 'later')", []).expect("written");
    assert_eq!(run(folder.path(), &["db", "status"]).code, 1);
    run(folder.path(), &["db", "migrate"]).assert_one_line(1, &["schema version 1000", "use a newer program"]);
}
