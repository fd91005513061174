//! A cohort of users with everything the real world does to their events: shuffled, duplicated, malformed, skipped
//! and out of order.

mod expect;
mod generate;

pub use expect::{Expected, NotifiedLevels, default_journeys, native};
pub use generate::{Malformed, Scenario};
