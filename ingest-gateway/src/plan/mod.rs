//! Tracking plans: which events a tenant means to send, with which properties. Section `plan` of the configuration.
//!
//! - [`config`]: a plan as it is written. [`soundness`]: whether it makes sense. [`judge`]: an event against it.
//! - [`diff`]: what changed between two plans, and what of it breaks senders.

pub mod config;
pub mod diff;
pub mod judge;
pub mod soundness;
#[cfg(test)]
mod tests;

pub use config::{Mode, PlanConfig, TenantPlan};
pub use judge::{Finding, Plans};
pub use soundness::{PlanErrors, check};
