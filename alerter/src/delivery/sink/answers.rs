//! What follows from how a try ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::Rng as _;
use telemetry_schemas::EventTime;

use super::{
    super::{
        attempt::{Finished, Outcome},
        line::Line,
        queue::{Job, backoff},
        receipts::{EXPIRED, FAILED},
        trouble::Confession,
    },
    DeliverySink,
};
use crate::receivers::DeliveryError;

impl DeliverySink {
    pub(super) fn finish(&mut self, Finished { job, line, reached, outcome }: Finished) {
        let name = self.name().to_owned();
        for reached in &reached {
            self.works(reached);
        }
        let has_failed = matches!(&outcome, Outcome::Failed(by, _) if by.name == line.name);
        if !has_failed && reached.iter().all(|reached| reached.name != line.name) {
            // It was not asked: only others had heard the beginning, or nobody had.
            line.gate.lock().give_back(Instant::now());
        }
        let (group, id) = (&job.notification.group_key, &job.notification.notification_id);
        match outcome {
            Outcome::Delivered => {
                let is_own = reached.iter().any(|reached| reached.name == name);
                self.count(if is_own { "delivered" } else { "fallback" });
                let delay = EventTime(service_kit::clock::now_ms()).since(job.notification.created_at);
                self.parts.metrics.delay.with_label_values(&[&name]).observe(delay.0.max(0) as f64 / 1_000.0);
                tracing::debug!(
                    receiver = name,
                    by = line.name,
                    group,
                    notification = id,
                    "a notification was delivered"
                );
            }
            Outcome::Needless(reason) => {
                tracing::info!(receiver = name, group, notification = id, reason, "a notification is not delivered");
                self.count(reason);
            }
            Outcome::Expired => {
                tracing::error!(
                    receiver = name,
                    group,
                    notification = id,
                    "a notification was too old to be delivered"
                );
                self.count(EXPIRED);
            }
            Outcome::Failed(by, DeliveryError::Refused { why }) => {
                self.works(&by);
                tracing::error!(
                    receiver = name,
                    by = by.name,
                    group,
                    notification = id,
                    why,
                    "a notification was refused"
                );
                self.count(FAILED);
                self.parts.health.degraded(format!("the last notification was refused: {why}"));
            }
            Outcome::Failed(by, DeliveryError::Retry { why, after, perhaps_taken }) => {
                by.gate.lock().failed(Instant::now(), after);
                self.later(&job, &by, &why, after, perhaps_taken);
                return;
            }
            Outcome::Failed(by, DeliveryError::Dead { why }) => {
                if by.gate.lock().died(Instant::now()) {
                    self.confess(by.clone(), why.clone());
                }
                self.later(&job, &by, &why, Some(Duration::ZERO), false);
                return;
            }
        }
        self.queue.settle(&job.place);
    }

    /// The receiver has answered.
    fn works(&mut self, line: &Arc<Line>) {
        let is_back = line.gate.lock().answered();
        if line.name == self.name() {
            self.parts.health.healthy();
            self.is_stood_in_for = false;
        }
        if is_back {
            self.queue.hurry(Instant::now());
        }
        if line.trouble.lock().is_some() {
            tokio::spawn(self.confession().ends(line.clone()));
        }
    }

    fn later(&mut self, job: &Job, by: &Arc<Line>, why: &str, after: Option<Duration>, perhaps_taken: bool) {
        self.count("retried");
        let attempts = job.attempts + 1;
        let now = Instant::now();
        let pause = backoff(attempts, rand::rng().random());
        let (receiver, group) = (self.name().to_owned(), &job.notification.group_key);
        tracing::warn!(
            receiver,
            by = by.name,
            group,
            notification = job.notification.notification_id,
            attempts,
            why,
            "a notification was not delivered and will be tried again"
        );
        self.queue.retry(&job.place, perhaps_taken, now + after.unwrap_or(pause));
        self.drop_needless(&job.place.at, group);
        self.parts.health.degraded(format!("{} notifications wait: {why}", self.queue.len()));
        let fails_for_long = by.gate.lock().stand_in_from().is_some_and(|at| at <= now);
        if fails_for_long {
            self.confess(by.clone(), why.to_owned());
        }
    }

    fn confess(&self, line: Arc<Line>, why: String) {
        if line.trouble.lock().is_none() {
            tokio::spawn(self.confession().begins(line, why));
        }
    }

    fn confession(&self) -> Confession {
        let max_age = Duration::from_millis(self.parts.max_age.0.unsigned_abs());
        Confession { lines: self.parts.lines.clone(), messages: self.parts.messages.clone(), max_age }
    }
}
