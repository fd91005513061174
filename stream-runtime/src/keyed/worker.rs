//! One worker: a group membership, a transactional producer and the tasks of its partitions, driven step by step.

mod assignment;
mod priority;
mod transact;
mod turn;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use service_kit::{CheckHandle, Kit, ProgressHandle, ReadyHandle, metrics::Age};

use self::{priority::Precedence, turn::Turn};

use super::{
    Codec, Context, KeyedProcessor, Shared,
    overlay::LookupError,
    poison::PoisonWindow,
    restore::Restore,
    scan::Scanner,
    store::StoreError,
    task::{Applied, QUERY_TIMEOUT, Task},
    timers::Judgement,
};
use crate::{
    lag::LagMember,
    log::{GroupMetadata, Isolation, LogError, Polled, SubscribeOptions, Subscription, TopicPartition},
    positions::InputPosition,
    transaction::{TransactionalWriter, WriterOptions, consumer_error},
};

/// Records that are visited in one poll at most, so that the clock is read often enough.
const POLL_RECORDS: usize = 5_000;
/// How often the size of the local state is asked for.
const STATE_INTERVAL: Duration = Duration::from_secs(5);
/// How long a stale member waits for the group before it tries again.
const STALE_PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries of a record that waits for something from elsewhere.
const HELD_PAUSE: Duration = Duration::from_secs(1);
/// After a poll that failed because the log is away.
const UNAVAILABLE_PAUSE: Duration = Duration::from_millis(100);

/// What a step has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// Input records visited.
    pub records: usize,
    /// Timers looked at.
    pub timers: usize,
    /// The assignment changed, or a store was restored.
    pub moved: bool,
}

impl Step {
    /// True when nothing happened.
    pub fn is_idle(self) -> bool {
        self == Self::default()
    }
}

pub struct Worker<P: KeyedProcessor, C: Codec<P>> {
    shared: Arc<Shared<P, C>>,
    id: String,
    subscription: Box<dyn Subscription>,
    writer: TransactionalWriter,
    tasks: BTreeMap<i32, Task<P>>,
    restore: Option<Restore>,
    // After the tasks: it waits for their scans to be dropped.
    scanner: Scanner,
    /// Of the current assignment.
    group: Option<GroupMetadata>,
    /// Events that came up while we looked at the consumer for another reason.
    pending: VecDeque<Polled>,
    /// What is read first, by partition.
    precedence: BTreeMap<i32, Precedence>,
    /// Since when the group is known to have moved on without us.
    stale_since: Option<Instant>,
    /// Since when records wait for something from elsewhere.
    held_since: Option<Instant>,
    /// When that was found last; told as a check until it is over.
    held_last: Option<Instant>,
    /// The committed positions are to be asked for anew, and these partitions to be restored from the beginning.
    reopening: Option<Vec<i32>>,
    /// When the first record of the open transaction came.
    opened: Option<Instant>,
    /// When the last commit began.
    committed: Option<Instant>,
    open_records: usize,
    poison: PoisonWindow,
    lag: LagMember,
    transaction_age: Age,
    state_measured: Option<Instant>,
    stores_turn: Turn,
    foreign_since: Option<Instant>,
    ready: ReadyHandle,
    check: CheckHandle,
    progress: ProgressHandle,
}

impl<P: KeyedProcessor, C: Codec<P>> Worker<P, C> {
    /// Joins the group as worker number `index`.
    pub fn join(shared: Arc<Shared<P, C>>, index: usize, kit: &Kit) -> anyhow::Result<Self> {
        let options = &shared.options;
        let id = options.member_id(index);
        let subscription = shared
            .log
            .subscribe(SubscribeOptions {
                group: options.group.clone(),
                topics: options.inputs.clone(),
                instance_id: Some(id.clone()),
                prefetch_bytes: options.prefetch_bytes,
                isolation: Isolation::ReadCommitted,
            })
            .map_err(|error| consumer_error(&id, error))?;
        let writer = TransactionalWriter::new(
            shared.log.clone(),
            WriterOptions {
                transactional_id: id.clone(),
                call_timeout: options.call_timeout,
                retry_timeout: options.retry_timeout,
            },
            shared.metrics.aborts.clone(),
        );
        let name = options.worker_name(index);
        // Longer than all tries of a commit, of its abort, and a few questions: a worker that waits for a slow log goes
        // round within that time, one that hangs does not.
        let max_silence = options.retry_timeout * 2 + options.call_timeout * 3;
        Ok(Self {
            ready: kit.health().readiness(name.clone()),
            check: kit.health().check(format!("{name}-input")),
            progress: kit.health().progress(name, max_silence),
            poison: PoisonWindow::new(options.poison_share, options.poison_minimum),
            lag: shared.lag.member(),
            transaction_age: shared.metrics.transaction_age.with_label_value(&id),
            id,
            subscription,
            writer,
            tasks: BTreeMap::new(),
            restore: None,
            scanner: Scanner::start(shared.clone())?,
            group: None,
            pending: VecDeque::new(),
            precedence: BTreeMap::new(),
            stale_since: None,
            held_since: None,
            held_last: None,
            reopening: None,
            opened: None,
            committed: None,
            open_records: 0,
            state_measured: None,
            stores_turn: Turn::default(),
            foreign_since: None,
            shared,
        })
    }

    /// Goes round once: commits when it is time, fires due timers, applies the records that are there within
    /// `timeout`, follows the group. An error ends the process.
    pub fn step(&mut self, timeout: Duration) -> anyhow::Result<Step> {
        self.progress.beat();
        fail::fail_point!("keyed::step");
        // Before a commit, which may take long: an age that only ended with it would not show.
        self.transaction_age.set_since(self.opened);
        let mut step = Step::default();
        if let Some(event) = self.pending.pop_front() {
            step.moved = true;
            if !self.follow(event)? {
                self.stay_polled(timeout)?;
            }
            return Ok(step);
        }
        if self.reopening.is_some() {
            step.moved = true;
            if !self.try_reopen()? {
                self.stay_polled(timeout)?;
            }
            return Ok(step);
        }
        match self.collect_restored() {
            Ok(moved) => step.moved |= moved,
            Err(error) => {
                self.heal(error)?;
                step.moved = true;
            }
        }
        if let Some(error) = self.scanner.failure() {
            self.heal(error)?;
        }
        self.try_held()?;
        self.outwait_staleness()?;
        if self.is_commit_due() {
            self.commit()?;
        }
        step.timers = self.fire_timers()?;
        if self.is_commit_due() {
            self.commit()?;
        }
        self.write_stores_when_due()?;
        self.tell_lag();
        self.measure_state();
        self.delete_foreign_stores()?;
        self.mind_precedence()?;
        let timeout = self.until_commit().map_or(timeout, |left| left.min(timeout));
        match self.poll(timeout)? {
            Polled::Records(count) => step.records = count,
            event => {
                self.pending.push_back(event);
                step.moved = true;
            }
        }
        Ok(step)
    }

    /// Remains a member while the log is away: nothing is taken in, an event waits for its turn.
    fn stay_polled(&mut self, timeout: Duration) -> anyhow::Result<()> {
        match self.poll(timeout)? {
            Polled::Records(_) => {}
            event => self.pending.push_back(event),
        }
        Ok(())
    }

    #[cfg(test)]
    pub fn shared(&self) -> &Arc<Shared<P, C>> {
        &self.shared
    }

    /// True when partitions are assigned (or known to be none) and every task is restored.
    pub fn is_ready(&self) -> bool {
        self.group.is_some()
            && self.restore.is_none()
            && self.reopening.is_none()
            && self.tasks.values().all(Task::is_active)
    }

    /// True when the processor was shown all that was stored.
    pub fn is_scanned(&self) -> bool {
        self.scanner.is_idle()
    }

    /// True when every input was read to its end, or the group, or a record that waits, keeps us from reading. Asks the
    /// log.
    pub fn is_caught_up(&self) -> anyhow::Result<bool> {
        if self.stale_since.is_some() || self.held_since.is_some() {
            return Ok(true);
        }
        for input in self.tasks.values().flat_map(|task| &task.inputs) {
            let end = self.shared.log.end_offset(&input.at, Isolation::ReadUncommitted, QUERY_TIMEOUT)?;
            if input.reached(&*self.subscription) < end {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Commits what is open and leaves.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.restore = None;
        self.commit()?;
        self.write_stores(Task::is_behind)?;
        self.progress.clone().end();
        Ok(())
    }

    fn poll(&mut self, timeout: Duration) -> anyhow::Result<Polled> {
        let shared = &*self.shared;
        let ctx = Context { now_ms: shared.options.clock.now_ms() };
        let room = shared.options.commit_records.saturating_sub(self.open_records).clamp(1, POLL_RECORDS);
        let Self { subscription, tasks, poison, .. } = self;
        let mut failure: Option<anyhow::Error> = None;
        let (mut applied, mut held) = (0, false);
        let polled = subscription.poll(room, timeout, &mut |record| {
            let Some(task) = tasks.get_mut(&record.partition) else { return };
            if !task.takes_records() || failure.is_some() {
                task.miss();
                return;
            }
            match task.apply(shared, ctx, record) {
                Ok(Applied::Seen) => {}
                Ok(Applied::Held) => held = true,
                Ok(outcome) => {
                    applied += 1;
                    if poison.record(outcome == Applied::Poison) {
                        let (count, of) = poison.seen();
                        failure = Some(anyhow::anyhow!(
                            "{count} of the last {of} records of {} could not be processed; stopping before more are set aside",
                            record.topic
                        ));
                    }
                }
                Err(error) => {
                    task.miss();
                    failure = Some(error.into());
                }
            }
        });
        shared.metrics.records_in.inc_by(applied);
        self.open_records += applied as usize;
        if applied > 0 && self.opened.is_none() {
            self.opened = Some(Instant::now());
        }
        if let Some(error) = failure {
            self.heal(error)?;
        }
        if held {
            self.hold()?;
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

    /// Restores a damaged store; any other failure is final.
    fn heal(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let Some(partition) = damaged_partition(&error) else { return Err(error) };
        tracing::error!(member = self.id, partition, error = format!("{error:#}"), "restoring the local state");
        self.reopen(vec![partition])
    }

    /// Pauses the tasks in which a record waits: the others go on.
    fn hold(&mut self) -> anyhow::Result<()> {
        self.held_since = Some(Instant::now());
        self.held_last = self.held_since;
        self.check.degraded("records wait for the schema registry");
        let partitions = self.partitions_of(Task::is_held);
        self.tolerating_rebalance(|worker| worker.subscription.pause(&partitions))
    }

    /// Reads the records that wait once more.
    fn try_held(&mut self) -> anyhow::Result<()> {
        if self.held_last.is_some_and(|last| last.elapsed() > HELD_PAUSE * 3) {
            self.held_last = None;
            self.check.healthy();
        }
        if self.held_since.is_none_or(|since| since.elapsed() < HELD_PAUSE) || self.stale_since.is_some() {
            return Ok(());
        }
        self.held_since = None;
        let partitions = self.partitions_of(Task::is_held);
        let mut places = Vec::new();
        for task in self.tasks.values_mut().filter(|task| task.is_held()) {
            task.release_held();
            task.take_missed();
            places.extend(task.inputs.iter().map(InputPosition::place));
        }
        self.tolerating_rebalance(|worker| worker.subscription.seek(&places))?;
        self.tolerating_rebalance(|worker| worker.subscription.resume(&partitions))
    }

    /// How long what is open may wait. The interval runs from the beginning of the last commit, so that a commit's own
    /// time does not come on top of it, and a record that comes after a pause does not wait at all.
    fn until_commit(&self) -> Option<Duration> {
        let since = self.committed.or(self.opened)?;
        self.opened.map(|_| self.shared.options.commit_interval.saturating_sub(since.elapsed()))
    }

    fn is_commit_due(&self) -> bool {
        let options = &self.shared.options;
        self.open_records >= options.commit_records
            || self.until_commit().is_some_and(|left| left.is_zero())
            || self.tasks.values().map(Task::bytes).sum::<usize>() >= options.commit_bytes
    }

    fn fire_timers(&mut self) -> anyhow::Result<usize> {
        if self.stale_since.is_some() {
            return Ok(0);
        }
        let shared = self.shared.clone();
        let options = &shared.options;
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let (grace_ms, interval_ms) = (millis(options.timer_grace), millis(options.timer_interval));
        let mut looked_at = 0;
        let mut failure = None;
        for task in self.tasks.values_mut().filter(|task| task.is_active()) {
            // In front of the clock and the positions: most of the time nothing is due.
            if task.timers.next_due_ms().is_none() {
                continue;
            }
            let judge = |task: &Task<P>, subscription: &dyn Subscription| {
                let reached = reached(task, subscription);
                task.timers.judge(options.clock.now_ms(), grace_ms, interval_ms, &reached)
            };
            let mut judgement = judge(task, &*self.subscription);
            if judgement == Judgement::Sample {
                // The clock before the log: whatever is appended later was received later.
                let asked_at_ms = options.clock.now_ms();
                let ends: Result<Vec<i64>, LogError> = task
                    .inputs
                    .iter()
                    .map(|input| shared.log.end_offset(&input.at, Isolation::ReadUncommitted, QUERY_TIMEOUT))
                    .collect();
                if let Err(error) = &ends {
                    tracing::warn!(partition = task.partition, %error, "a due timer waits for the log's end offsets");
                }
                let is_away = ends.is_err();
                task.timers.sampled(asked_at_ms, grace_ms, ends.ok());
                if is_away {
                    // It would not answer about the other tasks either, and each question holds up the poll.
                    break;
                }
                judgement = judge(task, &*self.subscription);
            }
            let Judgement::Fire { complete_until_ms } = judgement else { continue };
            let ctx = Context { now_ms: options.clock.now_ms() };
            match task.fire(&shared, ctx, complete_until_ms, options.timer_batch) {
                Ok(count) => looked_at += count,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failure {
            self.heal(error)?;
            return Ok(0);
        }
        if looked_at > 0 {
            self.open_records += looked_at;
            self.opened.get_or_insert_with(Instant::now);
        }
        Ok(looked_at)
    }

    fn measure_state(&mut self) {
        if self.state_measured.is_some_and(|at| at.elapsed() < STATE_INTERVAL) {
            return;
        }
        self.state_measured = Some(Instant::now());
        // While it is restored a task's store may be exchanged.
        let active = self.tasks.values().filter(|task| task.is_active()).map(|task| task.store.clone());
        self.shared.metrics.measure(&self.shared.stores, active);
    }

    fn tell_lag(&mut self) {
        if !self.lag.is_due() {
            return;
        }
        for input in self.tasks.values().flat_map(|task| &task.inputs) {
            self.lag.tell(&input.at, Some(input.next), input.note.stream_time_ms);
        }
    }

    fn partitions(&self) -> Vec<TopicPartition> {
        self.partitions_of(|_| true)
    }

    fn partitions_of(&self, wanted: impl Fn(&Task<P>) -> bool) -> Vec<TopicPartition> {
        let tasks = self.tasks.values().filter(|task| wanted(task));
        tasks.flat_map(|task| task.inputs.iter().map(|input| input.at.clone())).collect()
    }
}

/// Up to where each input of a task was read: our own number, or further where only markers follow.
fn reached<P: KeyedProcessor>(task: &Task<P>, subscription: &dyn Subscription) -> Vec<i64> {
    task.inputs.iter().map(|input| input.reached(subscription)).collect()
}

fn damaged_partition(error: &anyhow::Error) -> Option<i32> {
    let store = match error.downcast_ref::<LookupError>() {
        Some(LookupError::Store(store)) => Some(store),
        _ => error.downcast_ref::<StoreError>(),
    };
    match store {
        Some(StoreError::Damaged { partition, .. }) => Some(*partition),
        _ => None,
    }
}
