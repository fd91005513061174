//! Starts the workers of a process.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use parking_lot::Mutex;
use service_kit::Kit;

use super::{
    Codec, KeyedOptions, KeyedProcessor, metrics::KeyedMetrics, restore::Activity, store::Stores, worker::Worker,
};
use crate::{
    lag::LagMeter,
    log::{Log, LogError},
};

/// Longest wait for records: how fast a worker notices a due timer, a restored store or a shutdown.
const IDLE: Duration = Duration::from_millis(50);

/// How long the log may take to answer before it is looked whether the process is to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the workers of a process have in common.
pub(crate) struct Shared<P, C> {
    pub options: KeyedOptions,
    pub log: Arc<dyn Log>,
    pub processor: Arc<P>,
    pub codec: Arc<C>,
    pub stores: Arc<Stores>,
    pub metrics: KeyedMetrics,
    pub lag: Arc<LagMeter>,
    /// Partitions some worker of this process has.
    pub owned: Mutex<BTreeSet<i32>>,
    pub restores: Arc<Activity>,
}

impl<P: KeyedProcessor, C: Codec<P>> Shared<P, C> {
    /// Checks the options and opens the state folder.
    pub fn open(
        options: KeyedOptions,
        log: Arc<dyn Log>,
        processor: Arc<P>,
        codec: Arc<C>,
        kit: &Kit,
    ) -> anyhow::Result<Arc<Self>> {
        let stores = Stores::open(&options.state_dir)?;
        Self::with_stores(options, log, processor, codec, kit, stores, Activity::default())
    }

    /// The same, with local stores that are open already.
    pub fn with_stores(
        options: KeyedOptions,
        log: Arc<dyn Log>,
        processor: Arc<P>,
        codec: Arc<C>,
        kit: &Kit,
        stores: Arc<Stores>,
        restores: Activity,
    ) -> anyhow::Result<Arc<Self>> {
        ensure!(options.workers > 0, "`workers` must be at least 1");
        ensure!(!options.inputs.is_empty(), "`{}` has no input topics", options.app);
        ensure!((0.0..=1.0).contains(&options.poison_share), "`poison_share` must be between 0 and 1");
        let metrics = KeyedMetrics::new(kit.metrics(), &options.metrics_prefix);
        let lag = LagMeter::new(kit.metrics(), &options.group);
        Ok(Arc::new(Self {
            options,
            log,
            processor,
            codec,
            stores,
            metrics,
            lag,
            owned: Mutex::default(),
            restores: Arc::new(restores),
        }))
    }

    /// Waits for the log and for what the codec needs, as long as it takes; false when the process is to end.
    fn wait_until_possible(&self, ended: impl Fn() -> bool) -> anyhow::Result<bool> {
        let (mut topics, mut codec) = (false, false);
        while !(topics && codec) {
            if ended() {
                return Ok(false);
            }
            if !codec {
                codec = self.codec.is_ready()?;
            }
            if !topics {
                topics = match self.check_topics() {
                    Err(error) if error.downcast_ref::<LogError>().is_some_and(LogError::is_retriable) => {
                        tracing::warn!(app = self.options.app, error = format!("{error:#}"), "waiting for the log");
                        false
                    }
                    checked => checked.map(|()| true)?,
                };
            }
            if !(topics && codec) {
                std::thread::sleep(IDLE);
            }
        }
        Ok(true)
    }

    /// Checks that every topic is there, with equal partition counts.
    pub fn check_topics(&self) -> anyhow::Result<()> {
        let options = &self.options;
        let names: Vec<&str> = options.inputs.iter().chain([&options.changelog]).map(String::as_str).collect();
        let topics =
            self.log.topics(Some(&names), options.call_timeout.min(PATIENCE)).context("cannot look at the topics")?;
        let mut counts = BTreeSet::new();
        for name in &names {
            let Some(topic) = topics.iter().find(|topic| topic.name == *name) else {
                bail!("topic `{name}` does not exist; create it with `ttf topics apply`");
            };
            counts.insert(topic.partitions);
        }
        ensure!(counts.len() == 1, "topics {} must have equal partition counts, not {counts:?}", names.join(", "));
        let partitions = counts.into_iter().next().unwrap_or_default();
        self.metrics.partitions.set(partitions.into());
        self.stores.expect_partitions(partitions);
        Ok(())
    }
}

/// Runs `processor` on threads of the kit; returns at once.
///
/// # Errors
/// When the options contradict each other or the state folder cannot be opened; what goes wrong later ends the
/// process through the kit.
pub fn run<P: KeyedProcessor, C: Codec<P>>(
    options: KeyedOptions,
    log: Arc<dyn Log>,
    processor: Arc<P>,
    codec: Arc<C>,
    kit: &Kit,
) -> anyhow::Result<()> {
    let shared = Shared::open(options, log, processor, codec, kit)?;
    shared.lag.measure(shared.log.clone(), kit, &shared.options.app);
    for index in 0..shared.options.workers {
        let (shared, kit_of_worker) = (shared.clone(), kit.clone());
        // Asked for here, so that the process is not ready before the thread has begun.
        let name = shared.options.worker_name(index);
        kit.health().readiness(name.clone()).set(false);
        kit.spawn_thread(name, move || {
            let shutdown = kit_of_worker.shutdown();
            if !shared.wait_until_possible(|| shutdown.is_cancelled())? {
                return Ok(());
            }
            let mut worker = Worker::join(shared, index, &kit_of_worker)?;
            while !shutdown.is_cancelled() {
                worker.step(IDLE)?;
            }
            worker.close()
        });
    }
    Ok(())
}
