//! One partition number: its place in every input, its store, what the open transaction changes, its timers.

use std::time::{Duration, Instant};

use super::{
    Codec, Context, Effect, KeyedProcessor, Shared, Undecoded, changelog,
    due::DueHeader,
    inputs::{self, InputMarks},
    marker,
    overlay::{Committed, Flush, LookupError, Overlay, Place},
    restore::Restored,
    scan::{Scan, Scanner},
    store::{ChangelogId, Meta, StoreBatch, TaskStore},
    timers::{Timers, earlier},
};
use crate::{
    log::{Isolation, NewRecord, NextOffset, RecordRef, TopicPartition, Verdict},
    positions::InputPosition,
    transaction::Setback,
};

/// Bound of one watermark query: it stands between two polls.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(1);

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It was before our next offset: applied already.
    Seen,
    /// It cannot be read yet: it, and what follows, must be read again.
    Held,
    Taken,
    Skipped,
    Poison,
}

/// One partition number of a worker.
pub struct Task<P: KeyedProcessor> {
    pub partition: i32,
    pub inputs: Vec<InputPosition>,
    pub store: TaskStore,
    pub timers: Timers,
    overlay: Overlay<P>,
    /// `None` while it is restored.
    meta: Option<Meta>,
    changelog: TopicPartition,
    /// Shows what was stored when it was activated.
    scan: Option<Scan>,
    /// `meta` is not in the store yet.
    is_meta_behind: bool,
    /// An end of the changelog from before the open transaction, stored when that is committed.
    changelog_end: Option<i64>,
    asked_for_end: Option<Instant>,
    /// Records were handed out that were not applied: they must be read again.
    missed: bool,
    /// A record waits for something from elsewhere, and everything behind it with it.
    held: bool,
}

impl<P: KeyedProcessor> Task<P> {
    pub fn new(store: TaskStore, inputs: Vec<InputPosition>, changelog: &str) -> Self {
        let partition = store.partition();
        Self {
            partition,
            inputs,
            timers: Timers::default(),
            overlay: Overlay::default(),
            meta: None,
            changelog: TopicPartition::new(changelog, partition),
            scan: None,
            is_meta_behind: false,
            changelog_end: None,
            asked_for_end: None,
            missed: false,
            held: false,
            store,
        }
    }

    pub fn is_active(&self) -> bool {
        self.meta.is_some()
    }

    /// True when records are applied as they come.
    pub fn takes_records(&self) -> bool {
        self.is_active() && !self.held
    }

    /// A record waits for something from elsewhere.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Lets the record that waits be tried again.
    pub fn release_held(&mut self) {
        self.held = false;
    }

    /// Takes the restored store into use.
    pub fn activate(
        &mut self,
        restored: Restored,
        processor: &P,
        scanner: &Scanner,
        group: &str,
    ) -> anyhow::Result<()> {
        self.store = restored.store;
        self.resume_after_state(&restored.meta, group)?;
        self.timers = Timers::new(self.store.next_due(None)?);
        self.scan = None;
        processor.observe_closed(self.partition);
        self.scan = scanner.scan(&self.store);
        self.meta = Some(restored.meta);
        self.asked_for_end = None;
        Ok(())
    }

    /// Offsets are committed with the state: where the group has none, the state knows how far it goes.
    fn resume_after_state(&mut self, meta: &Meta, group: &str) -> anyhow::Result<()> {
        let is_unknown = |input: &InputPosition| input.is_first && meta.inputs.get(&input.at.topic).is_none();
        if self.inputs.iter().all(is_unknown) && !self.store.is_empty()? {
            anyhow::bail!(
                "{} holds state, but group `{group}` has committed no offsets for its inputs and the state does not say \
                 how far it goes; reset the group's offsets to where it does, or start with a new changelog",
                self.changelog
            );
        }
        for input in self.inputs.iter_mut().filter(|input| input.is_first) {
            let Some((next, note)) = meta.inputs.get(&input.at.topic) else { continue };
            tracing::warn!(
                group,
                input = %input.at,
                next,
                "the group's offset is gone; going on where the state ends"
            );
            input.resume(next, note);
            self.missed = true;
            if let Some(reason) = input.misplaced(group) {
                anyhow::bail!(reason);
            }
        }
        Ok(())
    }

    /// Notes that a record came which cannot be applied yet.
    pub fn miss(&mut self) {
        self.missed = true;
    }

    /// True when [`Task::miss`] was called since the last time.
    pub fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }

    /// Takes the store out of use: it will be restored, what it lacks included, and its inputs read from where they are
    /// committed.
    pub fn deactivate(&mut self) {
        self.overlay.clear();
        self.is_meta_behind = false;
        self.scan = None;
        self.meta = None;
        self.held = false;
        self.changelog_end = None;
        for input in &mut self.inputs {
            input.roll_back();
        }
    }

    /// Drops what the open transaction has changed.
    pub fn roll_back<C: Codec<P>>(&mut self, codec: &C) -> anyhow::Result<()> {
        self.overlay.roll_back(codec)?;
        self.changelog_end = None;
        for input in &mut self.inputs {
            input.roll_back();
        }
        let next_due = self.store.next_due(self.timers.rewind())?;
        self.timers.rolled_back(earlier(next_due, self.overlay.next_due()));
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.overlay.bytes()
    }

    /// True when the next transaction has something of this task.
    pub fn is_changed(&self) -> bool {
        !self.overlay.is_empty() || self.inputs.iter().any(InputPosition::is_changed)
    }

    /// Applies one record in the overlay.
    pub fn apply<C: Codec<P>>(
        &mut self,
        shared: &Shared<P, C>,
        ctx: Context,
        record: &RecordRef<'_>,
    ) -> Result<Applied, LookupError> {
        let Self { inputs, overlay, store, .. } = self;
        let input = inputs.iter_mut().find(|input| &*input.at.topic == record.topic);
        let Some(position) = input.filter(|input| input.expects(record)) else { return Ok(Applied::Seen) };
        let applied = match shared.codec.decode(record) {
            Ok(None) => Ok(Applied::Skipped),
            Ok(Some(input)) => match overlay.touch(record.key.unwrap_or_default(), store, &*shared.codec) {
                Ok(place) => {
                    let entry = overlay.entry(place);
                    let effect = shared.processor.on_record(&ctx, &entry.key, &mut entry.after, input);
                    overlay.note(place, effect, record.size());
                    Ok(Applied::Taken)
                }
                Err(LookupError::Key(poison)) => Err(poison),
                Err(error) => return Err(error),
            },
            Err(Undecoded::NotYet(reason)) => {
                tracing::debug!(partition = self.partition, reason, "a record waits");
                self.held = true;
                self.missed = true;
                return Ok(Applied::Held);
            }
            Err(Undecoded::Poison(poison)) => Err(poison),
        };
        let applied = applied.unwrap_or_else(|poison| {
            let notice = shared.codec.encode_poison(record, &poison, ctx.now_ms);
            shared.metrics.poison.with_label_values(&[record.topic, poison.code]).inc();
            overlay.reject(notice);
            Applied::Poison
        });
        position.advance(record);
        Ok(applied)
    }

    /// Fires up to `limit` timers that are due at or before `complete_until_ms`; returns how many were looked at.
    pub fn fire<C: Codec<P>>(
        &mut self,
        shared: &Shared<P, C>,
        ctx: Context,
        complete_until_ms: i64,
        limit: usize,
    ) -> anyhow::Result<usize> {
        let waiting = self.overlay.take_due(complete_until_ms, limit);
        for place in &waiting {
            self.fire_one(shared, ctx, *place, complete_until_ms)?;
        }
        let due = self.store.due_timers(self.timers.cursor(), complete_until_ms, limit - waiting.len())?;
        for timer in &due {
            let place = self.overlay.touch(timer.key(), &self.store, &*shared.codec)?;
            let entry = self.overlay.entry(place);
            if entry.due_on_disk() != Some(timer.due_ms()) {
                // A restore leaves entries that no state wants.
                self.overlay.note_orphan(timer.clone());
            } else if entry.due_ms() == Some(timer.due_ms()) {
                self.fire_one(shared, ctx, place, complete_until_ms)?;
            }
        }
        let last = due.last().cloned();
        let next_due = self.store.next_due(last.as_ref().or(self.timers.cursor()))?;
        self.timers.fired(last, earlier(next_due, self.overlay.next_due()));
        Ok(waiting.len() + due.len())
    }

    fn fire_one<C: Codec<P>>(
        &mut self,
        shared: &Shared<P, C>,
        ctx: Context,
        place: Place,
        complete_until_ms: i64,
    ) -> anyhow::Result<()> {
        let processor = &*shared.processor;
        let touched = self.overlay.entry(place);
        // Records of the same transaction may have moved or ended it.
        let wanted = touched.after.as_ref().and_then(|state| processor.next_due(state));
        let Some(due_ms) = wanted.filter(|due_ms| *due_ms <= complete_until_ms) else { return Ok(()) };
        processor.on_timer(&ctx, &touched.key, &mut touched.after, complete_until_ms);
        shared.metrics.timers_fired.inc();
        let then = touched.after.as_ref().and_then(|state| processor.next_due(state));
        anyhow::ensure!(
            then.is_none_or(|then| then > due_ms),
            "the processor left a timer where it was (partition {}): it would fire for ever",
            self.partition
        );
        self.overlay.note(place, Effect::Changed, 0);
        Ok(())
    }

    /// Notes where the changelog ends before the transaction begins, now and then. See `DESIGN.md`. False when the log
    /// did not answer.
    pub fn note_changelog_end<C>(&mut self, shared: &Shared<P, C>) -> bool {
        let asked_lately = self.asked_for_end.is_some_and(|at| at.elapsed() < shared.options.position_interval);
        if asked_lately || !self.is_active() || !self.is_changed() {
            return true;
        }
        self.asked_for_end = Some(Instant::now());
        match shared.log.end_offset(&self.changelog, Isolation::ReadUncommitted, QUERY_TIMEOUT) {
            Ok(end) => self.changelog_end = Some(end),
            Err(error) => tracing::debug!(%error, "the changelog's end is noted another time"),
        }
        self.changelog_end.is_some()
    }

    /// Produces what was changed.
    pub fn flush<C: Codec<P>>(
        &mut self,
        shared: &Shared<P, C>,
        ctx: Context,
        produce: &mut dyn FnMut(&NewRecord) -> Result<(), Setback>,
    ) -> Result<Flushed, Setback> {
        let Some(meta) = self.meta.as_ref().filter(|_| self.is_changed()) else { return Ok(Flushed::default()) };
        let (processor, codec) = (&*shared.processor, &*shared.codec);
        let mut flushed = Flushed::default();
        let mut outputs = Vec::new();
        let mut records = Vec::new();
        let mut meta = meta.clone();
        if meta.changelog == ChangelogId::Empty && !self.overlay.is_empty() {
            meta.changelog = marker::mint();
            if let Some(marker) = marker::record(&self.changelog, &meta.changelog, ctx.now_ms) {
                produce(&marker)?;
                flushed.records += 1;
            }
        }
        let header = DueHeader::new(&shared.options.timer_fingerprint);
        let marks = InputMarks::of(&self.inputs);
        let mut mark = Some((inputs::HEADER.to_owned(), marks.to_header().into()));
        for place in self.overlay.changed() {
            let entry = self.overlay.entry(place);
            // Decoded once more: a copy kept from the first touch on would cost as much for every key, changed or not.
            let before = entry.committed.as_ref().map(|committed| codec.decode_state(&committed.state)).transpose();
            entry.before = before.map_err(|poison| Setback::new(Verdict::Fatal, poison.to_string()))?;
            processor.on_flush(&ctx, &entry.key, entry.before.as_ref(), &mut entry.after, &mut outputs);
            for output in outputs.drain(..) {
                codec.encode_output(&output, &mut records);
            }
            let written = match &entry.after {
                Some(state) => {
                    let now = Committed { state: codec.encode_state(state).into(), due_ms: processor.next_due(state) };
                    let is_same = entry
                        .committed
                        .as_ref()
                        .is_some_and(|committed| committed.due_ms == now.due_ms && committed.state == now.state);
                    (!is_same).then_some(Flush::Put(now))
                }
                None => entry.committed.is_some().then_some(Flush::Deleted),
            };
            if let Some(written) = written {
                let state = match &written {
                    Flush::Put(now) => Some(now),
                    Flush::Same | Flush::Deleted => None,
                };
                let mut record = changelog::record(
                    &self.changelog,
                    entry.key_bytes.clone(),
                    state.map(|now| now.state.clone()),
                    ctx.now_ms,
                );
                if let Some(now) = state {
                    header.add(&mut record, now.due_ms);
                    flushed.first_due_ms = earlier(flushed.first_due_ms, now.due_ms);
                }
                record.headers.extend(mark.take());
                records.push(record);
                entry.flushed = written;
            }
            flushed.records += records.len();
            for record in records.drain(..) {
                produce(&record)?;
            }
        }
        for record in &self.overlay.rejected {
            produce(record)?;
        }
        flushed.records += self.overlay.rejected.len();

        meta.changelog_position = self.changelog_end.unwrap_or(meta.changelog_position);
        meta.written_at_ms = ctx.now_ms;
        meta.inputs = marks;
        flushed.meta = Some(meta);
        Ok(flushed)
    }

    /// Notes that what was flushed is committed.
    pub fn committed(&mut self, processor: &P, flushed: Flushed) {
        for place in self.overlay.changed() {
            let entry = self.overlay.entry(place);
            processor.observe_committed(self.partition, &entry.key, entry.before.as_ref(), entry.after.as_ref());
        }
        let left = self.overlay.committed();
        self.changelog_end = None;
        for input in &mut self.inputs {
            input.commit();
        }
        if flushed.meta.is_some() {
            self.meta = flushed.meta;
            self.is_meta_behind = true;
        }
        self.timers.committed(earlier(flushed.first_due_ms, left));
    }

    /// True when the store lacks something that is committed.
    pub fn is_behind(&self) -> bool {
        self.is_active() && (self.is_meta_behind || self.overlay.is_behind())
    }

    /// True when the store should be written before more states are looked up, which may take about `cache_bytes`.
    pub fn is_full(&self, cache_bytes: usize) -> bool {
        self.overlay.is_full(cache_bytes)
    }

    /// Hands what is committed to the store.
    pub fn write(&mut self, batch: &mut StoreBatch<'_>) {
        let Some(meta) = &self.meta else { return };
        self.overlay.write(&self.store, batch);
        batch.describe(&self.store, meta);
        self.is_meta_behind = false;
    }

    /// Lets go of states that were not touched lately; see [`Overlay::let_go`].
    pub fn let_go(&mut self, cache_bytes: usize) {
        self.overlay.let_go(cache_bytes);
    }

    /// Next offsets of every input, whether it moved or not.
    pub fn next_offsets(&self) -> impl Iterator<Item = NextOffset> {
        self.inputs.iter().map(InputPosition::next_offset)
    }
}

/// What a task has added to a transaction.
#[derive(Debug, Default)]
pub struct Flushed {
    pub records: usize,
    /// The earliest timer that was set.
    first_due_ms: Option<i64>,
    meta: Option<Meta>,
}
