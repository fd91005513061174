//! A processor is killed at each dangerous line of a commit, an alerter around a delivery; the next one goes on where it
//! stopped. What an alerter checks besides is held against a broker, too. Needs a `ttf` that was
//! built with the feature `failpoints`.

#[path = "fault_crash/alerter.rs"]
mod alerter;
#[path = "fault_crash/checks.rs"]
mod checks;

use ttf_tests::faults::{Cluster, Explained, Spec, Trial};

/// Kills a processor of a few hundred journeys at `point` of a commit, in the middle of the second half of its events;
/// what was rolled back is returned.
async fn killed_at(point: &str) -> Explained {
    let mut trial = Trial::on(Cluster::shared());
    let spec = Spec::new("0").killed_at(point);
    let mut processor = trial.start_ready(&spec).await;
    let events = trial.cohort("a", 150, 1);
    let (first, second) = events.split_at(events.len() / 2);
    trial.send(first).await;
    trial.caught_up().await;
    processor.arm();
    trial.send(second).await;
    processor.dead().await;
    // The same ordinal and the same folder: the supervisor starts it again.
    let mut processor = trial.start_ready(&spec).await;
    let explained = trial.settled().await;
    processor.drain();
    explained
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_producing_rolls_back_and_loses_nothing() {
    let explained = killed_at("kafka-delivered").await;
    assert!(explained.aborted > 0, "the crash came after records were written");
    assert_eq!(explained.late, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_sending_offsets_rolls_back_and_loses_nothing() {
    let explained = killed_at("kafka-offsets-sent").await;
    assert!(explained.aborted > 0, "the crash came before the commit");
    assert_eq!(explained.late, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_commit_and_the_store_repeats_nothing() {
    assert_eq!(killed_at("keyed::before_store").await, Explained::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_store_is_written_repeats_nothing() {
    assert_eq!(killed_at("keyed::after_store").await, Explained::default());
}
