//! `TtfRecord`: a full snapshot of one attempt of one user's journey, one per change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    breach::BreachLevel,
    time::{EventTime, Millis},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JourneyStatus {
    InProgress,
    Completed,
    Abandoned,
    Erased,
    #[serde(other)]
    Unknown,
}

/// What was odd about a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anomaly {
    /// The stage's end came more than two seconds before its start; its duration counts as 0.
    OutOfOrder,
    /// The stage's milestone is missing while a later one is present; it has no duration.
    Skipped,
    #[serde(other)]
    Unknown,
}

/// One stage of a record, in the journey's order. `total` is not a stage; see [`TtfRecord::total_ms`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageResult {
    pub id: String,
    pub from_at: Option<EventTime>,
    pub to_at: Option<EventTime>,
    pub duration_ms: Option<Millis>,
    pub target_ms: Millis,
    /// `duration ≤ target`; `None` when there is no duration.
    pub met: Option<bool>,
    pub anomaly: Option<Anomaly>,
}

/// See `docs/ttf-metrics.md` for what each figure means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TtfRecord {
    /// Deterministic: a hash of identity, state generation and revision.
    pub record_id: String,
    pub tenant: String,
    pub journey: String,
    pub journey_version: i32,
    pub user_id: String,
    /// `""` for the default attempt.
    #[serde(default)]
    pub attempt: String,
    pub revision: i64,
    /// Grows with each replay into fresh state.
    #[serde(default)]
    pub generation: i32,
    pub status: JourneyStatus,
    pub signup_at: EventTime,
    pub completed_at: Option<EventTime>,
    /// Success − signup, never the sum of stages.
    pub total_ms: Option<Millis>,
    #[serde(default)]
    pub stages: Vec<StageResult>,
    /// The stage that starts at the furthest milestone reached; `None` when completed.
    pub current_stage: Option<String>,
    /// 0–100, `None` while the journey is open.
    pub efficiency_score: Option<f64>,
    /// The highest deadline missed so far by event time.
    pub breach_level: Option<BreachLevel>,
    #[serde(default)]
    pub segments: BTreeMap<String, String>,
    #[serde(default)]
    pub experiments: BTreeMap<String, String>,
    pub release: Option<String>,
    /// The event of the winning milestone with the latest event time.
    pub cause_event_id: Option<String>,
    pub emitted_at: EventTime,
}
