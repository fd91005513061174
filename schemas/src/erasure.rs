//! `Erasure`: a request to forget a person.

use serde::{Deserialize, Serialize};

use crate::time::EventTime;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub erasure_id: String,
    pub tenant: String,
    pub user_id: String,
    /// Events received before this instant are forgotten.
    pub erased_at: EventTime,
    pub requested_by: String,
    pub reason: Option<String>,
}

impl Erasure {
    /// `erased_at` of a person of whom nothing is to be kept, whatever comes: the last day (UTC) of the times that are taken.
    pub const FOR_GOOD: EventTime = EventTime(4_102_358_400_000);
}
