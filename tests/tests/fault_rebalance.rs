//! Processors come and go while events flow. Needs a `ttf` that was built with the feature `failpoints`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::json;
use ttf_tests::{
    faults::{Cluster, PARTITIONS, Processor, Spec, Trial},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A member that is missed soon, and whose open transactions are ended soon. Commits are rare, so that there is always
/// something open when the group moves.
fn spec(ordinal: &str) -> Spec {
    Spec::new(ordinal)
        .property("session.timeout.ms", "3000")
        .property("transaction.timeout.ms", "3000")
        .settings(json!({ "processor": { "commit_interval": "500ms" } }))
}

/// Waits until every partition is processed by exactly one of these, and each of them has this many.
async fn divided(processors: &[&Processor], counts: &[usize]) {
    wait::until("the partitions are divided", PATIENCE, || async {
        let mut owned = Vec::new();
        for processor in processors {
            owned.push(processor.partitions().await);
        }
        let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
        let sizes: Vec<usize> = owned.iter().map(BTreeSet::len).collect();
        if all.len() == PARTITIONS as usize && sizes == counts { Ok(()) } else { Err(format!("{owned:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_from_one_to_three_to_two_in_the_middle_of_batches_loses_and_doubles_nothing() {
    let mut trial = Trial::on(Cluster::shared());
    let mut first = trial.start_ready(&spec("0").workers(2)).await;
    let load = trial.load("a", 10);
    load.flows(50).await;
    let (mut second, mut third) = (trial.start(&spec("1")), trial.start(&spec("2")));
    second.ready().await;
    third.ready().await;
    divided(&[&first, &second, &third], &[2, 1, 1]).await;
    load.flows(50).await;
    third.drain();
    // Held for one session time-out, then divided among those that are left.
    wait::until("the partitions of the one that left are taken over", PATIENCE, || async {
        let (a, b) = (first.partitions().await, second.partitions().await);
        if a.len() + b.len() == PARTITIONS as usize { Ok(()) } else { Err(format!("{a:?} {b:?}")) }
    })
    .await;
    load.flows(50).await;
    trial.end_load(load).await;
    let explained = trial.settled().await;
    assert_eq!(explained.late, 0);
    first.drain();
    second.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_moves_no_partition() {
    let mut trial = Trial::on(Cluster::shared());
    let spec = |ordinal: &str| spec(ordinal).property("session.timeout.ms", "15000");
    let mut processors = vec![trial.start(&spec("0")), trial.start(&spec("1")), trial.start(&spec("2"))];
    for processor in &mut processors {
        processor.ready().await;
    }
    divided(&processors.iter().collect::<Vec<_>>(), &[2, 1, 1]).await;
    let mut before = Vec::new();
    for processor in &processors {
        before.push(processor.rebalances().await);
    }
    let load = trial.load("a", 20);
    for index in 0..processors.len() {
        load.flows(20).await;
        processors[index].drain();
        processors[index] = trial.start_ready(&spec(&index.to_string())).await;
        before[index] = 1.0;
        for (processor, before) in processors.iter().zip(&before) {
            let now = processor.rebalances().await;
            assert!((now - before).abs() < 0.5, "restarting {index} gave another an assignment: {before} -> {now}");
        }
    }
    divided(&processors.iter().collect::<Vec<_>>(), &[2, 1, 1]).await;
    trial.end_load(load).await;
    let explained = trial.settled().await;
    assert_eq!(explained.aborted, 0, "each of them committed what it had open");
    for processor in &mut processors {
        processor.drain();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_dies_in_the_middle_of_a_commit_and_the_others_take_over() {
    let mut trial = Trial::on(Cluster::shared());
    let mut processors =
        vec![trial.start(&spec("0")), trial.start(&spec("1")), trial.start(&spec("2").killed_at("kafka-offsets-sent"))];
    for processor in &mut processors {
        processor.ready().await;
    }
    divided(&processors.iter().collect::<Vec<_>>(), &[2, 1, 1]).await;
    let load = trial.load("a", 30);
    load.flows(50).await;
    processors[2].arm();
    processors[2].dead().await;
    processors.pop();
    divided(&processors.iter().collect::<Vec<_>>(), &[2, 2]).await;
    load.flows(50).await;
    trial.end_load(load).await;
    let explained = trial.settled().await;
    assert!(explained.aborted > 0, "it died in a transaction");
    assert_eq!(explained.late, 0);
    for processor in &mut processors {
        processor.drain();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_without_partitions_are_ready_and_take_over() {
    let mut trial = Trial::on(Cluster::shared());
    // Six workers, four partitions.
    let mut first = trial.start(&spec("0").workers(3));
    let mut second = trial.start(&spec("1").workers(3));
    first.ready().await;
    second.ready().await;
    wait::until("the partitions are divided", PATIENCE, || async {
        let (a, b) = (first.partitions().await, second.partitions().await);
        if a.is_disjoint(&b) && a.len() + b.len() == PARTITIONS as usize { Ok(()) } else { Err(format!("{a:?} {b:?}")) }
    })
    .await;
    let events = trial.cohort("a", 60, 40);
    let (before, after) = events.split_at(events.len() / 2);
    trial.send(before).await;
    trial.settled().await;
    first.process.kill();
    divided(&[&second], &[PARTITIONS as usize]).await;
    second.ready().await;
    trial.send(after).await;
    let explained = trial.settled().await;
    assert_eq!(explained.late, 0);
    second.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_of_one_process_share_its_partitions_and_its_figures() {
    let mut trial = Trial::on(Cluster::shared());
    let mut processor = trial.start_ready(&spec("0").workers(2)).await;
    divided(&[&processor], &[PARTITIONS as usize]).await;
    let before = processor.metrics().await;
    let events = trial.cohort("a", 150, 50);
    trial.send(&events).await;
    let explained = trial.settled().await;
    assert_eq!(explained.aborted, 0);

    let expected = trial.expected();
    let metrics = processor.metrics().await;
    let grown = |name: &str| ttf_tests::observe::sum(&metrics, name) - ttf_tests::observe::sum(&before, name);
    let completed = expected.journeys.iter().filter(|journey| journey.completed_at.is_some()).count();
    assert!((grown("ttf_journeys_started_total") - expected.journeys.len() as f64).abs() < 0.5);
    assert!((grown("ttf_journeys_completed_total") - completed as f64).abs() < 0.5);
    assert!((grown("ttf_processor_records_in_total") - events.len() as f64).abs() < 0.5);
    let mut of_worker: BTreeMap<String, usize> = BTreeMap::new();
    for worker in processor.owners().await.into_values() {
        *of_worker.entry(worker).or_default() += 1;
    }
    assert_eq!(of_worker.into_values().collect::<Vec<_>>(), [2, 2]);
    processor.drain();
}
