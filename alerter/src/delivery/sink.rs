//! One receiver's delivery as a sink of the outbox.

mod answers;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use service_kit::{CancellationToken, CheckHandle};
use stream_runtime::{
    log::{Log, LogError, NextOffset, Position, Record, TopicPartition},
    sink::{Sink, SinkError},
};
use telemetry_schemas::{EventTime, Millis, alert::Notification};
use tokio::{task::JoinSet, time::timeout};

use super::{
    attempt::{Attempt, Finished},
    gate::Pass,
    line::{Line, Lines},
    progress::Progress,
    queue::{Job, Place, Queue},
    receipts::{RESOLVED_BEFORE_DELIVERED, Receipts, Undelivered},
};
use crate::{group::codec::HEADER_RECEIVER, message::Messages, metrics::AlerterMetrics, route::Routes, wire::Wire};

/// While so many notifications wait, no more are read.
const MAX_WAITING: usize = 1_000;
/// How long one call works before it says what is done.
const WORK: Duration = Duration::from_millis(800);
/// At the end of the process: how long what is under way may take to be answered.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How often receipts that nobody needs any more are looked for.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);
const CALL: Duration = Duration::from_secs(10);
/// Label of notifications for receivers that are no more.
const OTHER: &str = "other";

/// What a sink is made of.
pub struct Parts {
    pub line: Arc<Line>,
    pub lines: Arc<Lines>,
    pub receipts: Arc<Receipts>,
    pub group: String,
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
    /// When a gate that is closed may open.
    wake: Option<Instant>,
    /// Another stands in for the receiver.
    is_stood_in_for: bool,
    tidied: Instant,
}

impl DeliverySink {
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            queue: Queue::default(),
            running: JoinSet::new(),
            wake: None,
            is_stood_in_for: false,
            tidied: Instant::now(),
        }
    }

    fn name(&self) -> &str {
        &self.parts.line.name
    }

    fn count(&self, outcome: &str) {
        self.parts.metrics.deliveries.with_label_values(&[self.name(), outcome]).inc();
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
        for (place, notification) in decoded {
            match notification {
                Ok(notification) if notification.receiver == self.name() => self.accept(place, notification),
                Ok(notification) => {
                    self.look_after(&notification.receiver);
                    self.queue.settle(&place);
                }
                Err(poison) => {
                    tracing::error!(receiver = self.name(), place = %place.at, offset = place.offset, %poison,
                        "a notification cannot be read");
                    self.count("undecodable");
                    self.queue.settle(&place);
                }
            }
        }
        Ok(())
    }

    /// Queues a notification that is ours, unless it was settled in an earlier life.
    fn accept(&mut self, place: Place, notification: Notification) {
        let receipt = self.parts.receipts.get(&notification.group_key);
        if receipt.as_ref().is_some_and(|receipt| receipt.covers(&place, notification.created_at)) {
            self.queue.settle(&place);
            return;
        }
        // Somebody died between the try and its record.
        let trying = receipt.and_then(|receipt| receipt.trying);
        let perhaps_taken = trying.as_deref() == Some(notification.notification_id.as_str());
        if perhaps_taken {
            tracing::warn!(
                receiver = self.name(),
                notification = notification.notification_id,
                "a notification may have been delivered before a crash, and is sent again"
            );
            self.count("redelivered");
        }
        let group = notification.group_key.clone();
        self.queue.push(place.clone(), notification, perhaps_taken, Instant::now());
        self.drop_needless(&place.at, &group);
    }

    /// Settles alarms that nobody was told of and that are over.
    fn drop_needless(&mut self, at: &TopicPartition, group: &str) {
        let was_told = self.parts.receipts.get(group).is_some_and(|receipt| !receipt.told.is_empty());
        if was_told {
            return;
        }
        let now = EventTime(service_kit::clock::now_ms());
        for (place, notification) in self.queue.needless(at, group) {
            let outcome = RESOLVED_BEFORE_DELIVERED;
            tracing::info!(receiver = self.name(), group, reason = outcome, "a notification is not delivered");
            self.count(outcome);
            let decision = notification.reason.clone();
            let entry = Undelivered { at: now.0, decision, outcome: outcome.to_owned(), detail: String::new() };
            self.parts.receipts.note(group, entry, now);
            self.queue.settle(&place);
        }
    }

    fn is_ours(&self, record: &Record) -> bool {
        match record.as_ref().header(HEADER_RECEIVER).map(std::str::from_utf8) {
            Some(Ok(receiver)) if receiver != self.name() => {
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
        self.wake = None;
        while self.queue.len() > self.running.len() {
            let now = Instant::now();
            let Some(line) = self.open_line(now) else { return };
            let Some(job) = self.queue.start(now, 1).pop() else {
                line.gate.lock().give_back(now);
                return;
            };
            self.start(job, line);
        }
    }

    fn start(&mut self, job: Job, line: Arc<Line>) {
        let parts = &self.parts;
        let attempt = Attempt {
            job,
            line,
            lines: parts.lines.clone(),
            receipts: parts.receipts.clone(),
            messages: parts.messages.clone(),
            max_age: parts.max_age,
        };
        self.running.spawn(attempt.run());
    }

    /// The receiver that may be told something now; when there is none, notes when there may be one.
    fn open_line(&mut self, now: Instant) -> Option<Arc<Line>> {
        let own = self.parts.line.clone();
        if self.running.len() >= own.receiver.concurrency() {
            return None;
        }
        let (pass, stand_in_from) = {
            let mut gate = own.gate.lock();
            (gate.take(now), gate.stand_in_from())
        };
        let closed_until = match pass {
            Pass::Go => return Some(own),
            Pass::Wait(until) | Pass::Closed(until) => until,
        };
        self.wake = Some(closed_until);
        let fallback = own.fallback.as_deref().and_then(|name| self.parts.lines.get(name))?;
        let stand_in_from = stand_in_from?;
        if now < stand_in_from {
            self.wake = Some(closed_until.min(stand_in_from));
            return None;
        }
        if !std::mem::replace(&mut self.is_stood_in_for, true) {
            self.queue.hurry(now);
        }
        let pass = fallback.gate.lock().take(now);
        match pass {
            Pass::Go => Some(fallback),
            Pass::Wait(until) | Pass::Closed(until) => {
                self.wake = Some(closed_until.min(until));
                None
            }
        }
    }

    /// Delivers until nothing can be done, or some time has passed.
    async fn work(&mut self) {
        let until = tokio::time::Instant::now() + WORK;
        loop {
            if self.parts.shutdown.is_cancelled() {
                return self.last_answers().await;
            }
            self.start_due();
            let due = self.queue.next_start();
            let wake = due.map(|due| self.wake.map_or(due, |wake| wake.max(due))).map(tokio::time::Instant::from_std);
            if self.running.is_empty() && wake.is_none_or(|wake| wake >= until) {
                return;
            }
            let next = wake.filter(|wake| *wake > tokio::time::Instant::now()).map_or(until, |wake| wake.min(until));
            tokio::select! {
                Some(finished) = self.running.join_next() => match finished {
                    Ok(finished) => self.finish(finished),
                    // Nobody aborts single deliveries: it has panicked, and the process ends; or that ends anyway.
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => return,
                    },
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
            tracing::warn!(receiver = self.name(), "deliveries under way were given up; they will be sent again");
        }
    }

    fn tidy(&mut self) {
        if self.tidied.elapsed() >= TIDY_INTERVAL {
            self.tidied = Instant::now();
            let queue = &self.queue;
            let now = EventTime(service_kit::clock::now_ms());
            // What was settled at the last look is committed by now.
            self.parts.receipts.tidy(now, |receipt| {
                now.0 - receipt.written_at > 2 * TIDY_INTERVAL.as_millis() as i64
                    && queue.is_settled(receipt.partition, receipt.offset)
            });
            self.parts.metrics.receipts.with_label_values(&[self.name()]).set(self.parts.receipts.len() as i64);
        }
    }
}

#[async_trait]
impl Sink for DeliverySink {
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Position)>, SinkError> {
        let (log, group, of) = (self.parts.log.clone(), self.parts.group.clone(), partitions.to_vec());
        let receipts = self.parts.receipts.clone();
        self.running = JoinSet::new();
        let places = tokio::task::spawn_blocking(move || {
            receipts.load(EventTime(service_kit::clock::now_ms()))?;
            left_off(&*log, &group, &of)
        })
        .await
        .map_err(|error| SinkError::Fatal(error.to_string()))?
        .map_err(|error| {
            if error.is_retriable() {
                SinkError::Unavailable(error.to_string())
            } else {
                SinkError::Fatal(error.to_string())
            }
        })?;
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
        self.tidy();
        Ok(self.queue.take_progress())
    }

    async fn tick(&mut self) -> Result<Vec<NextOffset>, SinkError> {
        self.work().await;
        self.tidy();
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
