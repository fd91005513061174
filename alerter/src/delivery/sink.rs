//! One receiver's delivery as a sink of the outbox.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rand::Rng as _;
use service_kit::{CancellationToken, CheckHandle};
use stream_runtime::{
    log::{Log, LogError, NextOffset, Position, Record, TopicPartition},
    sink::{Sink, SinkError},
};
use telemetry_schemas::{EventTime, Millis, alert::Notification};
use tokio::{task::JoinSet, time::timeout};

use super::{
    progress::Progress,
    queue::{Job, Place, Queue, backoff},
};
use crate::{
    group::codec::HEADER_RECEIVER,
    message::Messages,
    metrics::AlerterMetrics,
    receivers::{DeliveryError, Receiver},
    route::Routes,
    wire::Wire,
};

/// While so many notifications wait, no more are read.
const MAX_WAITING: usize = 1_000;
/// How long one call works before it says what is done.
const WORK: Duration = Duration::from_millis(800);
/// At the end of the process: how long what is under way may take to be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
const CALL: Duration = Duration::from_secs(10);
/// Label of notifications for receivers that are no more.
const OTHER: &str = "other";

/// What a sink is made of.
pub struct Parts {
    pub name: String,
    pub group: String,
    pub receiver: Arc<dyn Receiver>,
    pub log: Arc<dyn Log>,
    pub wire: Wire,
    pub messages: Messages,
    /// Set for the one sink that looks after notifications for receivers that are no more.
    pub routes: Option<Arc<Routes>>,
    pub metrics: AlerterMetrics,
    pub health: CheckHandle,
    pub shutdown: CancellationToken,
    pub max_age: Millis,
}

/// See the [module](self).
pub struct DeliverySink {
    parts: Parts,
    queue: Queue,
    running: JoinSet<Finished>,
}

/// A try that has ended.
struct Finished {
    job: Job,
    outcome: Outcome,
}

enum Outcome {
    Delivered,
    Expired,
    Failed(DeliveryError),
}

impl DeliverySink {
    pub fn new(parts: Parts) -> Self {
        Self { parts, queue: Queue::default(), running: JoinSet::new() }
    }

    fn count(&self, outcome: &str) {
        self.parts.metrics.deliveries.with_label_values(&[self.parts.name.as_str(), outcome]).inc();
    }

    /// Reads what the records are; decoding may wait for the schema registry.
    async fn take_in(&mut self, batch: &[Record]) -> Result<(), SinkError> {
        let mut records = Vec::new();
        for record in batch {
            let place = Place { at: record.at(), offset: record.offset };
            if !self.queue.read(&place) {
                continue;
            }
            if self.is_ours(record) { records.push((place, record.clone())) } else { self.queue.settle(&place) }
        }
        let wire = self.parts.wire.clone();
        let decode = move || {
            let read = |(place, record): (Place, Record)| (place, wire.read::<Notification>(&record.as_ref()));
            records.into_iter().map(read).collect::<Vec<_>>()
        };
        let decoded = tokio::task::spawn_blocking(decode).await.map_err(|error| SinkError::Fatal(error.to_string()))?;
        let now = Instant::now();
        for (place, notification) in decoded {
            match notification {
                Ok(notification) if notification.receiver == self.parts.name => {
                    self.queue.push(place, notification, now);
                }
                Ok(notification) => {
                    self.look_after(&notification.receiver);
                    self.queue.settle(&place);
                }
                Err(poison) => {
                    tracing::error!(receiver = self.parts.name, place = %place.at, offset = place.offset, %poison,
                        "a notification cannot be read");
                    self.count("undecodable");
                    self.queue.settle(&place);
                }
            }
        }
        Ok(())
    }

    fn is_ours(&self, record: &Record) -> bool {
        match record.as_ref().header(HEADER_RECEIVER).map(std::str::from_utf8) {
            Some(Ok(receiver)) if receiver != self.parts.name => {
                self.look_after(receiver);
                false
            }
            _ => true,
        }
    }

    /// A notification for somebody else: for nobody any more, perhaps.
    fn look_after(&self, receiver: &str) {
        if self.parts.routes.as_ref().is_some_and(|routes| !routes.has_receiver(receiver)) {
            tracing::warn!(receiver, "a notification is for a receiver that is no more");
            self.parts.metrics.deliveries.with_label_values(&[OTHER, "no_receiver"]).inc();
        }
    }

    fn start_due(&mut self) {
        let limit = self.parts.receiver.concurrency().saturating_sub(self.running.len());
        for job in self.queue.start(Instant::now(), limit) {
            let age = EventTime(service_kit::clock::now_ms()).since(job.notification.created_at);
            let is_expired = age > self.parts.max_age;
            let (receiver, messages) = (self.parts.receiver.clone(), self.parts.messages.clone());
            self.running.spawn(async move {
                let outcome = if is_expired { Outcome::Expired } else { try_once(&*receiver, &messages, &job).await };
                Finished { job, outcome }
            });
        }
    }

    fn finish(&mut self, Finished { job, outcome }: Finished) {
        let name = self.parts.name.clone();
        let (group, id) = (&job.notification.group_key, &job.notification.notification_id);
        match outcome {
            Outcome::Delivered => {
                self.count("delivered");
                let delay = EventTime(service_kit::clock::now_ms()).since(job.notification.created_at);
                self.parts.metrics.delay.with_label_values(&[&name]).observe(delay.0.max(0) as f64 / 1_000.0);
                tracing::debug!(receiver = name, group, notification = id, "a notification was delivered");
                self.parts.health.healthy();
            }
            Outcome::Expired => {
                tracing::error!(
                    receiver = name,
                    group,
                    notification = id,
                    "a notification was too old to be delivered"
                );
                self.count("expired");
            }
            Outcome::Failed(DeliveryError::Refused { why }) => {
                tracing::error!(receiver = name, group, notification = id, why, "a notification was refused");
                self.count("failed");
                self.parts.health.degraded(format!("the last notification was refused: {why}"));
            }
            Outcome::Failed(DeliveryError::Retry { why, after }) => {
                self.count("retried");
                let attempts = job.attempts + 1;
                let now = Instant::now();
                let pause = backoff(attempts, rand::rng().random());
                if let Some(after) = after {
                    self.queue.be_quiet(now + after);
                }
                tracing::warn!(
                    receiver = name,
                    group,
                    notification = id,
                    attempts,
                    why,
                    "a notification was not delivered and will be tried again"
                );
                self.queue.retry(&job.place, now + after.unwrap_or(pause));
                self.parts.health.degraded(format!("{} notifications wait: {why}", self.queue.len()));
                return;
            }
        }
        self.queue.settle(&job.place);
    }

    /// Delivers until nothing can be done, or some time has passed.
    async fn work(&mut self) {
        let until = tokio::time::Instant::now() + WORK;
        loop {
            if self.parts.shutdown.is_cancelled() {
                return self.last_answers().await;
            }
            self.start_due();
            let wake = self.queue.next_start().map(tokio::time::Instant::from_std);
            if self.running.is_empty() && wake.is_none_or(|wake| wake >= until) {
                return;
            }
            // With something under way, what is due waits for its turn.
            let next = if self.running.is_empty() { wake.map_or(until, |wake| wake.min(until)) } else { until };
            tokio::select! {
                Some(finished) = self.running.join_next() => match finished {
                    Ok(finished) => self.finish(finished),
                    // Nobody aborts single deliveries, so it has panicked: the process ends.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = tokio::time::sleep_until(next) => {
                    if next == until {
                        return;
                    }
                }
                () = self.parts.shutdown.cancelled() => {}
            }
        }
    }

    /// Waits for what is under way, so that it need not be sent again after the restart.
    async fn last_answers(&mut self) {
        let answers = async {
            while let Some(finished) = self.running.join_next().await {
                if let Ok(finished) = finished {
                    self.finish(finished);
                }
            }
        };
        if timeout(LAST_ANSWERS, answers).await.is_err() {
            tracing::warn!(receiver = self.parts.name, "deliveries under way were given up; they will be sent again");
        }
    }
}

async fn try_once(receiver: &dyn Receiver, messages: &Messages, job: &Job) -> Outcome {
    let message = match messages.message(&job.notification) {
        Ok(message) => message,
        Err(error) => return Outcome::Failed(DeliveryError::Refused { why: format!("a template failed: {error}") }),
    };
    match receiver.deliver(&message).await {
        Ok(()) => Outcome::Delivered,
        Err(error) => Outcome::Failed(error),
    }
}

#[async_trait]
impl Sink for DeliverySink {
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Position)>, SinkError> {
        let (log, group, of) = (self.parts.log.clone(), self.parts.group.clone(), partitions.to_vec());
        let places = tokio::task::spawn_blocking(move || left_off(&*log, &group, &of))
            .await
            .map_err(|error| SinkError::Fatal(error.to_string()))?
            .map_err(|error| {
                if error.is_retriable() {
                    SinkError::Unavailable(error.to_string())
                } else {
                    SinkError::Fatal(error.to_string())
                }
            })?;
        self.running = JoinSet::new();
        self.queue.assign(places.clone());
        Ok(places.into_iter().map(|(at, progress)| (at, Position::Offset(progress.next))).collect())
    }

    async fn revoked(&mut self, _partitions: &[TopicPartition]) {
        // Dropping it ends what is under way.
        self.running = JoinSet::new();
        self.queue = Queue::default();
    }

    async fn write(&mut self, batch: &[Record]) -> Result<Vec<NextOffset>, SinkError> {
        if self.queue.len() >= MAX_WAITING {
            self.work().await;
            if self.queue.len() >= MAX_WAITING {
                return Err(SinkError::Unavailable(format!("{} notifications wait", self.queue.len())));
            }
        }
        self.take_in(batch).await?;
        self.work().await;
        Ok(self.queue.take_progress())
    }

    async fn tick(&mut self) -> Result<Vec<NextOffset>, SinkError> {
        self.work().await;
        Ok(self.queue.take_progress())
    }
}

/// Where the group left off; at a first start, at the beginning.
fn left_off(log: &dyn Log, group: &str, of: &[TopicPartition]) -> Result<Vec<(TopicPartition, Progress)>, LogError> {
    let mut places = Vec::with_capacity(of.len());
    for committed in log.committed(group, of, CALL)? {
        let start = log.start_offset(&committed.at, CALL)?;
        let progress = match committed.next {
            // What lay before the start was kept for days: it is too old to be told.
            Some(next) => Progress::read(next.max(start), &committed.metadata),
            None => Progress { next: start, ..Progress::default() },
        };
        places.push((committed.at, progress));
    }
    Ok(places)
}
