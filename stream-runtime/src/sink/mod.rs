//! The sink consumer: feeds topics into stores that keep their own offsets.
//!
//! The consumer's thread keeps polling while a batch is written, so that a slow store pauses reading and never
//! costs the group membership.

mod feeder;
mod metrics;
mod store;

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use async_trait::async_trait;
use feeder::Feeder;
use metrics::SinkMetrics;
use service_kit::Kit;

use crate::{
    lag::LagMeter,
    log::{Log, NextOffset, Position, Record, TopicPartition},
};

/// What a sink says when a write failed.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The store is away, slow or busy: the same batch again, with backoff, while the consumer is paused.
    #[error("sink is not available: {0}")]
    Unavailable(String),
    /// What the store has is not what we thought (another owner, an older copy): ask [`Sink::assigned`] again
    /// and read from there.
    #[error("positions have moved: {0}")]
    Moved(String),
    /// Exit non-zero.
    #[error("{0}")]
    Fatal(String),
}

/// A store that takes records in batches and keeps its own offsets with them.
#[async_trait]
pub trait Sink: Send + 'static {
    /// Called at each assignment: claims the partitions and says where to read on from.
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Position)>, SinkError>;

    /// Called before partitions go away; what is unfinished is dropped (it will be replayed).
    async fn revoked(&mut self, partitions: &[TopicPartition]);

    /// Takes a batch (never empty; in offset order within each partition). Returns the offsets that are now
    /// durable: all of the batch for a database, those of completed objects for an object store. Called again
    /// with the same batch after [`SinkError::Unavailable`].
    async fn write(&mut self, batch: &[Record]) -> Result<Vec<NextOffset>, SinkError>;

    /// Called about once a second, also when nothing comes in: for work by the clock.
    async fn tick(&mut self) -> Result<Vec<NextOffset>, SinkError> {
        Ok(Vec::new())
    }
}

/// How a sink is fed.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// Label of its metrics and health check.
    pub name: String,
    pub group: String,
    pub topics: Vec<String>,
    /// Static membership.
    pub instance_id: Option<String>,
    /// A batch is written when it has this many records …
    pub batch_records: usize,
    /// … or about this many bytes …
    pub batch_bytes: usize,
    /// … or is this old.
    pub batch_interval: Duration,
    /// At most about this many bytes are read ahead.
    pub prefetch_bytes: usize,
}

impl SinkOptions {
    /// Options with the usual batch sizes: 5 000 records, 4 MiB, 500 ms, 8 MiB read ahead.
    pub fn new(name: impl Into<String>, group: impl Into<String>, topics: Vec<String>) -> Self {
        Self {
            name: name.into(),
            group: group.into(),
            topics,
            instance_id: None,
            batch_records: 5_000,
            batch_bytes: 4 << 20,
            batch_interval: Duration::from_millis(500),
            prefetch_bytes: 8 << 20,
        }
    }
}

/// Longest wait for records while no answer of the store is awaited.
const IDLE: Duration = Duration::from_millis(50);

/// Feeds `sink`: a thread of the kit consumes, a task of the kit writes. Returns at once.
///
/// # Errors
/// When the options contradict each other; what goes wrong later ends the process through the kit.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn run(options: SinkOptions, log: Arc<dyn Log>, sink: impl Sink, kit: &Kit) -> anyhow::Result<()> {
    ensure!(!options.topics.is_empty(), "sink `{}` has no topics", options.name);
    ensure!(options.batch_records > 0, "`batch_records` must be at least 1");
    let name = format!("sink-{}", options.name);
    let health = kit.health().check(name.clone());
    // Asked for here, so that the process is not ready before the thread has begun.
    kit.health().readiness(name.clone()).set(false);
    let metrics = SinkMetrics::new(kit.metrics(), &options);
    let (store, requests) = store::serve(sink, metrics.deliveries.clone(), health, kit.shutdown());
    kit.spawn(format!("{name}-store"), store);
    let lag = LagMeter::with_total(kit.metrics(), &options.group, Some(metrics.backlog));
    lag.measure(log.clone(), kit, &name);
    let kit_of_feeder = kit.clone();
    kit.spawn_thread(name, move || {
        let shutdown = kit_of_feeder.shutdown();
        let mut feeder = Feeder::join(options, &log, requests, &lag, &kit_of_feeder)?;
        while !shutdown.is_cancelled() {
            feeder.step(IDLE)?;
        }
        feeder.close()
    });
    Ok(())
}
