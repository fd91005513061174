//! What products say of themselves, as metrics: `performance` and `error` events. Labels are what clients sent, so their
//! number is bounded: names on the list, or the first so many; the others count as `other`.

use std::{collections::HashSet, sync::Arc};

use parking_lot::RwLock;
use prometheus::{HistogramVec, IntCounterVec};
use serde_json::Value;
use service_kit::Metrics;
use telemetry_schemas::event::{Event, EventType};

use crate::config::AppMetricsConfig;

/// Seconds.
const BUCKETS: [f64; 13] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

const OTHER: &str = "other";

/// What one event tells.
#[derive(Debug, Clone, PartialEq)]
pub enum AppSample {
    Request { operation: String, is_error: bool, seconds: f64 },
    Error { error_type: String },
}

impl AppSample {
    /// What an event tells that the privacy policy has been through.
    pub fn of(event: &Event) -> Option<Self> {
        let text = |key: &str| event.properties.get(key).and_then(Value::as_str).map(str::to_owned);
        match event.event_type {
            EventType::Performance => {
                let number = |key: &str| event.properties.get(key).and_then(Value::as_f64);
                let is_error = match text("status") {
                    Some(status) => status == "error",
                    None => number("http_status").is_some_and(|status| status >= 500.0),
                };
                let seconds = number("duration_ms")?.max(0.0) / 1_000.0;
                Some(Self::Request { operation: text("operation")?, is_error, seconds })
            }
            EventType::Error => Some(Self::Error { error_type: text("error_type")? }),
            _ => None,
        }
    }
}

/// The figures; cheap to clone.
#[derive(Debug, Clone)]
pub struct AppMetrics {
    duration: HistogramVec,
    errors: IntCounterVec,
    operations: Arc<Labels>,
    error_types: Arc<Labels>,
}

impl AppMetrics {
    pub fn new(metrics: &Metrics, config: &AppMetricsConfig) -> Self {
        Self {
            duration: metrics.histogram_vec(
                "ttf_app_request_duration_seconds",
                "Durations that products report in `performance` events.",
                &["operation", "status"],
                &BUCKETS,
            ),
            errors: metrics.counter_vec(
                "ttf_app_errors_total",
                "Errors that products report in `error` events.",
                &["error_type"],
            ),
            operations: Arc::new(Labels::new(&config.operations, config.max_operations)),
            error_types: Arc::new(Labels::new(&config.error_types, config.max_error_types)),
        }
    }

    /// Counts an event that was accepted.
    pub fn observe(&self, sample: &AppSample) {
        match sample {
            AppSample::Request { operation, is_error, seconds } => {
                let status = if *is_error { "error" } else { "ok" };
                self.duration.with_label_values(&[self.operations.label(operation), status]).observe(*seconds);
            }
            AppSample::Error { error_type } => {
                self.errors.with_label_values(&[self.error_types.label(error_type)]).inc();
            }
        }
    }
}

/// Values that get series of their own.
#[derive(Debug)]
struct Labels {
    known: RwLock<HashSet<String>>,
    /// 0: only those that are known from the start.
    max: usize,
}

impl Labels {
    fn new(listed: &[String], max: usize) -> Self {
        let known: HashSet<String> = listed.iter().cloned().collect();
        Self { known: RwLock::new(known), max: if listed.is_empty() { max } else { 0 } }
    }

    fn label<'a>(&self, value: &'a str) -> &'a str {
        if self.known.read().contains(value) {
            return value;
        }
        if self.known.read().len() >= self.max {
            return OTHER;
        }
        let mut known = self.known.write();
        if known.len() < self.max {
            known.insert(value.to_owned());
            value
        } else {
            OTHER
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(config: AppMetricsConfig) -> (AppMetrics, Metrics) {
        let metrics = Metrics::default();
        (AppMetrics::new(&metrics, &config), metrics)
    }

    fn error(error_type: &str) -> AppSample {
        AppSample::Error { error_type: error_type.to_owned() }
    }

    #[test]
    fn beyond_the_bound_labels_are_other() {
        let config = AppMetricsConfig { max_error_types: 2, ..AppMetricsConfig::default() };
        let (app, metrics) = metrics(config);
        for number in 0..1_000 {
            app.observe(&error(&format!("Error{number}")));
        }
        let text = metrics.render();
        assert_eq!(text.lines().filter(|line| line.starts_with("ttf_app_errors_total{")).count(), 3, "{text}");
        assert!(text.contains(r#"ttf_app_errors_total{error_type="other"} 998"#), "{text}");
    }

    #[test]
    fn a_list_lets_nothing_else_through() {
        let config = AppMetricsConfig {
            error_types: vec!["Timeout".into()],
            max_error_types: 100,
            ..AppMetricsConfig::default()
        };
        let (app, metrics) = metrics(config);
        app.observe(&error("Another"));
        app.observe(&error("Timeout"));
        let text = metrics.render();
        assert!(text.contains(r#"{error_type="Timeout"} 1"#) && text.contains(r#"{error_type="other"} 1"#), "{text}");
        assert!(!text.contains("Another"));
    }
}
