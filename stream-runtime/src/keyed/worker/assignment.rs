//! Follows the group: opens, restores and closes tasks.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{Codec, KeyedProcessor, Task, Worker};
use crate::{
    keyed::{
        restore::{Report, Restore},
        store::TaskStore,
    },
    log::{LogError, Polled, TopicPartition},
    positions::{InputPosition, available, committed_positions, last_times, replaced},
    transaction::consumer_error,
};

/// How long the log may take to answer before the worker polls again.
const PATIENCE: Duration = Duration::from_secs(5);

impl<P: KeyedProcessor, C: Codec<P>> Worker<P, C> {
    /// Answers an event of the group; false when the log is away and the event has to wait.
    pub(super) fn follow(&mut self, event: Polled) -> anyhow::Result<bool> {
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
                tracing::info!(member = self.id, count = partitions.len(), "partitions are revoked");
                self.restore = None;
                self.commit()?;
                self.write_stores(Task::is_behind)?;
                self.give_up(&partitions)?;
            }
            Polled::Lost(partitions) => {
                tracing::warn!(member = self.id, count = partitions.len(), "partitions are lost");
                self.restore = None;
                self.opened = None;
                self.open_records = 0;
                self.give_up(&partitions)?;
            }
        }
        Ok(true)
    }

    fn give_up(&mut self, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        // Also one that the commit before may have begun: the stores are handed over.
        self.restore = None;
        {
            let mut owned = self.shared.owned.lock();
            for at in partitions {
                self.tasks.remove(&at.partition);
                owned.remove(&at.partition);
                self.shared.processor.observe_closed(at.partition);
                self.shared.metrics.given_up(at.partition, &self.id);
            }
        }
        for at in partitions {
            self.forget_precedence(at.partition);
        }
        self.lag.clear();
        self.group = None;
        self.foreign_since = Some(Instant::now());
        self.subscription.release().map_err(|error| consumer_error(&self.id, error))?;
        if self.tasks.is_empty() {
            self.reopening = None;
        } else if self.reopening.is_none() {
            self.start_restore(Vec::new())?;
        }
        self.ready.set(false);
        Ok(())
    }

    /// Takes partitions into use; false while the log is away.
    fn open(&mut self, partitions: &[TopicPartition]) -> anyhow::Result<bool> {
        self.commit()?;
        if self.reopening.is_some() && !self.try_reopen()? {
            return Ok(false);
        }
        // First end what a predecessor left open, then ask for its offsets, then restore.
        if !self.writer.try_ready()? {
            return Ok(false);
        }
        let Some(starts) = self.committed_positions(partitions)? else { return Ok(false) };
        tracing::info!(member = self.id, count = partitions.len(), "partitions are assigned");
        self.shared.metrics.rebalances.inc();
        let from: Vec<_> = starts.values().flatten().map(InputPosition::place).collect();
        self.subscription.assign(&from).map_err(|error| consumer_error(&self.id, error))?;
        let new: Vec<_> = from.into_iter().map(|(at, _)| at).collect();
        self.tolerating_rebalance(|worker| worker.subscription.pause(&new))?;
        self.group = Some(self.subscription.group().map_err(|error| consumer_error(&self.id, error))?);

        let shared = self.shared.clone();
        for (partition, start) in starts {
            shared.owned.lock().insert(partition);
            shared.metrics.owned(partition, &self.id);
            let store = shared.stores.task(partition)?;
            self.tasks.insert(partition, Task::new(store, start, &shared.options.changelog));
        }
        self.foreign_since = Some(Instant::now());
        self.start_restore(Vec::new())?;
        Ok(true)
    }

    /// Restores every task that is not active.
    fn start_restore(&mut self, wipe: Vec<i32>) -> anyhow::Result<()> {
        // The one before must be gone first: two would write the same stores.
        self.restore = None;
        let stores: Vec<TaskStore> =
            self.tasks.values().filter(|task| !task.is_active()).map(|task| task.store.clone()).collect();
        self.ready.set(stores.is_empty());
        if !stores.is_empty() {
            self.restore = Some(Restore::start(self.shared.clone(), stores, wipe)?);
        }
        Ok(())
    }

    /// Takes restored stores into use and resumes their partitions. True when something changed.
    pub(super) fn collect_restored(&mut self) -> anyhow::Result<bool> {
        let mut moved = false;
        while let Some(restore) = &mut self.restore {
            let report = match restore.poll() {
                Ok(report) => report,
                Err(error) if is_unavailable(&error) => {
                    tracing::warn!(member = self.id, %error, "restoring once more");
                    self.start_restore(Vec::new())?;
                    break;
                }
                Err(error) => return Err(error),
            };
            match report {
                Report::Pending => break,
                Report::Done => {
                    self.restore = None;
                    if let Some(task) = self.tasks.values().find(|task| !task.is_active()) {
                        bail!("the restore ended without partition {}", task.partition);
                    }
                    self.ready.set(true);
                    self.state_measured = None;
                    moved = true;
                }
                Report::Restored(restored) => {
                    moved = true;
                    let partition = restored.store.partition();
                    let Some(task) = self.tasks.get_mut(&partition) else { continue };
                    task.activate(restored, &self.shared.processor, &self.scanner, &self.shared.options.group)?;
                    let resumed: Vec<_> = task.inputs.iter().filter(|input| input.is_first).cloned().collect();
                    let missed = task.take_missed();
                    let places: Vec<_> = task.inputs.iter().map(InputPosition::place).collect();
                    let partitions: Vec<_> = places.iter().map(|(at, _)| at.clone()).collect();
                    if !self.are_same(&resumed)? {
                        self.reopen(Vec::new())?;
                        break;
                    }
                    if missed {
                        self.tolerating_rebalance(|worker| worker.subscription.seek(&places))?;
                    }
                    self.tolerating_rebalance(|worker| worker.subscription.resume(&partitions))?;
                    self.forget_precedence(partition);
                }
            }
        }
        Ok(moved)
    }

    /// Checks places that the group did not know against what was read there; false while the log is away.
    fn are_same(&self, inputs: &[InputPosition]) -> anyhow::Result<bool> {
        let Some(found) = available(last_times(&*self.shared.log, inputs, PATIENCE))? else { return Ok(false) };
        match inputs.iter().find_map(|input| replaced(input, &found, &self.shared.options.group)) {
            Some(reason) => bail!(reason),
            None => Ok(true),
        }
    }

    /// Takes every task out of use until it is known what is committed: after anything but a certain commit or abort.
    pub(super) fn reopen(&mut self, wipe: Vec<i32>) -> anyhow::Result<()> {
        self.restore = None;
        self.opened = None;
        self.open_records = 0;
        self.ready.set(false);
        let partitions = self.partitions();
        self.tolerating_rebalance(|worker| worker.subscription.pause(&partitions))?;
        for task in self.tasks.values_mut() {
            task.deactivate();
        }
        self.reopening.get_or_insert_default().extend(wipe);
        Ok(())
    }

    /// Makes the producer ready, asks what is committed, seeks there and restores; false while the log is away.
    pub(super) fn try_reopen(&mut self) -> anyhow::Result<bool> {
        if !self.writer.try_ready()? {
            return Ok(false);
        }
        let partitions = self.partitions();
        let Some(mut starts) = self.committed_positions(&partitions)? else { return Ok(false) };
        for task in self.tasks.values_mut() {
            task.inputs = starts.remove(&task.partition).context("a task without committed positions")?;
        }
        let to: Vec<_> = self.tasks.values().flat_map(|task| task.inputs.iter().map(InputPosition::place)).collect();
        self.tolerating_rebalance(|worker| worker.subscription.seek(&to))?;
        let wipe = self.reopening.take().unwrap_or_default();
        self.start_restore(wipe)?;
        Ok(true)
    }

    /// What the group has committed, by partition number; `None` while the log is away.
    fn committed_positions(
        &mut self,
        partitions: &[TopicPartition],
    ) -> anyhow::Result<Option<BTreeMap<i32, Vec<InputPosition>>>> {
        let options = &self.shared.options;
        let patience = PATIENCE.min(options.call_timeout);
        let Some(positions) =
            committed_positions(&*self.shared.log, &mut *self.subscription, &options.group, partitions, patience)?
        else {
            return Ok(None);
        };
        let mut starts: BTreeMap<i32, Vec<InputPosition>> = BTreeMap::new();
        for position in positions {
            starts.entry(position.at.partition).or_default().push(position);
        }
        let expected = options.inputs.len();
        if let Some((partition, start)) = starts.iter().find(|(_, start)| start.len() != expected) {
            bail!(
                "partition {partition} was assigned for {} of {expected} input topics; they must have equal partition \
                 counts and the group the `range` assignor",
                start.len()
            );
        }
        Ok(Some(starts))
    }

    /// Deletes the stores of partitions that nobody in this process has had for long.
    pub(super) fn delete_foreign_stores(&mut self) -> anyhow::Result<()> {
        let ttl = self.shared.options.foreign_state_ttl;
        if self.restore.is_some() || self.foreign_since.is_none_or(|since| since.elapsed() < ttl) {
            return Ok(());
        }
        self.foreign_since = Some(Instant::now());
        let owned = self.shared.owned.lock();
        for partition in self.shared.stores.partitions() {
            if !owned.contains(&partition) {
                tracing::info!(partition, "deleting the local state of a partition that has moved away");
                self.shared.stores.delete(partition)?;
            }
        }
        Ok(())
    }
}

/// True when all that went wrong is that the log is away.
fn is_unavailable(error: &anyhow::Error) -> bool {
    error.downcast_ref::<LogError>().is_some_and(LogError::is_retriable)
}
