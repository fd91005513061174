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
