//! The side of the log: one thread consumes, collects batches and keeps polling while the store is busy.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use service_kit::{CancellationToken, Kit, ProgressHandle, ReadyHandle};
use tokio::sync::{mpsc, oneshot};

use super::{
    SinkError, SinkOptions,
    store::{Answer, Failure, Request},
};
use crate::{
    lag::{LagMember, LagMeter},
    log::{
        Isolation, Log, LogError, NextOffset, Polled, Position, Record, SubscribeOptions, Subscription, TopicPartition,
    },
    transaction::consumer_error,
};

/// Records that are visited in one poll at most.
const POLL_RECORDS: usize = 1_000;
/// Longest wait for records while an answer of the store is awaited.
const ANSWER_INTERVAL: Duration = Duration::from_millis(5);
const TICK_INTERVAL: Duration = Duration::from_secs(1);
const UNAVAILABLE_PAUSE: Duration = Duration::from_millis(100);
/// The loop goes round several times a second whatever the store does, but for the hand-over of partitions.
const MAX_SILENCE: Duration = Duration::from_secs(120);

/// One partition that is ours.
#[derive(Debug, Default)]
struct Place {
    /// The next offset expected, once known.
    next: Option<i64>,
    /// Everything before it is durable in the sink, once known.
    durable: Option<i64>,
    last_record_ms: Option<i64>,
}

/// Records on their way to the store.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    bytes: usize,
    began: Option<Instant>,
}

impl Batch {
    fn push(&mut self, record: Record) {
        self.bytes += record.key.as_ref().map_or(0, bytes::Bytes::len)
            + record.value.as_ref().map_or(0, bytes::Bytes::len)
            + record.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        self.began.get_or_insert_with(Instant::now);
        self.records.push(record);
    }

    fn is_full(&self, options: &SinkOptions) -> bool {
        self.records.len() >= options.batch_records || self.bytes >= options.batch_bytes
    }

    fn is_due(&self, options: &SinkOptions) -> bool {
        self.is_full(options) || self.began.is_some_and(|began| began.elapsed() >= options.batch_interval)
    }
}

/// What the store is doing for us.
enum Asked {
    Nothing,
    /// Where to read from; `fresh`: the group waits for our answer to its assignment.
    Claim {
        answer: Answer<Vec<(TopicPartition, Position)>>,
        fresh: bool,
    },
    /// A batch or a tick.
    Work(Answer<Vec<NextOffset>>),
}

pub struct Feeder {
    options: SinkOptions,
    subscription: Box<dyn Subscription>,
    requests: mpsc::Sender<Request>,
    asked: Asked,
    /// Of what is asked under the current assignment.
    cancel: CancellationToken,
    places: BTreeMap<TopicPartition, Place>,
    batch: Batch,
    paused: bool,
    ticked: Instant,
    lag: LagMember,
    ready: ReadyHandle,
    progress: ProgressHandle,
}

impl Feeder {
    pub fn join(
        options: SinkOptions,
        log: &Arc<dyn Log>,
        requests: mpsc::Sender<Request>,
        lag: &Arc<LagMeter>,
        kit: &Kit,
    ) -> anyhow::Result<Self> {
        let subscription = log
            .subscribe(SubscribeOptions {
                group: options.group.clone(),
                topics: options.topics.clone(),
                instance_id: options.instance_id.clone(),
                prefetch_bytes: options.prefetch_bytes,
                isolation: Isolation::ReadCommitted,
            })
            .map_err(|error| consumer_error(&options.name, error))?;
        let name = format!("sink-{}", options.name);
        Ok(Self {
            ready: kit.health().readiness(name.clone()),
            progress: kit.health().progress(name, MAX_SILENCE),
            lag: lag.member(),
            subscription,
            requests,
            asked: Asked::Nothing,
            cancel: CancellationToken::new(),
            places: BTreeMap::new(),
            batch: Batch::default(),
            paused: false,
            ticked: Instant::now(),
            options,
        })
    }

    /// Goes round once. An error ends the process.
    pub fn step(&mut self, timeout: Duration) -> anyhow::Result<()> {
        self.progress.beat();
        self.take_answer()?;
        self.ask_for_work()?;
        self.hold_back()?;
        self.tell_lag();
        let wait = match self.asked {
            Asked::Nothing => {
                let due = self.batch.began.map(|began| self.options.batch_interval.saturating_sub(began.elapsed()));
                due.map_or(timeout, |due| due.min(timeout))
            }
            _ => ANSWER_INTERVAL,
        };
        match self.poll(wait)? {
            Polled::Records(_) => Ok(()),
            Polled::Assigned(partitions) => self.claim(partitions, true),
            Polled::Revoked(partitions) | Polled::Lost(partitions) => self.give_up(&partitions),
        }
    }

    /// Waits for what the store is doing, and leaves. Records that were not written will be replayed.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.finish_work();
        let partitions: Vec<_> = self.places.keys().cloned().collect();
        self.tell_revoked(partitions)?;
        self.progress.clone().end();
        Ok(())
    }

    fn error(&self, error: LogError) -> anyhow::Error {
        consumer_error(&self.options.name, error)
    }

    fn poll(&mut self, timeout: Duration) -> anyhow::Result<Polled> {
        let Self { subscription, places, batch, .. } = self;
        let polled = subscription.poll(POLL_RECORDS, timeout, &mut |record| {
            let at = TopicPartition::new(record.topic, record.partition);
            let Some(place) = places.get_mut(&at) else { return };
            if place.next.is_some_and(|next| record.offset < next) {
                return;
            }
            place.next = Some(record.offset + 1);
            place.last_record_ms = Some(record.timestamp_ms);
            batch.push(record.to_owned());
        });
        match polled {
            Ok(polled) => Ok(polled),
            Err(error) if error.is_retriable() => {
                tracing::debug!(sink = self.options.name, %error, "poll");
                std::thread::sleep(UNAVAILABLE_PAUSE.min(timeout));
                Ok(Polled::Records(0))
            }
            Err(error) => Err(self.error(error)),
        }
    }

    fn send(&self, request: Request) -> anyhow::Result<()> {
        self.requests.blocking_send(request).map_err(|_| anyhow!("the store of sink `{}` has ended", self.options.name))
    }

    /// Asks the sink where to read these partitions from.
    fn claim(&mut self, partitions: Vec<TopicPartition>, fresh: bool) -> anyhow::Result<()> {
        if partitions.is_empty() {
            self.ready.set(true);
            return self.subscription.assign(&[]).map_err(|error| self.error(error));
        }
        tracing::info!(sink = self.options.name, count = partitions.len(), "claiming partitions");
        self.finish_work();
        self.cancel = CancellationToken::new();
        self.batch = Batch::default();
        self.places = partitions.iter().map(|at| (at.clone(), Place::default())).collect();
        let (reply, answer) = oneshot::channel();
        self.send(Request::Claim { partitions, cancel: self.cancel.clone(), reply })?;
        self.asked = Asked::Claim { answer, fresh };
        Ok(())
    }

    fn take_answer(&mut self) -> anyhow::Result<()> {
        match &mut self.asked {
            Asked::Nothing => Ok(()),
            Asked::Claim { answer, fresh } => {
                let fresh = *fresh;
                let Some(answer) = received(answer)? else { return Ok(()) };
                self.asked = Asked::Nothing;
                match answer {
                    Ok(positions) => self.begin(&positions, fresh),
                    Err(Failure::Abandoned) => Ok(()),
                    Err(failure) => Err(self.fatal(failure)),
                }
            }
            Asked::Work(answer) => {
                let Some(answer) = received(answer)? else { return Ok(()) };
                self.asked = Asked::Nothing;
                match answer {
                    Ok(durable) => {
                        self.note_durable(&durable);
                        Ok(())
                    }
                    Err(Failure::Abandoned) => Ok(()),
                    Err(Failure::Sink(SinkError::Moved(what))) => {
                        tracing::warn!(sink = self.options.name, what, "positions have moved; claiming again");
                        let partitions: Vec<_> = self.places.keys().cloned().collect();
                        self.subscription.pause(&partitions).map_err(|error| self.error(error))?;
                        self.paused = true;
                        self.claim(partitions, false)
                    }
                    Err(failure) => Err(self.fatal(failure)),
                }
            }
        }
    }

    fn fatal(&self, failure: Failure) -> anyhow::Error {
        anyhow::Error::new(failure).context(format!("sink `{}` cannot go on", self.options.name))
    }

    /// Reads from where the sink said.
    fn begin(&mut self, positions: &[(TopicPartition, Position)], fresh: bool) -> anyhow::Result<()> {
        if let Some((at, _)) = positions.iter().find(|(at, _)| !self.places.contains_key(at)) {
            bail!("sink `{}` wants to read {at}, which was not assigned", self.options.name);
        }
        if positions.len() != self.places.len() {
            bail!(
                "sink `{}` has positions for {} of {} partitions",
                self.options.name,
                positions.len(),
                self.places.len()
            );
        }
        for (at, position) in positions {
            let known = match position {
                Position::Offset(offset) => Some(*offset),
                Position::Beginning | Position::End => None,
            };
            self.places.insert(at.clone(), Place { next: known, durable: known, last_record_ms: None });
        }
        // What was collected from other places counts no more.
        self.batch = Batch::default();
        if fresh {
            self.subscription.assign(positions).map_err(|error| self.error(error))?;
            self.paused = false;
            // A predecessor may have died before it told the group, and nothing new may come for long.
            let durable = |(at, place): (&TopicPartition, &Place)| {
                place.durable.map(|next| NextOffset { at: at.clone(), next, metadata: String::new() })
            };
            let durable: Vec<NextOffset> = self.places.iter().filter_map(durable).collect();
            self.note_durable(&durable);
        } else {
            self.subscription.seek(positions).map_err(|error| self.error(error))?;
            self.resume()?;
        }
        self.ready.set(true);
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        let partitions: Vec<_> = self.places.keys().cloned().collect();
        self.subscription.resume(&partitions).map_err(|error| self.error(error))?;
        self.paused = false;
        Ok(())
    }

    /// Hands over a batch that is due, or the time when the clock says so.
    fn ask_for_work(&mut self) -> anyhow::Result<()> {
        if !matches!(self.asked, Asked::Nothing) || self.places.is_empty() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        if self.batch.is_due(&self.options) {
            let batch = std::mem::take(&mut self.batch).records;
            self.send(Request::Write { batch, cancel: self.cancel.clone(), reply })?;
        } else if self.ticked.elapsed() >= TICK_INTERVAL {
            self.ticked = Instant::now();
            self.send(Request::Tick { reply })?;
        } else {
            return Ok(());
        }
        self.asked = Asked::Work(answer);
        Ok(())
    }

    /// Stops reading while a whole batch waits behind the one that is being written.
    fn hold_back(&mut self) -> anyhow::Result<()> {
        let full = self.batch.is_full(&self.options);
        if full && !self.paused {
            let partitions: Vec<_> = self.places.keys().cloned().collect();
            self.subscription.pause(&partitions).map_err(|error| self.error(error))?;
            self.paused = true;
        } else if !full && self.paused && !matches!(self.asked, Asked::Claim { .. }) {
            self.resume()?;
        }
        Ok(())
    }

    fn note_durable(&mut self, durable: &[NextOffset]) {
        for offset in durable {
            if let Some(place) = self.places.get_mut(&offset.at) {
                place.durable = Some(offset.next);
            }
        }
        if durable.is_empty() {
            return;
        }
        // For people who look at the group; the sink itself knows better.
        if let Err(error) = self.subscription.commit(durable) {
            tracing::debug!(sink = self.options.name, %error, "the group's offsets lag behind the sink's");
        }
    }

    /// Waits until the store has done, or given up, what it was asked for.
    fn finish_work(&mut self) {
        self.cancel.cancel();
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => {}
            // Whether it succeeded is for the sink to know: it is asked again before anything else is read.
            Asked::Claim { answer, .. } => drop(answer.blocking_recv()),
            Asked::Work(answer) => {
                if let Ok(Ok(durable)) = answer.blocking_recv() {
                    self.note_durable(&durable);
                }
            }
        }
    }

    fn tell_revoked(&mut self, partitions: Vec<TopicPartition>) -> anyhow::Result<()> {
        if partitions.is_empty() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.send(Request::Revoke { partitions, reply })?;
        answer.blocking_recv().context("the store has ended")?.map_err(anyhow::Error::new)
    }

    fn give_up(&mut self, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        tracing::info!(sink = self.options.name, count = partitions.len(), "partitions are given up");
        self.finish_work();
        self.batch = Batch::default();
        self.tell_revoked(partitions.to_vec())?;
        self.places.clear();
        self.paused = false;
        self.lag.clear();
        self.subscription.release().map_err(|error| self.error(error))
    }

    fn tell_lag(&mut self) {
        // While it is not known where to read from, nobody can tell what waits.
        if matches!(self.asked, Asked::Claim { .. }) || !self.lag.is_due() {
            return;
        }
        for (at, place) in &self.places {
            self.lag.tell(at, place.durable, place.last_record_ms);
        }
    }
}

/// The answer, if it is there.
fn received<T>(answer: &mut Answer<T>) -> anyhow::Result<Option<Result<T, Failure>>> {
    match answer.try_recv() {
        Ok(result) => Ok(Some(result)),
        Err(oneshot::error::TryRecvError::Empty) => Ok(None),
        Err(oneshot::error::TryRecvError::Closed) => bail!("the sink's store has ended"),
    }
}
