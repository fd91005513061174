//! Our own numbers for where each input partition stands. A consumer's `position()` never takes their place: it is
//! unknown after an assignment, and a transaction without valid offsets fences nobody.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::log::{Committed, Isolation, Log, LogError, NextOffset, Position, RecordRef, Subscription, TopicPartition};

/// Our place in one input partition.
#[derive(Debug, Clone)]
pub(crate) struct InputPosition {
    pub at: TopicPartition,
    /// Everything before it is dealt with, committed or in the open transaction.
    pub next: i64,
    /// Everything before it is committed.
    pub committed: i64,
    /// What is kept with the offset.
    pub note: Note,
    /// What is kept with the committed one.
    committed_note: Note,
    /// The group had not committed anything for it.
    pub is_first: bool,
    /// The oldest offset kept and the end, when the position was asked for.
    pub kept: Range<i64>,
}

/// What is kept with a next offset, as its metadata: the stream time, and the time of the record just before the
/// offset, by which a topic that was deleted and made anew is told from the one that was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// The latest record time seen.
    pub stream_time_ms: Option<i64>,
    /// The time of the last record read.
    pub last_ms: Option<i64>,
}

impl Note {
    pub fn parse(metadata: &str) -> Self {
        let mut words = metadata.split(' ').map(|word| word.parse().ok());
        Self { stream_time_ms: words.next().flatten(), last_ms: words.next().flatten() }
    }

    pub fn to_metadata(self) -> String {
        match (self.stream_time_ms, self.last_ms) {
            (Some(stream), Some(last)) => format!("{stream} {last}"),
            (Some(stream), None) => stream.to_string(),
            (None, _) => String::new(),
        }
    }
}

impl InputPosition {
    /// True for a record that was not dealt with before.
    pub fn expects(&self, record: &RecordRef<'_>) -> bool {
        record.offset >= self.next
    }

    pub fn advance(&mut self, record: &RecordRef<'_>) {
        self.next = record.offset + 1;
        self.note.stream_time_ms = self.note.stream_time_ms.max(Some(record.timestamp_ms));
        self.note.last_ms = Some(record.timestamp_ms);
    }

    /// What was read is committed.
    pub fn commit(&mut self) {
        (self.committed, self.committed_note) = (self.next, self.note);
        self.is_first = false;
    }

    /// Goes back to what is committed.
    pub fn roll_back(&mut self) {
        (self.next, self.note) = (self.committed, self.committed_note);
    }

    /// Takes a place from elsewhere than the group.
    pub fn resume(&mut self, next: i64, note: Note) {
        (self.next, self.note) = (next, note);
        (self.committed, self.committed_note) = (next, note);
    }

    pub fn is_changed(&self) -> bool {
        self.next != self.committed
    }

    pub fn next_offset(&self) -> NextOffset {
        NextOffset { at: self.at.clone(), next: self.next, metadata: self.note.to_metadata() }
    }

    /// Where to read on from.
    pub fn place(&self) -> (TopicPartition, Position) {
        (self.at.clone(), Position::Offset(self.next))
    }

    /// Up to where it was read: our own number, or further where only transaction markers follow.
    pub fn reached(&self, subscription: &dyn Subscription) -> i64 {
        self.next.max(subscription.position(&self.at).unwrap_or(i64::MIN))
    }

    /// Why this cannot be the place where reading goes on, given what the partition keeps.
    pub fn misplaced(&self, group: &str) -> Option<String> {
        let Range { start, end } = self.kept;
        let (at, next) = (&self.at, self.next);
        if next < start {
            return Some(format!(
                "records {next}..{start} of {at} were deleted before they were processed; reset the offsets of group \
                 `{group}` to go on without them"
            ));
        }
        (next > end).then(|| {
            format!(
                "{at} ends at {end}, but was processed up to {next}: the topic was deleted and created again, or its \
                 records were lost; reset the offsets of group `{group}` for it to take it as a new one"
            )
        })
    }
}

/// What the group has committed, as a number for every partition; where nothing was committed, the oldest record.
/// `None` while the log is not available: to be asked again.
///
/// # Errors
/// When reading cannot go on from there, because the records are gone or the topic is another one.
pub(crate) fn committed_positions(
    log: &dyn Log,
    subscription: &mut dyn Subscription,
    group: &str,
    partitions: &[TopicPartition],
    patience: Duration,
) -> anyhow::Result<Option<Vec<InputPosition>>> {
    if partitions.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let Some(positions) = available(ask(log, subscription, partitions, patience))
        .with_context(|| format!("cannot ask what group `{group}` has committed"))?
    else {
        return Ok(None);
    };
    if let Some(reason) = positions.iter().find_map(|position| position.misplaced(group)) {
        bail!(reason);
    }
    let verified = available(last_times(log, &positions, patience)).context("cannot look at the last records read")?;
    let Some(found) = verified else { return Ok(None) };
    for position in &positions {
        if let Some(reason) = replaced(position, &found, group) {
            bail!(reason);
        }
    }
    Ok(Some(positions))
}

/// `None` for a log that is not available.
pub(crate) fn available<T>(answer: Result<T, LogError>) -> Result<Option<T>, LogError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_retriable() => {
            tracing::warn!(%error, "waiting for the log");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn ask(
    log: &dyn Log,
    subscription: &mut dyn Subscription,
    partitions: &[TopicPartition],
    patience: Duration,
) -> Result<Vec<InputPosition>, LogError> {
    let committed = subscription.committed(partitions, patience)?;
    committed.into_iter().map(|known| position_of(log, known, patience)).collect()
}

fn position_of(log: &dyn Log, known: Committed, patience: Duration) -> Result<InputPosition, LogError> {
    let start = log.start_offset(&known.at, patience)?;
    let end = log.end_offset(&known.at, Isolation::ReadUncommitted, patience)?;
    let next = known.next.unwrap_or(start);
    let note = Note::parse(&known.metadata);
    Ok(InputPosition {
        at: known.at,
        next,
        committed: next,
        note,
        committed_note: note,
        is_first: known.next.is_none(),
        kept: start..end,
    })
}

/// The time of the record just before each position, where one is remembered and the record is kept.
pub(crate) fn last_times(
    log: &dyn Log,
    positions: &[InputPosition],
    patience: Duration,
) -> Result<BTreeMap<TopicPartition, i64>, LogError> {
    let from: Vec<_> = positions
        .iter()
        .filter(|position| position.note.last_ms.is_some() && position.kept.contains(&(position.next - 1)))
        .map(|position| (position.at.clone(), Position::Offset(position.next - 1)))
        .collect();
    let mut found = BTreeMap::new();
    if from.is_empty() {
        return Ok(found);
    }
    let mut waiting: BTreeMap<TopicPartition, i64> =
        positions.iter().map(|position| (position.at.clone(), position.next)).collect();
    waiting.retain(|at, _| from.iter().any(|(asked, _)| asked == at));
    let mut reader = log.reader(Isolation::ReadUncommitted)?;
    reader.assign(&from)?;
    let deadline = Instant::now() + patience;
    while !waiting.is_empty() {
        reader.poll(from.len(), Duration::from_millis(20), &mut |record| {
            let at = TopicPartition::new(record.topic, record.partition);
            if waiting.remove(&at).is_some_and(|next| record.offset == next - 1) {
                found.insert(at, record.timestamp_ms);
            }
        })?;
        waiting.retain(|at, next| reader.position(at).is_none_or(|position| position < *next));
        if Instant::now() >= deadline && !waiting.is_empty() {
            return Err(LogError::Unavailable(format!("{} partitions cannot be read", waiting.len())));
        }
    }
    Ok(found)
}

/// Says when the record before a position is another one than was read there.
pub(crate) fn replaced(position: &InputPosition, found: &BTreeMap<TopicPartition, i64>, group: &str) -> Option<String> {
    let (last, at) = (position.next - 1, &position.at);
    let remembered = position.note.last_ms.filter(|_| position.kept.contains(&last))?;
    (found.get(at) != Some(&remembered)).then(|| {
        format!(
            "the record at {at}@{last} is not the one that was processed: the topic was deleted and created again; \
             reset the offsets of group `{group}` for it to take it as a new one"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(next: i64, kept: Range<i64>) -> InputPosition {
        InputPosition {
            at: TopicPartition::new("events", 0),
            next,
            committed: next,
            note: Note { stream_time_ms: Some(70), last_ms: Some(60) },
            committed_note: Note::default(),
            is_first: false,
            kept,
        }
    }

    #[test]
    fn what_is_kept_with_an_offset_comes_back_and_older_notes_are_read() {
        let note = Note { stream_time_ms: Some(1_760_000_000_000), last_ms: Some(-5) };
        assert_eq!(Note::parse(&note.to_metadata()), note);
        assert_eq!(Note::parse("12"), Note { stream_time_ms: Some(12), last_ms: None });
        assert_eq!(Note::parse(""), Note::default());
        assert_eq!(Note::parse(&Note::default().to_metadata()), Note::default());
        assert_eq!(Note::parse("reset by hand"), Note::default());
    }

    #[test]
    fn what_is_rolled_back_takes_its_note_along() {
        let mut place = position(10, 5..20);
        place.commit();
        let (next, note) = (place.next, place.note);
        let record = crate::log::Record {
            topic: "events".into(),
            partition: 0,
            offset: 12,
            timestamp_ms: 99,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        place.advance(&record.as_ref());
        assert_eq!((place.next, place.note.last_ms), (13, Some(99)));
        place.roll_back();
        assert_eq!((place.next, place.note), (next, note));
    }

    #[test]
    fn a_place_outside_of_what_is_kept_is_told_with_what_to_do() {
        assert_eq!(position(10, 5..20).misplaced("g"), None);
        assert_eq!(position(5, 5..5).misplaced("g"), None);
        assert!(position(4, 5..20).misplaced("g").unwrap().contains("deleted before they were processed"));
        assert!(position(21, 5..20).misplaced("g").unwrap().contains("created again"));
    }

    #[test]
    fn another_record_before_the_place_means_another_topic() {
        let at = TopicPartition::new("events", 0);
        let found = |time| BTreeMap::from([(at.clone(), time)]);
        assert_eq!(replaced(&position(10, 5..20), &found(60), "g"), None);
        assert!(replaced(&position(10, 5..20), &found(61), "g").unwrap().contains("created again"));
        assert!(replaced(&position(10, 5..20), &BTreeMap::new(), "g").is_some(), "there is no such record");
        assert_eq!(replaced(&position(5, 5..20), &BTreeMap::new(), "g"), None, "it is no longer kept");
    }
}
