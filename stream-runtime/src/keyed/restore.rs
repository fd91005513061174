//! Brings local stores up to their changelog, off the polling thread.

mod activity;
mod fitness;
mod identity;
mod read;
mod timers;
mod write;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, bail};
use prometheus::IntGauge;

pub use self::activity::Activity;
use self::{
    activity::Running,
    fitness::{Current, unusable},
    identity::{Identity, first_records},
};
use super::{
    Codec, KeyedProcessor, Shared,
    store::{ChangelogId, Meta, Run, StoreError, TaskStore},
};
use crate::{
    log::{Isolation, LogError, Reader, TopicPartition},
    transaction::while_unavailable,
};

/// A store that holds everything the changelog had when the restore began.
pub struct Restored {
    pub store: TaskStore,
    pub meta: Meta,
}

/// A restore that runs on a thread of its own; dropping it stops the thread.
pub struct Restore {
    cancel: Arc<AtomicBool>,
    activity: Arc<Activity>,
    results: mpsc::Receiver<anyhow::Result<Restored>>,
    thread: Option<JoinHandle<()>>,
}

/// What a restore has to report.
pub enum Report {
    Restored(Restored),
    /// Nothing new.
    Pending,
    /// Every task is restored.
    Done,
}

impl Restore {
    /// Starts to restore these tasks. Those in `wipe` are restored from the beginning.
    pub fn start<P: KeyedProcessor, C: Codec<P>>(
        shared: Arc<Shared<P, C>>,
        tasks: Vec<TaskStore>,
        wipe: Vec<i32>,
    ) -> anyhow::Result<Self> {
        let cancel = Arc::new(AtomicBool::new(false));
        let (sender, results) = mpsc::channel();
        let cancelled = cancel.clone();
        let activity = shared.restores.clone();
        let running = Running::new(activity.clone());
        let thread = std::thread::Builder::new()
            .name(format!("{}-restore", shared.options.app))
            .spawn(move || {
                // Dropped in this order: when nothing runs any more, nothing is left to be reported.
                let _running = running;
                let sender = sender;
                let job = Job { shared: &shared, cancelled: &cancelled, results: &sender };
                if let Err(error) = job.run(tasks, &wipe) {
                    // The receiver is gone when nobody waits for the restore any more.
                    let _ = sender.send(Err(error));
                }
            })
            .context("cannot start the restore thread")?;
        Ok(Self { cancel, activity, results, thread: Some(thread) })
    }

    /// What has happened since the last call.
    pub fn poll(&mut self) -> anyhow::Result<Report> {
        match self.results.try_recv() {
            Ok(result) => result.map(Report::Restored),
            Err(mpsc::TryRecvError::Empty) => Ok(Report::Pending),
            Err(mpsc::TryRecvError::Disconnected) => {
                if let Some(thread) = self.thread.take()
                    && thread.join().is_err()
                {
                    bail!("the restore thread panicked");
                }
                Ok(Report::Done)
            }
        }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        self.cancel.store(true, Ordering::Relaxed);
        self.activity.wake();
        if let Some(thread) = self.thread.take() {
            // Its panic was reported by itself; here it only has to be gone before the stores are handed over.
            let _ = thread.join();
        }
    }
}

/// A task while it is restored.
struct Restoring {
    store: TaskStore,
    meta: Meta,
    changelog: TopicPartition,
    bound: i64,
    /// When the bound was asked for: as fresh as that is the store in the end.
    bound_at_ms: i64,
    /// Read, not yet handed over to be written.
    run: Run,
    remaining: IntGauge,
}

impl Restoring {
    /// Drops what there is, to be read from the beginning.
    fn start_over(&mut self, empty: &Meta) -> Result<(), StoreError> {
        self.store.wipe()?;
        self.meta = empty.clone();
        self.run = Run::default();
        Ok(())
    }
}

/// The restore of some tasks.
struct Job<'a, P: KeyedProcessor, C> {
    shared: &'a Shared<P, C>,
    cancelled: &'a AtomicBool,
    results: &'a mpsc::Sender<anyhow::Result<Restored>>,
}

impl<P: KeyedProcessor, C: Codec<P>> Job<'_, P, C> {
    fn run(&self, tasks: Vec<TaskStore>, wipe: &[i32]) -> anyhow::Result<()> {
        if !self.may_go_on() {
            return Ok(());
        }
        let identity = Identity::of(self.shared)?;
        fail::fail_point!("keyed::restore");
        let empty = identity.empty_store(&self.shared.options.timer_fingerprint);
        let mut reader = self.shared.log.reader(Isolation::ReadCommitted)?;
        let Some(mut restoring) = self.prepare(tasks, wipe, &empty, &mut *reader)? else { return Ok(()) };
        // A position that the log no longer has is not a mistake of ours: the store is wiped and read from the start.
        let mut wiped_for_range = false;
        while !restoring.is_empty() && !self.cancelled.load(Ordering::Relaxed) {
            match self.read(&mut restoring, &mut *reader) {
                Ok(()) => {}
                Err(error) if is_out_of_range(&error) && !wiped_for_range => {
                    wiped_for_range = true;
                    let app = &self.shared.options.app;
                    tracing::warn!(app, %error, "the changelog has moved; restoring from its beginning");
                    for task in &mut restoring {
                        task.start_over(&empty)?;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// False when nobody waits for the restore any more.
    fn may_go_on(&self) -> bool {
        self.shared.restores.wait_for_turn(self.cancelled)
    }

    /// Decides for each task which of its store can be used, and what is to be read; `None` when it was cancelled.
    fn prepare(
        &self,
        tasks: Vec<TaskStore>,
        wipe: &[i32],
        empty: &Meta,
        reader: &mut dyn Reader,
    ) -> anyhow::Result<Option<Vec<Restoring>>> {
        let options = &self.shared.options;
        let mut restoring = Vec::with_capacity(tasks.len());
        let mut offsets = Vec::with_capacity(tasks.len());
        for store in tasks {
            let changelog = TopicPartition::new(options.changelog.as_str(), store.partition());
            // The high watermark: a last stable offset would leave out what an open transaction of a predecessor holds
            // back.
            let bound_at_ms = options.clock.now_ms();
            let log = &self.shared.log;
            let bound =
                self.ask(&changelog, |at| log.end_offset(at, Isolation::ReadUncommitted, options.call_timeout))?;
            let start = self.ask(&changelog, |at| log.start_offset(at, options.call_timeout))?;
            let known = if wipe.contains(&store.partition()) { None } else { describe(&store) };
            let remaining = self.shared.metrics.restore_remaining.with_label_values(&[&store.partition().to_string()]);
            let meta = known.clone().unwrap_or_else(|| empty.clone());
            offsets.push((start, known));
            restoring.push(Restoring { store, meta, changelog, bound, bound_at_ms, run: Run::default(), remaining });
        }

        let known: Vec<_> = restoring
            .iter()
            .zip(&offsets)
            .filter(|(task, (start, known))| known.is_some() && *start < task.bound)
            .map(|(task, _)| (task.changelog.clone(), task.bound))
            .collect();
        let Some(firsts) = first_records(reader, &known, options.restore_stall, || self.may_go_on())? else {
            // What was not read is not missing: every store stays as it is.
            return Ok(None);
        };
        for (task, (start, known)) in restoring.iter_mut().zip(&offsets) {
            let current = Current {
                cluster_id: &empty.cluster_id,
                topic_id: &empty.topic_id,
                changelog: firsts.get(&task.store.partition()).unwrap_or(&ChangelogId::Empty),
                start: *start,
                end: task.bound,
                now_ms: task.bound_at_ms,
                delete_retention_ms: i64::try_from(options.changelog_delete_retention.as_millis()).unwrap_or(i64::MAX),
            };
            if let Some(reason) = unusable(known.as_ref(), &current) {
                let partition = task.store.partition();
                tracing::info!(partition, reason, "local state is restored from the beginning");
                task.start_over(empty)?;
            }
            if *start >= task.bound {
                // Empty: nothing to read, and no record would move the position there.
                task.meta.changelog_position = task.bound;
            }
            task.remaining.set(task.bound - task.meta.changelog_position.max(*start).min(task.bound));
        }
        Ok(Some(restoring))
    }

    fn ask(&self, at: &TopicPartition, call: impl Fn(&TopicPartition) -> Result<i64, LogError>) -> anyhow::Result<i64> {
        while_unavailable(self.shared.options.retry_timeout, || call(at))
            .with_context(|| format!("cannot ask for the offsets of {at}"))
    }
}

/// What a store says about itself, when it can be read.
fn describe(store: &TaskStore) -> Option<Meta> {
    match store.meta() {
        Ok(meta) => meta,
        Err(error) => {
            tracing::warn!(%error, "restoring from the beginning");
            None
        }
    }
}

fn is_out_of_range(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<LogError>(), Some(LogError::OffsetOutOfRange { .. }))
}
