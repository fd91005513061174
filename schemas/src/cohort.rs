//! `CohortSummary`: the state of a cohort of signups, published every minute by the archiver's evaluator.

use serde::{Deserialize, Serialize};

use crate::time::{EventTime, Millis};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CohortSummary {
    pub tenant: String,
    pub journey: String,
    /// A stage's id, or `total`.
    pub stage: String,
    /// Length of the window of signups, e.g. `24h`, `7d`.
    pub window: String,
    pub segment_name: Option<String>,
    pub segment_value: Option<String>,
    pub started: i64,
    pub reached: i64,
    pub completed: i64,
    pub within_target: i64,
    /// Kaplan–Meier estimates; `None` when the curve does not reach them.
    pub median_ms: Option<Millis>,
    pub p90_ms: Option<Millis>,
    /// 0–100; see `docs/ttf-metrics.md`.
    pub efficiency_score: Option<f64>,
    #[serde(default)]
    pub breaches_open: i64,
    pub evaluated_at: EventTime,
}
