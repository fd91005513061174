//! The stateless use of the transaction: consume, map, produce, commit, exactly once.
//!
//! What a record maps to and the offset behind it are committed as one. After a crash or a rollback the same records
//! are mapped again, and only what was committed is seen by `read_committed` readers.

mod worker;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::ensure;
use service_kit::Kit;
use worker::Worker;

use crate::{
    lag::LagMeter,
    log::{Log, NewRecord, RecordRef, TopicPartition},
};

/// Longest wait for records: how fast a shutdown is noticed.
const IDLE: Duration = Duration::from_millis(50);

/// What is done with each record. Any `FnMut(&RecordRef, &mut Vec<NewRecord>)` is one.
///
/// Called on one thread, in offset order within each partition.
pub trait Transform: Send + 'static {
    /// Adds to `out` what comes of `record`.
    fn map(&mut self, record: &RecordRef<'_>, out: &mut Vec<NewRecord>);

    /// Everything mapped since the last [`Transform::committed`] is about to be produced. What is taken out of `out` here
    /// is not; its inputs' offsets are committed all the same.
    fn committing(&mut self, _out: &mut Vec<NewRecord>) {}

    /// Everything mapped since the last call is committed.
    fn committed(&mut self) {}

    /// Nothing mapped since the last [`Transform::committed`] is known to count; what does not will come again.
    fn rolled_back(&mut self) {}
}

impl<F: FnMut(&RecordRef<'_>, &mut Vec<NewRecord>) + Send + 'static> Transform for F {
    fn map(&mut self, record: &RecordRef<'_>, out: &mut Vec<NewRecord>) {
        self(record, out);
    }
}

/// How a transform runs. [`TransformOptions::new`] fills in the usual sizes.
#[derive(Debug, Clone)]
pub struct TransformOptions {
    /// First part of the transactional id, name of the readiness check.
    pub name: String,
    /// Stable identity of this process among those of the same service.
    pub ordinal: String,
    pub group: String,
    pub inputs: Vec<String>,
    /// First part of the metrics' names (`ttf_gateway_ingress`).
    pub metrics_prefix: String,
    /// A transaction is committed at the latest after this time …
    pub commit_interval: Duration,
    /// … or after this many records …
    pub commit_records: usize,
    /// … or when its outputs hold this many bytes.
    pub commit_bytes: usize,
    pub prefetch_bytes: usize,
    /// Bound of one blocking call to the log.
    pub call_timeout: Duration,
    /// Bound of all tries of one transactional call. Below the group's `max.poll.interval.ms`.
    pub retry_timeout: Duration,
}

impl TransformOptions {
    /// Options with the usual sizes: 200 ms, 10 000 records, 8 MiB a transaction, 8 MiB read ahead.
    pub fn new(
        name: impl Into<String>,
        ordinal: impl Into<String>,
        group: impl Into<String>,
        inputs: Vec<String>,
        metrics_prefix: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            ordinal: ordinal.into(),
            group: group.into(),
            inputs,
            metrics_prefix: metrics_prefix.into(),
            commit_interval: Duration::from_millis(200),
            commit_records: 10_000,
            commit_bytes: 8 << 20,
            prefetch_bytes: 8 << 20,
            call_timeout: Duration::from_secs(10),
            retry_timeout: Duration::from_secs(20),
        }
    }
}

/// Consumes, maps, produces and commits on a thread of the kit; returns at once.
///
/// # Errors
/// When the options contradict each other; what goes wrong later ends the process through the kit.
pub fn run(options: TransformOptions, log: Arc<dyn Log>, map: impl Transform, kit: &Kit) -> anyhow::Result<()> {
    ensure!(!options.inputs.is_empty(), "`{}` has no input topics", options.name);
    ensure!(options.commit_records > 0, "`commit_records` must be at least 1");
    // Asked for here, so that the process is not ready before the thread has begun.
    kit.health().readiness(options.name.clone()).set(false);
    let lag = LagMeter::new(kit.metrics(), &options.group);
    lag.measure(log.clone(), kit, &options.name);
    let kit_of_worker = kit.clone();
    kit.spawn_thread(options.name.clone(), move || {
        let shutdown = kit_of_worker.shutdown();
        let mut worker = Worker::join(options, log, map, &lag, &kit_of_worker)?;
        while !shutdown.is_cancelled() {
            worker.step(IDLE)?;
        }
        worker.close()
    });
    Ok(())
}

type Places = BTreeMap<TopicPartition, crate::positions::InputPosition>;
