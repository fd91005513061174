//! The stateless use of the transaction: consume, map, produce, commit, exactly once.

use std::{sync::Arc, time::Duration};

use service_kit::Kit;

use crate::log::{Log, NewRecord, RecordRef};

/// What is done with each record. Any `FnMut(&RecordRef, &mut Vec<NewRecord>)` is one.
pub trait Transform: Send + 'static {
    /// Adds to `out` what comes of `record`.
    fn map(&mut self, record: &RecordRef<'_>, out: &mut Vec<NewRecord>);

    /// Everything mapped since the last call is committed.
    fn committed(&mut self) {}

    /// Nothing mapped since the last [`Transform::committed`] counts; the same records come again.
    fn rolled_back(&mut self) {}
}

impl<F: FnMut(&RecordRef<'_>, &mut Vec<NewRecord>) + Send + 'static> Transform for F {
    fn map(&mut self, record: &RecordRef<'_>, out: &mut Vec<NewRecord>) {
        self(record, out);
    }
}

/// How a transform runs.
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
    pub commit_interval: Duration,
    pub commit_records: usize,
    /// A transaction is committed when its outputs hold this many bytes.
    pub commit_bytes: usize,
    pub prefetch_bytes: usize,
    /// Bound of one blocking call to the log.
    pub call_timeout: Duration,
    /// Bound of all tries of one transactional call.
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
            retry_timeout: Duration::from_secs(60),
        }
    }
}

/// Consumes, maps, produces and commits on a thread of the kit; returns at once.
pub fn run(
    _options: TransformOptions,
    _log: Arc<dyn Log>,
    _map: impl Transform,
    _kit: &Kit,
) -> anyhow::Result<()> {
    anyhow::bail!("the transform runner is not there yet")
}
