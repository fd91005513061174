//! How a keyed runtime is set up.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use service_kit::config::{ByteSize, HumanDuration};

/// The part of a service's configuration that is about its runtime (`processor.runtime`, `alerter.runtime`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    /// Stable identity of this process among those of the same service (the pod's ordinal). Two processes with
    /// the same ordinal replace each other.
    pub ordinal: String,
    /// Threads, each with its own group membership, transactions and share of the partitions.
    pub workers: usize,
    /// Folder of the local state; used by one process at a time. Losing it costs a restore, no data.
    pub state_dir: PathBuf,
    /// A transaction is committed at the latest after this time …
    pub commit_interval: HumanDuration,
    /// … or after this many records …
    pub commit_records: usize,
    /// … or when its changed state holds about this many bytes.
    pub commit_bytes: ByteSize,
    /// States that were looked up lately are kept at hand in about this much memory.
    pub cache: ByteSize,
    /// How long after its due time a timer waits for records that were received before it.
    pub timer_grace: HumanDuration,
    /// Stop when more than this share of the last records could not be processed (0.0–1.0).
    pub poison_share: f64,
    /// … and at least this many of them.
    pub poison_minimum: u32,
    /// At most about this many bytes are read ahead.
    pub prefetch: ByteSize,
}

/// What [`RuntimeConfig::ordinal`] says when the host's name is to be asked.
const FROM_HOSTNAME: &str = "auto";

/// The configured ordinal, or with `auto` the number a stateful set gave the host (`ttf-processor-3` → `3`),
/// `0` where there is none.
pub fn ordinal(configured: &str, hostname: Option<&str>) -> String {
    if configured != FROM_HOSTNAME {
        return configured.to_owned();
    }
    let number = hostname.and_then(|name| name.rsplit_once('-')).map(|(_, number)| number);
    match number {
        Some(number) if !number.is_empty() && number.len() <= 5 && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            number.to_owned()
        }
        _ => "0".to_owned(),
    }
}

/// Tells the time, in milliseconds since the epoch.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The machine's wall clock.
    pub fn system() -> Self {
        Self::new(service_kit::clock::now_ms)
    }

    /// A clock of your own (tests).
    pub fn new(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    pub fn now_ms(&self) -> i64 {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Everything a keyed runtime is told besides its processor. [`KeyedOptions::new`] fills in the defaults.
#[derive(Debug, Clone)]
pub struct KeyedOptions {
    /// Name of the application: first part of the transactional ids, name of the readiness check.
    pub app: String,
    /// See [`RuntimeConfig::ordinal`].
    pub ordinal: String,
    /// Number of worker threads.
    pub workers: usize,
    /// Consumer group.
    pub group: String,
    /// Input topics, all with the same number of partitions as the changelog.
    pub inputs: Vec<String>,
    /// Those of the inputs that go first: while a task has not read what they held a moment ago, its other inputs
    /// are held back.
    pub first_inputs: Vec<String>,
    /// How often it is asked where they end.
    pub first_interval: Duration,
    /// The other inputs go on all the same when nothing of the first ones was read for so long.
    pub first_patience: Duration,
    /// The compacted topic that holds the state.
    pub changelog: String,
    pub state_dir: PathBuf,
    /// First part of the metrics' names (`ttf_processor`).
    pub metrics_prefix: String,
    pub commit_interval: Duration,
    pub commit_records: usize,
    pub commit_bytes: usize,
    /// See [`RuntimeConfig::cache`]. Shared evenly by the partitions of a worker, and by the workers.
    pub cache_bytes: usize,
    pub timer_grace: Duration,
    /// How often end offsets are asked for while a timer is due.
    pub timer_interval: Duration,
    /// At most this many timers fire in one transaction.
    pub timer_batch: usize,
    /// Names what [`super::KeyedProcessor::next_due`] depends on besides the state (its configuration). When it
    /// differs from what the store was written with, the timer index is rebuilt.
    pub timer_fingerprint: String,
    pub poison_share: f64,
    pub poison_minimum: u32,
    pub prefetch_bytes: usize,
    /// Bound of one blocking call to the log.
    pub call_timeout: Duration,
    /// Bound of all tries of one transactional call. The worker does not poll meanwhile, so a rebalance waits for it.
    pub retry_timeout: Duration,
    /// A restore that reads nothing for so long fails.
    pub restore_stall: Duration,
    /// How often the local stores are written: what is committed later is read again from the changelog after a crash.
    pub store_interval: Duration,
    /// How often the end of the changelog is noted: after a restart about so much of it is read again.
    pub position_interval: Duration,
    /// Kafka's `delete.retention.ms` of the changelog: an older store may have missed deletions.
    pub changelog_delete_retention: Duration,
    /// Local state of a partition that is no longer ours is deleted after this time.
    pub foreign_state_ttl: Duration,
    pub clock: Clock,
}

impl KeyedOptions {
    /// Options from a service's configuration.
    pub fn new(
        app: impl Into<String>,
        group: impl Into<String>,
        inputs: Vec<String>,
        changelog: impl Into<String>,
        metrics_prefix: impl Into<String>,
        config: &RuntimeConfig,
    ) -> Self {
        Self {
            app: app.into(),
            ordinal: config.ordinal.clone(),
            workers: config.workers,
            group: group.into(),
            inputs,
            first_inputs: Vec::new(),
            first_interval: Duration::from_secs(1),
            first_patience: Duration::from_secs(30),
            changelog: changelog.into(),
            state_dir: config.state_dir.clone(),
            metrics_prefix: metrics_prefix.into(),
            commit_interval: config.commit_interval.as_std(),
            commit_records: config.commit_records,
            commit_bytes: config.commit_bytes.as_usize(),
            cache_bytes: config.cache.as_usize(),
            timer_grace: config.timer_grace.as_std(),
            timer_interval: Duration::from_secs(1),
            timer_batch: 10_000,
            timer_fingerprint: String::new(),
            poison_share: config.poison_share,
            poison_minimum: config.poison_minimum,
            prefetch_bytes: config.prefetch.as_usize(),
            call_timeout: Duration::from_secs(10),
            retry_timeout: Duration::from_secs(20),
            restore_stall: Duration::from_secs(60),
            store_interval: Duration::from_secs(5),
            position_interval: Duration::from_secs(5),
            changelog_delete_retention: Duration::from_secs(24 * 3600),
            foreign_state_ttl: Duration::from_secs(3600),
            clock: Clock::system(),
        }
    }

    /// `<app>-<ordinal>-<worker>`: the transactional id and the group instance id of a worker.
    pub fn member_id(&self, worker: usize) -> String {
        format!("{}-{}-{worker}", self.app, self.ordinal)
    }

    /// Name of a worker's thread, readiness and liveness.
    pub(crate) fn worker_name(&self, worker: usize) -> String {
        if self.workers > 1 { format!("{}-{worker}", self.app) } else { self.app.clone() }
    }
}
