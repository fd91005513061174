//! The loop of a transform, step by step.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::{Histogram, IntCounter};
use service_kit::{Kit, ProgressHandle, ReadyHandle};

use super::{Places, Transform, TransformOptions};
use crate::{
    lag::{LagMember, LagMeter},
    log::{
        GroupMetadata, Isolation, Log, LogError, NewRecord, Polled, SubscribeOptions, Subscription, TopicPartition,
        Verdict,
    },
    positions::{InputPosition, committed_positions},
    transaction::{Recovery, Setback, TransactionalWriter, WriterOptions, consumer_error, membership_event},
};

/// Records that are visited in one poll at most.
const POLL_RECORDS: usize = 5_000;
/// How long a stale member waits for the group before it tries again.
const STALE_PATIENCE: Duration = Duration::from_secs(60);
/// How long the log may take to answer before the worker polls again.
const PATIENCE: Duration = Duration::from_secs(5);
const UNAVAILABLE_PAUSE: Duration = Duration::from_millis(100);
const COMMIT_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 10.0];

pub(super) struct Worker<T> {
    options: TransformOptions,
    log: Arc<dyn Log>,
    map: T,
    id: String,
    subscription: Box<dyn Subscription>,
    writer: TransactionalWriter,
    places: Places,
    out: Vec<NewRecord>,
    out_bytes: usize,
    group: Option<GroupMetadata>,
    /// Events that came up while we looked at the consumer for another reason.
    pending: VecDeque<Polled>,
    stale_since: Option<Instant>,
    /// The committed positions are to be asked for anew.
    reopening: bool,
    /// When the first record of the open transaction came.
    opened: Option<Instant>,
    open_records: usize,
    lag: LagMember,
    commit_duration: Histogram,
    records_in: IntCounter,
    records_out: IntCounter,
    rebalances: IntCounter,
    ready: ReadyHandle,
    progress: ProgressHandle,
}

impl<T: Transform> Worker<T> {
    pub fn join(
        options: TransformOptions,
        log: Arc<dyn Log>,
        map: T,
        lag: &Arc<LagMeter>,
        kit: &Kit,
    ) -> anyhow::Result<Self> {
        let id = format!("{}-{}", options.name, options.ordinal);
        let subscription = log
            .subscribe(SubscribeOptions {
                group: options.group.clone(),
                topics: options.inputs.clone(),
                instance_id: Some(id.clone()),
                prefetch_bytes: options.prefetch_bytes,
                isolation: Isolation::ReadCommitted,
            })
            .map_err(|error| consumer_error(&id, error))?;
        let metrics = kit.metrics();
        let name = |rest: &str| format!("{}_{rest}", options.metrics_prefix);
        let aborts = metrics.counter_vec(
            &name("aborts_total"),
            "Transactions that did not end in a commit, by what was done about it.",
            &["class"],
        );
        let writer_options = WriterOptions {
            transactional_id: id.clone(),
            call_timeout: options.call_timeout,
            retry_timeout: options.retry_timeout,
        };
        let max_silence = options.retry_timeout * 2 + Duration::from_secs(30);
        Ok(Self {
            writer: TransactionalWriter::new(log.clone(), writer_options, aborts),
            commit_duration: metrics.histogram(
                &name("commit_duration_seconds"),
                "Time to produce and commit one transaction.",
                &COMMIT_BUCKETS,
            ),
            records_in: metrics.counter(&name("records_in_total"), "Input records read."),
            records_out: metrics.counter(&name("records_out_total"), "Records written in committed transactions."),
            rebalances: metrics.counter(&name("rebalances_total"), "Assignments the group has made."),
            lag: lag.member(),
            ready: kit.health().readiness(options.name.clone()),
            progress: kit.health().progress(options.name.clone(), max_silence),
            id,
            subscription,
            log,
            map,
            places: Places::new(),
            out: Vec::new(),
            out_bytes: 0,
            group: None,
            pending: VecDeque::new(),
            stale_since: None,
            reopening: false,
            opened: None,
            open_records: 0,
            options,
        })
    }

    /// Goes round once. An error ends the process.
    pub fn step(&mut self, timeout: Duration) -> anyhow::Result<Polled> {
        self.progress.beat();
        if let Some(event) = self.pending.pop_front() {
            if !self.follow(event.clone())? {
                self.stay_polled(timeout)?;
            }
            return Ok(event);
        }
        if self.reopening && !self.try_reopen()? {
            self.stay_polled(timeout)?;
            return Ok(Polled::Records(0));
        }
        self.outwait_staleness()?;
        if self.is_commit_due() {
            self.commit()?;
        }
        self.tell_lag();
        let left = self.opened.map(|opened| self.options.commit_interval.saturating_sub(opened.elapsed()));
        let polled = self.poll(left.map_or(timeout, |left| left.min(timeout)))?;
        if !matches!(polled, Polled::Records(_)) {
            self.pending.push_back(polled.clone());
        }
        Ok(polled)
    }

    /// Remains a member while the log is away: nothing is taken in, an event waits for its turn.
    fn stay_polled(&mut self, timeout: Duration) -> anyhow::Result<()> {
        match self.poll(timeout)? {
            Polled::Records(_) => {}
            event => self.pending.push_back(event),
        }
        Ok(())
    }

    /// Commits what is open and leaves.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.commit()?;
        self.progress.clone().end();
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> anyhow::Result<Polled> {
        let room = self.options.commit_records.saturating_sub(self.open_records).clamp(1, POLL_RECORDS);
        let Self { subscription, places, map, out, out_bytes, .. } = self;
        let mut mapped = 0;
        let polled = subscription.poll(room, timeout, &mut |record| {
            let place = places
                .values_mut()
                .find(|place| place.at.partition == record.partition && &*place.at.topic == record.topic);
            let Some(place) = place.filter(|place| place.expects(record)) else { return };
            let before = out.len();
            map.map(record, out);
            *out_bytes += out[before..].iter().map(NewRecord::size).sum::<usize>();
            place.advance(record);
            mapped += 1;
        });
        self.records_in.inc_by(mapped);
        self.open_records += mapped as usize;
        if mapped > 0 {
            self.opened.get_or_insert_with(Instant::now);
        }
        match polled {
            Ok(polled) => Ok(polled),
            Err(error) if error.is_retriable() => {
                tracing::debug!(member = self.id, %error, "poll");
                std::thread::sleep(UNAVAILABLE_PAUSE.min(timeout));
                Ok(Polled::Records(0))
            }
            Err(error) => Err(consumer_error(&self.id, error)),
        }
    }

    fn is_commit_due(&self) -> bool {
        self.open_records >= self.options.commit_records
            || self.out_bytes >= self.options.commit_bytes
            || self.opened.is_some_and(|opened| opened.elapsed() >= self.options.commit_interval)
    }

    /// Commits outputs and offsets as one. Does nothing when nothing was read.
    pub fn commit(&mut self) -> anyhow::Result<()> {
        if !self.places.values().any(InputPosition::is_changed) {
            return Ok(());
        }
        let started = Instant::now();
        self.map.committing(&mut self.out);
        if let Err(setback) = self.transact() {
            return self.recover(setback);
        }
        fail::fail_point!("transform::after_commit");
        for place in self.places.values_mut() {
            place.commit();
        }
        self.records_out.inc_by(self.out.len() as u64);
        self.drop_open();
        self.map.committed();
        self.commit_duration.observe(started.elapsed().as_secs_f64());
        Ok(())
    }

    fn transact(&mut self) -> Result<(), Setback> {
        if self.subscription.assignment_lost() {
            return Err(Setback::new(Verdict::Stale, "the assignment is lost"));
        }
        let Some(group) = &self.group.clone() else {
            return Err(Setback::new(Verdict::Stale, "not a member of the group"));
        };
        self.writer.begin()?;
        for record in &self.out {
            self.writer.produce(record)?;
        }
        fail::fail_point!("transform::after_produce");
        let offsets: Vec<_> = self.places.values().map(InputPosition::next_offset).collect();
        fail::fail_point!("transform::before_commit");
        let Self { writer, subscription, .. } = self;
        writer.commit(&offsets, group, &|| subscription.assignment_lost())
    }

    fn recover(&mut self, setback: Setback) -> anyhow::Result<()> {
        if setback.verdict == Verdict::Fenced {
            self.look_at_consumer()?;
        }
        let Self { writer, subscription, .. } = self;
        let recovery = writer.recover(setback, &|| subscription.assignment_lost())?;
        self.drop_open();
        self.map.rolled_back();
        match recovery {
            Recovery::RolledBack | Recovery::Stale => {
                for place in self.places.values_mut() {
                    place.roll_back();
                }
            }
            Recovery::Renew => {
                self.reopening = true;
                let partitions: Vec<_> = self.places.keys().cloned().collect();
                return self.tolerating_rebalance(|worker| worker.subscription.pause(&partitions));
            }
        }
        let places: Vec<_> = self.places.values().map(InputPosition::place).collect();
        self.tolerating_rebalance(|worker| worker.subscription.seek(&places))?;
        if recovery == Recovery::Stale {
            self.stale_since = Some(Instant::now());
            let partitions: Vec<_> = self.places.keys().cloned().collect();
            self.tolerating_rebalance(|worker| worker.subscription.pause(&partitions))?;
        }
        Ok(())
    }

    /// Makes the producer ready, asks what is committed and goes on from there; false while the log is away.
    fn try_reopen(&mut self) -> anyhow::Result<bool> {
        if !self.writer.try_ready()? {
            return Ok(false);
        }
        let partitions: Vec<_> = self.places.keys().cloned().collect();
        let Some(places) = self.committed(&partitions)? else { return Ok(false) };
        // What came in meanwhile is read again.
        self.drop_open();
        self.map.rolled_back();
        self.places = places;
        self.reopening = false;
        let places: Vec<_> = self.places.values().map(InputPosition::place).collect();
        self.tolerating_rebalance(|worker| worker.subscription.seek(&places))?;
        self.tolerating_rebalance(|worker| worker.subscription.resume(&partitions))?;
        Ok(true)
    }

    /// A fenced producer often means a replaced or expelled member: let the consumer tell. Records it hands out
    /// meanwhile are read again.
    fn look_at_consumer(&mut self) -> anyhow::Result<()> {
        self.pending.extend(membership_event(&mut *self.subscription, &self.id)?);
        Ok(())
    }

    fn outwait_staleness(&mut self) -> anyhow::Result<()> {
        if self.stale_since.is_none_or(|since| since.elapsed() < STALE_PATIENCE) {
            return Ok(());
        }
        self.stale_since = None;
        let partitions: Vec<_> = self.places.keys().cloned().collect();
        self.tolerating_rebalance(|worker| worker.subscription.resume(&partitions))
    }

    /// Calls the consumer about partitions it may have lost already: then the event that tells so is on its way.
    fn tolerating_rebalance(&mut self, call: impl FnOnce(&mut Self) -> Result<(), LogError>) -> anyhow::Result<()> {
        match call(self) {
            Ok(()) => Ok(()),
            Err(error) if !self.pending.is_empty() || self.subscription.assignment_lost() => {
                tracing::debug!(member = self.id, %error, "partitions are moving");
                Ok(())
            }
            Err(error) => Err(consumer_error(&self.id, error)),
        }
    }

    /// Answers an event of the group; false when the log is away and the event has to wait.
    fn follow(&mut self, event: Polled) -> anyhow::Result<bool> {
        self.stale_since = None;
        match event {
            Polled::Records(_) => {}
            Polled::Assigned(partitions) => {
                if !self.open(&partitions)? {
                    self.pending.push_front(Polled::Assigned(partitions));
                    return Ok(false);
                }
            }
            Polled::Revoked(partitions) => {
                self.commit()?;
                self.give_up(&partitions)?;
            }
            Polled::Lost(partitions) => {
                self.drop_open();
                self.map.rolled_back();
                self.give_up(&partitions)?;
            }
        }
        Ok(true)
    }

    fn open(&mut self, partitions: &[TopicPartition]) -> anyhow::Result<bool> {
        self.commit()?;
        if !self.writer.try_ready()? {
            return Ok(false);
        }
        let Some(new) = self.committed(partitions)? else { return Ok(false) };
        tracing::info!(member = self.id, count = partitions.len(), "partitions are assigned");
        self.rebalances.inc();
        let from: Vec<_> = new.values().map(InputPosition::place).collect();
        self.subscription.assign(&from).map_err(|error| consumer_error(&self.id, error))?;
        self.group = Some(self.subscription.group().map_err(|error| consumer_error(&self.id, error))?);
        self.places.extend(new);
        self.ready.set(true);
        Ok(true)
    }

    fn give_up(&mut self, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        tracing::info!(member = self.id, count = partitions.len(), "partitions are given up");
        self.places.retain(|at, _| !partitions.contains(at));
        self.reopening &= !self.places.is_empty();
        self.lag.clear();
        self.group = None;
        self.ready.set(false);
        self.subscription.release().map_err(|error| consumer_error(&self.id, error))
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> anyhow::Result<Option<Places>> {
        let patience = PATIENCE.min(self.options.call_timeout);
        let positions =
            committed_positions(&*self.log, &mut *self.subscription, &self.options.group, partitions, patience)?;
        Ok(positions.map(|all| all.into_iter().map(|position| (position.at.clone(), position)).collect()))
    }

    fn drop_open(&mut self) {
        self.out.clear();
        self.out_bytes = 0;
        self.opened = None;
        self.open_records = 0;
    }

    fn tell_lag(&mut self) {
        if !self.lag.is_due() {
            return;
        }
        for place in self.places.values() {
            self.lag.tell(&place.at, Some(place.next), place.note.stream_time_ms);
        }
    }
}

#[cfg(test)]
mod tests;
