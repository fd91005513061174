//! The streaming engine TTF runs on: the log seam with its two implementations, the sink consumer,
//! and the exactly-once keyed runtime. Knows nothing of TTF.
//!
//! - [`log`]: partitioned topics: publish, subscribe, transact. `log::kafka` on rdkafka, `log::embedded` on fjall.
//! - [`keyed`]: read → change keyed state → write, each input applied once, whatever crashes.
//! - [`transform`]: the stateless use of the same transaction (consume, map, produce).
//! - [`sink`]: reads topics into stores that keep their own offsets.

pub mod keyed;
mod lag;
pub mod log;
mod positions;
pub mod sink;
mod transaction;
pub mod transform;

/// `ttf_dlq_records_total{topic,reason}`: every part of a process that gives up on records counts them here.
pub fn dead_letters(metrics: &service_kit::Metrics) -> prometheus::IntCounterVec {
    metrics.counter_vec(
        "ttf_dlq_records_total",
        "Records that could not be processed and went to the rejected topic, by the topic they came from.",
        &["topic", "reason"],
    )
}
