//! How far a member has read, transaction markers and aborted records counted in.
//!
//! librdkafka knows, but tells it only by events that name a partition without its topic, and a member reads the
//! same partition of several topics. So what lies behind the last record visited is looked at by a reader of its
//! own: when there is no visible record, the member has read as far as that reader sees.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rdkafka::ClientConfig;
use tracing::debug;

use super::{
    queries::Queries,
    topic_reader::{Seen, TopicReader},
};
use crate::log::{LogError, Position, TopicPartition};

/// A partition that brought nothing for so long is looked at.
const QUIET: Duration = Duration::from_millis(50);
/// Between two looks at the same quiet partition.
const PAUSE: Duration = Duration::from_millis(500);
/// A look takes a few milliseconds, more when the connection is new; the member is not polled meanwhile.
const PATIENCE: Duration = Duration::from_millis(250);

/// What is known of one partition.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// After the last record visited, when this was noted.
    visited: Option<i64>,
    /// There is no visible record that was not visited before this offset.
    seen_to: Option<i64>,
    /// Not looked at again before.
    again: Instant,
}

pub(super) struct Progress {
    config: ClientConfig,
    known: HashMap<TopicPartition, Known>,
    readers: Vec<TopicReader>,
}

impl Progress {
    pub(super) fn new(config: ClientConfig) -> Self {
        Self { config, known: HashMap::new(), readers: Vec::new() }
    }

    /// To be called when partitions are assigned, sought or given up.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// The offset up to which `at` was read: it was told to start at `told`, and `visited` follows the last record
    /// visited since.
    pub(super) fn position(
        &mut self,
        queries: &Queries,
        at: &TopicPartition,
        told: Position,
        visited: Option<i64>,
    ) -> Option<i64> {
        let now = Instant::now();
        let fresh = Known { visited, seen_to: visited, again: now + QUIET };
        let known = self.known.entry(at.clone()).or_insert(fresh);
        if known.visited != visited {
            // What was seen before may lie further on, never what was visited.
            *known = Known { seen_to: known.seen_to.max(visited), ..fresh };
        }
        if now < known.again {
            return known.seen_to;
        }
        let from = match (known.seen_to, told) {
            (Some(offset), _) => Position::Offset(offset),
            (None, told) => told,
        };
        let seen_to = known.seen_to;
        let looked = self.look(queries, at, from);
        let known = self.known.get_mut(at)?;
        known.again = Instant::now() + PAUSE;
        match looked {
            Ok(end) => known.seen_to = seen_to.max(end),
            Err(error) => debug!(%error, %at, "could not look behind the last record"),
        }
        known.seen_to
    }

    /// Reads on from a place: up to the first visible record, or the end.
    fn look(&mut self, queries: &Queries, at: &TopicPartition, from: Position) -> Result<Option<i64>, LogError> {
        let there = self.readers.iter().position(|reader| *reader.topic() == at.topic);
        let index = there.unwrap_or(self.readers.len());
        if there.is_none() {
            self.readers.push(TopicReader::new(&self.config, at.topic.clone())?);
        }
        let reader = &mut self.readers[index];
        reader.assign(&[(at.clone(), from)])?;
        let deadline = Instant::now() + PATIENCE;
        let mut first = None;
        let looked = loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            match reader.poll(queries, wait, &mut |record| first = Some(record.offset)) {
                Ok(Seen::Record) => break Ok(first),
                Ok(Seen::End) => break Ok(reader.position(at.partition)),
                Ok(Seen::Nothing) if wait.is_zero() => break Ok(None),
                Ok(Seen::Nothing) => {}
                Err(error) => break Err(error),
            }
        };
        reader.assign(&[])?;
        looked
    }
}
