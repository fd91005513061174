//! One try to deliver one notification: the receipt before, the receiver, the receipt after.

use std::{sync::Arc, time::Duration, time::Instant};

use telemetry_schemas::{BreachStatus, EventTime, Millis, alert::Notification};
use tokio::time::timeout;

use super::{
    line::{Line, Lines},
    queue::Job,
    receipts::{EXPIRED, FAILED, NOTHING_TO_ACKNOWLEDGE, RESOLVED_BEFORE_DELIVERED, Receipt, Receipts, Undelivered},
};
use crate::{
    group::decide::Reason,
    message::{Message, Messages},
    receivers::DeliveryError,
};

/// A page does not wait longer for the record of the try.
const RECORD: Duration = Duration::from_secs(2);
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
    /// Who took it.
    pub reached: Vec<Arc<Line>>,
    pub outcome: Outcome,
}

pub enum Outcome {
    Delivered,
    /// It is too old to be told.
    Expired,
    /// It is known that nobody was told of what it is about; how that is counted.
    Needless(&'static str),
    /// The receiver of this name has failed.
    Failed(Arc<Line>, DeliveryError),
}

impl Attempt {
    /// Tries. What was taken is written down before this ends.
    pub async fn run(self) -> Finished {
        let mut reached = Vec::new();
        let outcome = self.outcome(&mut reached).await;
        Finished { job: self.job, line: self.line, reached, outcome }
    }

    async fn outcome(&self, reached: &mut Vec<Arc<Line>>) -> Outcome {
        let notification = &self.job.notification;
        // Without a receipt nothing is known: an earlier release wrote none.
        let mut receipt = self.receipts.get(&notification.group_key).unwrap_or_default();
        if receipt.is_unheard()
            && let Some(why) = needless(notification)
        {
            receipt.unheard &= !is_end(notification);
            self.give_up(&mut receipt, why, "");
            self.settle(receipt).await;
            return Outcome::Needless(why);
        }
        if now().since(notification.created_at) > self.max_age {
            self.not_told(&mut receipt, EXPIRED, "");
            self.settle(receipt).await;
            return Outcome::Expired;
        }
        let message = match self.messages.message(notification) {
            Ok(message) => message,
            Err(error) => {
                let why = format!("a template failed: {error}");
                self.not_told(&mut receipt, FAILED, &why);
                self.settle(receipt).await;
                return Outcome::Failed(self.line.clone(), DeliveryError::Refused { why });
            }
        };
        receipt.trying = Some(notification.notification_id.clone());
        self.record(&receipt).await;
        fail::fail_point!(&format!("delivery::before_send::{}", self.line.name));
        match self.send(&message, &mut receipt, reached).await {
            Ok(()) => {
                fail::fail_point!(&format!("delivery::taken::{}", self.line.name));
                self.settle(receipt).await;
                Outcome::Delivered
            }
            Err((line, DeliveryError::Refused { why })) => {
                self.not_told(&mut receipt, FAILED, &why);
                self.settle(receipt).await;
                Outcome::Failed(line, DeliveryError::Refused { why })
            }
            Err((line, error)) => {
                let may_have_it = matches!(error, DeliveryError::Retry { perhaps_taken: true, .. });
                if !may_have_it && !self.job.perhaps_taken {
                    // Nobody has it: whoever goes on after a restart knows that.
                    receipt.trying = None;
                }
                self.record(&receipt).await;
                Outcome::Failed(line, error)
            }
        }
    }

    /// Tells whoever is to be told. An end, and who has taken it, is told to all who heard the beginning.
    async fn send(
        &self,
        message: &Message,
        receipt: &mut Receipt,
        reached: &mut Vec<Arc<Line>>,
    ) -> Result<(), (Arc<Line>, DeliveryError)> {
        let notification = &self.job.notification;
        let (is_over, is_follow_up) = (notification.status == BreachStatus::Resolved, needless(notification).is_some());
        let heard = receipt.told.keys().filter_map(|name| self.lines.get(name));
        let mut to: Vec<Arc<Line>> = if is_follow_up { heard.collect() } else { Vec::new() };
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
            reached.push(line);
        }
        receipt.unheard = false;
        if is_over {
            // Receivers that are no more.
            receipt.told.clear();
        }
        Ok(())
    }

    /// Notes that a notification is given up, and what that means for those that follow.
    fn not_told(&self, receipt: &mut Receipt, outcome: &str, why: &str) {
        let notification = &self.job.notification;
        if self.job.perhaps_taken && notification.status == BreachStatus::Firing {
            // Whoever may have heard the beginning hears the end.
            receipt.told.entry(notification.receiver.clone()).or_default();
        }
        receipt.unheard = notification.status == BreachStatus::Firing && receipt.told.is_empty();
        self.give_up(receipt, outcome, why);
    }

    fn give_up(&self, receipt: &mut Receipt, outcome: &str, why: &str) {
        receipt.gave_up(Undelivered {
            at: now().0,
            decision: self.job.notification.reason.clone(),
            outcome: outcome.to_owned(),
            detail: why.to_owned(),
        });
    }

    /// Writes a receipt while nothing is settled. Nobody waits long for it.
    async fn record(&self, receipt: &Receipt) {
        let record = self.receipts.write(&self.job.notification.group_key, receipt.clone(), now());
        if !matches!(timeout(RECORD, record).await, Ok(Ok(()))) {
            tracing::warn!(
                receiver = self.line.name,
                "the log does not take the record of a try; it is made all the same"
            );
        }
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

/// Whether it ends what was told. A summary of what is over ends nothing.
fn is_end(notification: &Notification) -> bool {
    notification.status == BreachStatus::Resolved && notification.reason != Reason::CaughtUp.as_str()
}

/// What it is when nobody was told of what it is about; `None` when it can be told all the same.
fn needless(notification: &Notification) -> Option<&'static str> {
    if is_end(notification) {
        return Some(RESOLVED_BEFORE_DELIVERED);
    }
    let is_about_who_has_it =
        [Reason::Acknowledged, Reason::Assigned].iter().any(|reason| reason.as_str() == notification.reason);
    is_about_who_has_it.then_some(NOTHING_TO_ACKNOWLEDGE)
}

fn now() -> EventTime {
    EventTime(service_kit::clock::now_ms())
}
