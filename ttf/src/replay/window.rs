//! Which records are read: `--from` and `--to` as offsets, never past what the processor has processed.

use std::{thread, time::Duration, time::Instant};

use anyhow::Context as _;
use serde::Serialize;
use stream_runtime::log::{Committed, Isolation, Log, LogError, Position, TopicPartition};
use telemetry_schemas::{EventTime, topics};
use ttf_processor::replay::Window;

/// For one answer of the log.
pub const CALL: Duration = Duration::from_secs(10);
/// For all tries of one question.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);

/// A part of one partition.
#[derive(Debug, Clone)]
pub struct Range {
    pub at: TopicPartition,
    pub start: i64,
    /// The first offset that is not read.
    pub end: i64,
}

impl Range {
    pub fn len(&self) -> u64 {
        (self.end - self.start).max(0).unsigned_abs()
    }
}

/// What is read of one input partition, and what that leaves out.
#[derive(Debug, Clone, Serialize)]
pub struct InputWindow {
    pub partition: i32,
    pub from_offset: i64,
    /// The first offset that is not read.
    pub to_offset: i64,
    pub oldest_offset: i64,
    /// The first offset that the processor has not processed; `null` when it has never processed anything here.
    pub processed_to: Option<i64>,
    #[serde(skip)]
    at: TopicPartition,
}

impl InputWindow {
    pub fn range(&self) -> Range {
        Range { at: self.at.clone(), start: self.from_offset, end: self.to_offset }
    }

    /// True when every event there ever was is read from the first one on.
    pub fn is_from_the_start(&self) -> bool {
        self.from_offset == 0
    }

    /// In the domain's terms; `first` is when the first record read was received.
    pub fn as_told(&self, from: Option<EventTime>, first: Option<EventTime>, now: EventTime) -> Window {
        let from = if self.is_from_the_start() {
            None
        } else {
            Some(from.filter(|_| self.from_offset > self.oldest_offset).or(first).unwrap_or(now))
        };
        Window { from, cut_short: self.processed_to.is_some_and(|processed| self.to_offset < processed) }
    }
}

/// Calls again while the log is away, for a while.
pub fn patiently<T>(mut call: impl FnMut() -> Result<T, LogError>) -> Result<T, LogError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match call() {
            Err(error) if error.is_retriable() && Instant::now() < deadline => thread::sleep(PAUSE),
            other => return other,
        }
    }
}

/// What the processor's group has committed for these partitions.
pub fn committed(log: &dyn Log, of: &[TopicPartition]) -> anyhow::Result<Vec<Committed>> {
    patiently(|| log.committed(ttf_processor::GROUP, of, CALL))
        .with_context(|| format!("cannot ask what group `{}` has committed", ttf_processor::GROUP))
}

/// The window on events of one partition.
pub fn of_events(
    log: &dyn Log,
    partition: i32,
    processed_to: Option<i64>,
    from: Option<EventTime>,
    to: Option<EventTime>,
) -> anyhow::Result<InputWindow> {
    let at = TopicPartition::new(topics::EVENTS, partition);
    let oldest = patiently(|| log.start_offset(&at, CALL))?;
    let offset_of = |time: EventTime| patiently(|| log.offset_for_time(&at, time.0, CALL));
    let processed = processed_to.unwrap_or(oldest).max(oldest);
    let end = to.map(offset_of).transpose()?.map_or(processed, |end| end.min(processed));
    let start = from.map(offset_of).transpose()?.map_or(oldest, |start| start.max(oldest)).min(end);
    Ok(InputWindow { partition, from_offset: start, to_offset: end, oldest_offset: oldest, processed_to, at })
}

/// Every erasure that is kept and was processed: they are few, and what they forgot must stay forgotten.
pub fn of_erasures(log: &dyn Log, partition: i32, processed_to: Option<i64>) -> anyhow::Result<Range> {
    let at = TopicPartition::new(topics::ERASURES, partition);
    let start = patiently(|| log.start_offset(&at, CALL))?;
    Ok(Range { at, start, end: processed_to.unwrap_or(start).max(start) })
}

/// Everything that a topic's partition holds now. The bound counts what is still being written: it is waited for.
pub fn whole(log: &dyn Log, topic: &str, partition: i32) -> anyhow::Result<Range> {
    let at = TopicPartition::new(topic, partition);
    let start = patiently(|| log.start_offset(&at, CALL))?;
    let end = patiently(|| log.end_offset(&at, Isolation::ReadUncommitted, CALL))?;
    Ok(Range { at, start, end })
}

/// When the first record at or after `offset` was written; `None` when there is none.
pub fn first_written(log: &dyn Log, at: &TopicPartition, offset: i64) -> anyhow::Result<Option<EventTime>> {
    let end = patiently(|| log.end_offset(at, Isolation::ReadCommitted, CALL))?;
    if offset >= end {
        return Ok(None);
    }
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&[(at.clone(), Position::Offset(offset))])?;
    let deadline = Instant::now() + PATIENCE;
    let mut found = None;
    while found.is_none() && reader.position(at).is_none_or(|position| position < end) {
        anyhow::ensure!(Instant::now() < deadline, "{at} does not answer");
        patiently(|| reader.poll(1, PAUSE, &mut |record| found = Some(EventTime(record.timestamp_ms))))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(from_offset: i64, to_offset: i64) -> InputWindow {
        let at = TopicPartition::new(topics::EVENTS, 0);
        InputWindow { partition: 0, from_offset, to_offset, oldest_offset: 10, processed_to: Some(100), at }
    }

    #[test]
    fn what_a_window_leaves_out_is_told() {
        let (from, first, now) = (Some(EventTime(5_000)), Some(EventTime(7_000)), EventTime(9_000));
        let of = |window: InputWindow, from| window.as_told(from, first, now);
        let all = InputWindow { oldest_offset: 0, ..window(0, 100) };
        assert_eq!(of(all, from), Window { from: None, cut_short: false }, "every event there ever was");
        assert_eq!(of(window(50, 100), from), Window { from, cut_short: false }, "the rest was not asked for");
        assert_eq!(of(window(10, 100), from), Window { from: first, cut_short: false }, "the rest is gone");
        assert_eq!(of(window(10, 90), None), Window { from: first, cut_short: true });
        assert_eq!(window(10, 10).as_told(None, None, now).from, Some(now), "nothing was read at all");
    }
}
