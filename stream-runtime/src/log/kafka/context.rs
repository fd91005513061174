//! librdkafka's own log lines and errors, sent to `tracing` (target `librdkafka`).

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use tracing::{Level, debug, error, info, warn};

/// Asks librdkafka only for the lines somebody reads.
pub(super) fn set_log_level(config: &mut ClientConfig) {
    let level = if tracing::enabled!(target: "librdkafka", Level::DEBUG) {
        RDKafkaLogLevel::Debug
    } else {
        RDKafkaLogLevel::Info
    };
    config.set_log_level(level);
}

/// A log line. What librdkafka calls an error (a broken connection) it mends by itself: a warning here.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    // One set of properties serves producers and consumers; that some do not apply is no news.
    if facility == "CONFWARN" {
        debug!(target: "librdkafka", facility, "{line}");
        return;
    }
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(target: "librdkafka", facility, "{line}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, "{line}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => info!(target: "librdkafka", facility, "{line}"),
        RDKafkaLogLevel::Debug => debug!(target: "librdkafka", facility, "{line}"),
    }
}

/// An error event. The connection errors among them come as log lines too.
pub(super) fn log_error_event(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::PartitionEOF) => {}
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::UnknownTopicOrPartition,
        ) => debug!(target: "librdkafka", %error, "{reason}"),
        _ => warn!(target: "librdkafka", %error, "{reason}"),
    }
}

/// The context of clients that need nothing but their log lines.
pub(super) struct LogLines;

impl ClientContext for LogLines {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        log_error_event(&error, reason);
    }
}

impl ConsumerContext for LogLines {}
