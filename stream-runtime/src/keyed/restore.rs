//! Brings local stores up to their changelog, off the polling thread.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use prometheus::IntGauge;

use super::{
    Codec, KeyedProcessor, Shared,
    store::{Meta, StoreBatch, TaskStore},
};
use crate::{
    log::{Isolation, LogError, Position, RecordRef, TopicPartition},
    transaction::while_unavailable,
};

/// Records between two writes to the store.
const BATCH: usize = 5_000;
const POLL: Duration = Duration::from_millis(100);

/// A store that holds everything the changelog had when the restore began.
pub struct Restored {
    pub partition: i32,
    pub meta: Meta,
}

/// A restore that runs on a thread of its own; dropping it stops the thread.
pub struct Restore {
    cancel: Arc<AtomicBool>,
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
        let thread = std::thread::Builder::new()
            .name(format!("{}-restore", shared.options.app))
            .spawn(move || {
                if let Err(error) = restore_all(&shared, tasks, &wipe, &cancelled, &sender) {
                    // The receiver is gone when nobody waits for the restore any more.
                    let _ = sender.send(Err(error));
                }
            })
            .context("cannot start the restore thread")?;
        Ok(Self { cancel, results, thread: Some(thread) })
    }

    /// True when the thread has nothing more to do: everything it has to report can be polled.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
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
    remaining: IntGauge,
}

fn restore_all<P: KeyedProcessor, C: Codec<P>>(
    shared: &Shared<P, C>,
    tasks: Vec<TaskStore>,
    wipe: &[i32],
    cancelled: &AtomicBool,
    results: &mpsc::Sender<anyhow::Result<Restored>>,
) -> anyhow::Result<()> {
    let options = &shared.options;
    let (cluster_id, topic_id) = identity(shared)?;
    fail::fail_point!("keyed::restore");
    let mut restoring = Vec::new();
    for store in tasks {
        if wipe.contains(&store.partition()) {
            store.wipe()?;
        }
        let task = prepare(shared, store, &cluster_id, &topic_id)?;
        if task.meta.changelog_position >= task.bound {
            finish(shared, task, results)?;
        } else {
            restoring.push(task);
        }
    }
    // A position that the log no longer has is not a mistake of ours: the store is wiped and read from the start.
    let mut wiped_for_range = false;
    while !restoring.is_empty() {
        match read(shared, &mut restoring, cancelled, results) {
            Ok(()) if cancelled.load(Ordering::Relaxed) => return Ok(()),
            Ok(()) => {}
            Err(error) if is_out_of_range(&error) && !wiped_for_range => {
                wiped_for_range = true;
                tracing::warn!(app = options.app, %error, "the changelog has moved; restoring from its beginning");
                for task in &mut restoring {
                    task.store.wipe()?;
                    task.meta = Meta::new(cluster_id.clone(), topic_id.clone(), options.timer_fingerprint.clone());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_out_of_range(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<LogError>(), Some(LogError::OffsetOutOfRange { .. }))
}

fn identity<P: KeyedProcessor, C: Codec<P>>(shared: &Shared<P, C>) -> anyhow::Result<(String, String)> {
    let options = &shared.options;
    let cluster_id = while_unavailable(options.retry_timeout, || shared.log.cluster_id(options.call_timeout))
        .context("cannot tell the cluster's identity")?;
    let topic_id =
        while_unavailable(options.retry_timeout, || shared.log.topic_id(&options.changelog, options.call_timeout))
            .context("cannot tell the changelog's identity")?;
    Ok((cluster_id, topic_id))
}

/// Why a store cannot be used as it is.
fn unusable(meta: Option<&Meta>, current: &Current<'_>) -> Option<&'static str> {
    let Some(meta) = meta else { return Some("it is new or was being wiped") };
    if !meta.is_readable() {
        return Some("it has another layout");
    }
    if meta.cluster_id != current.cluster_id || meta.topic_id != current.topic_id {
        return Some("it belongs to another cluster or topic");
    }
    if meta.changelog_position > current.end {
        return Some("it is ahead of the changelog");
    }
    // With nothing after the position there is nothing to have missed, whatever its age.
    if meta.changelog_position < current.end {
        if meta.changelog_position < current.start {
            return Some("the changelog no longer reaches back to it");
        }
        if current.now_ms - meta.written_at_ms > current.delete_retention_ms {
            return Some("it is older than the changelog keeps deletions");
        }
    }
    None
}

/// What a store is held against.
struct Current<'a> {
    cluster_id: &'a str,
    topic_id: &'a str,
    start: i64,
    end: i64,
    now_ms: i64,
    delete_retention_ms: i64,
}

fn prepare<P: KeyedProcessor, C: Codec<P>>(
    shared: &Shared<P, C>,
    store: TaskStore,
    cluster_id: &str,
    topic_id: &str,
) -> anyhow::Result<Restoring> {
    let options = &shared.options;
    let changelog = TopicPartition::new(options.changelog.as_str(), store.partition());
    let ask = |call: &dyn Fn() -> Result<i64, LogError>| {
        while_unavailable(options.retry_timeout, call)
            .with_context(|| format!("cannot ask for the offsets of {changelog}"))
    };
    // The high watermark: a last stable offset would leave out what an open transaction of a predecessor holds back.
    let bound_at_ms = options.clock.now_ms();
    let end = ask(&|| shared.log.end_offset(&changelog, Isolation::ReadUncommitted, options.call_timeout))?;
    let start = ask(&|| shared.log.start_offset(&changelog, options.call_timeout))?;
    let known = match store.meta() {
        Ok(meta) => meta,
        Err(error) => {
            tracing::warn!(%error, "restoring from the beginning");
            None
        }
    };
    let current = Current {
        cluster_id,
        topic_id,
        start,
        end,
        now_ms: bound_at_ms,
        delete_retention_ms: i64::try_from(options.changelog_delete_retention.as_millis()).unwrap_or(i64::MAX),
    };
    let mut meta = match (unusable(known.as_ref(), &current), known) {
        (None, Some(meta)) => meta,
        (reason, _) => {
            let reason = reason.unwrap_or("it is not described");
            tracing::info!(partition = store.partition(), reason, "local state is restored from the beginning");
            store.wipe()?;
            Meta::new(cluster_id.to_owned(), topic_id.to_owned(), options.timer_fingerprint.clone())
        }
    };
    if start >= end {
        // Empty: nothing to read, and no record would move the position there.
        meta.changelog_position = end;
    }
    let remaining = shared.metrics.restore_remaining.with_label_values(&[&store.partition().to_string()]);
    remaining.set(end - meta.changelog_position.max(start).min(end));
    Ok(Restoring { store, meta, changelog, bound: end, bound_at_ms, remaining })
}

/// Reads all that is left of `restoring`, reporting each task when it has reached its bound.
fn read<P: KeyedProcessor, C: Codec<P>>(
    shared: &Shared<P, C>,
    restoring: &mut Vec<Restoring>,
    cancelled: &AtomicBool,
    results: &mpsc::Sender<anyhow::Result<Restored>>,
) -> anyhow::Result<()> {
    let options = &shared.options;
    let mut reader = shared.log.reader(Isolation::ReadCommitted)?;
    let from: Vec<_> = restoring
        .iter()
        .map(|task| {
            let position = match task.meta.changelog_position {
                0 => Position::Beginning,
                offset => Position::Offset(offset),
            };
            (task.changelog.clone(), position)
        })
        .collect();
    reader.assign(&from)?;

    let mut last_progress = Instant::now();
    let mut reached: HashMap<i32, i64> = HashMap::new();
    while !restoring.is_empty() {
        if cancelled.load(Ordering::Relaxed) {
            return Ok(());
        }
        let polled = {
            let mut changes = Changes::new(shared, restoring);
            let polled = reader.poll(BATCH, POLL, &mut |record| changes.apply(record));
            changes.write()?;
            polled
        };
        match polled {
            Ok(_) => {}
            Err(error) if error.is_retriable() => tracing::debug!(%error, "restore waits for the log"),
            Err(error) => return Err(error.into()),
        }
        let mut at = 0;
        while at < restoring.len() {
            let task = &mut restoring[at];
            let position = reader.position(&task.changelog).unwrap_or(task.meta.changelog_position);
            let partition = task.store.partition();
            if reached.insert(partition, position) != Some(position) {
                last_progress = Instant::now();
            }
            task.remaining.set((task.bound - position).max(0));
            if position >= task.bound {
                let mut task = restoring.swap_remove(at);
                task.meta.changelog_position = position;
                finish(shared, task, results)?;
            } else {
                at += 1;
            }
        }
        if last_progress.elapsed() > options.restore_stall && !restoring.is_empty() {
            let waiting: Vec<String> = restoring.iter().map(|task| task.changelog.to_string()).collect();
            bail!("restore of {} has read nothing for {} s", waiting.join(", "), options.restore_stall.as_secs());
        }
    }
    Ok(())
}

/// Changelog records of one poll on their way to the store.
struct Changes<'a, P: KeyedProcessor, C> {
    shared: &'a Shared<P, C>,
    restoring: &'a mut Vec<Restoring>,
    /// The latest record of each key: key → (index of the task, value).
    latest: HashMap<(i32, Vec<u8>), Option<Vec<u8>>>,
    positions: HashMap<i32, i64>,
    failure: Option<anyhow::Error>,
}

impl<'a, P: KeyedProcessor, C: Codec<P>> Changes<'a, P, C> {
    fn new(shared: &'a Shared<P, C>, restoring: &'a mut Vec<Restoring>) -> Self {
        Self { shared, restoring, latest: HashMap::new(), positions: HashMap::new(), failure: None }
    }

    fn apply(&mut self, record: &RecordRef<'_>) {
        let Some(key) = record.key else {
            let at = TopicPartition::new(record.topic, record.partition);
            self.failure.get_or_insert_with(|| {
                anyhow::anyhow!(
                    "the record at {at}@{} has no key; the changelog was written by someone else",
                    record.offset
                )
            });
            return;
        };
        self.latest.insert((record.partition, key.to_vec()), record.value.map(<[u8]>::to_vec));
        self.positions.insert(record.partition, record.offset + 1);
    }

    fn write(self) -> anyhow::Result<()> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if self.latest.is_empty() {
            return Ok(());
        }
        let shared = self.shared;
        let mut batch = shared.stores.batch();
        for ((partition, key), value) in &self.latest {
            // A record of a task that is done already lies behind its bound: no one writes there but we, later.
            let Some(task) = self.restoring.iter().find(|task| task.store.partition() == *partition) else { continue };
            let old_due = task.store.get(key)?.and_then(|sealed| sealed.due_ms());
            match value {
                Some(value) => {
                    let state = shared
                        .codec
                        .decode_state(value)
                        .with_context(|| format!("a state in {} cannot be decoded", task.changelog))?;
                    batch.put(&task.store, key, value, old_due, shared.processor.next_due(&state));
                }
                None => batch.delete(&task.store, key, old_due),
            }
        }
        for task in self.restoring.iter_mut() {
            if let Some(position) = self.positions.get(&task.store.partition()) {
                // Its age stays: of deletions behind this position some may be about to leave the changelog.
                task.meta.changelog_position = *position;
                batch.describe(&task.store, &task.meta);
            }
        }
        batch.commit()?;
        Ok(())
    }
}

/// Completes the timer index, writes the description and reports.
fn finish<P: KeyedProcessor, C: Codec<P>>(
    shared: &Shared<P, C>,
    mut task: Restoring,
    results: &mpsc::Sender<anyhow::Result<Restored>>,
) -> anyhow::Result<()> {
    let options = &shared.options;
    let fingerprint = Some(options.timer_fingerprint.clone());
    task.remaining.set(0);
    if task.meta.timer_fingerprint != fingerprint {
        rebuild_timers(shared, &mut task)?;
        task.meta.timer_fingerprint = fingerprint;
    }
    show_states(shared, &task.store)?;
    task.meta.written_at_ms = task.bound_at_ms;
    let mut batch = shared.stores.batch();
    batch.describe(&task.store, &task.meta);
    batch.commit()?;
    let restored = Restored { partition: task.store.partition(), meta: task.meta };
    // The receiver is gone when the partition was taken away meanwhile.
    let _ = results.send(Ok(restored));
    Ok(())
}

/// Shows every state to the processor, when it wants to see them.
fn show_states<P: KeyedProcessor, C: Codec<P>>(shared: &Shared<P, C>, store: &TaskStore) -> anyhow::Result<()> {
    let partition = store.partition();
    shared.processor.observe_closed(partition);
    if !P::OBSERVES_STORED {
        return Ok(());
    }
    let mut failure = None;
    store.for_each(|key, sealed| {
        let shown = shared.codec.decode_key(key).and_then(|key| {
            let state = shared.codec.decode_state(sealed.state())?;
            shared.processor.observe_stored(partition, &key, &state);
            Ok(())
        });
        if let Err(poison) = shown {
            failure.get_or_insert(poison);
        }
        Ok(())
    })?;
    match failure {
        Some(poison) => Err(anyhow::Error::new(poison).context("a stored state cannot be decoded")),
        None => Ok(()),
    }
}

/// Makes the timer index anew from the states.
fn rebuild_timers<P: KeyedProcessor, C: Codec<P>>(shared: &Shared<P, C>, task: &mut Restoring) -> anyhow::Result<()> {
    tracing::info!(partition = task.store.partition(), "timers are made anew from the states");
    // First the mark: whatever fingerprint comes next time, a half-made index matches none.
    task.meta.timer_fingerprint = None;
    let mut batch = shared.stores.batch();
    batch.describe(&task.store, &task.meta);
    batch.commit()?;
    task.store.clear_timers()?;

    let mut batch: StoreBatch<'_> = shared.stores.batch();
    let mut failure = None;
    task.store.for_each(|key, sealed| {
        let state = match shared.codec.decode_state(sealed.state()) {
            Ok(state) => state,
            Err(poison) => {
                failure.get_or_insert(poison);
                return Ok(());
            }
        };
        let due = shared.processor.next_due(&state);
        if due == sealed.due_ms() {
            batch.insert_timer(&task.store, key, due);
        } else {
            batch.put(&task.store, key, sealed.state(), None, due);
        }
        if batch.len() >= BATCH {
            std::mem::replace(&mut batch, shared.stores.batch()).commit()?;
        }
        Ok(())
    })?;
    if let Some(poison) = failure {
        return Err(anyhow::Error::new(poison).context("a stored state cannot be decoded"));
    }
    batch.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(position: i64, written_at_ms: i64) -> Meta {
        Meta {
            changelog_position: position,
            written_at_ms,
            ..Meta::new("cluster".into(), "topic".into(), String::new())
        }
    }

    fn current() -> Current<'static> {
        Current {
            cluster_id: "cluster",
            topic_id: "topic",
            start: 10,
            end: 20,
            now_ms: 1_000,
            delete_retention_ms: 100,
        }
    }

    #[test]
    fn a_store_is_used_only_when_the_tail_of_its_changelog_completes_it() {
        assert_eq!(unusable(Some(&meta(15, 950)), &current()), None);
        assert!(unusable(None, &current()).is_some());
        assert!(unusable(Some(&meta(9, 950)), &current()).is_some(), "compacted or deleted away");
        assert!(unusable(Some(&meta(21, 950)), &current()).is_some(), "the log was truncated");
        assert!(unusable(Some(&meta(15, 899)), &current()).is_some(), "deletions may be missed");
        assert_eq!(unusable(Some(&meta(20, 0)), &current()), None, "nothing came after it");
        let elsewhere = Meta { topic_id: "other".into(), ..meta(15, 950) };
        assert!(unusable(Some(&elsewhere), &current()).is_some());
    }
}
