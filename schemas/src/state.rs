//! `JourneyState`: what the processor keeps of one user, on the compacted changelog and in its local store.

//!
//! It is read and written for every user that a transaction touches, and there are millions of it: short texts are
//! kept in place, maps are sorted lists, and an id that is a UUID takes its 16 bytes.

mod by_name;
mod event_id;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

pub use self::{by_name::ByName, event_id::EventId};
use crate::{breach::BreachLevel, time::EventTime};

/// Everything the processor knows of one user. The key is the user's [`crate::RecordKey`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JourneyState {
    /// Grows with each replay into fresh state.
    pub generation: i32,
    /// Set by an erasure: events received before it are dropped.
    pub erased_at: Option<EventTime>,
    /// The latest `received_at` of any event that counted, rounded up to the whole day, so that an event that
    /// says nothing new changes nothing; `state_ttl` runs from here.
    pub last_received_at: EventTime,
    #[serde(default)]
    pub attempts: Vec<AttemptState>,
    /// What `identify` events said of the user: it holds for every attempt.
    #[serde(default)]
    pub segments: ByName<Attribute>,
    #[serde(default)]
    pub experiments: ByName<Attribute>,
    #[serde(default)]
    pub release: Option<Attribute>,
}

/// One attempt of one journey.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptState {
    pub journey: CompactString,
    pub attempt: CompactString,
    /// The definition in force at its signup.
    pub journey_version: i32,
    pub revision: i64,
    /// Milestone id → its earliest occurrence.
    #[serde(default)]
    pub milestones: ByName<Occurrence>,
    /// Name → the value with the earliest (event time, event id).
    #[serde(default)]
    pub segments: ByName<Attribute>,
    #[serde(default)]
    pub experiments: ByName<Attribute>,
    pub release: Option<Attribute>,
    /// Deadlines judged as missed, by level. One that success came in time for is not listed.
    #[serde(default)]
    pub deadlines: Vec<DeadlineState>,
    #[serde(default)]
    pub abandoned: bool,
}

/// When and by which event something was first seen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Occurrence {
    pub at: EventTime,
    pub event_id: EventId,
}

/// A segment's, experiment's or release's value with the event it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    pub value: CompactString,
    pub at: EventTime,
    pub event_id: EventId,
}

/// What was decided about one deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadlineState {
    pub level: BreachLevel,
    /// Whether the last breach emitted for this level was a firing one.
    pub firing: bool,
    /// Found too long after it was due.
    #[serde(default)]
    pub late: bool,
    pub detected_at: EventTime,
}
