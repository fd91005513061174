//! One try to deliver one notification: the receipt before, the receiver, the receipt after.

use std::{sync::Arc, time::Duration, time::Instant};

use telemetry_schemas::{BreachStatus, EventTime, Millis};
use tokio::time::timeout;

use super::{
    line::{Line, Lines},
    queue::Job,
    receipts::{Receipt, Receipts},
};
use crate::{
    message::{Message, Messages},
    receivers::DeliveryError,
};

/// A page does not wait longer for the record of the try.
const INTENT: Duration = Duration::from_secs(2);
/// Between two tries to write down that something was taken.
const RECORD_PAUSE: Duration = Duration::from_millis(500);

/// What a try needs.
pub struct Attempt {
    pub job: Job,
    /// The receiver that is told now: the notification's own, or one that stands in for it.
    pub line: Arc<Line>,
    pub lines: Arc<Lines>,
    pub receipts: Arc<Receipts>,
    pub messages: Messages,
    pub max_age: Millis,
}

/// A try that has ended.
pub struct Finished {
    pub job: Job,
    pub line: Arc<Line>,
    pub outcome: Outcome,
}

pub enum Outcome {
    Delivered,
    /// It is too old to be told.
    Expired,
    /// It is over, and it is known that nobody was told that it began.
    Needless,
    /// The receiver of this name has failed.
    Failed(Arc<Line>, DeliveryError),
}

impl Attempt {
    /// Tries. What was taken is written down before this ends.
    pub async fn run(self) -> Finished {
        let outcome = self.outcome().await;
        Finished { job: self.job, line: self.line, outcome }
    }

    async fn outcome(&self) -> Outcome {
        let notification = &self.job.notification;
        let known = self.receipts.get(&notification.group_key);
        let is_over = notification.status == BreachStatus::Resolved;
        // Without a receipt nothing is known: an earlier release wrote none.
        if is_over && known.as_ref().is_some_and(|known| known.told.is_empty() && known.trying.is_none()) {
            self.settle(known.unwrap_or_default()).await;
            return Outcome::Needless;
        }
        let mut receipt = known.unwrap_or_default();
        if now().since(notification.created_at) > self.max_age {
            self.settle(receipt).await;
            return Outcome::Expired;
        }
        let message = match self.messages.message(notification) {
            Ok(message) => message,
            Err(error) => {
                self.settle(receipt).await;
                let why = format!("a template failed: {error}");
                return Outcome::Failed(self.line.clone(), DeliveryError::Refused { why });
            }
        };
        receipt.trying = Some(notification.notification_id.clone());
        let intent = self.receipts.write(&notification.group_key, receipt.clone(), now());
        if !matches!(timeout(INTENT, intent).await, Ok(Ok(()))) {
            tracing::warn!(
                receiver = self.line.name,
                "the log does not take the record of a try; it is made all the same"
            );
        }
        fail::fail_point!(&format!("delivery::before_send::{}", self.line.name));
        match self.send(&message, &mut receipt, is_over).await {
            Ok(()) => {
                fail::fail_point!(&format!("delivery::taken::{}", self.line.name));
                self.settle(receipt).await;
                Outcome::Delivered
            }
            Err((line, error)) => {
                if let DeliveryError::Refused { .. } = error {
                    self.settle(receipt).await;
                }
                Outcome::Failed(line, error)
            }
        }
    }

    /// Tells whoever is to be told. An end is told to all who heard the beginning.
    async fn send(
        &self,
        message: &Message,
        receipt: &mut Receipt,
        is_over: bool,
    ) -> Result<(), (Arc<Line>, DeliveryError)> {
        let heard = receipt.told.keys().filter_map(|name| self.lines.get(name));
        let mut to: Vec<Arc<Line>> = if is_over { heard.collect() } else { Vec::new() };
        if to.is_empty() {
            to.push(self.line.clone());
        }
        for line in to {
            if line.name != self.line.name {
                // It has a gate of its own, and this try has not gone through it.
                let mut gate = line.gate.lock();
                if let Some(until) = gate.left_alone_until() {
                    let after = Some(until.saturating_duration_since(Instant::now()));
                    return Err((self.line.clone(), DeliveryError::later("one who was told is left alone", after)));
                }
                gate.charge(Instant::now());
            }
            let before = receipt.told.get(&line.name).cloned().flatten();
            match line.receiver.deliver(message, before.as_deref()).await {
                Ok(_) if is_over => {
                    receipt.told.remove(&line.name);
                }
                Ok(reference) => {
                    receipt.told.insert(line.name.clone(), reference);
                }
                Err(error) => return Err((line, error)),
            }
        }
        if is_over {
            // Receivers that are no more.
            receipt.told.clear();
        }
        Ok(())
    }

    /// Writes down that the notification is settled, however long that takes: until then it counts as being tried.
    async fn settle(&self, mut receipt: Receipt) {
        let notification = &self.job.notification;
        receipt.settle(&self.job.place, notification.created_at);
        while let Err(error) = self.receipts.write(&notification.group_key, receipt.clone(), now()).await {
            tracing::warn!(receiver = self.line.name, %error, "the log does not take a receipt; it is written again");
            tokio::time::sleep(RECORD_PAUSE).await;
        }
    }
}

fn now() -> EventTime {
    EventTime(service_kit::clock::now_ms())
}
