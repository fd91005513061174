//! 500 simulated users through the whole pipe, on both logs, with and without processes being killed.

use serde_json::Value;
use std::collections::BTreeSet;

use ttf_tests::{
    receiver::Receiver,
    scenario::{Expected, Scenario},
    sender::{self, Line},
    system::System,
    verify::{self, Sent},
};

const USERS: usize = 500;

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
    let (url, to_send) = (system.url.clone(), lines.clone());
    let sending = tokio::spawn(async move {
        for part in to_send.chunks(to_send.len() / 12 + 1) {
            sender::post(&url, part).await;
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        }
    });
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        system.kill_and_restart("dev").await;
    }
    sending.await.expect("everything was acknowledged");
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
    let (url, to_send) = (system.url.clone(), lines.clone());
    let sending = tokio::spawn(async move {
        for part in to_send.chunks(to_send.len() / 12 + 1) {
            sender::post(&url, part).await;
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
        }
    });
    for _ in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(900)).await;
        system.kill_and_restart("processor").await;
        system.kill_and_restart("archiver").await;
    }
    sending.await.expect("everything was acknowledged");
    let sent = Sent { events: lines.len(), distinct: distinct(&[&lines]), repeated: false };
    verify::everything(&system, &scenario, &Expected::of(&scenario, now), &sent, &receiver).await;
    system.stop();
}
