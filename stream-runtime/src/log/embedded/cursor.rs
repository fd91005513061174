//! Reading partitions from positions, a little of each in turn.

use std::{ops::ControlFlow, sync::Arc};

use super::{
    catalog::{Catalog, Topic},
    keys,
    signal::Signal,
    storage::{Space, Storage},
    values,
};
use crate::log::{Cleanup, LogError, Position, RecordRef, TopicPartition};

/// A set of partitions with a position in each.
pub(super) struct Cursor {
    storage: Arc<dyn Storage>,
    catalog: Arc<Catalog>,
    signal: Arc<Signal>,
    reads: Vec<Read>,
    /// Whose turn it is to be read first.
    turn: usize,
}

struct Read {
    at: TopicPartition,
    topic: Arc<Topic>,
    position: i64,
    paused: bool,
}

impl Cursor {
    /// `signal` is raised when there may be something new.
    pub fn new(storage: Arc<dyn Storage>, catalog: Arc<Catalog>, signal: Arc<Signal>) -> Self {
        Self { storage, catalog, signal, reads: Vec::new(), turn: 0 }
    }

    pub fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        let mut reads: Vec<Read> = Vec::with_capacity(from.len());
        for (at, position) in from {
            if reads.iter().any(|read| read.at == *at) {
                return Err(LogError::Invalid(format!("{at} is assigned twice")));
            }
            let topic = self.catalog.get_partition(at)?;
            let position = resolve(&topic, at, *position)?;
            topic.listen(&self.signal);
            reads.push(Read { at: at.clone(), topic, position, paused: false });
        }
        self.reads = reads;
        self.turn = 0;
        Ok(())
    }

    pub fn clear(&mut self) {
        self.reads.clear();
    }

    pub fn seek(&mut self, to: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        for (at, position) in to {
            let read = self.read_of(at)?;
            read.position = resolve(&read.topic, at, *position)?;
        }
        Ok(())
    }

    pub fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) -> Result<(), LogError> {
        for at in partitions {
            self.read_of(at)?.paused = paused;
        }
        Ok(())
    }

    fn read_of(&mut self, at: &TopicPartition) -> Result<&mut Read, LogError> {
        self.reads
            .iter_mut()
            .find(|read| read.at == *at)
            .ok_or_else(|| LogError::Invalid(format!("{at} is not assigned to this reader")))
    }

    pub fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.reads.iter().find(|read| read.at == *at).map(|read| read.position)
    }

    /// Visits up to `max` records that are there now; returns how many.
    pub fn visit(&mut self, max: usize, visit: &mut dyn FnMut(&RecordRef<'_>)) -> Result<usize, LogError> {
        let mut visited = 0;
        let count = self.reads.len();
        loop {
            let ready: Vec<usize> = (0..count)
                .map(|step| (self.turn + step) % count)
                .filter(|index| self.reads[*index].is_ready())
                .collect();
            let before = visited;
            for (rank, index) in ready.iter().enumerate() {
                let share = (max - visited).div_ceil(ready.len() - rank);
                if share == 0 {
                    break;
                }
                match self.reads[*index].visit(&*self.storage, share, visit) {
                    Ok(records) => visited += records,
                    // What was visited counts; the error comes again at the next call.
                    Err(_) if visited > 0 => return Ok(visited),
                    Err(error) => return Err(error),
                }
                self.turn = (index + 1) % count;
            }
            if visited == before || visited >= max {
                return Ok(visited);
            }
        }
    }
}

/// The offset a position stands for. One out of range is noticed when it is read.
fn resolve(topic: &Topic, at: &TopicPartition, position: Position) -> Result<i64, LogError> {
    let state = topic.partition(at.partition)?.state();
    Ok(match position {
        Position::Beginning => state.start,
        Position::End => state.end,
        Position::Offset(offset) => offset,
    })
}

impl Read {
    fn is_ready(&self) -> bool {
        !self.paused && self.topic.partition(self.at.partition).is_ok_and(|found| found.state().end != self.position)
    }

    fn out_of_range(&self, start: i64, end: i64) -> LogError {
        LogError::OffsetOutOfRange { at: self.at.clone(), offset: self.position, start, end }
    }

    /// Visits up to `share` records and moves on.
    fn visit(
        &mut self,
        storage: &dyn Storage,
        share: usize,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<usize, LogError> {
        let partition = self.topic.partition(self.at.partition)?;
        let state = partition.state();
        if self.position < state.start || self.position > state.end {
            return Err(self.out_of_range(state.start, state.end));
        }
        let compacted = self.topic.cleanup == Cleanup::Compact;
        let floor = partition.floor();
        let from = self.position.max(floor);
        let from_key = keys::record(self.topic.number, self.at.partition, from);
        let to_key = keys::record(self.topic.number, self.at.partition, state.end);
        let mut next = from;
        let mut first_found = None;
        let mut visited = 0;
        let mut stop = None;
        storage.scan(Space::Records, &from_key, &to_key, &mut |key, value| {
            if visited == share {
                return ControlFlow::Break(());
            }
            let Some(offset) = keys::offset_of(key) else {
                stop = Some(LogError::Corrupt(format!("{}: the key of a record has a wrong length", self.at)));
                return ControlFlow::Break(());
            };
            if offset != next && !compacted {
                // Only retention leaves gaps, and only before the start: it has overtaken this reader.
                stop = Some(LogError::OffsetOutOfRange {
                    at: self.at.clone(),
                    offset: next,
                    start: offset,
                    end: state.end,
                });
                return ControlFlow::Break(());
            }
            let stored = match values::decode_record(key, value) {
                Ok(stored) => stored,
                Err(damaged) => {
                    stop = Some(LogError::Corrupt(format!("{} at offset {offset}: {damaged}", self.at)));
                    return ControlFlow::Break(());
                }
            };
            first_found.get_or_insert(offset);
            visit(&RecordRef {
                topic: &self.topic.name,
                partition: self.at.partition,
                offset,
                timestamp_ms: stored.timestamp_ms,
                key: stored.key,
                value: stored.value,
                headers: &stored.headers,
            });
            visited += 1;
            next = offset + 1;
            ControlFlow::Continue(())
        })?;
        if stop.is_none() && visited < share {
            if next < state.end && !compacted {
                let start = partition.state().start.max(next + 1);
                stop = Some(LogError::OffsetOutOfRange { at: self.at.clone(), offset: next, start, end: state.end });
            } else {
                next = state.end;
            }
        }
        if compacted && self.position <= floor && stop.is_none() {
            partition.raise_floor(first_found.unwrap_or(state.end));
        }
        self.position = next;
        match stop {
            Some(error) if visited == 0 => Err(error),
            // It comes again at the next call, from the position it concerns.
            _ => Ok(visited),
        }
    }
}
