//! Follows the group: opens, restores and closes tasks.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context as _, bail};

use super::{Codec, KeyedProcessor, Task, Worker};
use crate::{
    keyed::{
        restore::{Report, Restore},
        store::TaskStore,
    },
    log::{Polled, TopicPartition},
    positions::{InputPosition, Patience, committed_positions},
    transaction::consumer_error,
};

impl<P: KeyedProcessor, C: Codec<P>> Worker<P, C> {
    /// Answers an event of the group.
    pub(super) fn follow(&mut self, event: Polled) -> anyhow::Result<()> {
        self.stale_since = None;
        match event {
            Polled::Records(_) => Ok(()),
            Polled::Assigned(partitions) => self.open(&partitions),
            Polled::Revoked(partitions) => {
                tracing::info!(member = self.id, count = partitions.len(), "partitions are revoked");
                self.restore = None;
                self.commit()?;
                self.give_up(&partitions)
            }
            Polled::Lost(partitions) => {
                tracing::warn!(member = self.id, count = partitions.len(), "partitions are lost");
                self.restore = None;
                self.opened = None;
                self.open_records = 0;
                self.give_up(&partitions)
            }
        }
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
        if !self.tasks.is_empty() {
            self.start_restore(Vec::new())?;
        }
        self.ready.set(false);
        Ok(())
    }

    fn open(&mut self, partitions: &[TopicPartition]) -> anyhow::Result<()> {
        tracing::info!(member = self.id, count = partitions.len(), "partitions are assigned");
        self.shared.metrics.rebalances.inc();
        self.commit()?;
        // First end what a predecessor left open, then ask for its offsets, then restore.
        self.writer.ensure_ready()?;
        let starts = self.committed_positions(partitions)?;
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
        self.start_restore(Vec::new())
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
            match restore.poll()? {
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
                    task.activate(restored, &self.shared.processor, &self.scanner)?;
                    let missed = task.take_missed();
                    let places: Vec<_> = task.inputs.iter().map(InputPosition::place).collect();
                    let partitions: Vec<_> = places.iter().map(|(at, _)| at.clone()).collect();
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

    /// Asks anew what is committed, restores every task and seeks: after anything but a certain commit or abort.
    pub(super) fn reopen(&mut self, wipe: Vec<i32>) -> anyhow::Result<()> {
        self.restore = None;
        self.opened = None;
        self.open_records = 0;
        let partitions = self.partitions();
        self.tolerating_rebalance(|worker| worker.subscription.pause(&partitions))?;
        let mut starts = self.committed_positions(&partitions)?;
        for task in self.tasks.values_mut() {
            let start = starts.remove(&task.partition).context("a task without committed positions")?;
            task.deactivate(start);
        }
        let to: Vec<_> = self.tasks.values().flat_map(|task| task.inputs.iter().map(InputPosition::place)).collect();
        self.tolerating_rebalance(|worker| worker.subscription.seek(&to))?;
        self.start_restore(wipe)
    }

    /// What the group has committed, by partition number.
    fn committed_positions(
        &mut self,
        partitions: &[TopicPartition],
    ) -> anyhow::Result<BTreeMap<i32, Vec<InputPosition>>> {
        let options = &self.shared.options;
        let patience = Patience { call: options.call_timeout, retry: options.retry_timeout };
        let positions =
            committed_positions(&*self.shared.log, &mut *self.subscription, &options.group, partitions, patience)?;
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
        Ok(starts)
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
