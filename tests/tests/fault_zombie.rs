//! A processor is stopped for longer than its session, another takes over, and then it goes on as if nothing had
//! happened: it must change nothing. Needs a `ttf` that was built with the feature `failpoints`.

use std::time::Duration;

use stream_runtime::log::Isolation;
use telemetry_schemas::BreachStatus;
use ttf_tests::{
    faults::{
        Cluster, Processor, Spec, Trial, Window,
        deadlines::{DUE, GRACE, quick_journeys, signups},
    },
    wait,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A member that is missed soon, and whose open transactions are ended soon.
fn spec(ordinal: &str) -> Spec {
    Spec::new(ordinal).property("session.timeout.ms", "3000").property("transaction.timeout.ms", "3000")
}

/// Waits until every partition is processed by exactly one of these.
async fn all_partitions(processors: &[&Processor]) {
    wait::until("the partitions are divided", PATIENCE, || async {
        let mut owned = Vec::new();
        for processor in processors {
            owned.extend(processor.partitions().await);
        }
        owned.sort_unstable();
        if owned == [0, 1, 2, 3] { Ok(()) } else { Err(format!("{owned:?}")) }
    })
    .await;
}

/// Waits until the zombie has found out that it is one.
async fn back_in_the_group(zombie: &mut Processor, successor: &mut Processor) {
    let before = zombie.rebalances().await;
    wait::until("the zombie is given partitions again", PATIENCE, || async {
        let now = zombie.rebalances().await;
        if now > before { Ok(()) } else { Err(format!("{now} assignments")) }
    })
    .await;
    zombie.ready().await;
    successor.ready().await;
    all_partitions(&[zombie, successor]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_in_the_middle_of_a_transaction_changes_nothing() {
    let mut trial = Trial::on(Cluster::shared());
    let mut zombie = trial.start_ready(&spec("0").stopped_at("kafka-delivered")).await;
    let events = trial.cohort("a", 100, 3);
    let (first, second) = events.split_at(events.len() / 2);
    trial.send(first).await;
    trial.caught_up().await;
    zombie.arm();
    trial.send(second).await;
    zombie.stopped().await;
    let mut successor = trial.start_ready(&spec("1")).await;
    let before = trial.settled().await;
    assert!(before.aborted > 0, "the transaction of the stopped process was rolled back");

    zombie.go_on();
    back_in_the_group(&mut zombie, &mut successor).await;
    assert!(zombie.metric("ttf_processor_aborts_total").await > 0.0, "its transaction was refused");
    let more = trial.cohort("b", 50, 4);
    trial.send(&more).await;
    let after = trial.settled().await;
    assert_eq!(after.late, 0);
    zombie.drain();
    successor.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_waits_for_a_commit_that_may_still_come() {
    let mut trial = Trial::on(Cluster::shared());
    // Its transaction outlives its session.
    let stopping = Spec::new("0").property("session.timeout.ms", "2000").stopped_at("kafka-offsets-sent");
    let mut zombie = trial.start_ready(&stopping).await;
    zombie.arm();
    let events = trial.cohort("a", 60, 5);
    trial.send(&events).await;
    zombie.stopped().await;
    let mut successor = trial.start(&spec("1"));
    wait::until("the successor is given the partitions", PATIENCE, || async {
        if successor.process.output().contains("partitions are assigned") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert_eq!(successor.status("/ready").await, 503, "it cannot know yet where to begin");
    zombie.go_on();
    successor.ready().await;
    let explained = trial.settled().await;
    assert_eq!(explained.late, 0);
    zombie.drain();
    successor.drain();
}

/// Begins once the processor has every partition: who had them before it may still be waited for.
async fn quick_signups(trial: &mut Trial, processor: &Processor) -> i64 {
    all_partitions(&[processor]).await;
    let now_ms = service_kit::clock::now_ms();
    let users: Vec<String> = (0..6).map(|number| format!("{}-{number}", trial.users)).collect();
    let events = signups(users.iter().map(String::as_str), now_ms);
    trial.send(&events).await;
    now_ms + DUE + GRACE
}

/// Every one of the six deadlines fired, once.
fn fired_once(trial: &Trial) {
    let breaches = trial.outcome(Isolation::ReadCommitted).breaches;
    assert_eq!(breaches.len(), 6, "{breaches:?}");
    assert!(breaches.iter().all(|seen| seen.value.status == BreachStatus::Firing && !seen.value.late), "{breaches:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_wakes_just_before_the_transaction_of_its_timers_changes_nothing() {
    let mut trial = Trial::on(Cluster::shared()).with_journeys(quick_journeys());
    // It has looked at its membership and has nothing open: neither keeps its transaction from being begun.
    let mut zombie = trial.start_ready(&spec("0").stopped_at("keyed::before_begin")).await;
    let judged = quick_signups(&mut trial, &zombie).await;
    trial.committed(6).await;
    // The next transaction is that of the timers: nothing else comes in.
    zombie.arm();
    zombie.stopped().await;
    let mut successor = trial.start_ready(&spec("1")).await;
    trial.settled_by(Window::Until(judged)).await;
    fired_once(&trial);

    zombie.go_on();
    back_in_the_group(&mut zombie, &mut successor).await;
    fired_once(&trial);
    let explained = trial.settled_by(Window::Until(judged)).await;
    assert!(zombie.metric("ttf_processor_aborts_total").await > 0.0, "its transaction was refused");
    assert!(explained.late > 0, "it wrote what its successor had committed");
    zombie.drain();
    successor.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_wakes_on_a_quiet_partition_with_due_timers_changes_nothing() {
    let mut trial = Trial::on(Cluster::shared()).with_journeys(quick_journeys());
    let mut zombie = trial.start_ready(&spec("0")).await;
    let judged = quick_signups(&mut trial, &zombie).await;
    trial.committed(6).await;
    // Nothing is open and nothing comes in; when it wakes, its timers are long due.
    zombie.stop().await;
    let mut successor = trial.start_ready(&spec("1")).await;
    trial.settled_by(Window::Until(judged)).await;
    fired_once(&trial);

    zombie.go_on();
    back_in_the_group(&mut zombie, &mut successor).await;
    trial.settled_by(Window::Until(judged)).await;
    fired_once(&trial);
    zombie.drain();
    successor.drain();
}
