//! What every process of the product needs and no service should write again: strict configuration, structured
//! logs, metrics, health endpoints, and a lifecycle that starts, drains and fails loudly.

pub mod admin;
pub mod clock;
pub mod config;
pub mod health;
mod kit;
pub mod metrics;
pub mod net;
mod operator;
mod process;
pub mod redact;
pub mod telemetry;

pub use health::{CheckHandle, Health, ProgressHandle, ReadyHandle};
pub use kit::Kit;
pub use metrics::Metrics;
pub use operator::Operator;
pub use tokio_util::sync::CancellationToken;

/// Version of the product this process was built from.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit this process was built from; release builds set `TTF_COMMIT`, others say `unknown`.
pub const COMMIT: &str = match option_env!("TTF_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
