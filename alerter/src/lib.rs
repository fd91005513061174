//! The alerter: tells the right people of missed deadlines, once, and of their end.
//!
//! Breaches go through three stages, each with its topic:
//!
//! 1. [`route`]: a breach, keyed by user, becomes the same breach keyed by alert group, for every route it matches;
//! 2. [`group`]: the exactly-once runtime keeps each group and decides when its receiver is told what; what is to be
//!    told goes to the outbox in the same transaction;
//! 3. [`delivery`]: reads the outbox, puts notifications into words ([`message`]) and hands them to [`receivers`], at
//!    least once.

pub mod checks;
pub mod config;
pub mod delivery;
pub mod desk;
pub mod group;
pub mod message;
mod metrics;
pub mod mutes;
pub mod receivers;
pub mod route;
mod service;
pub mod tryout;
mod wire;

pub use config::{AlerterConfig, ConfigErrors};
pub use service::{GROUP, ROUTER_GROUP, run};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
