//! The commit and what is done when it does not succeed.

use std::time::Instant;

use super::{Codec, Context, KeyedProcessor, Precedence, STALE_PATIENCE, Shared, Task, Worker};
use crate::{
    keyed::task::Flushed,
    log::{LogError, Position, TopicPartition, Verdict},
    positions::InputPosition,
    transaction::{Recovery, Setback, consumer_error, membership_event},
};

impl<P: KeyedProcessor, C: Codec<P>> Worker<P, C> {
    /// Commits outputs, changelog and offsets as one. Does nothing when nothing changed. The stores are written now and
    /// then.
    pub fn commit(&mut self) -> anyhow::Result<()> {
        self.opened = None;
        self.open_records = 0;
        if !self.tasks.values().any(Task::is_changed) {
            return Ok(());
        }
        let started = Instant::now();
        self.committed = Some(started);
        let shared = self.shared.clone();
        let ctx = Context { now_ms: shared.options.clock.now_ms() };
        // A log that does not answer about one is not asked about the others.
        let _ = self.tasks.values_mut().all(|task| task.note_changelog_end(&shared));
        let flushed = match self.transact(&shared, ctx) {
            Ok(flushed) => flushed,
            Err(setback) => return self.recover(setback),
        };
        fail::fail_point!("keyed::after_commit");
        for (task, flushed) in self.tasks.values_mut().zip(flushed) {
            shared.metrics.records_out.inc_by(flushed.records as u64);
            task.committed(&shared.processor, flushed);
        }
        shared.metrics.commit_duration.observe(started.elapsed().as_secs_f64());
        self.write_stores_when_due()
    }

    /// Writes the stores whose turn it is, and those whose changes take much memory.
    pub(super) fn write_stores_when_due(&mut self) -> anyhow::Result<()> {
        let options = &self.shared.options;
        let cache_bytes = options.cache_bytes / (options.workers * self.tasks.len()).max(1);
        let turn = self.stores_turn.take(options.store_interval, self.tasks.keys().copied());
        self.write_stores(|task| task.is_behind() && (turn.contains(&task.partition) || task.is_full(cache_bytes)))?;
        self.tasks.values_mut().for_each(|task| task.let_go(cache_bytes));
        Ok(())
    }

    /// Writes what is committed to the stores of these tasks.
    pub(super) fn write_stores(&mut self, wanted: impl Fn(&Task<P>) -> bool) -> anyhow::Result<()> {
        if !self.tasks.values().any(&wanted) {
            return Ok(());
        }
        let mut batch = self.shared.stores.batch();
        for task in self.tasks.values_mut().filter(|task| wanted(task)) {
            task.write(&mut batch);
        }
        fail::fail_point!("keyed::before_store");
        batch.commit()?;
        fail::fail_point!("keyed::after_store");
        Ok(())
    }

    /// Runs the transaction up to the acknowledged commit.
    fn transact(&mut self, shared: &Shared<P, C>, ctx: Context) -> Result<Vec<Flushed>, Setback> {
        if self.subscription.assignment_lost() {
            return Err(Setback::new(Verdict::Stale, "the assignment is lost"));
        }
        let Some(group) = self.group.clone() else {
            return Err(Setback::new(Verdict::Stale, "not a member of the group"));
        };
        fail::fail_point!("keyed::before_begin");
        self.writer.begin()?;
        let mut flushed = Vec::with_capacity(self.tasks.len());
        let Self { writer, tasks, .. } = self;
        for task in tasks.values_mut() {
            flushed.push(task.flush(shared, ctx, &mut |record| writer.produce(record))?);
        }
        fail::fail_point!("keyed::after_produce");
        // Every partition of the worker, also those that did not move: offsets are what fences a zombie.
        let offsets: Vec<_> = self.tasks.values().flat_map(Task::next_offsets).collect();
        fail::fail_point!("keyed::before_commit");
        let Self { writer, subscription, .. } = self;
        writer.commit(&offsets, &group, &|| subscription.assignment_lost())?;
        Ok(flushed)
    }

    fn recover(&mut self, setback: Setback) -> anyhow::Result<()> {
        if setback.verdict == Verdict::Fenced {
            self.look_at_consumer()?;
        }
        let Self { writer, subscription, .. } = self;
        match writer.recover(setback, &|| subscription.assignment_lost())? {
            Recovery::RolledBack => self.rewind(),
            Recovery::Stale => {
                self.stale_since = Some(Instant::now());
                self.rewind()?;
                let partitions = self.partitions();
                self.tolerating_rebalance(|worker| worker.subscription.pause(&partitions))
            }
            Recovery::Renew => self.reopen(Vec::new()),
        }
    }

    /// A fenced producer often means a replaced or expelled member: let the consumer tell. Records it hands out
    /// meanwhile are read again.
    fn look_at_consumer(&mut self) -> anyhow::Result<()> {
        self.pending.extend(membership_event(&mut *self.subscription, &self.id)?);
        Ok(())
    }

    /// Goes back to what was committed last: the stores are right, the overlays are dropped.
    fn rewind(&mut self) -> anyhow::Result<()> {
        let mut to: Vec<(TopicPartition, Position)> = Vec::new();
        for task in self.tasks.values_mut().filter(|task| task.is_active()) {
            task.roll_back(&*self.shared.codec)?;
            to.extend(task.inputs.iter().map(InputPosition::place));
        }
        self.precedence.values_mut().for_each(Precedence::start_over);
        self.tolerating_rebalance(|worker| worker.subscription.seek(&to))
    }

    /// Resumes a stale member that the group did not call back in time.
    pub(super) fn outwait_staleness(&mut self) -> anyhow::Result<()> {
        if self.stale_since.is_none_or(|since| since.elapsed() < STALE_PATIENCE) {
            return Ok(());
        }
        self.stale_since = None;
        let active = self.partitions_of(Task::takes_records);
        self.tolerating_rebalance(|worker| worker.subscription.resume(&active))
    }

    /// Calls the consumer about partitions it may have lost already: then the event that tells so is on its way.
    pub(super) fn tolerating_rebalance(
        &mut self,
        mut call: impl FnMut(&mut Self) -> Result<(), LogError>,
    ) -> anyhow::Result<()> {
        match call(self) {
            Ok(()) => Ok(()),
            Err(error) if !self.pending.is_empty() || self.subscription.assignment_lost() => {
                tracing::debug!(member = self.id, %error, "partitions are moving");
                Ok(())
            }
            Err(error) => Err(consumer_error(&self.id, error)),
        }
    }
}
