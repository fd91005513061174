//! How far a consumer is behind: the same figures for every kind of runner.

use std::collections::HashMap;

use prometheus::{Gauge, IntGaugeVec};
use service_kit::Metrics;

use crate::log::TopicPartition;

/// The lag of one group's member.
pub(crate) struct LagMetrics {
    group: String,
    lag: IntGaugeVec,
    oldest: Gauge,
    partitions: HashMap<TopicPartition, Behind>,
}

#[derive(Default)]
struct Behind {
    /// When it was last known to have everything.
    caught_up_ms: i64,
    /// Age of the oldest record that waits.
    age_ms: i64,
}

impl LagMetrics {
    pub fn new(metrics: &Metrics, group: &str) -> Self {
        let lag = metrics.gauge_vec(
            "ttf_consumer_lag_records",
            "Records in the partition that the group has not processed yet.",
            &["group", "topic", "partition"],
        );
        let oldest = metrics
            .float_gauge_vec(
                "ttf_consumer_oldest_unprocessed_seconds",
                "Age of the oldest record the group has not processed yet, at most; 0 when there is none.",
                &["group"],
            )
            .with_label_values(&[group]);
        Self { group: group.to_owned(), lag, oldest, partitions: HashMap::new() }
    }

    /// Notes where a partition stands: our next offset, its end, and the time of the last record seen.
    pub fn observe(&mut self, at: &TopicPartition, next: i64, end: i64, last_record_ms: Option<i64>, now_ms: i64) {
        let lag = (end - next).max(0);
        self.lag.with_label_values(&[&self.group, &*at.topic, &at.partition.to_string()]).set(lag);
        let behind = self.partitions.entry(at.clone()).or_insert(Behind { caught_up_ms: now_ms, age_ms: 0 });
        if lag == 0 {
            behind.caught_up_ms = now_ms;
        }
        let waiting_since = behind.caught_up_ms.max(last_record_ms.unwrap_or(i64::MIN));
        behind.age_ms = if lag == 0 { 0 } else { (now_ms - waiting_since).max(0) };
        let oldest = self.partitions.values().map(|behind| behind.age_ms).max().unwrap_or(0);
        self.oldest.set(oldest as f64 / 1_000.0);
    }

    /// Forgets the partitions: they are no longer ours.
    pub fn clear(&mut self) {
        for at in self.partitions.keys() {
            // The series may be gone when another member of this process took the partition over and gave it up.
            let _ = self.lag.remove_label_values(&[&self.group, &*at.topic, &at.partition.to_string()]);
        }
        self.partitions.clear();
        self.oldest.set(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_from_the_last_moment_nothing_waited() {
        let metrics = Metrics::default();
        let mut lag = LagMetrics::new(&metrics, "g");
        let at = TopicPartition::new("t", 0);
        lag.observe(&at, 5, 5, Some(1_000), 10_000);
        assert!((lag.oldest.get() - 0.0).abs() < 1e-9);
        lag.observe(&at, 5, 8, Some(1_000), 15_000);
        assert!((lag.oldest.get() - 5.0).abs() < 1e-9);
        assert!(metrics.render().contains(r#"ttf_consumer_lag_records{group="g",partition="0",topic="t"} 3"#));
        lag.observe(&at, 8, 8, Some(14_000), 16_000);
        assert!((lag.oldest.get() - 0.0).abs() < 1e-9);
        lag.clear();
        assert!(!metrics.render().contains("partition=\"0\""));
    }
}
