//! What the archiver counts.

use prometheus::{Histogram, IntCounterVec, IntGaugeVec};
use service_kit::Kit;

/// Handles of the archiver's metrics; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    /// `ttf_pipeline_latency_seconds`: from received to queryable.
    pub pipeline_latency: Histogram,
    /// `ttf_dlq_records_total{topic,reason}`.
    pub dead_letters: IntCounterVec,
    /// `ttf_archive_rows_total{table,outcome}`; outcome is `written` or `forgotten`.
    pub rows: IntCounterVec,
    /// `ttf_archive_objects_total{dataset,outcome}`; outcome is `written` or `present`.
    pub objects: IntCounterVec,
    /// `ttf_archive_object_bytes_total{dataset}`.
    pub object_bytes: IntCounterVec,
    /// `ttf_archive_skipped_records_total{dataset,reason}`; reason is `forgotten`, `undecodable`, `unstorable` or `replayed`.
    pub skipped: IntCounterVec,
    /// `ttf_archive_cuts_total{topic,reason}`.
    pub cuts: IntCounterVec,
    /// `ttf_archive_buffered_records{topic}`.
    pub buffered: IntGaugeVec,
}

impl Metrics {
    pub fn new(kit: &Kit) -> Self {
        let metrics = kit.metrics();
        Self {
            pipeline_latency: metrics.histogram(
                "ttf_pipeline_latency_seconds",
                "Time from an event's receipt until it can be queried in the database.",
                &[0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3_600.0],
            ),
            dead_letters: stream_runtime::dead_letters(metrics),
            rows: metrics.counter_vec(
                "ttf_archive_rows_total",
                "Rows taken into the database, or left out because their user was erased.",
                &["table", "outcome"],
            ),
            objects: metrics.counter_vec(
                "ttf_archive_objects_total",
                "Objects of the archive that were written, or were there already.",
                &["dataset", "outcome"],
            ),
            object_bytes: metrics.counter_vec(
                "ttf_archive_object_bytes_total",
                "Bytes of the objects written.",
                &["dataset"],
            ),
            skipped: metrics.counter_vec(
                "ttf_archive_skipped_records_total",
                "Records that did not go into an object.",
                &["dataset", "reason"],
            ),
            cuts: metrics.counter_vec(
                "ttf_archive_cuts_total",
                "Closed stretches of a partition, by what closed them.",
                &["topic", "reason"],
            ),
            buffered: metrics.gauge_vec(
                "ttf_archive_buffered_records",
                "Records read but not yet in a complete object.",
                &["topic"],
            ),
        }
    }
}
