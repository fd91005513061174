//! Brokers that restart, stay away, die, or give up on a transaction, under load. Needs a `ttf` that was built with the
//! feature `failpoints`.

use std::time::{Duration, Instant};

use stream_runtime::log::{Isolation, TopicPartition};
use telemetry_schemas::topics;
use ttf_tests::{
    faults::{Cluster, PARTITIONS, Processor, Spec, Trial},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(30);
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

/// Alive all the while, for so long.
async fn lives(processor: &mut Processor, duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        assert!(processor.process.is_running(), "it ended:\n{}", processor.process.output());
        assert_eq!(processor.status("/live").await, 200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_under_load_loses_and_repeats_nothing() {
    let mut trial = Trial::on(Cluster::own());
    let mut processor = trial.start_ready(&Spec::new("0")).await;
    let events = trial.cohort("a", 200, 11);
    let sending = trial.send_slowly(&events, Duration::from_secs(4));
    trial.committed(20).await;
    trial.to_brokers(|kafka| kafka.stop_broker(1));
    lives(&mut processor, Duration::from_secs(1)).await;
    trial.to_brokers(|kafka| kafka.start_broker(1));
    sending.await.expect("everything is sent");
    trial.settled().await;
    lives(&mut processor, Duration::ZERO).await;
    processor.drain();
}

/// It keeps its connections and is given up by the controller meanwhile: every partition is without a leader for a while,
/// and then has the same one in another epoch.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stands_still_until_it_is_given_up_costs_nothing_but_the_time() {
    let mut trial = Trial::on(Cluster::own());
    let mut processor = trial.start_ready(&Spec::new("0").property("session.timeout.ms", "3000")).await;
    let events = trial.cohort("a", 200, 14);
    let sending = trial.send_slowly(&events, Duration::from_secs(4));
    trial.committed(20).await;
    trial.to_brokers(|kafka| kafka.pause_broker(1));
    lives(&mut processor, Duration::from_secs(7)).await;
    trial.to_brokers(|kafka| kafka.resume_broker(1));
    sending.await.expect("everything is sent");
    trial.settled().await;
    lives(&mut processor, Duration::ZERO).await;
    processor.drain();
}

/// Longer than the session, than a record may be on its way, and than a transaction may be open.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stays_away_is_waited_for() {
    let mut trial = Trial::on(Cluster::own());
    let spec = Spec::new("0").property("session.timeout.ms", "3000").property("transaction.timeout.ms", "2000");
    let mut processor = trial.start_ready(&spec).await;
    let events = trial.cohort("a", 200, 12);
    let sending = trial.send_slowly(&events, Duration::from_secs(3));
    trial.committed(20).await;
    trial.to_brokers(|kafka| kafka.kill_broker(1));
    lives(&mut processor, Duration::from_secs(9)).await;
    trial.to_brokers(|kafka| kafka.start_broker(1));
    sending.await.expect("everything is sent");
    trial.settled().await;
    let later = trial.cohort("b", 50, 13);
    trial.send(&later).await;
    trial.settled().await;
    processor.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_that_starts_before_its_broker_waits_for_it() {
    let mut trial = Trial::on(Cluster::own());
    let events = trial.cohort("a", 50, 14);
    trial.send(&events).await;
    trial.to_brokers(|kafka| kafka.stop_broker(1));
    let mut processor = trial.start(&Spec::new("0"));
    let is_live = || async {
        match processor.status("/live").await {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    };
    wait::until("the process is there", PATIENCE, is_live).await;
    lives(&mut processor, Duration::from_secs(4)).await;
    assert_eq!(processor.status("/ready").await, 503);
    trial.to_brokers(|kafka| kafka.start_broker(1));
    processor.ready().await;
    trial.settled().await;
    processor.drain();
}

/// Each of the three in turn: every leader, the controller and both coordinators are among them. Until the controller
/// misses a broker and the group has its coordinator elsewhere nobody answers heartbeats: a session has to be longer.
#[tokio::test(flavor = "multi_thread")]
async fn three_brokers_that_are_killed_one_after_the_other_lose_nothing() {
    let mut trial = Trial::on(Cluster::three());
    let mut processor = trial.start_ready(&Spec::new("0").property("session.timeout.ms", "30000")).await;
    for broker in 1..=3 {
        let events = trial.cohort(&format!("k{broker}"), 100, broker.into());
        let sending = trial.send_slowly(&events, Duration::from_secs(2));
        wait::until("the load has begun", PATIENCE, || async {
            if trial.lag() > 0 { Ok(()) } else { Err("nothing to do yet".to_owned()) }
        })
        .await;
        trial.to_brokers(|kafka| kafka.kill_broker(broker));
        sending.await.expect("two brokers take everything");
        trial.settled().await;
        trial.to_brokers(|kafka| kafka.start_broker(broker));
        // Only then may the next one go.
        wait::until("every replica is in sync", PATIENCE, || async {
            let behind = trial.to_brokers(|kafka| kafka.tool(TOPICS, &["--describe", "--under-replicated-partitions"]));
            if behind.trim().is_empty() { Ok(()) } else { Err(behind) }
        })
        .await;
    }
    lives(&mut processor, Duration::ZERO).await;
    processor.drain();
}

/// The coordinator aborts it behind the back of the processor, which is stopped in its middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_timed_out_is_done_once_more() {
    let mut trial = Trial::on(Cluster::own());
    let spec = Spec::new("0")
        .stopped_at("kafka-offsets-sent")
        .property("session.timeout.ms", "20000")
        .property("transaction.timeout.ms", "2000");
    let mut processor = trial.start_ready(&spec).await;
    let events = trial.cohort("a", 50, 15);
    let (first, second) = events.split_at(events.len() / 2);
    trial.send(first).await;
    trial.settled().await;
    processor.arm();
    trial.send(second).await;
    processor.stopped().await;
    wait::until("the coordinator has aborted it", PATIENCE, || async { open_transactions(&trial) }).await;
    processor.process.send("-CONT");
    let explained = trial.settled().await;
    assert!(explained.aborted > 0, "something was rolled back");
    assert!(processor.metric("ttf_processor_aborts_total").await >= 1.0);
    lives(&mut processor, Duration::ZERO).await;
    processor.drain();
}

fn open_transactions(trial: &Trial) -> Result<(), String> {
    for partition in 0..PARTITIONS {
        let at = TopicPartition::new(topics::TTF_RECORDS, partition);
        let end = |isolation| tokio::task::block_in_place(|| trial.cluster.end(&at, isolation));
        let (stable, written) = (end(Isolation::ReadCommitted), end(Isolation::ReadUncommitted));
        if stable < written {
            return Err(format!("{at} is stable to {stable} of {written}"));
        }
    }
    Ok(())
}
