//! Holds events against the event schema ([`event_readers::validate`]), with the installation's limits.

mod offline;
#[cfg(test)]
mod tests;

pub use event_readers::validate::*;
pub use offline::{Limits, check};
