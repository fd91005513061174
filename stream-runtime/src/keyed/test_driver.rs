//! Runs a processor step by step, on a log in memory, with a clock that moves when told: for tests of domain code.
//!
//! Nothing happens on its own but the restore after a (re)start, which every method waits for.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use service_kit::Kit;

use super::{Clock, Codec, KeyedOptions, KeyedProcessor, Shared, worker::Worker};
use crate::log::{
    Cleanup, Isolation, Log, NewRecord, Position, Publisher, Record, TopicPartition, TopicSpec,
    embedded::{EmbeddedLog, Options as EmbeddedOptions},
};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const CALL: Duration = Duration::from_secs(5);

/// What a [`TestDriver`] sets up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Group and first part of the transactional id; to be unique on a log that others use.
    pub name: String,
    pub inputs: Vec<String>,
    pub changelog: String,
    /// Topics the processor writes to, the rejected topic included.
    pub outputs: Vec<String>,
    /// Of every topic.
    pub partitions: i32,
    /// Where the clock begins, in milliseconds since the epoch.
    pub start_ms: i64,
    pub timer_grace: Duration,
}

impl Setup {
    /// One partition, no grace, the clock at 0.
    pub fn new(inputs: &[&str], changelog: &str, outputs: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            name: "test-driver".to_owned(),
            inputs: owned(inputs),
            changelog: changelog.to_owned(),
            outputs: owned(outputs),
            partitions: 1,
            start_ms: 0,
            timer_grace: Duration::ZERO,
        }
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    pub fn at(now_ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(now_ms)))
    }

    pub fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
}

/// See the [module](self).
pub struct TestDriver<P: KeyedProcessor, C: Codec<P>> {
    worker: Option<Worker<P, C>>,
    log: Arc<dyn Log>,
    publisher: Arc<dyn Publisher>,
    options: KeyedOptions,
    processor: Arc<P>,
    codec: Arc<C>,
    partitions: i32,
    clock: ManualClock,
    kit: Kit,
    /// How far [`TestDriver::read_output`] has read.
    read: HashMap<TopicPartition, i64>,
}

impl<P: KeyedProcessor, C: Codec<P>> TestDriver<P, C> {
    /// Starts on a log in memory.
    pub fn new(setup: &Setup, processor: P, codec: C) -> anyhow::Result<Self> {
        let clock = ManualClock::at(setup.start_ms);
        let log = in_memory(&clock);
        Self::on(Arc::new(log), clock, setup, processor, codec)
    }

    /// Starts on a log of your own, made with the same clock.
    pub fn on(log: Arc<dyn Log>, clock: ManualClock, setup: &Setup, processor: P, codec: C) -> anyhow::Result<Self> {
        let spec = |name: &String, cleanup| TopicSpec { cleanup, ..TopicSpec::new(name.clone(), setup.partitions) };
        let plain = setup.inputs.iter().chain(&setup.outputs).map(|name| spec(name, Cleanup::Delete));
        let specs: Vec<_> = plain.chain([spec(&setup.changelog, Cleanup::Compact)]).collect();
        log.create_topics(&specs, CALL)?;
        let options = options(setup, &clock);
        let mut driver = Self {
            worker: None,
            publisher: log.publisher()?,
            log,
            options,
            processor: Arc::new(processor),
            codec: Arc::new(codec),
            partitions: setup.partitions,
            clock,
            kit: Kit::for_test(),
            read: HashMap::new(),
        };
        driver.start()?;
        Ok(driver)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let shared = Shared::open(
            self.options.clone(),
            self.log.clone(),
            self.processor.clone(),
            self.codec.clone(),
            &self.kit,
        )?;
        shared.check_topics()?;
        self.worker = Some(Worker::join(shared, 0, &self.kit)?);
        Ok(())
    }

    /// Publishes a record and lets the processor take it in. Its effects are committed by [`TestDriver::commit`].
    pub fn pipe_input(&mut self, record: NewRecord) -> anyhow::Result<()> {
        self.publish(record)?;
        self.settle()
    }

    /// Publishes a record without waiting for the processor.
    pub fn publish(&mut self, mut record: NewRecord) -> anyhow::Result<()> {
        record.timestamp_ms.get_or_insert(self.clock.now_ms());
        let delivery = self.publisher.publish(record)?;
        futures::executor::block_on(delivery)?;
        Ok(())
    }

    /// Moves the clock and fires what is due.
    pub fn advance_to(&mut self, now_ms: i64) -> anyhow::Result<()> {
        ensure!(now_ms >= self.clock.now_ms(), "the clock goes forward only");
        self.clock.set(now_ms);
        self.settle()
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Commits what is open.
    pub fn commit(&mut self) -> anyhow::Result<()> {
        self.settle()?;
        self.worker.as_mut().context("the processor is not running")?.commit()?;
        self.settle()
    }

    /// Goes round until nothing is left to do.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        let worker = self.worker.as_mut().context("the processor is not running")?;
        let deadline = Instant::now() + PATIENCE;
        let mut wait = Duration::ZERO;
        loop {
            let step = worker.step(wait)?;
            let at_rest = step.is_idle() && worker.is_ready() && worker.is_scanned();
            if at_rest && worker.is_caught_up()? {
                return Ok(());
            }
            // Nothing to do, though not done: it waits for the log or for a restore.
            wait = if at_rest || !worker.is_ready() { Duration::from_millis(1) } else { Duration::ZERO };
            ensure!(Instant::now() < deadline, "the processor does not come to rest");
        }
    }

    /// Takes at most one step, also when a restore is under way.
    pub fn step(&mut self) -> anyhow::Result<()> {
        self.worker.as_mut().context("the processor is not running")?.step(Duration::ZERO)?;
        Ok(())
    }

    /// Drops everything that is not committed, as a crash does, and starts anew on the same log and local state.
    pub fn crash_and_restart(&mut self) -> anyhow::Result<()> {
        self.worker = None;
        self.start()
    }

    /// The same, with the local state gone.
    pub fn lose_state_and_restart(&mut self) -> anyhow::Result<()> {
        self.worker = None;
        std::fs::remove_dir_all(&self.options.state_dir)?;
        self.start()
    }

    /// The same, with something done to the folder of the local state while nothing runs.
    pub fn restart_after(&mut self, meanwhile: impl FnOnce(&Path) -> std::io::Result<()>) -> anyhow::Result<()> {
        self.worker = None;
        meanwhile(&self.options.state_dir)?;
        self.start()
    }

    /// Restarts with other options after a commit.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut KeyedOptions)) -> anyhow::Result<()> {
        self.commit()?;
        self.restart_with_open(change)
    }

    /// The same without the commit.
    pub fn restart_with_open(&mut self, change: impl FnOnce(&mut KeyedOptions)) -> anyhow::Result<()> {
        change(&mut self.options);
        self.crash_and_restart()
    }

    /// Restarts with another processor (a new release) after a commit, on the same log and local state.
    pub fn restart_as(&mut self, processor: P, timer_fingerprint: &str) -> anyhow::Result<()> {
        self.processor = Arc::new(processor);
        self.restart_with(|options| timer_fingerprint.clone_into(&mut options.timer_fingerprint))
    }

    /// Committed records of a topic since the last call, partition by partition.
    pub fn read_output(&mut self, topic: &str) -> anyhow::Result<Vec<Record>> {
        let mut records = Vec::new();
        for partition in 0..self.partitions {
            let at = TopicPartition::new(topic, partition);
            let from = self.read.get(&at).copied();
            let start = from.map_or(Position::Beginning, Position::Offset);
            let end = self.log.end_offset(&at, Isolation::ReadCommitted, CALL)?;
            if from.unwrap_or(0) >= end {
                continue;
            }
            let mut reader = self.log.reader(Isolation::ReadCommitted)?;
            reader.assign(&[(at.clone(), start)])?;
            let deadline = Instant::now() + PATIENCE;
            while reader.position(&at).is_none_or(|position| position < end) {
                reader.poll(1_000, Duration::from_millis(50), &mut |record| records.push(record.to_owned()))?;
                ensure!(Instant::now() < deadline, "{at} cannot be read to its end");
            }
            self.read.insert(at, end);
        }
        Ok(records)
    }

    /// Every committed record of a topic.
    pub fn read_all(&mut self, topic: &str) -> anyhow::Result<Vec<Record>> {
        self.read.retain(|at, _| &*at.topic != topic);
        self.read_output(topic)
    }

    /// Figures of the process.
    pub fn kit(&self) -> &Kit {
        &self.kit
    }
}

impl<P: KeyedProcessor, C: Codec<P>> Drop for TestDriver<P, C> {
    fn drop(&mut self) {
        self.worker = None;
        // A folder below the system's temporary one that stays behind does no harm.
        let _ = std::fs::remove_dir_all(&self.options.state_dir);
    }
}

/// A log in memory on this clock.
pub fn in_memory(clock: &ManualClock) -> EmbeddedLog {
    let clock = clock.clone();
    EmbeddedLog::in_memory_with(EmbeddedOptions {
        clock: Arc::new(move || clock.now_ms()),
        ..EmbeddedOptions::default()
    })
}

fn options(setup: &Setup, clock: &ManualClock) -> KeyedOptions {
    let clock = clock.clone();
    KeyedOptions {
        app: setup.name.clone(),
        ordinal: "0".to_owned(),
        workers: 1,
        group: setup.name.clone(),
        inputs: setup.inputs.clone(),
        first_inputs: Vec::new(),
        first_interval: Duration::ZERO,
        first_patience: CALL,
        changelog: setup.changelog.clone(),
        state_dir: fresh_folder(),
        metrics_prefix: "ttf_test".to_owned(),
        // Commits come when they are asked for.
        commit_interval: Duration::from_secs(3600),
        commit_records: usize::MAX,
        commit_bytes: usize::MAX,
        // Small, so that tests see states come and go.
        cache_bytes: 4_096,
        timer_grace: setup.timer_grace,
        timer_interval: Duration::ZERO,
        timer_batch: 1_000,
        timer_fingerprint: String::new(),
        poison_share: 1.0,
        poison_minimum: u32::MAX,
        prefetch_bytes: 1 << 20,
        call_timeout: CALL,
        retry_timeout: CALL,
        restore_stall: CALL,
        store_interval: Duration::ZERO,
        position_interval: Duration::ZERO,
        changelog_delete_retention: Duration::from_secs(24 * 3600),
        foreign_state_ttl: Duration::from_secs(3600),
        clock: Clock::new(move || clock.now_ms()),
    }
}

fn fresh_folder() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // In memory where the system offers it: a restart syncs folders a dozen times, and nothing here outlives the test.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    parent.join(format!("keyed-test-driver-{}-{number}", std::process::id()))
}

#[cfg(test)]
mod tests;
