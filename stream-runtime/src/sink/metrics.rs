//! The figures of a sink.

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use service_kit::Metrics;

use super::SinkOptions;

/// Batches handed to one sink, by outcome.
#[derive(Clone)]
pub struct Deliveries {
    counter: IntCounterVec,
    sink: String,
}

impl Deliveries {
    pub fn outcome(&self, outcome: &str) -> IntCounter {
        self.counter.with_label_values(&[self.sink.as_str(), outcome])
    }
}

pub struct SinkMetrics {
    pub deliveries: Deliveries,
    pub backlog: IntGauge,
}

impl SinkMetrics {
    pub fn new(metrics: &Metrics, options: &SinkOptions) -> Self {
        let counter = metrics.counter_vec(
            "ttf_sink_deliveries_total",
            "Batches handed to the sink, by outcome; `unavailable` ones are tried again.",
            &["sink", "outcome"],
        );
        let backlog = metrics
            .gauge_vec("ttf_sink_backlog_records", "Records that are not durable in the sink yet.", &["sink"])
            .with_label_values(&[options.name.as_str()]);
        Self { deliveries: Deliveries { counter, sink: options.name.clone() }, backlog }
    }
}
