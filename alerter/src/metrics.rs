//! The alerter's figures.

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use service_kit::Metrics;

/// From a decision to the receiver's answer.
const DELAY_BUCKETS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 3_600.0, 86_400.0];

/// Cheap to clone.
#[derive(Clone)]
pub struct AlerterMetrics {
    /// Breaches read, by what became of them.
    pub breaches: IntCounterVec,
    /// Decisions about groups, by reason.
    pub decisions: IntCounterVec,
    /// Open groups, by level.
    pub groups: IntGaugeVec,
    /// Deliveries, by receiver and outcome.
    pub deliveries: IntCounterVec,
    /// From decision to delivery.
    pub delay: HistogramVec,
    /// Whether a receiver takes what it is sent.
    pub up: IntGaugeVec,
    /// Groups of which it is known what a receiver was told.
    pub receipts: IntGaugeVec,
}

impl AlerterMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            breaches: metrics.counter_vec(
                "ttf_alert_breaches_total",
                "Breaches read, by what became of them: routed, or the reason why not.",
                &["outcome"],
            ),
            decisions: metrics.counter_vec(
                "ttf_alert_decisions_total",
                "Decisions about alert groups, by reason; those of a transaction that was rolled back are counted again.",
                &["reason"],
            ),
            groups: metrics.gauge_vec("ttf_alert_groups_open", "Alert groups that are open, by their level.", &["level"]),
            deliveries: metrics.counter_vec(
                "ttf_alert_deliveries_total",
                "Notifications by receiver and outcome: delivered, fallback (delivered by the one that stands in), retried \
                 (will be tried again), redelivered (tried again after a crash; the receiver may have had it), \
                 resolved_before_delivered, failed, expired, undecodable, no_receiver.",
                &["receiver", "outcome"],
            ),
            delay: metrics.histogram_vec(
                "ttf_alert_delivery_delay_seconds",
                "From the decision to notify to the receiver's acceptance.",
                &["receiver"],
                &DELAY_BUCKETS,
            ),
            up: metrics.gauge_vec(
                "ttf_alert_receiver_up",
                "1 while the receiver takes what it is sent, 0 when it is dead or has failed for long.",
                &["receiver"],
            ),
            receipts: metrics.gauge_vec(
                "ttf_alert_receipts",
                "Alert groups of which it is known what a receiver was told.",
                &["receiver"],
            ),
        }
    }
}
