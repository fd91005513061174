//! What an operator sees of an alert and does about it, by command line and HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use telemetry_schemas::{EventTime, Millis};
use ttf_tests::{dev::Dev, wait};

const PATIENCE: Duration = Duration::from_secs(40);

fn json_of(dev: &Dev, arguments: &[&str]) -> Value {
    let ran = dev.run(&[&["alert"], arguments, &["--json"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}

/// Signs somebody up so long ago that the first deadline has just passed.
async fn sign_up_late(dev: &Dev, user: &str) {
    let now = EventTime(service_kit::clock::now_ms());
    let at = now.plus(Millis::from_minutes(-76)).to_rfc3339();
    let event = json!({"event_name": "signup", "event_type": "track", "user_id": user, "timestamp": at});
    assert_eq!(dev.post(&event).await.0, 202);
}

async fn listed(dev: &Dev, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, PATIENCE, || async {
        let answer = json_of(dev, &["list", "--over"]);
        match answer["alerts"].as_array().into_iter().flatten().find(|alert| is_so(alert)) {
            Some(alert) => Ok(alert.clone()),
            None => Err(answer.to_string()),
        }
    })
    .await
}

#[tokio::test]
async fn an_alert_is_listed_explained_taken_and_over() {
    let dev = Dev::start_with(&[("TELEMETRY__ALERTER__ROUTE__GROUP_INTERVAL", "1s")]).await;
    assert_eq!(json_of(&dev, &["list"])["alerts"], json!([]));
    sign_up_late(&dev, "lovelace").await;
    let alert = listed(&dev, "it is told", |alert| !alert["told"].as_array().expect("a list").is_empty()).await;
    let id = alert["id"].as_str().expect("an id").to_owned();
    assert_eq!((&alert["status"], &alert["level"], &alert["users"]), (&json!("firing"), &json!("warning"), &json!(1)));
    assert!(!alert.to_string().contains("lovelace"), "users are named by a hash: {alert}");

    assert_eq!(dev.run(&["alert", "ack", &id[..8], "--author", "grace", "--comment", "calling them"]).code, 0);
    let alert = listed(&dev, "it is taken", |alert| alert["status"] == "acknowledged").await;
    assert_eq!(alert["assigned_to"], "grace");
    let why = dev.run(&["alert", "why", &id]).ok();
    assert!(why.contains("first_notification -> log: told for the first time"), "{why}");
    assert!(why.contains("acknowledged -> log: somebody has taken it [acknowledged by grace: calling them]"), "{why}");
    let entries: Vec<_> = json_of(&dev, &["show", &id])["alerts"].as_array().expect("a list").clone();
    assert_eq!(entries[0]["labels"]["alertname"], "TtfDeadlineMissed");

    let event = json!({"event_name": "first_success", "event_type": "track", "user_id": "lovelace"});
    assert_eq!(dev.post(&event).await.0, 202);
    let alert = listed(&dev, "it is over", |alert| alert["status"] == "over").await;
    assert_eq!(alert["last_decision"], "resolved");
    assert_eq!(json_of(&dev, &["list"])["alerts"], json!([]));
    let refused = dev.run(&["alert", "ack", &id]);
    assert!(refused.code == 1 && refused.stderr.contains("it is over already"), "{refused:?}");
}

#[tokio::test]
async fn a_silence_by_matchers_keeps_alerts_back_until_it_is_taken_away() {
    let dev = Dev::start().await;
    let refused = dev.run(&["alert", "silence", "level=~.*", "-c", "everything"]);
    assert!(refused.code == 1 && refused.stderr.contains("at least one matcher"), "{refused:?}");
    let made = json_of(&dev, &["silence", "level=warning", "-d", "2h", "-c", "load test", "-a", "ada"]);
    let id = made["id"].as_str().expect("an id").to_owned();
    wait::until("it is in force", PATIENCE, || async {
        let silences = json_of(&dev, &["silences"]);
        if silences["silences"][0]["status"] == "active" { Ok(()) } else { Err(silences.to_string()) }
    })
    .await;
    sign_up_late(&dev, "ada").await;
    let alert = listed(&dev, "it is silenced", |alert| alert["last_decision"] == "silenced").await;
    assert_eq!((&alert["status"], &alert["told"]), (&json!("suppressed"), &json!([])));
    let why = dev.run(&["alert", "why", alert["id"].as_str().expect("an id")]).ok();
    assert!(why.contains(&format!("silence {id} by ada until")), "{why}");
    assert_eq!(json_of(&dev, &["unsilence", &id])["status"], "accepted");
    wait::until("it is gone", PATIENCE, || async {
        let silences = json_of(&dev, &["silences"]);
        if silences["silences"] == json!([]) { Ok(()) } else { Err(silences.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn where_an_alert_would_go_needs_no_server() {
    let dev = Dev::start().await;
    std::fs::write(
        dev.folder().join("routes.yaml"),
        "alerter:
  receivers: [{ name: log, log: {} }, { name: pager, log: {} }]
  route: { routes: [{ receiver: pager, matchers: ['level=critical', 'segment_plan=~\"pro|team\"'] }] }
",
    )
    .expect("a writable folder");
    let test = |labels: &str| dev.run(&["alert", "routes", "test", "--labels", labels, "--config", "routes.yaml"]).ok();
    assert!(test("level=critical,segment_plan=pro").starts_with("pager, grouped by"));
    assert!(test("level=critical,segment_plan=free").starts_with("log, grouped by"));
    let refused = dev.run(&["alert", "routes", "test", "--labels", "plan=pro", "--config", "routes.yaml"]);
    assert!(refused.code == 1 && refused.stderr.contains("alerts have no label `plan`"), "{refused:?}");
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_is_refused_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alerts.yaml");
    let text = "alerter:
  time_intervals:
    - name: office
      time_intervals:
        - times: [{ start_time: '17:00', end_time: '09:00' }]
  route:
    active_time_intervals: [night]
";
    std::fs::write(&file, text).expect("a writable folder");
    let name = file.to_str().expect("UTF-8");
    let ran = ttf_tests::command::run_with(folder.path(), &["alerter", "--config", name], &[], "");
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(
        ran.stderr.contains("alerts.yaml:7:29") && ran.stderr.contains("there is no time interval `night`"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains("alerts.yaml:5:") && ran.stderr.contains("must end after it begins"), "{ran:?}");
}

#[test]
fn a_damaged_template_is_refused_at_start_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let templates = folder.path().join("templates");
    std::fs::create_dir(&templates).expect("a writable folder");
    std::fs::write(templates.join("slack_title.jinja"), "late:\n{{ journey\n").expect("a writable folder");
    let config = serde_json::json!({ "alerter": { "templates": templates } });
    std::fs::write(folder.path().join("dev.yaml"), config.to_string()).expect("a writable folder");
    let listen = format!("127.0.0.1:{}", ttf_tests::process::free_port());
    let arguments = ["dev", "--listen", &listen, "--data-dir", "data", "--config", "dev.yaml"];
    let ran = ttf_tests::command::run(folder.path(), &arguments);
    assert_eq!(ran.code, 78, "{ran:?}");
    assert!(ran.stderr.contains("slack_title.jinja:"), "{ran:?}");
}
