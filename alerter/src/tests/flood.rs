//! A flood: tens of thousands of users are late within a minute.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use stream_runtime::log::NewRecord;
use telemetry_schemas::{BreachLevel::Warning, EventTime, RecordKey, TtfBreach, topics};

use super::{
    installation::{Installation, Running},
    receiver::FakeReceiver,
};
use crate::testing::breach;

const USERS: usize = 50_000;
/// In a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Resident memory of this process in KiB.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

fn metric(running: &Running, line: &str) -> usize {
    running.metric(line).unwrap_or_default() as usize
}

/// How many are late, as the last event of each incident says.
fn told(fake: &FakeReceiver) -> BTreeMap<String, usize> {
    let mut by_incident: BTreeMap<String, usize> = BTreeMap::new();
    for hit in fake.accepted() {
        let text = hit.body["payload"]["summary"].as_str().unwrap_or_default();
        let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
        by_incident.insert(hit.body["dedup_key"].to_string(), digits.parse().unwrap_or(1));
    }
    by_incident
}

/// A group, and the receiver takes one message in 600 ms.
const TENANTS: usize = 20;

/// Half of the users are one tenant's, and far more than a group lists.
fn tenant(user: usize) -> String {
    let other = 1 + user / 2 % (TENANTS - 1);
    format!("t-{}", if user.is_multiple_of(2) { 0 } else { other })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_breaches_is_a_few_messages_that_count_them_all() {
    let fake = FakeReceiver::start().await;
    let installation = Installation::new();
    let section = format!(
        "
route: {{ receiver: team, group_by: [tenant, journey], group_wait: 1s, group_interval: 10s }}
receivers: [{{ name: team, pagerduty: {{ routing_key: 0123456789abcdef0123456789abcdef, url: '{}' }} }}]
",
        fake.url("v2/enqueue")
    );
    let running = installation.start(&section).await;
    let codec = telemetry_schemas::Codec::without_registry();
    let publisher = installation.log.publisher().expect("a publisher");
    let before = memory();
    let began = Instant::now();
    let mut last = None;
    for user in 0..USERS {
        let now = EventTime(service_kit::clock::now_ms());
        let breach = breach(&format!("u-{user}"), Warning);
        let shift = now.since(breach.detected_at);
        let breach = TtfBreach {
            tenant: tenant(user),
            signup_at: breach.signup_at.plus(shift),
            due_at: breach.due_at.plus(shift),
            detected_at: now,
            ..breach
        };
        let key = RecordKey::user(&*breach.tenant, &*breach.user_id).to_bytes();
        let record = NewRecord::new(topics::TTF_BREACHES, key, codec.encode(&breach).expect("Avro"));
        last = Some(loop {
            // The queue is full: come back.
            match publisher.publish(record.clone()) {
                Ok(delivery) => break delivery,
                Err(_) => tokio::task::yield_now().await,
            }
        });
    }
    last.expect("there are some").await.expect("it is written");
    let mut most = memory();
    while told(&fake).values().sum::<usize>() < USERS {
        most = most.max(memory());
        let routed = metric(&running, r#"ttf_alert_breaches_total{outcome="routed"}"#);
        assert!(
            began.elapsed() < PATIENCE,
            "{:?} of {USERS} told, {routed} routed, {} messages",
            told(&fake),
            fake.accepted().len()
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let mut by_incident: Vec<usize> = told(&fake).into_values().collect();
    by_incident.sort_unstable();
    let mut expected: Vec<usize> =
        (0..TENANTS).map(|number| (0..USERS).filter(|user| tenant(*user) == format!("t-{number}")).count()).collect();
    expected.sort_unstable();
    assert_eq!(by_incident, expected, "each is counted once");
    assert_eq!(metric(&running, r#"ttf_alert_breaches_total{outcome="routed"}"#), USERS);
    // The fake fails the test for more than 120 events in a minute.
    let messages = fake.accepted().len();
    assert!(messages <= 6 * TENANTS, "{messages} messages");
    let took = began.elapsed();
    let growth = most.saturating_sub(before) / 1_024;
    // The log and what the receiver has got are in memory here, too; the rest is the listed alerts: decoded, waiting and
    // in words. What a group lists is bounded.
    assert!(growth < 450, "{growth} MiB");
    println!("{messages} messages in {took:?}, {growth} MiB");
    running.stop().await;
}
