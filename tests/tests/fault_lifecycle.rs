//! Starting and ending: twice under one name, in good order, before the state is there, and when it hangs. Needs a
//! `ttf` that was built with the feature `failpoints`.

use std::time::Duration;

use stream_runtime::log::Isolation;
use ttf_tests::{
    faults::{Cluster, Spec, Trial},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn of_two_processes_with_one_ordinal_the_older_one_ends_loudly() {
    let mut trial = Trial::on(Cluster::shared());
    let mut older = trial.start_ready(&Spec::new("7")).await;
    let events = trial.cohort("a", 60, 60);
    let (before, after) = events.split_at(events.len() / 2);
    trial.send(before).await;
    trial.settled().await;
    // Another folder: the state's lock is not what keeps them apart.
    let mut newer = trial.start(&Spec::new("7").named("newer"));
    let status = older.process.wait(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", older.process.output());
    let said = older.process.output();
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains("another process runs as `ttf-processor-7-0`"), "{last}");
    newer.ready().await;
    trial.send(after).await;
    let explained = trial.settled().await;
    assert_eq!(explained.late, 0);
    newer.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_loses_nothing_and_the_next_start_reads_only_the_tail() {
    let mut trial = Trial::on(Cluster::shared());
    let mut processor = trial.start_ready(&Spec::new("0")).await;
    let load = trial.load("a", 70);
    load.flows(300).await;
    let took = processor.drain();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let records = processor.process.output().matches("asked to stop").count();
    assert_eq!(records, 1);
    load.flows(50).await;
    trial.end_load(load).await;
    let left = trial.lag();
    let said = processor.process.output().len();
    let mut processor = trial.start_ready(&Spec::new("0")).await;
    let explained = trial.settled().await;
    assert_eq!(explained.aborted, 0, "what was open was committed");
    assert!((processor.metric("ttf_processor_records_in_total").await - left as f64).abs() < 0.5);
    let output = processor.process.output();
    assert!(!output[said..].contains("restored from the beginning"), "{}", &output[said..]);
    processor.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_waits_for_the_state_and_nothing_is_put_out_before() {
    let mut trial = Trial::on(Cluster::shared());
    let events = trial.cohort("a", 40, 80);
    let (before, after) = events.split_at(events.len() / 2);
    let mut first = trial.start_ready(&Spec::new("0")).await;
    trial.send(before).await;
    trial.settled().await;
    let written = trial.outcome(Isolation::ReadUncommitted).records.len();
    first.drain();

    // An empty folder: everything is restored.
    let mut processor = trial.start(&Spec::new("0").named("empty").held_at("keyed::restore"));
    trial.send(after).await;
    wait::until("it restores", PATIENCE, || async {
        if processor.process.output().contains("partitions are assigned") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    // A few rounds of its loop.
    let rounds = processor.metric("process_cpu_seconds_total").await;
    wait::until("it goes round", PATIENCE, || async {
        let now = processor.metric("process_cpu_seconds_total").await;
        if now > rounds { Ok(()) } else { Err(format!("{now}")) }
    })
    .await;
    assert_eq!(processor.status("/ready").await, 503);
    assert_eq!(processor.status("/live").await, 200);
    assert_eq!(trial.outcome(Isolation::ReadUncommitted).records.len(), written);
    processor.release();
    processor.ready().await;
    let explained = trial.settled().await;
    assert_eq!(explained.aborted, 0);
    processor.drain();
}
