//! What is done with personal data before anything is written anywhere, the rejected topic included.
//!
//! - [`config`]: section `privacy` of the configuration.
//! - [`policy`]: the configured policy, compiled and applied to an event's JSON.

pub mod config;
pub mod policy;

pub use config::{Action, Detector, PrivacyConfig};
pub use policy::{Policy, PolicyError, Redaction};
