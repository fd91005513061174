//! The journey domain: what events mean for a user's way to first value. Pure: no I/O, no clock, no async;
//! time is a parameter. `docs/ttf-metrics.md` says in words what is decided here.
//!
//! - [`definition`]: journeys as they are written in YAML, and [`validate`]: what makes one sound.
//! - [`changes`]: what may differ from the definitions that were loaded before.
//! - [`plan`]: definitions made ready for matching.
//! - [`view`]: what is looked at of an event.
//! - [`matching`]: what one event contributes; [`apply`]: how it changes the state (commutative, idempotent).
//! - [`snapshot`]: state → the content of a record; [`score`]: the efficiency score.
//! - [`deadlines`] and [`lifetime`]: what the passing of time does: breaches, abandonment, expiry.
//! - [`emit`]: state before and after a transaction → records and breaches.

pub mod apply;
pub mod changes;
pub mod deadlines;
pub mod definition;
pub mod emit;
pub mod lifetime;
pub mod matching;
pub mod plan;
pub mod score;
pub mod snapshot;
pub mod validate;
pub mod view;

#[cfg(test)]
pub(crate) mod testing;

pub use definition::JourneyDefinition;
pub use emit::Emission;
pub use lifetime::UserState;
pub use plan::{Journeys, Version};
pub use validate::DefinitionErrors;
pub use view::EventView;
