//! Each provider, by its documented contract: the fake endpoints fail the test when anything else comes.

use serde_json::Value;
use telemetry_schemas::BreachLevel::{Critical, Escalation, Warning};

use super::{
    installation::{Installation, Running, eventually},
    receiver::{Answer, FakeReceiver, Hit},
};
use crate::testing::{breach, resolved};

fn section(kind: &str) -> String {
    format!(
        "user_ids: plain
external_url: https://ttf.example.com
route: {{ receiver: it, group_wait: 0s, group_interval: 0s }}
receivers:
  - {{ name: it, {kind} }}
delivery: {{ break_after: 3, break_pause: 500ms, longest_pause: 1s, fallback_after: 1s }}
"
    )
}

fn pagerduty(fake: &FakeReceiver) -> String {
    let key = "0123456789abcdef0123456789abcdef";
    section(&format!("pagerduty: {{ routing_key: {key}, url: '{}', timeout: 1s }}", fake.url("v2/enqueue")))
}

fn slack(fake: &FakeReceiver) -> String {
    section(&format!(
        "slack: {{ api_url: '{}', token: xoxb-token, channel: C0123456789, signing_secret: s3cret, timeout: 1s }}",
        fake.url("api")
    ))
}

fn outcome(running: &Running, outcome: &str) -> u64 {
    running.metric(&format!(r#"ttf_alert_deliveries_total{{outcome="{outcome}",receiver="it"}}"#)).unwrap_or_default()
        as u64
}

fn texts(hit: &Hit) -> String {
    hit.body.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pagerduty_sees_one_incident_that_changes_its_severity_and_ends() {
    let fake = FakeReceiver::start().await;
    let installation = Installation::new();
    let running = installation.start(&pagerduty(&fake)).await;
    for (count, level) in [Warning, Critical, Escalation].into_iter().enumerate() {
        installation.publish(breach("u-1", level)).await;
        eventually("the level is told", || fake.accepted().len() == count + 1).await;
    }
    for level in [Warning, Critical, Escalation] {
        installation.publish(resolved("u-1", level)).await;
    }
    eventually("the end is told", || fake.accepted().len() == 4).await;
    let hits = fake.accepted();
    let said: Vec<_> = hits
        .iter()
        .map(|hit| (hit.body["event_action"].as_str().unwrap(), hit.body["payload"]["severity"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(said, [("trigger", "warning"), ("trigger", "error"), ("trigger", "critical"), ("resolve", "")]);
    assert!(hits.iter().all(|hit| hit.body["dedup_key"] == hits[0].body["dedup_key"]), "one incident");
    assert!(hits[0].body["dedup_key"].as_str().unwrap().starts_with("ttf:acme:onboarding:"));
    let text = texts(&hits[0]);
    for part in ["onboarding", "u-1", "first_agent_to_first_workflow", "plan=team", "https://ttf.example.com", "unbook"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pagerduty_refusing_one_event_gets_the_next_and_hears_no_end_of_it() {
    let fake = FakeReceiver::start().await;
    fake.answer([Answer::Status(400)]);
    let installation = Installation::new();
    let running = installation.start(&pagerduty(&fake)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is refused", || outcome(&running, "failed") == 1).await;
    installation.publish(resolved("u-1", Warning)).await;
    eventually("its end is not sent", || outcome(&running, "resolved_before_delivered") == 1).await;
    installation.publish(breach("u-2", Warning)).await;
    eventually("the next one is", || fake.accepted().len() == 1).await;
    assert_eq!(fake.hits().len(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_before_it_could_be_delivered_is_told_to_nobody() {
    let fake = FakeReceiver::start().await;
    fake.answer_always(Some(Answer::Status(503)));
    let installation = Installation::new();
    let running = installation.start(&pagerduty(&fake)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it was tried", || !fake.hits().is_empty()).await;
    installation.publish(resolved("u-1", Warning)).await;
    eventually("both are given up, and it says why", || outcome(&running, "resolved_before_delivered") == 2).await;
    fake.answer_always(None);
    installation.publish(breach("u-2", Warning)).await;
    eventually("the next one is told", || fake.accepted().len() == 1).await;
    assert!(texts(&fake.accepted()[0]).contains("u-2"));
    running.stop().await;
}

/// Whether it was taken is not known, so the end must be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_taken_before_the_connection_broke_is_resolved() {
    let fake = FakeReceiver::start().await;
    fake.answer([Answer::TakeAndDrop]);
    let installation = Installation::new();
    let running = installation.start(&pagerduty(&fake)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it was taken", || fake.hits().len() == 1).await;
    installation.publish(resolved("u-1", Warning)).await;
    eventually("it is told again, and its end", || fake.accepted().len() == 2).await;
    let said: Vec<_> = fake.accepted().iter().map(|hit| hit.body["event_action"].clone()).collect();
    assert_eq!(said, ["trigger", "resolve"]);
    running.stop().await;
}

fn blocks(body: &Value) -> String {
    body["blocks"].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slack_has_one_message_that_changes_and_a_thread_that_says_how() {
    let fake = FakeReceiver::start().await;
    let installation = Installation::new();
    let running = installation.start(&slack(&fake)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is posted", || fake.accepted().len() == 1).await;
    installation.publish(breach("u-1", Critical)).await;
    eventually("it is changed, with a reply", || fake.accepted().len() == 3).await;
    // The message's identity outlives the process.
    eventually("all is recorded", || outcome(&running, "delivered") == 2).await;
    running.stop().await;
    let running = installation.start(&slack(&fake)).await;
    installation.publish(resolved("u-1", Critical)).await;
    installation.publish(resolved("u-1", Warning)).await;
    eventually("the end is told in place", || fake.accepted().len() >= 5).await;
    let hits = fake.accepted();
    let posts: Vec<_> = hits.iter().filter(|hit| hit.body.get("ts").is_none()).collect();
    let updates: Vec<_> = hits.iter().filter(|hit| hit.body.get("ts").is_some()).collect();
    assert!(blocks(&posts[0].body).contains("WARNING") && blocks(&posts[0].body).contains("ttf_acknowledge"));
    assert!(blocks(&updates[0].body).contains("CRITICAL"));
    assert_eq!(posts[1].body["thread_ts"], updates[0].body["ts"]);
    assert_eq!(posts[1].body["reply_broadcast"], true, "worse is said in the channel, too");
    let last = updates.last().expect("it was changed");
    assert_eq!(last.body["ts"], updates[0].body["ts"], "still the same message");
    assert!(blocks(&last.body).contains("RESOLVED") && !blocks(&last.body).contains("ttf_acknowledge"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_somebody_deleted_is_posted_anew() {
    let fake = FakeReceiver::start().await;
    let installation = Installation::new();
    let running = installation.start(&slack(&fake)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is posted", || outcome(&running, "delivered") == 1).await;
    fake.answer([Answer::SlackError("message_not_found")]);
    installation.publish(breach("u-1", Critical)).await;
    eventually("a new one is posted", || fake.accepted().len() == 2).await;
    let hits = fake.hits();
    assert!(hits[1].body.get("ts").is_some(), "a change was tried");
    assert!(hits[2].body.get("thread_ts").is_none() && blocks(&hits[2].body).contains("CRITICAL"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slack_saying_no_for_now_is_asked_again_and_rubbish_is_not() {
    let fake = FakeReceiver::start().await;
    fake.answer([Answer::SlackError("internal_error"), Answer::RetryAfter(429, 2)]);
    let installation = Installation::new();
    let running = installation.start(&slack(&fake)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is taken in the end", || fake.accepted().len() == 1).await;
    let hits = fake.hits();
    assert!(hits[2].at - hits[1].at >= std::time::Duration::from_secs(2), "not before Slack wants it");
    fake.answer([Answer::Rubbish]);
    installation.publish(breach("u-2", Warning)).await;
    eventually("that is no answer of Slack's", || outcome(&running, "failed") == 1).await;
    installation.publish(breach("u-3", Warning)).await;
    eventually("the next one arrives", || fake.accepted().len() == 2).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alertmanager_gets_alerts_as_prometheus_sends_them() {
    let fake = FakeReceiver::start().await;
    let installation = Installation::new();
    let running = installation.start(&section(&format!("alertmanager: {{ url: '{}' }}", fake.url("am/")))).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is told", || fake.accepted().len() == 1).await;
    installation.publish(resolved("u-1", Warning)).await;
    eventually("its end, too", || fake.accepted().len() == 2).await;
    let hits = fake.accepted();
    assert_eq!(hits[0].body[0]["labels"], hits[1].body[0]["labels"], "it knows it again");
    let ends = |hit: &Hit| telemetry_schemas::EventTime::parse(hit.body[0]["endsAt"].as_str().unwrap()).unwrap();
    let now = telemetry_schemas::EventTime(service_kit::clock::now_ms());
    assert!(ends(&hits[0]) > now && ends(&hits[1]) <= now);
    running.stop().await;
}

/// Several groups at once: the fake fails the test for more than a message a second and channel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slack_is_told_no_faster_than_it_allows() {
    let fake = FakeReceiver::start().await;
    let installation = Installation::new();
    let running = installation.start(&slack(&fake)).await;
    for index in 0..6 {
        installation.publish(breach(&format!("u-{index}"), Warning)).await;
    }
    eventually("all are told", || fake.accepted().len() == 6).await;
    running.stop().await;
}

/// What is pressed in Slack is a command, when Slack has signed it, and nothing otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_button_pressed_in_slack_is_a_command_once_it_is_signed() {
    use hmac::Mac as _;
    use telemetry_schemas::{alert::AlertCommand, topics};

    let fake = FakeReceiver::start().await;
    let installation = Installation::new();
    let config = crate::testing::config(&slack(&fake));
    let codec = telemetry_schemas::Codec::without_registry();
    let desk = crate::desk::Desk::new(&config, installation.log.clone(), codec.clone()).expect("a desk");
    let router = crate::receivers::slack::endpoint::router(&config, desk).expect("an endpoint");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/slack/interactions", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });

    let payload = r#"{"type":"block_actions","user":{"id":"U1","username":"grace"},
        "actions":[{"action_id":"ttf_acknowledge","value":"ttf:acme:onboarding:00","action_ts":"1.5"}]}"#;
    let body = form_urlencoded::Serializer::new(String::new()).append_pair("payload", payload).finish();
    let sent = (service_kit::clock::now_ms() / 1_000).to_string();
    let client = reqwest::Client::new();
    let post = |secret: &'static str| {
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(format!("v0:{sent}:{body}").as_bytes());
        let request = client
            .post(&url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", &sent)
            .header("x-slack-signature", format!("v0={}", hex::encode(mac.finalize().into_bytes())))
            .body(body.clone());
        async move { request.send().await.expect("an answer").status().as_u16() }
    };
    assert_eq!(post("guessed").await, 401);
    assert!(installation.read(topics::ALERT_COMMANDS).is_empty());
    assert_eq!(post("s3cret").await, 200);
    let commands = installation.read(topics::ALERT_COMMANDS);
    let command: AlertCommand = codec.decode(&commands[0]).expect("a command");
    assert_eq!((command.group_key.as_str(), command.by.as_str()), ("ttf:acme:onboarding:00", "slack:grace"));
    assert_eq!(installation.read(topics::AUDIT).len(), 1, "and it is in the audit log");
}
