//! The figures of a keyed runtime.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use service_kit::{Metrics, metrics::AgeVec};

use crate::log::Verdict;

use super::store::{Stores, TaskStore};

/// Bounds of commit durations, in seconds.
const COMMIT_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];

#[derive(Clone)]
pub struct KeyedMetrics {
    pub commit_duration: Histogram,
    pub aborts: IntCounterVec,
    pub restore_remaining: IntGaugeVec,
    pub restored_records: IntCounter,
    pub state_bytes: IntGaugeVec,
    pub state_entries: IntGaugeVec,
    pub state_journal_bytes: IntGauge,
    pub inputs_held_back: IntGaugeVec,
    pub first_inputs_overruled: IntCounter,
    pub rebalances: IntCounter,
    /// Partitions there are, whoever has them.
    pub partitions: IntGauge,
    owned: IntGaugeVec,
    pub transaction_age: AgeVec,
    pub records_in: IntCounter,
    pub records_out: IntCounter,
    pub timers_fired: IntCounter,
    pub poison: IntCounterVec,
}

impl KeyedMetrics {
    /// `prefix` is the first part of the names: `ttf_processor`.
    pub fn new(metrics: &Metrics, prefix: &str) -> Self {
        let name = |rest: &str| format!("{prefix}_{rest}");
        let aborts = metrics.counter_vec(
            &name("aborts_total"),
            "Transactions that did not end in a commit, by what was done about it.",
            &["class"],
        );
        // There from the start, so that the first increase shows.
        for class in [Verdict::RollBack, Verdict::Stale, Verdict::Indeterminate, Verdict::Fenced] {
            aborts.with_label_values(&[class.as_str()]);
        }
        Self {
            commit_duration: metrics.histogram(
                &name("commit_duration_seconds"),
                "Time to flush, produce and commit one transaction and to write it to the local store.",
                &COMMIT_BUCKETS,
            ),
            aborts,
            restore_remaining: metrics.gauge_vec(
                &name("restore_remaining_records"),
                "Offsets of the changelog still to be read before the partition is processed.",
                &["partition"],
            ),
            restored_records: metrics.counter(
                &name("restored_records_total"),
                "Changelog records read into the local state: its rate is the speed of a restore.",
            ),
            state_bytes: metrics.gauge_vec(
                &name("state_bytes"),
                "Bytes of the local state on disk, without what is still in the journal.",
                &["partition"],
            ),
            state_entries: metrics.gauge_vec(
                &name("state_entries"),
                "About how many entries the local state has: one per state and one per timer, more until compacted.",
                &["partition"],
            ),
            state_journal_bytes: metrics.gauge(
                &name("state_journal_bytes"),
                "Bytes of the local state's journal on disk, shared by the partitions of the process.",
            ),
            inputs_held_back: metrics.gauge_vec(
                &name("inputs_held_back"),
                "1 while the partition's other inputs wait for those that go first.",
                &["partition"],
            ),
            first_inputs_overruled: metrics.counter(
                &name("first_inputs_overruled_total"),
                "Times the other inputs went on without the first ones, of which nothing was read for too long.",
            ),
            rebalances: metrics.counter(&name("rebalances_total"), "Assignments the group has made."),
            partitions: metrics.gauge(
                &name("partitions"),
                "Partitions the inputs have; each has to have one owner among all processes.",
            ),
            owned: metrics.gauge_vec(
                &name("partition_owned"),
                "1 for each partition a worker of this process has.",
                &["partition", "worker"],
            ),
            transaction_age: metrics.age_vec(
                &name("open_transaction_age_seconds"),
                "How long the worker's first input that is not committed has waited for its commit; 0 when none does.",
                "worker",
            ),
            records_in: metrics.counter(&name("records_in_total"), "Input records read, skipped ones included."),
            records_out: metrics
                .counter(&name("records_out_total"), "Records written in committed transactions, changelog included."),
            timers_fired: metrics.counter(&name("timers_fired_total"), "Timers that fired."),
            poison: crate::dead_letters(metrics),
        }
    }
}

impl KeyedMetrics {
    /// A worker has got a partition.
    pub fn owned(&self, partition: i32, worker: &str) {
        self.owned.with_label_values(&[&partition.to_string(), worker]).set(1);
    }

    /// Shows how large the local state is.
    pub fn measure(&self, stores: &Stores, tasks: impl IntoIterator<Item = TaskStore>) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for task in tasks {
            let partition = task.partition().to_string();
            self.state_bytes.with_label_values(&[&partition]).set(gauge(task.disk_bytes()));
            self.state_entries.with_label_values(&[&partition]).set(gauge(task.entries() as u64));
        }
        match stores.journal_bytes() {
            Ok(bytes) => self.state_journal_bytes.set(gauge(bytes)),
            Err(error) => tracing::debug!(%error, "the journal's size"),
        }
    }

    /// A worker has a partition no more.
    pub fn given_up(&self, partition: i32, worker: &str) {
        let partition = partition.to_string();
        // There is no series of a partition that was never opened.
        let _ = self.owned.remove_label_values(&[&partition, worker]);
        for gauge in [&self.restore_remaining, &self.state_bytes, &self.state_entries] {
            let _ = gauge.remove_label_values(&[&partition]);
        }
    }
}
