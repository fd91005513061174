//! What someone sees in the first five minutes with `ttf dev`.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use serde_json::{Value, json};
use ttf_tests::{
    command,
    dev::{Dev, PIPE},
    process::{binary, free_port},
    wait,
};

/// A drain may take `service.drain_timeout` (10 s).
const DRAIN: Duration = Duration::from_secs(12);
/// Whoever cannot start says so within this time, on a machine that compiles something else meanwhile.
const AT_ONCE: Duration = Duration::from_secs(5);

/// What "minutes ago" is counted from: one instant, so that milestones lie exactly as far apart as they say.
static NOW: LazyLock<jiff::Timestamp> = LazyLock::new(jiff::Timestamp::now);

fn milestone(user: &str, name: &str, minutes_ago: i64) -> Value {
    let at = *NOW - jiff::SignedDuration::from_mins(minutes_ago);
    json!({
        "event_name": name, "event_type": "ttf_milestone", "user_id": user,
        "event_id": format!("{user}-{name}"), "timestamp": at.to_string(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_greeting_names_three_things_to_try_and_they_work() {
    let dev = Dev::start().await;
    let greeting = wait::until("the greeting is complete", PIPE, || async {
        let output = dev.process.output();
        if output.contains("Ctrl-C ends it") { Ok(output) } else { Err(output) }
    })
    .await;
    let log_start = greeting.lines().find(|line| line.starts_with('{')).expect("a log line");
    for part in ["\"starting\"", "\"service\":\"dev\"", "\"version\""] {
        assert!(log_start.contains(part), "the log's first line says what runs: {log_start}");
    }
    let tries: Vec<_> = greeting
        .lines()
        .skip_while(|line| !line.contains("Three things to try"))
        .filter_map(|line| line.strip_prefix("  "))
        .collect();
    assert_eq!(tries.len(), 3, "{greeting}");
    assert_eq!(
        tries[0],
        format!(
            "curl -X POST {}/api/v1/events -H 'Content-Type: application/json' -d \
             '{{\"events\":[{{\"event_name\":\"test\",\"event_type\":\"test\"}}]}}'",
            dev.url
        )
    );
    // As printed, in a shell; only `-w` asks for the status as well.
    let curl = Command::new("bash").arg("-c").arg(format!("{} -s -w '\\n%{{http_code}}'", tries[0])).output().unwrap();
    let answer = String::from_utf8(curl.stdout).unwrap();
    let (body, status) = answer.rsplit_once('\n').expect("a status after the body");
    assert_eq!(status, "202", "{answer}");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["accepted"], 1);

    for (printed, limit) in tries[1..].iter().zip(["--users 5 --speed-up 100000", "--no-follow"]) {
        let run = Command::new("bash").arg("-c").arg(format!("{printed} {limit}")).output().unwrap();
        assert!(run.status.success(), "{printed}: {}", String::from_utf8_lossy(&run.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smoke_test_leaves_nothing_on_the_rejected_topic() {
    let dev = Dev::start().await;
    let (status, answer) = dev.post(&json!({"events":[{"event_name":"test","event_type":"test"}]})).await;
    assert_eq!((status, &answer["accepted"]), (202, &json!(1)));
    // One after it that can be seen to have passed the processor.
    for user in 0..8 {
        dev.post(&json!([milestone(&format!("u{user}"), "signup", 1)])).await;
    }
    for user in 0..8 {
        dev.milestones(&format!("u{user}"), 1).await;
    }
    assert_eq!(dev.topic("rejected"), Vec::<Value>::new());
    assert_eq!(dev.topic("events").len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_events_move_their_journey_in_every_view() {
    let dev = Dev::start().await;
    dev.post(&json!([milestone("ada", "signup", 20), milestone("ada", "first_project_created", 17)])).await;
    let record = dev.milestones("ada", 2).await;
    assert_eq!(record["stages"][0]["duration_ms"], 180_000);
    assert_eq!(record["current_stage"], "first_project_to_first_agent");

    let shown = dev.run(&["user", "ada"]).ok();
    for part in
        ["ada", "in progress", "3 min", "in time", "next: first_agent_created", "was due", "warning deadline: due"]
    {
        assert!(shown.contains(part), "`{part}` in {shown}");
    }
    let answer: Value = serde_json::from_str(&dev.run(&["user", "ada", "--json"]).ok()).unwrap();
    assert_eq!(answer["journeys"][0], record);
    dev.run(&["user", "nobody"]).assert_one_line(1, &["nothing is known of user `nobody`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_prints_every_stream_from_the_beginning_or_from_a_time() {
    let dev = Dev::start().await;
    // Late by two deadlines, so that every stream has something to show.
    dev.post(&json!([milestone("late", "signup", 130), { "event_name": "signup" }])).await;
    dev.milestones("late", 1).await;
    wait::until("breaches are there", PIPE, || async {
        if dev.topic("notifications").is_empty() { Err("none yet") } else { Ok(()) }.map_err(str::to_owned)
    })
    .await;
    let names = |stream: &str, field: &str| {
        let shown: Vec<_> = dev.topic(stream).iter().map(|value| value[field].to_string()).collect();
        shown.join(",")
    };
    assert_eq!(names("events", "event_name"), "\"signup\"");
    assert!(names("records", "user_id").contains("late"));
    assert_eq!(names("breaches", "level"), "\"warning\",\"critical\"");
    assert!(names("rejected", "reasons").contains("required_missing"));
    assert!(names("notifications", "status").contains("firing"));

    let since = jiff::Timestamp::now().to_string();
    dev.post(&json!([milestone("second", "signup", 1)])).await;
    let url = ["--url", dev.url.as_str(), "--no-follow"];
    let from = |place: &str| dev.run(&[&["tail", "events", "--json", "--from", place], &url[..]].concat()).ok();
    assert_eq!(from("beginning").lines().count(), 2);
    let later = from(&since);
    assert_eq!(later.lines().count(), 1, "{later}");
    assert!(later.contains("\"user_id\":\"second\""));
    assert_eq!(from("now"), "");
    let people = dev.run(&[&["tail", "breaches", "--from", "beginning"], &url[..]].concat()).ok();
    assert!(people.lines().next().unwrap().contains("late  onboarding  warning firing"), "{people}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_follows_live_and_ends_with_its_reader() {
    let mut dev = Dev::start().await;
    let mut tail = Command::new(binary())
        .args(["tail", "records", "--json", "--from", "beginning", "--url", &dev.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap());
    dev.post(&json!([milestone("live", "signup", 1)])).await;
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    let record: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(record["user_id"], "live");
    dev.post(&json!([milestone("live", "first_project_created", 0)])).await;
    let mut second = String::new();
    lines.read_line(&mut second).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&second).unwrap()["revision"], 2);
    // `| head -2`: the reader goes, and nothing more is written.
    drop(lines);
    let status = wait::until("the tail ends", PIPE, || {
        let ended = tail.try_wait().unwrap();
        async move { ended.ok_or_else(|| "it follows".to_owned()) }
    })
    .await;
    assert!(status.success(), "{status}");
    let mut complaints = String::new();
    std::io::Read::read_to_string(&mut tail.stderr.take().unwrap(), &mut complaints).unwrap();
    assert_eq!(complaints, "");

    // A follower does not keep the process from ending.
    let mut follower = Command::new(binary())
        .args(["tail", "records", "--from", "beginning", "--url", &dev.url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    BufReader::new(follower.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let status = dev.process.terminate(DRAIN);
    assert!(status.success(), "{status}: {}", dev.process.output());
    follower.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_ctrl_c_sigterm_and_kill() {
    let mut dev = Dev::start().await;
    let mut users = 0;
    for end in ["ctrl-c", "sigterm", "kill -9"] {
        let from = users;
        for _ in 0..40 {
            let (status, answer) = dev.post(&json!([milestone(&format!("u{users}"), "signup", 1)])).await;
            assert_eq!((status, &answer["accepted"]), (202, &json!(1)));
            users += 1;
        }
        match end {
            "ctrl-c" => assert_eq!(dev.process.interrupt(DRAIN).code(), Some(0), "{}", dev.process.output()),
            "sigterm" => assert_eq!(dev.process.terminate(DRAIN).code(), Some(0), "{}", dev.process.output()),
            _ => dev.process.kill(),
        }
        dev.start_again().await;
        for user in from..users {
            dev.milestones(&format!("u{user}"), 1).await;
        }
    }
    assert_eq!(dev.topic("events").len(), users);
    let records: Vec<_> = dev.topic("records").iter().map(|record| record["user_id"].clone()).collect();
    assert_eq!(records.len(), users, "each once");
    let store = dev.store();
    wait::until("every event and record is a row", PIPE, || async {
        let events = store.count("SELECT count(*) FROM events").await?;
        let records = store.count("SELECT count(*) FROM ttf_records").await?;
        if (events, records) == (users, users) { Ok(()) } else { Err(format!("{events}, {records} of {users}")) }
    })
    .await;
    assert!(!dev.process.output().contains("panicked"), "{}", dev.process.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_start_says_why_in_one_line_and_at_once() {
    let dev = Dev::start().await;
    let folder = dev.folder();

    let busy = format!("127.0.0.1:{}", dev.port());
    let ran = command::run(folder, &["dev", "--listen", &busy, "--data-dir", "other"]);
    ran.assert_one_line(1, &["ttf: ", &busy, "in use"]);
    assert!(ran.took < AT_ONCE, "{ran:?}");
    assert!(!folder.join("other").exists(), "nothing was made");

    let free = format!("127.0.0.1:{}", free_port());
    let ran = command::run(folder, &["dev", "--listen", &free, "--data-dir", "data"]);
    ran.assert_one_line(1, &["ttf: ", "data", "in use by another ttf process"]);
    assert!(ran.took < AT_ONCE, "{ran:?}");

    std::fs::write(folder.join("file"), "").unwrap();
    for place in ["file", "file/below", "/proc/ttf"] {
        let ran = command::run(folder, &["dev", "--listen", &free, "--data-dir", place]);
        ran.assert_one_line(1, &["ttf: ", "data folder", place]);
        assert!(ran.took < AT_ONCE, "{ran:?}");
    }

    let ran = command::run(folder, &["dev", "--listen", "192.0.2.1:80", "--data-dir", "other"]);
    ran.assert_one_line(1, &["192.0.2.1:80", "does not belong to this machine"]);
    let (status, _) = dev.journey("nobody").await;
    assert_eq!(status, 404, "the first one runs on");
}
