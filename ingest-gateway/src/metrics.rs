//! The gateway's figures. `tenant` labels are the configured tenants, anything else is `other`.

use std::sync::Arc;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};
use service_kit::{Metrics, config::TenantsConfig};

use crate::{outcome::Outcome, plan::Finding};

const LATENCY_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const LAG_BUCKETS: [f64; 9] = [0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0];

/// Figures of the HTTP side.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    pub requests: IntCounterVec,
    pub duration: HistogramVec,
    pub in_flight_bytes: IntGauge,
    pub overloaded: IntCounterVec,
    pub connections: IntGauge,
    pub connections_cut: IntCounterVec,
    pub tls_reloads: IntCounterVec,
}

impl HttpMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            requests: metrics.counter_vec(
                "ttf_gateway_requests_total",
                "HTTP requests answered, by route and status code.",
                &["route", "code"],
            ),
            duration: metrics.histogram_vec(
                "ttf_gateway_request_duration_seconds",
                "Time from the request's head to the answer's head.",
                &["route"],
                &LATENCY_BUCKETS,
            ),
            in_flight_bytes: metrics
                .gauge("ttf_gateway_in_flight_bytes", "Bytes of bodies whose requests are not answered yet."),
            overloaded: metrics.counter_vec(
                "ttf_gateway_overloaded_total",
                "Requests refused because the bytes in flight were used up: all of them, or what a tenant may hold of them.",
                &["budget"],
            ),
            connections: metrics.gauge("ttf_gateway_connections", "Open client connections."),
            connections_cut: metrics.counter_vec(
                "ttf_gateway_connections_cut_total",
                "HTTP/2 connections ended by the gateway: idle, or because the client took most of its requests back (resets).",
                &["reason"],
            ),
            tls_reloads: metrics.counter_vec(
                "ttf_gateway_tls_reloads_total",
                "Times the certificate's files had changed: renewed, or refused because they cannot be served from.",
                &["outcome"],
            ),
        }
    }
}

/// Figures of recognising repeats.
#[derive(Debug, Clone)]
pub struct DedupMetrics {
    pub ids: IntGauge,
    pub unavailable: IntCounter,
    pub owed: IntGauge,
}

impl DedupMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            ids: metrics.gauge("ttf_gateway_dedup_ids", "Event ids held in memory to recognise repeats."),
            unavailable: metrics.counter(
                "ttf_gateway_dedup_unavailable_total",
                "Times Redis could not be asked or told about event ids; this process's memory decided alone.",
            ),
            owed: metrics.gauge(
                "ttf_gateway_dedup_owed_ids",
                "Event ids taken while Redis was away that it has yet to be told of, for the other gateways.",
            ),
        }
    }
}

/// Figures of events, whichever way they came in.
#[derive(Debug, Clone)]
pub struct EventMetrics {
    received: IntCounterVec,
    outcomes: IntCounterVec,
    rejected: IntCounterVec,
    lag: Histogram,
    redactions: IntCounterVec,
    unplanned: IntCounterVec,
    rate_limited: IntCounterVec,
    tenants: Arc<TenantsConfig>,
}

impl EventMetrics {
    pub fn new(metrics: &Metrics, tenants: Arc<TenantsConfig>) -> Self {
        Self {
            received: metrics.counter_vec(
                "ttf_events_received_total",
                "Events that came in, before anything was decided about them.",
                &["tenant", "source"],
            ),
            outcomes: metrics.counter_vec(
                "ttf_events_total",
                "Events by their one outcome: accepted, duplicate, rejected, limited or retry.",
                &["tenant", "source", "outcome"],
            ),
            rejected: metrics.counter_vec(
                "ttf_events_rejected_total",
                "Rejected events by the first reason.",
                &["tenant", "reason"],
            ),
            lag: metrics.histogram(
                "ttf_event_lag_seconds",
                "Age of accepted events when they came in, by their own timestamps.",
                &LAG_BUCKETS,
            ),
            redactions: metrics.counter_vec(
                "ttf_pii_redactions_total",
                "Values changed by the privacy policy before anything was written.",
                &["class", "action"],
            ),
            unplanned: metrics.counter_vec(
                "ttf_plan_violations_total",
                "Events that are not as their tenant's tracking plan says, by the first finding.",
                &["tenant", "code", "mode"],
            ),
            rate_limited: metrics.counter_vec(
                "ttf_ratelimit_rejections_total",
                "Requests refused because their sender came too often.",
                &["tenant"],
            ),
            tenants,
        }
    }

    pub fn received(&self, tenant: &str, source: &str, events: u64) {
        self.received.with_label_values(&[self.tenants.label(tenant), source]).inc_by(events);
    }

    pub fn outcomes(&self, tenant: &str, source: &str, outcome: Outcome, events: u64) {
        self.outcomes.with_label_values(&[self.tenants.label(tenant), source, outcome.as_str()]).inc_by(events);
    }

    pub fn rejected(&self, tenant: &str, reason: &str) {
        self.rejected.with_label_values(&[self.tenants.label(tenant), reason]).inc();
    }

    pub fn lag(&self, millis: i64) {
        self.lag.observe(millis.max(0) as f64 / 1_000.0);
    }

    pub fn rate_limited(&self, tenant: &str) {
        self.rate_limited.with_label_values(&[self.tenants.label(tenant)]).inc();
    }

    pub fn unplanned(&self, tenant: &str, finding: &Finding) {
        let code = finding.violations.first().map_or("unknown", |violation| violation.code.as_str());
        self.unplanned.with_label_values(&[self.tenants.label(tenant), code, finding.mode.as_str()]).inc();
    }

    pub fn redacted(&self, class: &str, action: &str) {
        self.redactions.with_label_values(&[class, action]).inc();
    }
}

/// Figures of rate limits.
#[derive(Debug, Clone)]
pub struct LimitMetrics {
    /// Decisions of this process alone, because Redis did not answer.
    pub alone: IntCounter,
}

impl LimitMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            alone: metrics.counter(
                "ttf_ratelimit_alone_total",
                "Rate limits decided by this process alone, because Redis did not answer.",
            ),
        }
    }
}

/// Figures of keys and limits that are read again.
#[derive(Debug, Clone)]
pub struct ReloadMetrics {
    pub reloads: IntCounterVec,
}

impl ReloadMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            reloads: metrics.counter_vec(
                "ttf_gateway_reloads_total",
                "Changes of keys and limits found in the configuration: taken, or refused because they could not be read.",
                &["outcome"],
            ),
        }
    }
}
