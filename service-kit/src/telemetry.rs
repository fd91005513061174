//! Logs: structured lines on standard error, as JSON for machines or as text for people.

use std::{
    any::Any,
    io::{IsTerminal, stderr},
};

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::ServiceConfig;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line an event, coloured on a terminal.
    Human,
    /// One JSON object an event.
    Json,
    /// `human` on a terminal, else `json`.
    Auto,
}

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("service.log_level `{level}` is not a filter such as `info` or `info,stream_runtime=debug`: {source}")]
    Level { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("logging was started already")]
    Twice,
}

/// Starts logging for the process as the section `service` says, and sends panics through it.
pub fn init(config: &ServiceConfig) -> Result<(), InitError> {
    let level = &config.log_level;
    let filter = EnvFilter::try_new(level).map_err(|source| InitError::Level { level: level.clone(), source })?;
    let terminal = stderr().is_terminal();
    let lines = fmt().with_env_filter(filter).with_writer(stderr);
    let human = config.log_format == LogFormat::Human || (config.log_format == LogFormat::Auto && terminal);
    let started = if human {
        tracing::subscriber::set_global_default(lines.with_ansi(terminal).finish())
    } else {
        tracing::subscriber::set_global_default(lines.json().flatten_event(true).finish())
    };
    started.map_err(|_| InitError::Twice)?;
    log_panics();
    Ok(())
}

/// The first line of a process's log: what runs here.
pub fn log_start(service: &str, environment: &str) {
    tracing::info!(service, environment, version = crate::VERSION, commit = crate::COMMIT, "starting");
}

/// Panics become log lines with their place and thread, instead of bare text between structured lines.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(
            location,
            thread = thread.name().unwrap_or("unnamed"),
            backtrace = %backtrace(),
            "panicked: {}",
            panic_message(panic.payload())
        );
    }));
}

/// The stack when `RUST_BACKTRACE` asks for it, else nothing.
fn backtrace() -> String {
    let captured = std::backtrace::Backtrace::capture();
    if captured.status() == std::backtrace::BacktraceStatus::Captured { captured.to_string() } else { String::new() }
}

/// The text a panic was raised with.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HumanDuration;

    #[test]
    fn a_level_that_is_none_is_named() {
        let config = ServiceConfig {
            environment: "test".to_owned(),
            admin_listen: "127.0.0.1:0".parse().unwrap(),
            log_format: LogFormat::Human,
            log_level: "info,stream_runtime=loud".to_owned(),
            drain_timeout: HumanDuration::from_secs(1),
        };
        let refused = init(&config).unwrap_err().to_string();
        assert!(
            refused.starts_with("service.log_level `info,stream_runtime=loud` is not a filter such as"),
            "{refused}"
        );
    }

    #[test]
    fn a_panic_message_is_its_text_whatever_carries_it() {
        assert_eq!(panic_message(&"plain"), "plain");
        assert_eq!(panic_message(&String::from("formatted")), "formatted");
        assert_eq!(panic_message(&7_u8), "a value that is not text");
    }
}
