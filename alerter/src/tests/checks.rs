//! The checks from the topics they read to what a receiver is told.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use stream_runtime::log::{
    Isolation, Log, NewRecord, NextOffset, Polled, Position, SubscribeOptions, Subscription, TopicPartition,
};
use telemetry_schemas::{
    BreachStatus::{Firing, Resolved},
    Codec, Event, EventTime, EventType, RecordKey,
    cohort::CohortSummary,
    topics,
};

use super::{
    installation::{Installation, Running, eventually},
    receiver::FakeReceiver,
};
use crate::testing::cohort;

const CALL: Duration = Duration::from_secs(5);
const PARTITIONS: i32 = 2;

/// Each alert is a group, looked at ten times a second, and nothing waits.
fn section(fake: &FakeReceiver, checks: &str) -> String {
    let off = ["cohorts", "application", "pipeline"].into_iter().filter(|part| !checks.starts_with(part));
    let off = off.fold(String::new(), |text, part| text + part + ": null, ");
    format!(
        "route: {{ receiver: hook, group_by: [alertname, operation, stage, group, topic], group_wait: 0s, group_interval: 0s }}
receivers: [{{ name: hook, webhook: {{ url: '{}' }} }}]
checks: {{ interval: 100ms, {off}{checks} }}",
        fake.url("hook")
    )
}

struct Checked {
    fake: FakeReceiver,
    installation: Installation,
    running: Running,
}

impl Checked {
    async fn start(checks: &str) -> Self {
        Self::start_with(Installation::new(), checks).await
    }

    async fn start_with(installation: Installation, checks: &str) -> Self {
        let fake = FakeReceiver::start().await;
        let running = installation.start(&section(&fake, checks)).await;
        Self { fake, installation, running }
    }

    /// What was told of an alert, the oldest first: its status, and another of its labels.
    fn told(&self, name: &str, label: &str) -> Vec<(String, String)> {
        let hits = self.fake.accepted();
        let alerts = hits.iter().flat_map(|hit| hit.body["alerts"].as_array().cloned().unwrap_or_default());
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        alerts
            .filter(|alert| alert["labels"]["alertname"] == name)
            .map(|alert| (text(&alert["status"]), text(&alert["labels"][label])))
            .collect()
    }

    async fn wait_for(&self, name: &str, label: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(status, value)| ((*status).to_owned(), (*value).to_owned())).collect();
        eventually(&format!("{name} {expected:?}"), || self.told(name, label) == expected).await;
    }

    async fn cohort(&self, cohort: CohortSummary) {
        let key = format!(
            "{}|{}|{}|{:?}|{:?}",
            cohort.journey, cohort.stage, cohort.window, cohort.segment_name, cohort.segment_value
        );
        let value = Codec::without_registry().encode(&cohort).expect("Avro");
        self.installation.publish_record(NewRecord::new(topics::TTF_COHORTS, key, value)).await;
    }

    async fn event(&self, event_type: EventType, properties: serde_json::Value) {
        let now = EventTime(service_kit::clock::now_ms());
        let event = Event {
            tenant: "acme".to_owned(),
            source: "http".to_owned(),
            event_id: uuid::Uuid::now_v7().to_string(),
            event_name: "work".to_owned(),
            event_type,
            timestamp: now,
            original_timestamp: None,
            sent_at: None,
            received_at: now,
            user_id: Some("u-1".to_owned()),
            anonymous_id: None,
            session_id: None,
            journey_id: None,
            properties: properties.as_object().expect("an object").clone(),
            context: telemetry_schemas::event::EventContext::default(),
            sealed: BTreeMap::new(),
            replay: false,
        };
        let key = RecordKey::user("acme", "u-1").to_bytes();
        let value = Codec::without_registry().encode(&event).expect("Avro");
        let name = serde_json::to_value(event_type).expect("a word");
        let name = name.as_str().expect("a word").to_owned();
        let record = NewRecord::new(topics::EVENTS, key, value).with_header(topics::HEADER_EVENT_TYPE, name);
        self.installation.publish_record(record).await;
    }

    async fn stop(self) {
        self.running.stop().await;
    }
}

const COHORTS: &str = "cohorts: { window: 24h, baseline: 7d, minimum_volume: 30, significance: 0.01, minimum_drop: 0.1, \
    slow_factor: 1.5, for: 0s }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cohort_that_falls_behind_is_told_and_its_recovery() {
    let checked = Checked::start(COHORTS).await;
    // Three users of one plan are late: that proves nothing. The plan of many falls, and so does everybody.
    checked.cohort(cohort("7d", "total", Some("tiny"), 403, 400, 600)).await;
    checked.cohort(cohort("24h", "total", Some("tiny"), 3, 0, 6_000)).await;
    checked.cohort(cohort("7d", "total", Some("team"), 1_100, 900, 600)).await;
    checked.cohort(cohort("24h", "total", Some("team"), 100, 20, 6_000)).await;
    checked.cohort(cohort("7d", "total", None, 1_503, 1_300, 600)).await;
    checked.cohort(cohort("24h", "total", None, 103, 20, 6_000)).await;
    eventually("both are told", || checked.told("TtfOnTargetRateLow", "group").len() == 2).await;
    let mut told = checked.told("TtfOnTargetRateLow", "group");
    told.sort();
    let firing = |group: &str| ("firing".to_owned(), group.to_owned());
    assert_eq!(told, [firing(""), firing("plan=team")], "and nothing of three users");

    checked.cohort(cohort("7d", "total", Some("team"), 1_200, 980, 600)).await;
    checked.cohort(cohort("24h", "total", Some("team"), 200, 170, 600)).await;
    checked.cohort(cohort("7d", "total", None, 1_603, 1_380, 600)).await;
    checked.cohort(cohort("24h", "total", None, 203, 170, 600)).await;
    eventually("both are over", || {
        checked.told("TtfOnTargetRateLow", "group").iter().filter(|(status, _)| status == "resolved").count() == 2
    })
    .await;
    assert_eq!(checked.told("TtfStageSlow", "stage"), []);
    checked.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_is_suddenly_slow_for_everyone_is_told_and_its_end() {
    let checked = Checked::start(COHORTS).await;
    let stage = "signup_to_first_project";
    checked.cohort(cohort("7d", stage, None, 1_100, 900, 200)).await;
    checked.cohort(cohort("24h", stage, None, 100, 20, 600)).await;
    // Fewer within target, and hardly slower: no slow stage.
    checked.cohort(cohort("7d", "other_stage", None, 1_100, 900, 200)).await;
    checked.cohort(cohort("24h", "other_stage", None, 100, 20, 220)).await;
    checked.wait_for("TtfStageSlow", "stage", &[("firing", stage)]).await;
    eventually("the other is late all the same", || checked.told("TtfOnTargetRateLow", "stage").len() == 2).await;
    checked.cohort(cohort("7d", stage, None, 1_200, 980, 200)).await;
    checked.cohort(cohort("24h", stage, None, 200, 170, 210)).await;
    checked.wait_for("TtfStageSlow", "stage", &[("firing", stage), ("resolved", stage)]).await;
    checked.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_slow_answers_of_the_product_are_told_and_their_end() {
    let application = "application: { window: 10m, minimum_volume: 50, error_rate: 0.05, response_time: 2s, for: 0s }";
    let checked = Checked::start(application).await;
    for _ in 0..49 {
        checked.event(EventType::Error, json!({ "operation": "rare", "error_type": "Timeout" })).await;
    }
    for _ in 0..60 {
        checked.event(EventType::Error, json!({ "operation": "save", "error_type": "Timeout" })).await;
        checked
            .event(EventType::Performance, json!({ "operation": "load", "duration_ms": 4_000, "status": "ok" }))
            .await;
        // What users do is no operation.
        checked.event(EventType::Track, json!({ "operation": "click" })).await;
    }
    checked.wait_for("TtfErrorRateHigh", "operation", &[("firing", "save")]).await;
    checked.wait_for("TtfResponseTimeHigh", "operation", &[("firing", "load")]).await;
    for operation in ["save", "load"] {
        for _ in 0..1_400 {
            let fine = json!({ "operation": operation, "duration_ms": 20, "status": "ok" });
            checked.event(EventType::Performance, fine).await;
        }
    }
    checked.wait_for("TtfErrorRateHigh", "operation", &[("firing", "save"), ("resolved", "save")]).await;
    checked.wait_for("TtfResponseTimeHigh", "operation", &[("firing", "load"), ("resolved", "load")]).await;
    checked.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingestion_that_stops_after_it_was_steady_is_told_and_that_it_goes_on() {
    let pipeline = "pipeline: { ingestion_stopped: 2s, rejected_share: 0.2, window: 2s, minimum_volume: 10, lag: 1h, \
        headroom: 6h, for: 0s }";
    let checked = Checked::start(pipeline).await;
    let name = "TtfIngestionStopped";
    let deadline = std::time::Instant::now() + Duration::from_secs(90);
    // On a machine that stumbles the flow is not steady at once.
    while checked.told(name, "check").is_empty() {
        assert!(std::time::Instant::now() < deadline, "nobody was told");
        let until = std::time::Instant::now() + Duration::from_secs(4);
        while std::time::Instant::now() < until {
            checked.event(EventType::Track, json!({})).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let silent_until = std::time::Instant::now() + Duration::from_secs(5);
        while checked.told(name, "check").is_empty() && std::time::Instant::now() < silent_until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    checked.event(EventType::Track, json!({})).await;
    checked.wait_for(name, "check", &[("firing", "pipeline"), ("resolved", "pipeline")]).await;
    checked.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_share_that_rises_is_told_and_its_end() {
    let pipeline = "pipeline: { ingestion_stopped: null, rejected_share: 0.2, window: 1s, minimum_volume: 10, lag: 1h, \
        headroom: 6h, for: 0s }";
    let checked = Checked::start(pipeline).await;
    let name = "TtfRejectedShareHigh";
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while checked.told(name, "check").is_empty() {
        assert!(std::time::Instant::now() < deadline, "nobody was told");
        for _ in 0..5 {
            checked.event(EventType::Track, json!({})).await;
            checked.installation.publish_record(NewRecord::new(topics::EVENTS_REJECTED, "k", "rejected")).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What is rejected no more leaves the window.
    checked.wait_for(name, "check", &[("firing", "pipeline"), ("resolved", "pipeline")]).await;
    checked.stop().await;
}

/// A member of a group that works nothing off by itself.
fn member(log: &dyn Log, group: &str, topic: &str) -> Box<dyn Subscription> {
    let mut member = log
        .subscribe(SubscribeOptions {
            group: group.to_owned(),
            topics: vec![topic.to_owned()],
            instance_id: None,
            prefetch_bytes: 1 << 20,
            isolation: Isolation::ReadCommitted,
        })
        .expect("a member");
    let deadline = std::time::Instant::now() + CALL;
    loop {
        if let Polled::Assigned(partitions) = member.poll(1, CALL, &mut |_| {}).expect("a poll") {
            let from: Vec<_> = partitions.into_iter().map(|at| (at, Position::Beginning)).collect();
            member.assign(&from).expect("assigned");
            return member;
        }
        assert!(std::time::Instant::now() < deadline, "no partitions");
    }
}

fn commit(member: &mut dyn Subscription, log: &dyn Log, topic: &str, to_the_end: bool) {
    let offsets: Vec<_> = (0..PARTITIONS)
        .map(|partition| {
            let at = TopicPartition::new(topic, partition);
            let end = log.end_offset(&at, Isolation::ReadCommitted, CALL).expect("an end");
            NextOffset { at, next: if to_the_end { end } else { 0 }, metadata: String::new() }
        })
        .collect();
    member.commit(&offsets).expect("committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_behind_or_in_danger_of_losing_records_is_told_and_its_end() {
    // Hardly anything is kept: what waits for half of that is in danger.
    let installation = Installation::keeping(Some(Duration::from_secs(60)));
    let log = installation.log.clone();
    let pipeline = "pipeline: { ingestion_stopped: null, rejected_share: 0.2, window: 1m, minimum_volume: 10, lag: 2s, \
        headroom: 6h, for: 0s }";
    let mut processor = member(&*log, "ttf-processor", topics::EVENTS);
    let mut archiver = member(&*log, "ttf-archiver-events", topics::EVENTS);
    let checked = Checked::start_with(installation, pipeline).await;
    let old = service_kit::clock::now_ms() - 45_000;
    let record = NewRecord::new(topics::EVENTS, RecordKey::user("acme", "u-1").to_bytes(), "an event");
    checked.installation.publish_record(record.with_timestamp(old)).await;
    commit(&mut *processor, &*log, topics::EVENTS, false);
    commit(&mut *archiver, &*log, topics::EVENTS, true);
    checked.wait_for("TtfRetentionHeadroomLow", "group", &[("firing", "ttf-processor")]).await;
    checked.wait_for("TtfPipelineLag", "group", &[("firing", "ttf-processor")]).await;
    commit(&mut *processor, &*log, topics::EVENTS, true);
    let both = [("firing", "ttf-processor"), ("resolved", "ttf-processor")];
    checked.wait_for("TtfRetentionHeadroomLow", "group", &both).await;
    checked.wait_for("TtfPipelineLag", "group", &both).await;
    assert!(checked.installation.outbox_count(Firing) == 2 && checked.installation.outbox_count(Resolved) == 2);
    checked.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_alerters_that_see_the_same_say_it_once() {
    let checked = Checked::start(COHORTS).await;
    let second = checked.installation.start_another(&section(&checked.fake, COHORTS)).await;
    checked.cohort(cohort("7d", "total", None, 1_503, 1_300, 600)).await;
    checked.cohort(cohort("24h", "total", None, 103, 20, 6_000)).await;
    checked.wait_for("TtfOnTargetRateLow", "check", &[("firing", "cohort")]).await;
    // Each of them writes each word, also about completions; and by way of where it is remembered what goes where.
    let words = || checked.installation.read(topics::ALERT_GROUPS).len();
    eventually("both alerters have told the groups", || words() == 8).await;
    checked.cohort(cohort("24h", "total", None, 103, 100, 600)).await;
    checked.wait_for("TtfOnTargetRateLow", "check", &[("firing", "cohort"), ("resolved", "cohort")]).await;
    eventually("both alerters have told the groups of the end", || words() == 16).await;
    let outbox = checked.installation.outbox();
    let told = |status| {
        outbox.iter().filter(|sent| sent.status == status && sent.labels["alertname"] == "TtfOnTargetRateLow").count()
    };
    assert_eq!((told(Firing), told(Resolved)), (1, 1));
    second.stop().await;
    checked.stop().await;
}
