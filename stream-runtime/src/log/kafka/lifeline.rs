//! Brings a client back that has lost every broker.
//!
//! librdkafka lets go of brokers that an answer about the cluster does not name. While every broker is fenced (the only
//! one stood still for longer than its session with the controller, or all restart) the answer names none: it lets go of
//! all of them, calls off its own return to the bootstrap servers because the answer was a good one, and asks nobody ever
//! again (<https://github.com/confluentinc/librdkafka/issues/5301>). Until the process ends nothing is read, written or
//! found out by that client, and no error tells so. What tells are librdkafka's statistics, which list the brokers that
//! a client knows. So every client that lives for long has them, and whoever uses it names the servers to it once more.

use std::{
    ffi::CString,
    sync::atomic::{AtomicBool, Ordering},
};

use kafka_bootstrap::add_servers;
use rdkafka::{ClientConfig, ClientContext, client::Client};
use tracing::warn;

/// How often a client tells which brokers it knows, in milliseconds.
pub(super) const LOOK_INTERVAL_MS: &str = "5000";

/// How librdkafka names the two kinds of brokers that can be asked for the others; what else it lists are its own places
/// for a coordinator.
const KNOWN: [&str; 2] = ["\"source\":\"learned\"", "\"source\":\"configured\""];

/// What follows for one that cannot be reached. Those that are let go of may stay in the list for as long as something
/// points to them.
const DOWN: &str = ", \"state\":\"DOWN\"";

/// What one client knows of its brokers.
pub(super) struct Lifeline {
    servers: CString,
    is_lost: AtomicBool,
}

impl Lifeline {
    /// Of a client with these settings.
    pub(super) fn of(config: &ClientConfig) -> Self {
        let servers = config.get("bootstrap.servers").unwrap_or_default();
        // librdkafka has refused a name with a zero in it.
        Self { servers: CString::new(servers).unwrap_or_default(), is_lost: AtomicBool::new(false) }
    }

    /// Looks whether the client knows a broker.
    pub(super) fn look(&self, statistics: &[u8]) {
        if !knows_a_broker(statistics) {
            self.is_lost.store(true, Ordering::Release);
        }
    }

    /// Names the servers to the client again when it has lost all of them.
    pub(super) fn mend<C: ClientContext>(&self, client: &Client<C>) {
        if self.is_lost.load(Ordering::Relaxed) && self.is_lost.swap(false, Ordering::AcqRel) {
            let servers = add_servers(client, &self.servers);
            warn!(servers, "a Kafka client has lost every broker and is given its bootstrap servers again");
        }
    }
}

fn knows_a_broker(statistics: &[u8]) -> bool {
    // What cannot be read tells nothing.
    let Ok(text) = std::str::from_utf8(statistics) else { return true };
    KNOWN.iter().any(|kind| text.match_indices(kind).any(|(at, _)| !text[at + kind.len()..].starts_with(DOWN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_for_coordinators_are_no_brokers() {
        let coordinator = r#"{"brokers":{ "GroupCoordinator": { "nodeid":1, "source":"logical", "state":"DOWN"}}}"#;
        let learned = r#"{"brokers":{ "127.0.0.1:9092/1": { "nodeid":1, "source":"learned", "state":"UP"}}}"#;
        let configured = r#"{"brokers":{ "b:9092/bootstrap": { "nodeid":-1, "source":"configured", "state":"INIT"}}}"#;
        assert!(!knows_a_broker(coordinator.as_bytes()));
        let gone = learned.replace("UP", "DOWN");
        assert!(!knows_a_broker(gone.as_bytes()));
        assert!(knows_a_broker(learned.as_bytes()) && knows_a_broker(configured.as_bytes()));
    }
}
