//! The processor: reads events, keeps one small state per user, and says how every journey stands.
//!
//! - [`journey`] is the domain, pure: what events and the passing of time mean.
//! - [`processor`] plugs it into the exactly-once runtime, [`codec`] writes and reads its bytes.
//! - [`replay`] holds what was emitted against what the events make of it.
//! - [`in_force`] remembers the definitions that journeys are judged by.
//! - [`figures`] are the Prometheus figures of what this process has committed.

pub mod codec;
pub mod config;
pub mod figures;
pub mod in_force;
pub mod journey;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
pub mod processor;
pub mod replay;
mod service;
#[cfg(test)]
mod tests;

pub use config::ProcessorConfig;
pub use journey::{DefinitionErrors, JourneyDefinition};
pub use service::{GROUP, check, run};
