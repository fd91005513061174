//! What a receiver would be sent, and whether it takes anything: for who sets the alerter up.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use telemetry_schemas::{BreachLevel, BreachReason, BreachStatus, EventTime, TtfBreach, alert::Notification};

use crate::{
    config::{AlerterConfig, ReceiverConfig},
    message::{self, Messages},
    receivers,
    route::Routes,
};

/// Names in what [`try_out`] sends, so that nobody takes it for an alarm.
const TEST: &str = "test-of-alerting";

/// Exactly what would be sent to a receiver about these breaches of one group, without secrets.
///
/// # Errors
/// When there is no such receiver, no breach, or a template is damaged.
pub fn preview_breaches(config: &AlerterConfig, receiver: &str, breaches: Vec<TtfBreach>) -> anyhow::Result<String> {
    let Some(now) = breaches.iter().map(|breach| breach.detected_at).max() else { bail!("there is no breach") };
    preview(config, receiver, &message::notification_of(breaches, receiver, now))
}

/// Exactly what would be sent to a receiver for a notification of the outbox, without secrets.
///
/// # Errors
/// When there is no such receiver, or a template is damaged.
pub fn preview(config: &AlerterConfig, receiver: &str, notification: &Notification) -> anyhow::Result<String> {
    config.check()?;
    let messages = Messages::new(config, Arc::new(Routes::new(config)))?;
    let message = messages.message(&Notification { receiver: receiver.to_owned(), ..notification.clone() })?;
    Ok(receivers::build(find(config, receiver)?)?.preview(&message))
}

/// A breach to preview when none is at hand.
pub fn sample_breaches() -> Vec<TtfBreach> {
    message::samples().swap_remove(0).alerts
}

/// Sends a notification that says it is a test, and its end.
///
/// # Errors
/// When there is no such receiver, or it does not take one of the two; the words show no secret.
pub async fn try_out(config: &AlerterConfig, receiver: &str) -> anyhow::Result<()> {
    config.check()?;
    let messages = Messages::new(config, Arc::new(Routes::new(config)))?;
    let built = receivers::build(find(config, receiver)?)?;
    let now = EventTime(service_kit::clock::now_ms());
    let [firing, over] = test_notifications(receiver, now);
    let reference = built.deliver(&messages.message(&firing)?, None).await.context("the alarm was not taken")?;
    if let Some(pace) = built.pace() {
        tokio::time::sleep(pace.every).await;
    }
    built.deliver(&messages.message(&over)?, reference.as_deref()).await.context("its end was not taken")?;
    Ok(())
}

/// An alarm that says it is a test, and its end.
fn test_notifications(receiver: &str, now: EventTime) -> [Notification; 2] {
    let shift = |breach: TtfBreach| {
        let by = now.since(breach.detected_at);
        TtfBreach {
            tenant: TEST.to_owned(),
            journey: TEST.to_owned(),
            user_id: TEST.to_owned(),
            signup_at: breach.signup_at.plus(by),
            due_at: breach.due_at.plus(by),
            detected_at: now,
            ..breach
        }
    };
    let breach = shift(message::sample_breach(TEST, BreachLevel::Warning));
    let over = TtfBreach { status: BreachStatus::Resolved, reason: Some(BreachReason::Completed), ..breach.clone() };
    [breach, over].map(|breach| {
        let status = breach.status;
        let notification = message::notification_of(vec![breach], receiver, now);
        Notification {
            // Each try is one of its own.
            group_key: format!("ttf:{TEST}:{TEST}:{}", now.0),
            notification_id: format!("{TEST}-{}-{}", now.0, status.as_str()),
            ..notification
        }
    })
}

fn find<'a>(config: &'a AlerterConfig, receiver: &str) -> anyhow::Result<&'a ReceiverConfig> {
    let found = config.receivers.iter().find(|known| known.name == receiver);
    found.with_context(|| {
        let known: Vec<_> = config.receivers.iter().map(|known| known.name.as_str()).collect();
        format!("there is no receiver `{receiver}` (there are: {})", known.join(", "))
    })
}
