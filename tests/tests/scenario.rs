//! 500 simulated users through the whole pipe, on both logs, with and without processes being killed.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use ttf_tests::{
    command,
    receiver::Receiver,
    scenario::{Expected, Scenario},
    sender::{self, Line},
    system::System,
    verify::{self, Sent},
    wait,
};

const USERS: usize = 500;
const PATIENCE: Duration = Duration::from_secs(60);

fn now_ms() -> i64 {
    service_kit::clock::now_ms()
}

/// Different (channel, event id) pairs: the source is part of an event's identity.
fn distinct(channels: &[&[Line]]) -> usize {
    let id = |line: &Line| {
        serde_json::from_str::<Value>(&line.json)
            .ok()
            .and_then(|event| event["event_id"].as_str().map(ToOwned::to_owned))
    };
    channels
        .iter()
        .enumerate()
        .flat_map(|(channel, lines)| lines.iter().filter_map(id).map(move |id| (channel, id)).collect::<Vec<_>>())
        .filter(|(_, id)| !id.starts_with('m'))
        .collect::<BTreeSet<_>>()
        .len()
}

/// Sends in four parts; in the middle of each but the last the roles are killed and started again.
async fn kill_three_times_while_sending(system: &mut System, lines: &[Line], roles: &[&'static str]) {
    for (number, part) in lines.chunks(lines.len().div_ceil(4)).enumerate() {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let (url, part, counted) = (system.url.clone(), part.to_vec(), acknowledged.clone());
        let sending = tokio::spawn(async move { sender::post_counting(&url, &part, &counted).await });
        if number < 3 {
            wait::until("some of the part is acknowledged", PATIENCE, || async {
                let batches = acknowledged.load(Ordering::Relaxed);
                if batches >= 3 { Ok(()) } else { Err(format!("{batches} batches")) }
            })
            .await;
            for role in roles {
                system.kill_and_restart(role).await;
            }
        }
        sending.await.expect("everything was acknowledged");
    }
}

/// `ttf trace` finds the row in PostgreSQL and names the object on S3 that holds the event.
async fn where_events_are_is_told(system: &System, events: &[Value]) {
    let objects = system.store.objects("events").await.expect("the bucket answers");
    for event in [&events[0], &events[events.len() - 1]] {
        let id = event["event_id"].as_str().expect("generated");
        let config = system.config().to_str().expect("a temporary path is UTF-8");
        let ran = command::run(Path::new("."), &["trace", id, "--config", config, "--from", "beginning", "--json"]);
        let told: Value = serde_json::from_str(&ran.ok()).expect("JSON");
        assert_eq!(told["gateway"]["outcome"], "accepted", "{told}");
        assert_eq!(told["row"]["received_at"], told["gateway"]["events"][0]["received_at"], "{told}");
        let path = told["object"]["path"].as_str().unwrap_or_else(|| panic!("no object in {told}"));
        let named: Vec<_> = objects.iter().filter(|object| object.key.ends_with(&format!("/{path}"))).collect();
        assert_eq!(named.len(), 1, "{path} is one object of the bucket");
        assert!(named[0].column("event_id").contains(&Some(id.to_owned())), "{path} does not hold {id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_embedded_log_everything_equals_the_oracle() {
    let receiver = Receiver::start().await;
    let mut system = System::embedded(&receiver.url).await;
    let now = now_ms();
    let scenario = Scenario::generate(USERS, 11, now);
    let lines = sender::lines(&scenario.events, &scenario.malformed, 11);
    sender::post(&system.url, &lines).await;
    let sent = Sent { events: lines.len(), distinct: distinct(&[&lines]), repeated: false };
    verify::everything(&system, &scenario, &Expected::of(&scenario, now), &sent, &receiver).await;
    system.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_real_servers_everything_equals_the_oracle() {
    let receiver = Receiver::start().await;
    let mut system = System::on_servers(&["all"], "scenario", 1, &receiver.url).await;
    let now = now_ms();
    let scenario = Scenario::generate(USERS, 12, now);
    let lines = sender::lines(&scenario.events, &scenario.malformed, 12);
    let (raw, http) = lines.split_at(lines.len() / 3);
    let brokers = system.brokers().expect("it runs on Kafka").to_owned();
    let to_kafka = raw.to_vec();
    let producing = tokio::task::spawn_blocking(move || sender::produce_raw(&brokers, &to_kafka));
    sender::post(&system.url, http).await;
    producing.await.expect("the producer took everything");
    let sent = Sent { events: lines.len(), distinct: distinct(&[raw, http]), repeated: false };
    verify::everything(&system, &scenario, &Expected::of(&scenario, now), &sent, &receiver).await;
    where_events_are_is_told(&system, &scenario.events).await;
    system.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_three_moments_the_embedded_pipe_loses_and_doubles_nothing() {
    let receiver = Receiver::start().await;
    let mut system = System::embedded(&receiver.url).await;
    let now = now_ms();
    let scenario = Scenario::generate(USERS, 13, now);
    let lines = sender::lines(&scenario.events, &scenario.malformed, 13);
    // The sender goes on while the process dies: what has no answer is sent again.
    kill_three_times_while_sending(&mut system, &lines, &["dev"]).await;
    let sent = Sent { events: lines.len(), distinct: distinct(&[&lines]), repeated: true };
    verify::everything(&system, &scenario, &Expected::of(&scenario, now), &sent, &receiver).await;
    system.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_real_servers_a_killed_processor_and_archiver_lose_and_double_nothing() {
    let receiver = Receiver::start().await;
    let roles = ["gateway", "processor", "archiver", "alerter"];
    let mut system = System::on_servers(&roles, "killed", 2, &receiver.url).await;
    let now = now_ms();
    let scenario = Scenario::generate(USERS, 14, now);
    let lines = sender::lines(&scenario.events, &scenario.malformed, 14);
    kill_three_times_while_sending(&mut system, &lines, &["processor", "archiver"]).await;
    let sent = Sent { events: lines.len(), distinct: distinct(&[&lines]), repeated: false };
    verify::everything(&system, &scenario, &Expected::of(&scenario, now), &sent, &receiver).await;
    system.stop();
}
