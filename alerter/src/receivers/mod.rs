//! Who can be told: one folder per kind of receiver.

pub mod http;
pub mod log;
pub mod slack;
pub mod webhook;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{config::ReceiverConfig, message::Message};

/// Why a notification was not delivered. The words never show an address: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It may work later; not before `after` when the receiver said so.
    #[error("{why}")]
    Retry { why: String, after: Option<Duration> },
    /// It will never work.
    #[error("{why}")]
    Refused { why: String },
}

/// Takes notifications. The same one may come twice, after a crash between acceptance and its record.
#[async_trait]
pub trait Receiver: Send + Sync + 'static {
    /// Delivers one message.
    async fn deliver(&self, message: &Message) -> Result<(), DeliveryError>;

    /// How many deliveries may be under way at once.
    fn concurrency(&self) -> usize;
}

/// The receiver a configuration that was checked asks for.
pub fn build(config: &ReceiverConfig) -> anyhow::Result<Arc<dyn Receiver>> {
    match config {
        ReceiverConfig { webhook: Some(webhook), .. } => Ok(Arc::new(webhook::Webhook::new(webhook)?)),
        ReceiverConfig { slack: Some(slack), .. } => Ok(Arc::new(slack::Slack::new(slack)?)),
        _ => Ok(Arc::new(log::LogReceiver::new(config.name.clone()))),
    }
}
