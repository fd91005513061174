//! The alerter: turns breaches into notifications and delivers them.

pub mod config;
mod service;

pub use config::{AlerterConfig, ConfigErrors};
pub use service::run;
