//! Who can be told: one folder per kind of receiver.

pub mod alertmanager;
pub mod email;
pub mod http;
pub mod log;
pub mod pagerduty;
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
    Retry {
        why: String,
        after: Option<Duration>,
        /// Whether the receiver may have taken it all the same: its answer is not known.
        perhaps_taken: bool,
    },
    /// This notification will never work; others may.
    #[error("{why}")]
    Refused { why: String },
    /// The receiver takes nothing from us until somebody mends it: its key, its address, its channel.
    #[error("{why}")]
    Dead { why: String },
}

impl DeliveryError {
    /// The receiver has said that it did not take it, and may later.
    pub fn later(why: impl Into<String>, after: Option<Duration>) -> Self {
        Self::Retry { why: why.into(), after, perhaps_taken: false }
    }

    /// Nobody knows whether the receiver has taken it.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Retry { why: why.into(), after: None, perhaps_taken: true }
    }

    pub fn refused(why: impl Into<String>) -> Self {
        Self::Refused { why: why.into() }
    }

    pub fn dead(why: impl Into<String>) -> Self {
        Self::Dead { why: why.into() }
    }
}

/// What a receiver wants to be told again with the group's next notification: where the last one is to be found.
pub type Reference = Option<String>;

/// How fast a receiver may be told things: below what its provider allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The average distance of two notifications.
    pub every: Duration,
    /// So many may follow each other without one.
    pub burst: u32,
}

impl Pace {
    /// So many a minute, one by one.
    pub fn per_minute(count: u32) -> Self {
        Self { every: Duration::from_secs(60) / count.max(1), burst: 1 }
    }
}

/// Takes notifications. The same one may come twice, after a crash between acceptance and its record.
#[async_trait]
pub trait Receiver: Send + Sync + 'static {
    /// Delivers one message. `before` is what the delivery of the group's last one returned; `None`: this is the
    /// group's first.
    async fn deliver(&self, message: &Message, before: Option<&str>) -> Result<Reference, DeliveryError>;

    /// What would be sent for a message that is the group's first, as people may read it: without secrets.
    fn preview(&self, message: &Message) -> String;

    /// How many deliveries may be under way at once.
    fn concurrency(&self) -> usize;

    /// How fast deliveries may follow each other; `None`: as fast as they come.
    fn pace(&self) -> Option<Pace> {
        None
    }
}

/// The receiver a configuration that was checked asks for.
///
/// # Errors
/// When a certificate cannot be read, or no client can be made.
pub fn build(config: &ReceiverConfig) -> anyhow::Result<Arc<dyn Receiver>> {
    Ok(match config {
        ReceiverConfig { webhook: Some(webhook), .. } => Arc::new(webhook::Webhook::new(webhook)?),
        ReceiverConfig { slack: Some(slack), .. } if slack.token.is_some() => {
            Arc::new(slack::WebApi::new(&config.name, slack)?)
        }
        ReceiverConfig { slack: Some(slack), .. } => Arc::new(slack::Webhook::new(slack)?),
        ReceiverConfig { pagerduty: Some(pagerduty), .. } => Arc::new(pagerduty::PagerDuty::new(pagerduty)?),
        ReceiverConfig { email: Some(email), .. } => Arc::new(email::Email::new(email)?),
        ReceiverConfig { alertmanager: Some(alertmanager), .. } => {
            Arc::new(alertmanager::Alertmanager::new(alertmanager)?)
        }
        _ => Arc::new(log::LogReceiver::new(config.name.clone())),
    })
}
