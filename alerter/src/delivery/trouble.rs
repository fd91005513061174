//! Tells another receiver that one does not take what it is sent, and that it does again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use telemetry_schemas::EventTime;

use super::line::{Line, Lines, Told};
use crate::{
    message::{Messages, Trouble},
    receivers::DeliveryError,
};

/// Tries to tell somebody.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_secs(3);

/// What is needed to speak of a receiver's trouble.
#[derive(Clone)]
pub struct Confession {
    pub lines: Arc<Lines>,
    pub messages: Messages,
    pub max_age: Duration,
}

impl Confession {
    /// Says that a receiver is dead, or has failed for so long that another stands in for it.
    pub async fn begins(self, line: Arc<Line>, why: String) {
        line.up.set(0);
        let now = EventTime(service_kit::clock::now_ms());
        {
            let mut told = line.trouble.lock();
            if told.is_some() {
                return;
            }
            *told = Some(Told { began_at: now, by: None });
        }
        tracing::error!(receiver = line.name, why, "a receiver does not take notifications");
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            // It works again before anybody was told: nobody needs to be.
            if line.trouble.lock().is_none() {
                return;
            }
            for confidant in self.lines.confidants(&line) {
                if let Some(reference) = self.tell(&line, &confidant, &why, now, None, false).await {
                    let mut told = line.trouble.lock();
                    if let Some(told) = told.as_mut() {
                        told.by = Some((confidant.name.clone(), reference));
                    }
                    return;
                }
            }
        }
        tracing::error!(receiver = line.name, "no receiver could be told of the one that is dead");
    }

    /// Says that it works again, to whom it was said that it does not.
    pub async fn ends(self, line: Arc<Line>) {
        line.up.set(1);
        let Some(told) = line.trouble.lock().take() else { return };
        tracing::warn!(receiver = line.name, "a receiver takes notifications again");
        let Some((name, reference)) = told.by else { return };
        let Some(confidant) = self.lines.get(&name) else { return };
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            if self.tell(&line, &confidant, "", told.began_at, reference.as_deref(), true).await.is_some() {
                return;
            }
        }
    }

    /// The reference of the message when it was taken.
    async fn tell(
        &self,
        line: &Line,
        confidant: &Line,
        why: &str,
        began_at: EventTime,
        before: Option<&str>,
        is_over: bool,
    ) -> Option<Option<String>> {
        if confidant.gate.lock().left_alone_until().is_some() {
            return None;
        }
        let trouble = Trouble {
            receiver: line.name.clone(),
            why: why.to_owned(),
            fallback: line.fallback.clone(),
            began_at,
            now: EventTime(service_kit::clock::now_ms()),
            is_over,
            max_age: self.max_age,
            told: confidant.name.clone(),
        };
        let message = match self.messages.trouble(&trouble) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(%error, "a template failed");
                return None;
            }
        };
        confidant.gate.lock().charge(Instant::now());
        match confidant.receiver.deliver(&message, before).await {
            Ok(reference) => Some(reference),
            Err(DeliveryError::Retry { why, .. } | DeliveryError::Refused { why } | DeliveryError::Dead { why }) => {
                tracing::warn!(receiver = confidant.name, why, "a receiver cannot be told of another's trouble");
                None
            }
        }
    }
}
