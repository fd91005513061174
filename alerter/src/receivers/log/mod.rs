//! A line in the process's own log: for trying out, and as a receiver that always works.

use async_trait::async_trait;
use telemetry_schemas::BreachStatus;

use super::{DeliveryError, Receiver, Reference};
use crate::message::Message;

/// Logs every notification at level `warn`, resolutions at `info`.
pub struct LogReceiver {
    name: String,
}

impl LogReceiver {
    pub fn new(name: String) -> Self {
        Self { name }
    }
}

#[async_trait]
impl Receiver for LogReceiver {
    async fn deliver(&self, message: &Message, _before: Option<&str>) -> Result<Reference, DeliveryError> {
        let (level, status) = (message.level.as_str(), message.status.as_str());
        macro_rules! line {
            ($macro:ident) => {
                tracing::$macro!(
                    receiver = self.name,
                    group = message.group_key,
                    notification = message.notification_id,
                    tenant = message.tenant,
                    journey = message.journey,
                    level,
                    status,
                    reason = message.reason,
                    alerts = message.alerts.len(),
                    "{}",
                    message.line
                )
            };
        }
        if message.status == BreachStatus::Resolved {
            line!(info);
        } else {
            line!(warn);
        }
        Ok(None)
    }

    fn preview(&self, message: &Message) -> String {
        message.line.clone()
    }

    fn concurrency(&self) -> usize {
        1
    }
}
