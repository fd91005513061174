//! Reads changelogs into runs.

use std::{
    collections::HashMap,
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{
    Job, Restoring,
    write::{Order, Part, Written},
};
use crate::{
    keyed::{
        Codec, KeyedProcessor, Shared,
        due::{DueHeader, Told},
        inputs::{self, InputMarks},
        marker,
        store::{ChangelogId, Run},
    },
    log::{Isolation, Position, Reader, RecordRef, TopicPartition},
};

/// Records visited in one poll at most.
const POLL_RECORDS: usize = 5_000;
pub const POLL: Duration = Duration::from_millis(100);
/// About how much memory the runs of all tasks take before they are written. As much again is being written meanwhile.
const GATHERED_BYTES: usize = 32 << 20;

impl<P: KeyedProcessor, C: Codec<P>> Job<'_, P, C> {
    /// Reads all that is left of `restoring`. Another thread writes it, and reports each task that is complete.
    pub(super) fn read(&self, restoring: &mut Vec<Restoring>, reader: &mut dyn Reader) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            // No queue: what is gathered and what is being written is all there is in memory.
            let (orders, received) = mpsc::sync_channel(0);
            let writer = std::thread::Builder::new()
                .name(format!("{}-restore-write", self.shared.options.app))
                .spawn_scoped(scope, || self.write_all(received))
                .context("cannot start the thread that writes what is restored")?;
            let read = self.read_all(restoring, reader, &orders);
            drop(orders);
            match writer.join() {
                Ok(written) => written.and(read),
                Err(_) => bail!("the thread that writes what is restored has panicked"),
            }
        })
    }

    fn read_all(
        &self,
        restoring: &mut Vec<Restoring>,
        reader: &mut dyn Reader,
        orders: &mpsc::SyncSender<Order>,
    ) -> anyhow::Result<()> {
        let options = &self.shared.options;
        if self.hand_over_complete(restoring, orders, |task| Some(task.meta.changelog_position)) == Written::Stopped {
            return Ok(());
        }
        if restoring.is_empty() {
            return Ok(());
        }
        let from: Vec<_> = restoring.iter().map(|task| (task.changelog.clone(), start_of(task))).collect();
        reader.assign(&from)?;

        let room = GATHERED_BYTES / restoring.len();
        for task in restoring.iter_mut().filter(|task| task.run.is_empty()) {
            task.run = Run::with_room(room);
        }
        let due = DueHeader::new(&options.timer_fingerprint);
        let mut last_progress = Instant::now();
        let mut reached: HashMap<i32, i64> = HashMap::new();
        while !restoring.is_empty() && self.may_go_on() {
            let mut intake = Intake { shared: self.shared, due, restoring, last: 0, failure: None };
            let polled = reader.poll(POLL_RECORDS, POLL, &mut |record| intake.take(record));
            if let Some(failure) = intake.failure {
                return Err(failure);
            }
            match polled {
                Ok(count) => self.shared.metrics.restored_records.inc_by(count as u64),
                Err(error) if error.is_retriable() => tracing::debug!(%error, "restore waits for the log"),
                Err(error) => return Err(error.into()),
            }
            for task in restoring.iter_mut() {
                let Some(position) = reader.position(&task.changelog) else { continue };
                // The store's age stays: of deletions behind this position some may be about to leave the changelog.
                task.meta.changelog_position = position;
                task.remaining.set((task.bound - position).max(0));
                if reached.insert(task.store.partition(), position) != Some(position) {
                    last_progress = Instant::now();
                }
            }
            if self.hand_over_complete(restoring, orders, |task| reader.position(&task.changelog)) == Written::Stopped {
                return Ok(());
            }
            if restoring.iter().map(|task| task.run.size()).sum::<usize>() >= GATHERED_BYTES {
                // All at once: the next ones are gathered while these are written.
                let room = GATHERED_BYTES / restoring.len();
                let gathered = restoring.iter_mut().filter(|task| !task.run.is_empty());
                let parts = gathered.map(|task| Part {
                    store: task.store.clone(),
                    meta: task.meta.clone(),
                    run: std::mem::replace(&mut task.run, Run::with_room(room)),
                });
                self.shared.restores.ordered();
                if orders.send(Order::Write(parts.collect())).is_err() {
                    return Ok(());
                }
                // Waiting for the writer is no stall of the log.
                last_progress = Instant::now();
            }
            if last_progress.elapsed() > options.restore_stall && !restoring.is_empty() {
                // A log that is away is waited for, by whoever asked for the restore.
                self.shared.log.end_offset(
                    &restoring[0].changelog,
                    Isolation::ReadUncommitted,
                    options.call_timeout,
                )?;
                let waiting: Vec<String> = restoring.iter().map(|task| task.changelog.to_string()).collect();
                bail!("restore of {} has read nothing for {} s", waiting.join(", "), options.restore_stall.as_secs());
            }
        }
        Ok(())
    }

    /// Hands over the tasks that have reached their bound.
    fn hand_over_complete(
        &self,
        restoring: &mut Vec<Restoring>,
        orders: &mpsc::SyncSender<Order>,
        position: impl Fn(&Restoring) -> Option<i64>,
    ) -> Written {
        let mut at = 0;
        while at < restoring.len() {
            let task = &restoring[at];
            match position(task) {
                Some(position) if position >= task.bound => {
                    let mut task = restoring.swap_remove(at);
                    task.meta.changelog_position = position;
                    self.shared.restores.ordered();
                    if orders.send(Order::Complete(Box::new(task))).is_err() {
                        return Written::Stopped;
                    }
                }
                _ => at += 1,
            }
        }
        Written::On
    }
}

fn start_of(task: &Restoring) -> Position {
    match task.meta.changelog_position {
        0 => Position::Beginning,
        offset => Position::Offset(offset),
    }
}

/// Takes the records of one poll into the runs of their tasks.
struct Intake<'a, P: KeyedProcessor, C> {
    shared: &'a Shared<P, C>,
    due: DueHeader,
    restoring: &'a mut Vec<Restoring>,
    /// The task of the record before: most of the time it is the next one's too.
    last: usize,
    failure: Option<anyhow::Error>,
}

impl<P: KeyedProcessor, C: Codec<P>> Intake<'_, P, C> {
    fn take(&mut self, record: &RecordRef<'_>) {
        if self.failure.is_some() {
            return;
        }
        let of_task = |task: &Restoring| task.store.partition() == record.partition;
        if !self.restoring.get(self.last).is_some_and(of_task) {
            // A record of a task that is complete lies behind its bound: no one writes there but we, later.
            let Some(at) = self.restoring.iter().position(of_task) else { return };
            self.last = at;
        }
        if let Err(error) = self.add(record) {
            let at = TopicPartition::new(record.topic, record.partition);
            self.failure = Some(error.context(format!("the record at {at}@{} cannot be restored", record.offset)));
        }
    }

    fn add(&mut self, record: &RecordRef<'_>) -> anyhow::Result<()> {
        let task = &mut self.restoring[self.last];
        if task.meta.changelog == ChangelogId::Empty {
            // The first record there is: this task is read from the beginning.
            task.meta.changelog = marker::read(record);
        }
        if marker::is_marker(record.key) {
            return Ok(());
        }
        // Behind the due time, if at all, and with few records: a look at every one would cost.
        if (record.headers.len() > 1 || record.value.is_none())
            && let Some(marks) = record.header(inputs::HEADER).and_then(InputMarks::from_header)
        {
            task.meta.inputs.advance(marks);
        }
        let Some(key) = record.key else { bail!("it has no key; the changelog was written by someone else") };
        match record.value {
            Some(state) => {
                let due_ms = match self.due.read(record) {
                    Told::Due(due_ms) => due_ms,
                    Told::Nothing => self.shared.processor.next_due(&self.shared.codec.decode_state(state)?),
                };
                task.run.put(key, state, due_ms);
            }
            None => task.run.delete(key),
        }
        Ok(())
    }
}
