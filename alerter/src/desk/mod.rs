//! Where operators look and act: what is open, why it was told or not, acknowledgements, silences.
//!
//! Everything is read from the alerter's changelog and written as commands, so that any process can serve it, whether an
//! alerter is running or not. [`board`] reads, [`view`] says what a state means, [`orders`] checks what is asked,
//! [`http`] serves it.

pub mod board;
pub mod http;
pub mod orders;
pub mod view;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use stream_runtime::log::{Log, LogError, NewRecord, Publisher};
use telemetry_schemas::{Codec, EventTime, alert::AlertCommand, audit::AuditEntry, topics};

use crate::{AlerterConfig, message::Naming, mutes::Mutes, route::Routes};

const TIMEOUT: Duration = Duration::from_secs(10);

/// What cannot be answered or done, in words for who asked.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Unknown(String),
    #[error("the log did not answer: {0}")]
    Log(#[from] LogError),
    #[error("cannot be written: {0}")]
    Encode(#[from] telemetry_schemas::EncodeError),
}

/// The desk of one process.
#[derive(Clone)]
pub struct Desk {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) codec: Codec,
    pub(crate) routes: Arc<Routes>,
    pub(crate) naming: Naming,
    /// Windows and rules of the configuration.
    pub(crate) mutes: Mutes,
    publisher: Arc<dyn Publisher>,
}

impl Desk {
    /// Blocks.
    ///
    /// # Errors
    /// When the log gives no publisher.
    pub fn new(config: &AlerterConfig, log: Arc<dyn Log>, codec: Codec) -> Result<Self, LogError> {
        Ok(Self {
            publisher: log.publisher()?,
            log,
            codec,
            routes: Arc::new(Routes::new(config)),
            naming: Naming::new(config.user_ids, config.user_id_key.clone(), config.external_url.clone()),
            mutes: Mutes::new(config),
        })
    }

    /// Writes a command and its entry in the audit log; both are durable when it returns. Blocks.
    ///
    /// # Errors
    /// When the log does not take them. Asking again does no harm.
    pub fn submit(&self, command: &AlertCommand, audit: &AuditEntry) -> Result<(), DeskError> {
        let key = command.group_key.clone();
        let order = NewRecord::new(topics::ALERT_COMMANDS, key, self.codec.encode(command)?);
        let entry = NewRecord::new(topics::AUDIT, audit.tenant.clone(), self.codec.encode(audit)?);
        let deliveries = [order, entry].map(|record| self.publisher.publish(record));
        self.publisher.flush(TIMEOUT)?;
        for delivery in deliveries {
            futures::executor::block_on(delivery?)?;
        }
        Ok(())
    }
}

pub(crate) fn now() -> EventTime {
    EventTime(service_kit::clock::now_ms())
}
