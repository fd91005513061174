//! The product's own errors and response times, by its `error` and `performance` events. Pure.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value};
use telemetry_schemas::{BreachKind, EventTime, EventType, Millis};

use super::watch::{Finding, JOURNEY};
use crate::config::ApplicationChecks;

/// Operations are counted in slices of this length.
const SLICE: Millis = Millis::from_secs(10);
/// Operations of one tenant that are told apart; more are not judged.
const MAX_OPERATIONS: usize = 200;
/// Upper bounds of durations in milliseconds: each a quarter more than the one before, 1 ms to 20 min.
const BOUNDS: usize = 64;

#[derive(Debug, Clone)]
struct Counts {
    operations: u64,
    failed: u64,
    durations: Vec<u32>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { operations: 0, failed: 0, durations: vec![0; BOUNDS] }
    }
}

fn bound(index: usize) -> f64 {
    1.25_f64.powi(i32::try_from(index).unwrap_or(i32::MAX))
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.failed += other.failed;
        for (sum, count) in self.durations.iter_mut().zip(&other.durations) {
            *sum += count;
        }
    }

    /// At most the upper bound of the slice in which the 95th percentile lies, in milliseconds.
    fn p95(&self) -> Option<f64> {
        let all: u64 = self.durations.iter().map(|count| u64::from(*count)).sum();
        let rank = (all * 95).div_ceil(100);
        let mut passed = 0;
        (0..BOUNDS)
            .find(|index| {
                passed += u64::from(self.durations[*index]);
                all > 0 && passed >= rank
            })
            .map(bound)
    }
}

type Operation = (String, String);

/// What was counted in the window.
#[derive(Default)]
pub struct Application {
    slices: VecDeque<(EventTime, BTreeMap<Operation, Counts>)>,
}

impl Application {
    /// Takes in one event.
    pub fn take(&mut self, tenant: &str, event_type: EventType, properties: &Map<String, Value>, at: EventTime) {
        let operation = properties.get("operation").and_then(Value::as_str).unwrap_or("");
        let slice = EventTime(at.0 - at.0.rem_euclid(SLICE.0));
        // Slices are in order; an event of one that is gone is too old to matter.
        let index = match self.slices.binary_search_by_key(&slice, |(start, _)| *start) {
            Ok(index) => index,
            Err(index) => {
                self.slices.insert(index, (slice, BTreeMap::new()));
                index
            }
        };
        let counts = &mut self.slices[index].1;
        let key = (tenant.to_owned(), operation.to_owned());
        if !counts.contains_key(&key) && counts.len() >= MAX_OPERATIONS {
            return;
        }
        let counts = counts.entry(key).or_default();
        match event_type {
            EventType::Performance => {
                counts.operations += 1;
                let status = properties.get("http_status").and_then(Value::as_i64).unwrap_or(0);
                let failed = properties.get("status").and_then(Value::as_str) == Some("error") || status >= 500;
                counts.failed += u64::from(failed);
                let duration = properties.get("duration_ms").and_then(Value::as_f64).unwrap_or(0.0);
                let index = (0..BOUNDS).find(|index| duration <= bound(*index)).unwrap_or(BOUNDS - 1);
                counts.durations[index] += 1;
            }
            EventType::Error => {
                counts.operations += 1;
                counts.failed += 1;
            }
            _ => {}
        }
    }

    /// Judges what was counted in the window before `now`.
    pub fn judge(&mut self, now: EventTime, config: &ApplicationChecks) -> Vec<Finding> {
        let oldest = now.plus(Millis(-config.window.millis() - SLICE.0));
        while self.slices.front().is_some_and(|(start, _)| *start < oldest) {
            self.slices.pop_front();
        }
        let mut sums: BTreeMap<&Operation, Counts> = BTreeMap::new();
        for (operation, counts) in self.slices.iter().flat_map(|(_, slice)| slice) {
            sums.entry(operation).or_default().add(counts);
        }
        let mut findings = Vec::new();
        for ((tenant, operation), counts) in sums {
            if counts.operations < config.minimum_volume {
                continue;
            }
            #[allow(clippy::cast_precision_loss)]
            let rate = counts.failed as f64 / counts.operations as f64;
            let name = if operation.is_empty() { "the application" } else { operation };
            let errors = format!(
                "{:.1} % of {} operations of {name} failed in the last {}",
                rate * 100.0,
                counts.operations,
                config.window
            );
            findings.push(finding("TtfErrorRateHigh", tenant, operation, rate >= config.error_rate, errors));
            if let Some(p95) = counts.p95() {
                #[allow(clippy::cast_precision_loss)]
                let is_slow = p95 >= config.response_time.millis() as f64;
                let slow = format!(
                    "One of twenty operations of {name} took longer than about {p95:.0} ms in the last {}",
                    config.window
                );
                findings.push(finding("TtfResponseTimeHigh", tenant, operation, is_slow, slow));
            }
        }
        findings
    }
}

fn finding(name: &str, tenant: &str, operation: &str, is_bad: bool, summary: String) -> Finding {
    Finding::new(BreachKind::Application, name, is_bad, summary).of(tenant, JOURNEY).label("operation", operation)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> ApplicationChecks {
        let section =
            "checks: { application: { window: 5m, minimum_volume: 50, error_rate: 0.05, response_time: 2s, for: 1m } }";
        crate::testing::config(section).checks.application.expect("configured")
    }

    fn bad(count: i64, properties: &Value, judged_at: i64) -> Vec<String> {
        let mut application = Application::default();
        for index in 0..100 {
            let plain = json!({ "operation": "save", "duration_ms": 20, "status": "ok" });
            let properties = if index < count { properties } else { &plain };
            let properties = properties.as_object().expect("an object");
            application.take("acme", EventType::Performance, properties, EventTime(index * 1_000));
        }
        let findings = application.judge(EventTime(judged_at * 1_000), &config());
        findings
            .into_iter()
            .filter(|finding| finding.is_bad)
            .map(|finding| finding.labels["alertname"].clone())
            .collect()
    }

    #[test]
    fn a_share_of_failed_operations_is_told() {
        let failed = json!({ "operation": "save", "duration_ms": 20, "http_status": 503 });
        assert_eq!(bad(4, &failed, 100), Vec::<String>::new());
        assert_eq!(bad(5, &failed, 100), ["TtfErrorRateHigh"]);
        assert_eq!(bad(50, &failed, 500), Vec::<String>::new(), "what is out of the window counts no more");
    }

    #[test]
    fn a_slow_twentieth_is_told() {
        let slow = json!({ "operation": "save", "duration_ms": 3_000, "status": "ok" });
        assert_eq!(bad(5, &slow, 100), Vec::<String>::new());
        assert_eq!(bad(6, &slow, 100), ["TtfResponseTimeHigh"]);
    }

    #[test]
    fn a_few_operations_are_not_judged() {
        let mut application = Application::default();
        for _ in 0..49 {
            application.take("acme", EventType::Error, &Map::new(), EventTime(0));
        }
        assert_eq!(application.judge(EventTime(0), &config()), []);
    }
}
