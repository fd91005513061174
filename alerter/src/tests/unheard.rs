//! What follows an alarm that its receiver never got: its end and who has taken it have no counterpart there and are
//! not sent, which `ttf alert why` shows; the next alarm is.

use serde_json::Value;
use telemetry_schemas::{
    BreachLevel::{Critical, Warning},
    Codec, EventTime,
    alert::{AlertAction, Notification},
    topics,
};

use super::{
    installation::{Installation, Running, eventually},
    receiver::{Answer, FakeReceiver},
};
use crate::{
    desk::{
        Desk,
        orders::{self, Asker, Order},
        view,
    },
    group::past,
    testing::{breach, config, resolved},
};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn section(receiver: &str) -> String {
    format!(
        "user_ids: plain
external_url: https://ttf.example.com
route: {{ receiver: it, group_wait: 0s, group_interval: 0s }}
receivers: [{{ name: it, {receiver} }}]
"
    )
}

fn pagerduty(fake: &FakeReceiver) -> String {
    section(&format!("pagerduty: {{ routing_key: {KEY}, url: '{}', timeout: 1s }}", fake.url("v2/enqueue")))
}

fn slack(fake: &FakeReceiver) -> String {
    let api = fake.url("api");
    section(&format!("slack: {{ api_url: '{api}', token: xoxb-token, channel: C0123456789, timeout: 1s }}"))
}

fn outcome(running: &Running, outcome: &str) -> u64 {
    let line = format!(r#"ttf_alert_deliveries_total{{outcome="{outcome}",receiver="it"}}"#);
    running.metric(&line).unwrap_or_default() as u64
}

/// The one group there is, and who looks after it.
struct Operator {
    desk: Desk,
    group_key: String,
}

impl Operator {
    fn new(installation: &Installation, section: &str) -> Self {
        let desk = Desk::new(&config(section), installation.log.clone(), Codec::without_registry()).expect("a desk");
        Self { desk, group_key: installation.outbox()[0].group_key.clone() }
    }

    async fn acknowledge(&self) {
        let (desk, group_key) = (self.desk.clone(), self.group_key.clone());
        let ask = move || {
            let asker = Asker { tenant: "acme".to_owned(), name: "ada".to_owned(), origin: "127.0.0.1".to_owned() };
            let now = EventTime(service_kit::clock::now_ms());
            let command = Order::default().about(&group_key, AlertAction::Ack, &asker, now).expect("an order");
            desk.submit(&command, &orders::audit(&command, &asker)).expect("it is written");
        };
        tokio::task::spawn_blocking(ask).await.expect("it is asked");
    }

    fn deliveries(&self) -> Value {
        view::deliveries(&self.desk.receipts(&self.group_key).expect("the log answers"))
    }

    fn undelivered(&self) -> Vec<(String, String)> {
        let all = self.deliveries()[0]["undelivered"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.iter().map(|entry| (text(&entry["decision"]), text(&entry["outcome"]))).collect()
    }
}

fn entries(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(decision, outcome)| ((*decision).to_owned(), (*outcome).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_taken_a_refused_incident_is_not_told_to_pagerduty_and_the_next_alarm_is() {
    let fake = FakeReceiver::start().await;
    fake.answer([Answer::Status(400)]);
    let (installation, section) = (Installation::new(), pagerduty(&fake));
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is refused", || outcome(&running, "failed") == 1).await;
    let operator = Operator::new(&installation, &section);
    operator.acknowledge().await;
    eventually("that has no counterpart", || outcome(&running, "nothing_to_acknowledge") == 1).await;
    let expected = [("first_notification", "failed"), ("acknowledged", "nothing_to_acknowledge")];
    assert_eq!(operator.undelivered(), entries(&expected));
    let why = operator.deliveries()[0].clone();
    assert_eq!((&why["receiver"], &why["heard_by"]), (&"it".into(), &Vec::<Value>::new().into()));
    assert!(why["undelivered"][0]["detail"].as_str().is_some_and(|detail| detail.contains("400")), "{why}");
    assert!(
        why["undelivered"][1]["meaning"].as_str().is_some_and(|text| text.contains("never got the alarm")),
        "{why}"
    );

    // What gets worse is an alarm; from then on the incident is acknowledged and resolved like any other.
    installation.publish(breach("u-1", Critical)).await;
    eventually("the next alarm is taken", || fake.accepted().len() == 1).await;
    operator.acknowledge().await;
    eventually("now there is something to acknowledge", || fake.accepted().len() == 2).await;
    installation.publish(resolved("u-1", Warning)).await;
    installation.publish(resolved("u-1", Critical)).await;
    eventually("and to end", || fake.accepted().len() == 3).await;
    let actions: Vec<_> = fake.hits().iter().map(|hit| hit.body["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "trigger", "acknowledge", "resolve"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_taken_what_slack_refused_is_posted_nowhere_and_the_next_alarm_is_a_new_message() {
    let fake = FakeReceiver::start().await;
    fake.answer([Answer::SlackError("msg_too_long")]);
    let (installation, section) = (Installation::new(), slack(&fake));
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is refused", || outcome(&running, "failed") == 1).await;
    let operator = Operator::new(&installation, &section);
    operator.acknowledge().await;
    eventually("there is no message to change", || outcome(&running, "nothing_to_acknowledge") == 1).await;
    installation.publish(breach("u-1", Critical)).await;
    eventually("the next alarm is posted", || fake.accepted().len() == 1).await;
    let hit = &fake.accepted()[0];
    assert!(hit.body.get("ts").is_none() && hit.body.get("thread_ts").is_none(), "{}", hit.body);
    assert_eq!(fake.hits().len(), 2);
    running.stop().await;
}

/// It waits in line behind the alarm, and comes after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_taken_an_incident_that_is_not_delivered_yet_is_told_after_it() {
    let fake = FakeReceiver::start().await;
    fake.answer_always(Some(Answer::Status(503)));
    let (installation, section) = (Installation::new(), pagerduty(&fake));
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it was tried", || !fake.hits().is_empty()).await;
    Operator::new(&installation, &section).acknowledge().await;
    eventually("both are decided", || installation.outbox().len() == 2).await;
    fake.answer_always(None);
    eventually("both are told", || fake.accepted().len() == 2).await;
    let actions: Vec<_> = fake.accepted().iter().map(|hit| hit.body["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "acknowledge"]);
    running.stop().await;
}

/// The receiver has said that it did not take it: that is known after a restart, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_over_before_it_could_be_delivered_is_told_to_nobody_across_a_restart() {
    let fake = FakeReceiver::start().await;
    fake.answer_always(Some(Answer::Status(503)));
    let (installation, section) = (Installation::new(), pagerduty(&fake));
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it was refused for now", || outcome(&running, "retried") > 0).await;
    running.stop().await;
    installation.publish(resolved("u-1", Warning)).await;
    let running = installation.start(&section).await;
    eventually("both are given up, and it says why", || outcome(&running, "resolved_before_delivered") == 2).await;
    assert_eq!((outcome(&running, "redelivered"), fake.accepted().len()), (0, 0));
    let operator = Operator::new(&installation, &section);
    let expected = [("first_notification", "resolved_before_delivered"), ("resolved", "resolved_before_delivered")];
    eventually("`why` shows it", || operator.undelivered() == entries(&expected)).await;
    running.stop().await;
}

/// It takes each and never says so, until the alarm is too old: whoever may have it hears the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_what_was_given_up_and_may_have_been_taken_is_told() {
    let fake = FakeReceiver::start().await;
    fake.answer_always(Some(Answer::TakeAndDrop));
    let (installation, section) = (Installation::new(), format!("max_notification_age: 3s\n{}", pagerduty(&fake)));
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is given up", || outcome(&running, "expired") == 1).await;
    fake.answer_always(None);
    installation.publish(resolved("u-1", Warning)).await;
    eventually("its end is told", || fake.accepted().len() == 1).await;
    assert_eq!(fake.accepted()[0].body["event_action"], "resolve");
    running.stop().await;
}

/// A summary is over when it comes. Where that would be told to nobody it is told as what people see there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_of_what_came_too_late_is_seen_at_every_provider() {
    let fake = FakeReceiver::start().await;
    let section = format!(
        "route: {{ receiver: pd, group_wait: 0s, group_interval: 0s }}
receivers:
  - {{ name: pd, pagerduty: {{ routing_key: {KEY}, url: '{}', timeout: 1s }} }}
  - {{ name: am, alertmanager: {{ url: '{}', timeout: 1s }} }}
",
        fake.url("v2/enqueue"),
        fake.url("am")
    );
    let installation = Installation::new();
    let running = installation.start(&section).await;
    let now = EventTime(service_kit::clock::now_ms());
    let sum_up = |user: &str, at: EventTime| {
        let mut late = telemetry_schemas::alert::AlertState { group_key: "late:acme".to_owned(), ..Default::default() };
        past::count(&mut late, &breach(user, Warning), at);
        let summary = past::summary(&late, at);
        let to: Vec<_> = ["pd", "am"].map(|name| (name.to_owned(), past::labels(&summary))).into();
        past::tell(&late, &summary, &to, at)
    };
    let tell = async |notifications: Vec<Notification>| {
        for sent in notifications {
            let value = Codec::without_registry().encode(&sent).expect("Avro");
            let record = stream_runtime::log::NewRecord::new(topics::ALERT_NOTIFICATIONS, sent.group_key, value);
            installation.publish_record(record).await;
        }
    };
    tell(sum_up("u-1", now)).await;
    eventually("both have it", || fake.accepted().len() == 2).await;
    let hits = fake.accepted();
    let alert = hits.iter().find_map(|hit| hit.body.get(0)).expect("Alertmanager has it");
    let ends = EventTime::parse(alert["endsAt"].as_str().expect("an end")).expect("RFC 3339");
    assert!(alert["labels"]["alertname"] == past::CAUGHT_UP && ends > now, "it fires for a while: {alert}");
    let change = hits.iter().find(|hit| hit.body["payload"].is_object()).expect("PagerDuty has it");
    assert!(change.body.get("event_action").is_none(), "a change wakes nobody: {}", change.body);
    let said = change.body["payload"]["summary"].as_str().expect("a summary");
    assert!(said.contains("1 missed deadlines of journey onboarding"), "{said}");

    // The next one is told as well, however soon it comes.
    tell(sum_up("u-2", EventTime(now.0 + 1))).await;
    eventually("both have the next one", || fake.accepted().len() == 4).await;
    running.stop().await;
}
