//! What is alerted on besides deadlines, on Kafka: cohorts, the product's errors and response times, the pipeline itself.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use stream_runtime::log::{
    Isolation, NewRecord, NextOffset, Polled, Position, SubscribeOptions, Subscription, TopicPartition,
};
use telemetry_schemas::{Event, EventTime, EventType, Millis, cohort::CohortSummary, event::EventContext, topics};
use ttf_tests::{
    faults::{Cluster, PARTITIONS},
    process::{Ttf, free_port},
    receiver::Receiver,
    wait,
};

const PATIENCE: Duration = Duration::from_secs(90);
/// Who is watched: it reads what this test lets it read.
const GROUP: &str = "ttf-processor";
const HOUR_MS: i64 = 3_600_000;

/// A broker of its own, where nobody else's events come in, and what an alerter on it tells.
struct Watched {
    cluster: Cluster,
    receiver: Receiver,
    folder: tempfile::TempDir,
}

impl Watched {
    async fn start() -> (Self, Ttf) {
        let watched = Self {
            cluster: Cluster::own(),
            receiver: Receiver::start().await,
            folder: tempfile::tempdir().expect("a folder"),
        };
        let admin = free_port();
        let config = watched.folder.path().join("alerter.yaml");
        watched.cluster.write_config(
            &config,
            &json!({
                "service": { "admin_listen": format!("127.0.0.1:{admin}") },
                "alerter": {
                    "state_dir": watched.folder.path().join("alerts"),
                    "route": {
                        "receiver": "hook", "group_wait": "0s", "group_interval": "0s",
                        "group_by": ["alertname", "operation", "stage", "group", "topic"],
                    },
                    "receivers": [{ "name": "hook", "webhook": { "url": watched.receiver.url } }],
                    "checks": {
                        "interval": "500ms",
                        "cohorts": { "for": "0s" },
                        "application": {
                            "window": "10m", "minimum_volume": 50, "error_rate": 0.05, "response_time": "2s", "for": "0s",
                        },
                        "pipeline": {
                            "ingestion_stopped": "3s", "rejected_share": 0.2, "window": "2s", "minimum_volume": 10,
                            "lag": "2s", "headroom": "6h", "for": "0s",
                        },
                    },
                },
            }),
        );
        let arguments = ["alerter", "--config", path(&config)];
        let mut process = Ttf::start("alerter", watched.folder.path(), &arguments);
        process.ready(&format!("http://127.0.0.1:{admin}/ready"), PATIENCE).await;
        (watched, process)
    }

    /// What was told of an alert, the oldest first.
    fn told(&self, name: &str) -> Vec<String> {
        let deliveries = self.receiver.deliveries();
        let alerts = deliveries.iter().flat_map(|sent| sent.body["alerts"].as_array().cloned().unwrap_or_default());
        let of_name = alerts.filter(|alert| alert["labels"]["alertname"] == name);
        of_name.map(|alert| alert["status"].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn wait_for(&self, name: &str, expected: &[&str]) {
        wait::until(&format!("{name}: {expected:?}"), PATIENCE, || async {
            let told = self.told(name);
            if told == expected { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    }

    async fn cohorts(&self, cohorts: &[CohortSummary]) {
        let record = |cohort: &CohortSummary| {
            let key = format!("{}|{}", cohort.stage, cohort.window);
            NewRecord::new(topics::TTF_COHORTS, key, self.cluster.codec.encode(cohort).expect("a sound summary"))
        };
        self.cluster.publish_records(cohorts.iter().map(record).collect()).await;
    }

    async fn events(&self, count: usize, event_type: EventType, properties: Value) {
        let events: Vec<_> = (0..count).map(|index| event(index, event_type, &properties)).collect();
        self.cluster.publish(&events).await;
    }

    /// Events come in for at least so long, `rejected` others with each, until it is so.
    async fn flow(&self, least: Duration, rejected: usize, mut is_so: impl FnMut() -> bool) {
        let (began, mut round) = (Instant::now(), 0);
        while began.elapsed() < least || !is_so() {
            assert!(began.elapsed() < PATIENCE, "it is not so");
            self.events(4, EventType::Track, json!({ "round": round })).await;
            let refused = (0..rejected).map(|_| NewRecord::new(topics::EVENTS_REJECTED, "k", "rejected"));
            self.cluster.publish_records(refused.collect()).await;
            round += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The watched group, with nothing read.
    fn member(&self) -> Box<dyn Subscription> {
        let mut member = self
            .cluster
            .log
            .subscribe(SubscribeOptions {
                group: GROUP.to_owned(),
                topics: vec![topics::EVENTS.to_owned()],
                instance_id: None,
                prefetch_bytes: 1 << 20,
                isolation: Isolation::ReadCommitted,
            })
            .expect("a member");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Polled::Assigned(partitions) = member.poll(1, Duration::from_secs(1), &mut |_| {}).expect("a poll") {
                let from: Vec<_> = partitions.into_iter().map(|at| (at, Position::Beginning)).collect();
                member.assign(&from).expect("assigned");
                return member;
            }
            assert!(Instant::now() < deadline, "no partitions");
        }
    }

    fn commit(&self, member: &mut dyn Subscription, to_the_end: bool) {
        let next = |partition| {
            let at = TopicPartition::new(topics::EVENTS, partition);
            let end = self.cluster.end(&at, Isolation::ReadCommitted);
            NextOffset { at, next: if to_the_end { end } else { 0 }, metadata: String::new() }
        };
        let offsets: Vec<_> = (0..PARTITIONS).map(next).collect();
        member.commit(&offsets).expect("committed");
    }
}

/// Of those who reached a stage, so many did it within target; in seconds half of them.
fn cohort(window: &str, stage: &str, reached: i64, within: i64, median: i64) -> CohortSummary {
    CohortSummary {
        tenant: "acme".to_owned(),
        journey: "onboarding".to_owned(),
        stage: stage.to_owned(),
        window: window.to_owned(),
        segment_name: None,
        segment_value: None,
        started: reached,
        reached,
        completed: within,
        within_target: within,
        median_ms: Some(Millis::from_secs(median)),
        p90_ms: Some(Millis::from_secs(median * 2)),
        efficiency_score: None,
        breaches_open: 0,
        evaluated_at: now(),
    }
}

fn event(index: usize, event_type: EventType, properties: &Value) -> Event {
    Event {
        tenant: "acme".to_owned(),
        source: "http".to_owned(),
        event_id: format!("{index}-{}", now().0),
        event_name: "work".to_owned(),
        event_type,
        timestamp: now(),
        original_timestamp: None,
        sent_at: None,
        received_at: now(),
        user_id: Some(format!("u-{index}")),
        anonymous_id: None,
        session_id: None,
        journey_id: None,
        properties: properties.as_object().expect("an object").clone(),
        context: EventContext::default(),
        sealed: BTreeMap::new(),
        replay: false,
    }
}

fn now() -> EventTime {
    EventTime(service_kit::clock::now_ms())
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_check_is_told_on_kafka_and_its_end() {
    let (watched, mut alerter) = Watched::start().await;

    // The first record there is: what is older than another lies before it.
    let old = now().plus(Millis(-(7 * 24 - 1) * HOUR_MS));
    let record = watched.cluster.record_of(&event(0, EventType::Track, &json!({})));
    watched.cluster.publish_records(vec![record.with_timestamp(old.0)]).await;

    // Cohorts, and the product.
    watched.cohorts(&[cohort("7d", "s1", 1_100, 900, 200), cohort("24h", "s1", 100, 20, 600)]).await;
    watched.events(60, EventType::Error, json!({ "operation": "save", "error_type": "Timeout" })).await;
    let slow = json!({ "operation": "load", "duration_ms": 4_000, "status": "ok" });
    watched.events(60, EventType::Performance, slow).await;
    for name in ["TtfOnTargetRateLow", "TtfStageSlow", "TtfErrorRateHigh", "TtfResponseTimeHigh"] {
        watched.wait_for(name, &["firing"]).await;
    }
    watched.cohorts(&[cohort("7d", "s1", 1_200, 980, 200), cohort("24h", "s1", 200, 170, 210)]).await;
    for operation in ["save", "load"] {
        let fine = json!({ "operation": operation, "duration_ms": 20, "status": "ok" });
        watched.events(1_400, EventType::Performance, fine).await;
    }

    // The pipeline: much is rejected, a group stands still, what it has not read will soon be deleted, then nothing comes.
    let mut member = watched.member();
    watched.commit(&mut *member, false);
    let rejected = || !watched.told("TtfRejectedShareHigh").is_empty();
    let deadline = Instant::now() + PATIENCE;
    while watched.told("TtfIngestionStopped").is_empty() {
        assert!(Instant::now() < deadline, "nobody was told");
        // On a machine that stumbles the flow is not steady at once.
        watched.flow(Duration::from_secs(5), 4, rejected).await;
        let quiet_until = Instant::now() + Duration::from_secs(8);
        while watched.told("TtfIngestionStopped").is_empty() && Instant::now() < quiet_until {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    for name in ["TtfRetentionHeadroomLow", "TtfPipelineLag"] {
        watched.wait_for(name, &["firing"]).await;
    }

    // All of it is mended.
    let all = [
        "TtfOnTargetRateLow",
        "TtfStageSlow",
        "TtfErrorRateHigh",
        "TtfResponseTimeHigh",
        "TtfRejectedShareHigh",
        "TtfIngestionStopped",
        "TtfRetentionHeadroomLow",
        "TtfPipelineLag",
    ];
    let is_over = || {
        watched.commit(&mut *member, true);
        all.iter().all(|name| watched.told(name).last().is_some_and(|status| status == "resolved"))
    };
    watched.flow(Duration::from_secs(1), 0, is_over).await;
    for name in all {
        let told = watched.told(name);
        let turns = told.chunks(2).all(|turn| turn == ["firing", "resolved"]);
        assert!(turns, "{name}: each alarm once, and each end: {told:?}");
    }
    drop(member);
    assert!(alerter.terminate(Duration::from_secs(15)).success());
}
