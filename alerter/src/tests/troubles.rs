use std::{collections::BTreeMap, time::Duration};

use telemetry_schemas::BreachLevel::{Critical, Warning};

use super::{
    installation::{Installation, eventually},
    pipeline::webhook,
    receiver::{Answer, FakeReceiver},
};
use crate::testing::{breach, resolved};

fn outcome(outcome: &str) -> String {
    format!(r#"ttf_alert_deliveries_total{{outcome="{outcome}",receiver="hook"}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_for_now_is_tried_again_under_the_same_id() {
    let fake = FakeReceiver::start().await;
    fake.answer([Answer::Status(500), Answer::Drop, Answer::Hang]);
    let installation = Installation::new();
    let running = installation.start(&webhook(&fake)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it arrives in the end", || fake.accepted().len() == 1).await;
    let hits = fake.hits();
    assert_eq!(hits.len(), 4);
    assert!(hits.iter().all(|hit| hit.id == hits[0].id && hit.raw == hits[0].raw));
    eventually("every try is counted", || {
        (running.metric(&outcome("retried")), running.metric(&outcome("delivered"))) == (Some(3.0), Some(1.0))
    })
    .await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_holds_for_all_groups_of_the_receiver() {
    let fake = FakeReceiver::start().await;
    fake.answer([Answer::RetryAfter(429, 2)]);
    let installation = Installation::new();
    let running = installation.start(&webhook(&fake)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is refused for now", || fake.hits().len() == 1).await;
    installation.publish(breach("u-2", Warning)).await;
    eventually("both arrive", || fake.accepted().len() == 2).await;
    let refused = fake.hits()[0].at;
    for hit in fake.accepted() {
        assert!(hit.at - refused >= Duration::from_secs(2), "{:?} after the refusal", hit.at - refused);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_good_is_counted_and_holds_up_nothing() {
    for answer in [Answer::Status(400), Answer::Status(413), Answer::Status(302)] {
        let fake = FakeReceiver::start().await;
        fake.answer([answer]);
        let installation = Installation::new();
        let running = installation.start(&webhook(&fake)).await;
        installation.publish(breach("u-1", Warning)).await;
        eventually("it is refused", || running.metric(&outcome("failed")) == Some(1.0)).await;
        installation.publish(breach("u-1", Critical)).await;
        eventually("the next one arrives", || fake.accepted().len() == 1).await;
        assert_eq!(fake.hits().len(), 2, "{answer:?} is not tried again");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_slack_does_not_give_is_no_success_and_not_repeated() {
    let fake = FakeReceiver::start().await;
    fake.answer([Answer::Rubbish]);
    let installation = Installation::new();
    let section =
        webhook(&fake).replace("webhook:", "slack:").replace("/hook", "/slack").replace(", secret: s3cret", "");
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is refused", || running.metric(&outcome("failed")) == Some(1.0)).await;
    installation.publish(breach("u-1", Critical)).await;
    eventually("the next one arrives", || fake.accepted().len() == 1).await;
    assert_eq!(fake.hits().len(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_holds_up_no_other() {
    let (dead, alive) = (FakeReceiver::start().await, FakeReceiver::start().await);
    dead.answer_always(Some(Answer::Hang));
    let installation = Installation::new();
    let section = format!(
        "
user_ids: plain
route:
  receiver: dead
  group_wait: 0s
  group_interval: 0s
  routes: [{{ receiver: dead, continue: true }}, {{ receiver: alive }}]
receivers:
  - {{ name: dead, webhook: {{ url: '{}', timeout: 20s }} }}
  - {{ name: alive, webhook: {{ url: '{}' }} }}
",
        dead.url("hook"),
        alive.url("hook")
    );
    let running = installation.start(&section).await;
    for index in 0..20 {
        installation.publish(breach(&format!("u-{index}"), Warning)).await;
    }
    eventually("the other one is told of all", || alive.accepted().len() == 20).await;
    eventually("the dead one was tried", || !dead.hits().is_empty()).await;
    running.stop().await;
}

/// One that is refused for hours holds up its own group only, and what was delivered past it is not sent again after
/// a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_loses_nothing_and_repeats_nothing_that_was_recorded() {
    let fake = FakeReceiver::start().await;
    fake.answer_always(Some(Answer::Status(503)));
    let installation = Installation::new();
    let running = installation.start(&webhook(&fake)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it was decided, and not delivered", || installation.outbox().len() == 1 && !fake.hits().is_empty())
        .await;
    running.stop().await;

    // Decided by the one alerter, delivered by the next.
    fake.answer_always(None);
    let running = installation.start(&webhook(&fake)).await;
    eventually("it is delivered after the restart", || fake.accepted().len() == 1).await;
    for index in 2..12 {
        installation.publish(breach(&format!("u-{index}"), Warning)).await;
    }
    eventually("the others, too", || fake.accepted().len() == 11).await;
    eventually("all of it is counted", || running.metric(&outcome("delivered")) == Some(11.0)).await;
    running.stop().await;

    let running = installation.start(&webhook(&fake)).await;
    installation.publish(resolved("u-1", Warning)).await;
    eventually("the end is told", || fake.accepted().iter().any(|hit| hit.status() == "resolved")).await;
    assert_eq!(fake.accepted().len(), 12, "nothing was sent again");
    let mut by_id: BTreeMap<_, usize> = BTreeMap::new();
    for hit in fake.accepted() {
        *by_id.entry(hit.id).or_default() += 1;
    }
    assert_eq!(by_id.len(), installation.outbox().len());
    assert!(by_id.values().all(|count| *count == 1), "{by_id:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_for_a_receiver_that_is_no_more_are_counted() {
    let fake = FakeReceiver::start().await;
    fake.answer_always(Some(Answer::Status(503)));
    let installation = Installation::new();
    let running = installation.start(&webhook(&fake)).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is in the outbox", || installation.outbox().len() == 1).await;
    running.stop().await;
    let running = installation.start("").await;
    let line = r#"ttf_alert_deliveries_total{outcome="no_receiver",receiver="other"}"#;
    eventually("it is counted", || running.metric(line) == Some(1.0)).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_delivered_for_too_long_is_given_up() {
    let fake = FakeReceiver::start().await;
    fake.answer_always(Some(Answer::Status(503)));
    let installation = Installation::new();
    let section = format!("max_notification_age: 2s\n{}", webhook(&fake));
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is given up", || running.metric(&outcome("expired")) == Some(1.0)).await;
    fake.answer_always(None);
    installation.publish(breach("u-1", Critical)).await;
    eventually("the next one is delivered", || fake.accepted().len() == 1).await;
    assert_eq!(fake.accepted()[0].level(), "critical");
    running.stop().await;
}

/// The process ends while the receiver still thinks about it: nobody can know whether it was taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_was_cut_off_is_made_again_and_counted() {
    let fake = FakeReceiver::start().await;
    fake.answer_always(Some(Answer::Hang));
    let installation = Installation::new();
    let section = webhook(&fake).replace("timeout: 1s", "timeout: 60s");
    let running = installation.start(&section).await;
    installation.publish(breach("u-1", Warning)).await;
    eventually("it is being tried", || fake.hits().len() == 1).await;
    running.stop().await;

    fake.answer_always(None);
    let running = installation.start(&section).await;
    eventually("it is delivered", || fake.accepted().len() == 1).await;
    assert_eq!(fake.hits()[0].id, fake.hits()[1].id, "the receiver can tell that it is the same");
    eventually("that is counted", || running.metric(&outcome("redelivered")) == Some(1.0)).await;
    eventually("its record is written", || running.metric(&outcome("delivered")) == Some(1.0)).await;
    running.stop().await;

    // What is recorded is not sent again.
    let running = installation.start(&section).await;
    installation.publish(resolved("u-1", Warning)).await;
    eventually("the end is told", || fake.accepted().len() == 2).await;
    assert_eq!(running.metric(&outcome("redelivered")), None);
    running.stop().await;
}
