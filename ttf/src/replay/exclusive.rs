//! Keeps the processor out while its state is rewritten: takes its place in its consumer group.
//!
//! Every transaction carries the offsets of the group under the generation in which all partitions were ours. A
//! processor that starts meanwhile moves the group on, and the next transaction is refused as a whole.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use stream_runtime::log::{
    GroupMetadata, Isolation, Log, LogConfig, NextOffset, Polled, Position, SubscribeOptions, Subscription,
    TopicPartition, kafka::KafkaLog,
};
use telemetry_schemas::topics;
use ttf_processor::GROUP;

use super::window::{CALL, patiently};

const POLL: Duration = Duration::from_millis(100);
/// How long joining an empty group may take.
const JOIN: Duration = Duration::from_secs(60);

/// The whole of the processor's group, for as long as it is kept.
pub struct Exclusive {
    pub group: GroupMetadata,
    inputs: Vec<TopicPartition>,
    lost: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    keeper: Option<JoinHandle<()>>,
    log: Arc<dyn Log>,
}

impl Exclusive {
    /// Waits up to `patience` for the processor's last member to leave, then takes all partitions.
    pub fn acquire(log: Arc<dyn Log>, config: &LogConfig, partitions: i32, patience: Duration) -> anyhow::Result<Self> {
        wait_until_empty(config, patience)?;
        let inputs: Vec<TopicPartition> = [topics::EVENTS, topics::ERASURES]
            .iter()
            .flat_map(|topic| (0..partitions).map(|partition| TopicPartition::new(*topic, partition)))
            .collect();
        let mut subscription = log.subscribe(SubscribeOptions {
            group: GROUP.to_owned(),
            topics: vec![topics::EVENTS.to_owned(), topics::ERASURES.to_owned()],
            // A static member would keep its partitions for a session time-out after it has left.
            instance_id: None,
            prefetch_bytes: 64 * 1024,
            isolation: Isolation::ReadCommitted,
        })?;
        take_all(&mut *subscription, &inputs)?;
        let group = subscription.group()?;
        let lost = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicBool::new(false));
        let keeper = {
            let (lost, done) = (lost.clone(), done.clone());
            std::thread::Builder::new()
                .name("replay-group".to_owned())
                .spawn(move || keep(&mut *subscription, &lost, &done))
                .context("cannot start a thread")?
        };
        Ok(Self { group, inputs, lost, done, keeper: Some(keeper), log })
    }

    /// Raised when the group has moved on: what is written from then on is refused.
    pub fn lost(&self) -> Arc<AtomicBool> {
        self.lost.clone()
    }

    /// What the group has committed, to be committed again with each transaction. Ask after the producer was made
    /// ready: a predecessor's open transaction is over then.
    pub fn offsets(&self) -> anyhow::Result<Vec<NextOffset>> {
        let committed = patiently(|| self.log.committed(GROUP, &self.inputs, CALL))?;
        let offsets = committed.into_iter().filter_map(|known| {
            let next = known.next?;
            Some(NextOffset { at: known.at, next, metadata: known.metadata })
        });
        let offsets: Vec<NextOffset> = offsets.collect();
        // Without offsets nothing would keep a processor from writing at the same time.
        anyhow::ensure!(
            !offsets.is_empty(),
            "the processor has not processed anything yet: there is nothing to replay"
        );
        Ok(offsets)
    }

    pub fn check(&self) -> anyhow::Result<()> {
        if self.lost.load(Ordering::Relaxed) {
            bail!(JOINED);
        }
        Ok(())
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(keeper) = self.keeper.take() {
            // Its panic was reported by itself.
            let _ = keeper.join();
        }
    }
}

/// What is said when the group has moved on.
pub const JOINED: &str = "a processor has joined its group meanwhile; what was committed before is whole, nothing else \
                          was written: stop the processor and run this again";

/// Stays in the group. Whoever else joins gets the partitions at once.
fn keep(subscription: &mut dyn Subscription, lost: &AtomicBool, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        match subscription.poll(1, POLL, &mut |_| {}) {
            Ok(Polled::Records(_)) => {}
            Err(error) if error.is_retriable() => std::thread::sleep(POLL),
            Ok(_) | Err(_) => {
                lost.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
}

fn take_all(subscription: &mut dyn Subscription, inputs: &[TopicPartition]) -> anyhow::Result<()> {
    let deadline = Instant::now() + JOIN;
    loop {
        match subscription.poll(1, POLL, &mut |_| {}) {
            Ok(Polled::Assigned(partitions)) => {
                let ours: BTreeSet<_> = partitions.iter().collect();
                if !inputs.iter().all(|at| ours.contains(at)) {
                    bail!("a processor has just started: stop it first, or look only, with --dry-run");
                }
                let from: Vec<_> = partitions.into_iter().map(|at| (at, Position::End)).collect();
                subscription.assign(&from)?;
                subscription.pause(inputs)?;
                return Ok(());
            }
            Ok(Polled::Records(_)) => {}
            Ok(Polled::Revoked(_) | Polled::Lost(_)) => subscription.release()?,
            Err(error) if error.is_retriable() => std::thread::sleep(POLL),
            Err(error) => return Err(error.into()),
        }
        anyhow::ensure!(Instant::now() < deadline, "group `{GROUP}` did not let this process in");
    }
}

/// A stopped processor stays in its group until its session has timed out.
fn wait_until_empty(config: &LogConfig, patience: Duration) -> anyhow::Result<()> {
    let LogConfig::Kafka(kafka) = config else {
        // The folder's lock keeps every other process out.
        return Ok(());
    };
    let asking = KafkaLog::open(kafka, "ttf-replay")?;
    let deadline = Instant::now() + patience;
    let mut told = false;
    loop {
        let members = patiently(|| asking.group_members(GROUP, CALL))?;
        if members.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let names: BTreeSet<&str> = members.iter().map(|member| member.id.as_str()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            bail!(
                "the processor is running ({}): stop it first, or look only, with --dry-run. One that has just been \
                 stopped stays in its group until its session has timed out (session.timeout.ms, 45 s unless \
                 configured): --wait says how long that is waited for",
                names.join(", ")
            );
        }
        if !std::mem::replace(&mut told, true) {
            anstream::eprintln!("waiting for the processor's last member to leave its group");
        }
        std::thread::sleep(Duration::from_millis(500).min(patience));
    }
}
