//! `TtfBreach`: a deadline that passed without success, and its resolution.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::{EventTime, Millis};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreachKind {
    Deadline,
    Predicted,
    /// A cohort of users does worse than it did.
    Cohort,
    /// The product itself: its errors and response times.
    Application,
    /// This installation: what it takes in, how far it is behind.
    Pipeline,
    #[serde(other)]
    Unknown,
}

impl BreachKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Predicted => "predicted",
            Self::Cohort => "cohort",
            Self::Application => "application",
            Self::Pipeline => "pipeline",
            Self::Unknown => "unknown",
        }
    }
}

/// Ordered by severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreachLevel {
    Warning,
    Critical,
    Escalation,
    #[serde(other)]
    Unknown,
}

impl BreachLevel {
    pub const ALL: [Self; 3] = [Self::Warning, Self::Critical, Self::Escalation];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Escalation => "escalation",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreachStatus {
    Firing,
    Resolved,
    #[serde(other)]
    Unknown,
}

impl BreachStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a breach was resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreachReason {
    /// The user succeeded after the deadline.
    Completed,
    /// A late event showed that the user had succeeded in time.
    Revised,
    /// The user's data was erased.
    Erased,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TtfBreach {
    /// Deterministic: a hash of identity, level, state generation and the revision that emitted it.
    pub breach_id: String,
    pub tenant: String,
    pub journey: String,
    pub user_id: String,
    #[serde(default)]
    pub attempt: String,
    pub kind: BreachKind,
    pub level: BreachLevel,
    pub threshold_ms: Millis,
    pub status: BreachStatus,
    /// `None` while firing.
    pub reason: Option<BreachReason>,
    pub signup_at: EventTime,
    pub due_at: EventTime,
    pub detected_at: EventTime,
    /// Found too long after it was due (replay, backfill, long outage): recorded, never notified.
    #[serde(default)]
    pub late: bool,
    pub current_stage: Option<String>,
    #[serde(default)]
    pub segments: BTreeMap<String, String>,
    pub record_revision: i64,
    #[serde(default)]
    pub experiments: BTreeMap<String, String>,
    pub release: Option<String>,
    /// Labels of an alert that is no user's; empty for a deadline.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What such an alert says: `summary`, `value`, `baseline`, ….
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}
