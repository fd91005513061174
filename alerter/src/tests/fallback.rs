//! Receivers that are dead or fail: who is told in their place, and who hears of it.

use telemetry_schemas::BreachLevel::{Critical, Warning};

use super::{
    installation::{Installation, Running, eventually},
    receiver::{Answer, FakeReceiver, Hit},
};
use crate::testing::{breach, resolved};

/// `first` has `second` to stand in for it.
fn section(first: &FakeReceiver, second: &FakeReceiver) -> String {
    format!(
        "user_ids: plain
route: {{ receiver: first, group_wait: 0s, group_interval: 0s }}
receivers:
  - {{ name: first, fallback: second, webhook: {{ url: '{}', timeout: 1s }} }}
  - {{ name: second, webhook: {{ url: '{}', timeout: 1s }} }}
delivery: {{ break_after: 2, break_pause: 300ms, longest_pause: 600ms, fallback_after: 2s }}
",
        first.url("hook"),
        second.url("hook")
    )
}

fn outcome(running: &Running, outcome: &str) -> u64 {
    let line = format!(r#"ttf_alert_deliveries_total{{outcome="{outcome}",receiver="first"}}"#);
    running.metric(&line).unwrap_or_default() as u64
}

fn is_internal(hit: &Hit) -> bool {
    hit.body["alerts"][0]["labels"]["alertname"] == "TtfReceiverDead"
}

fn internal(fake: &FakeReceiver) -> Vec<Hit> {
    fake.accepted().into_iter().filter(is_internal).collect()
}

fn alarms(fake: &FakeReceiver) -> Vec<Hit> {
    fake.accepted().into_iter().filter(|hit| !is_internal(hit)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_receiver_is_stood_in_for_at_once_and_another_hears_of_it() {
    for status in [403, 404, 410] {
        let (first, second) = (FakeReceiver::start().await, FakeReceiver::start().await);
        first.answer_always(Some(Answer::Status(status)));
        let installation = Installation::new();
        let running = installation.start(&section(&first, &second)).await;
        installation.publish(breach("u-1", Warning)).await;
        eventually("the other is told", || alarms(&second).len() == 1).await;
        eventually("… and of the dead one", || internal(&second).len() == 1).await;
        assert_eq!(running.metric(r#"ttf_alert_receiver_up{receiver="first"}"#), Some(0.0));
        let said = internal(&second)[0].body["alerts"][0]["annotations"]["summary"].to_string();
        assert!(said.contains("first") && said.contains(&status.to_string()), "{said}");

        // Mended: it is found out by trying, and its own notifications come again.
        first.answer_always(None);
        let mut user = 2;
        while alarms(&first).is_empty() {
            installation.publish(breach(&format!("u-{user}"), Warning)).await;
            let told = user;
            eventually("each is told to one of them", || alarms(&first).len() + alarms(&second).len() == told).await;
            user += 1;
        }
        eventually("that it works again is told", || internal(&second).len() == 2).await;
        assert_eq!(internal(&second)[1].status(), "resolved");
        let is_up = || running.metric(r#"ttf_alert_receiver_up{receiver="first"}"#) == Some(1.0);
        eventually("the metric says so", is_up).await;
        assert_eq!(outcome(&running, "failed"), 0, "nothing was given up");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_only_fails_is_stood_in_for_later() {
    let (first, second) = (FakeReceiver::start().await, FakeReceiver::start().await);
    first.answer_always(Some(Answer::Status(500)));
    let installation = Installation::new();
    let running = installation.start(&section(&first, &second)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("the other is told", || alarms(&second).len() == 1).await;
    let waited = alarms(&second)[0].at - first.hits()[0].at;
    assert!(waited >= std::time::Duration::from_secs(2), "{waited:?}: a hiccup is no reason");
    let tries = first.hits().len();
    assert!(tries < 12, "it was left alone meanwhile: {tries} tries");
    eventually("it is counted", || outcome(&running, "fallback") == 1).await;
    running.stop().await;
}

/// Whoever heard the beginning hears the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_is_told_to_all_who_heard_the_beginning() {
    let (first, second) = (FakeReceiver::start().await, FakeReceiver::start().await);
    first.answer_always(Some(Answer::Status(403)));
    let installation = Installation::new();
    let running = installation.start(&section(&first, &second)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("the other is told", || alarms(&second).len() == 1).await;
    first.answer_always(None);
    let mut level = Critical;
    while alarms(&first).is_empty() {
        installation.publish(breach("u-1", level)).await;
        let seen = alarms(&second).len();
        eventually("somebody is told", || !alarms(&first).is_empty() || alarms(&second).len() > seen).await;
        installation.publish(resolved("u-1", level)).await;
        level = telemetry_schemas::BreachLevel::Escalation;
    }
    for level in [Warning, Critical, telemetry_schemas::BreachLevel::Escalation] {
        installation.publish(resolved("u-1", level)).await;
    }
    let is_over = |fake: &FakeReceiver| alarms(fake).iter().any(|hit| hit.status() == "resolved");
    eventually("both hear the end", || is_over(&first) && is_over(&second)).await;
    running.stop().await;
}

/// Of two who heard the beginning one does not take the end for a while: the other hears it once all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_one_of_two_does_not_take_yet_is_not_told_to_the_other_again() {
    let (first, second) = (FakeReceiver::start().await, FakeReceiver::start().await);
    first.answer_always(Some(Answer::Status(403)));
    let installation = Installation::new();
    // Whose name comes first is told first.
    let section = section(&first, &second).replace("second", "another");
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("the other is told", || alarms(&second).len() == 1).await;
    first.answer_always(None);
    let mut told = 1;
    while alarms(&first).is_empty() {
        installation.publish(breach(&format!("v-{told}"), Warning)).await;
        told += 1;
        eventually("somebody is told", || alarms(&first).len() + alarms(&second).len() == told).await;
    }
    installation.publish(breach("u-1", Critical)).await;
    eventually("the first one is told, too", || alarms(&first).iter().any(|hit| hit.user() == "u-1")).await;
    eventually("it is recorded", || outcome(&running, "delivered") == 2).await;

    first.answer([Answer::Status(500), Answer::Drop, Answer::Status(500)]);
    for level in [Warning, Critical] {
        installation.publish(resolved("u-1", level)).await;
    }
    let ends = |fake: &FakeReceiver| alarms(fake).iter().filter(|hit| hit.status() == "resolved").count();
    eventually("both hear the end", || ends(&first) == 1).await;
    assert_eq!(ends(&second), 1, "and each once");
    running.stop().await;
}

/// A dead receiver is no better because somebody else has heard something in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_only_the_fallback_hears_is_no_sign_that_the_dead_one_works() {
    let (first, second) = (FakeReceiver::start().await, FakeReceiver::start().await);
    first.answer_always(Some(Answer::Status(403)));
    let installation = Installation::new();
    let running = installation.start(&section(&first, &second)).await;
    for user in ["u-1", "u-2", "u-3", "u-4"] {
        installation.publish(breach(user, Warning)).await;
    }
    eventually("the other is told", || alarms(&second).len() == 4 && internal(&second).len() == 1).await;
    for (index, user) in ["u-1", "u-2", "u-3", "u-4"].into_iter().enumerate() {
        // The pause between two tries is over, so that the end may be the next try.
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        installation.publish(resolved(user, Warning)).await;
        eventually("it hears the end", || alarms(&second).len() == 5 + index).await;
    }
    assert_eq!(internal(&second).len(), 1, "nobody says that it works again");
    assert_eq!(running.metric(r#"ttf_alert_receiver_up{receiver="first"}"#), Some(0.0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fallback_notifications_wait_for_the_dead_receiver() {
    let (first, second) = (FakeReceiver::start().await, FakeReceiver::start().await);
    first.answer_always(Some(Answer::Status(404)));
    let installation = Installation::new();
    let section = section(&first, &second).replace("fallback: second, ", "");
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("the other hears of the dead one", || internal(&second).len() == 1).await;
    assert!(alarms(&second).is_empty());
    first.answer_always(None);
    eventually("what has waited is delivered", || alarms(&first).len() == 1).await;
    eventually("and that is told", || internal(&second).len() == 2).await;
    running.stop().await;
}
