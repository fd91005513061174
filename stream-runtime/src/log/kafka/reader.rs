//! Reads partitions outside any group.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    queries::Queries,
    settings::Settings,
    topic_reader::{Seen, TopicReader},
};
use crate::log::{Isolation, LogError, Position, Reader, RecordRef, TopicPartition};

/// With several topics each is asked in turn, for no longer than this.
const TURN: Duration = Duration::from_millis(5);

pub(super) struct KafkaReader {
    settings: Settings,
    queries: Arc<Queries>,
    isolation: Isolation,
    topics: Vec<TopicReader>,
    /// Whose turn it is when there are several topics.
    turn: usize,
    /// An error that came after records had been visited.
    postponed: Option<LogError>,
}

impl KafkaReader {
    pub(super) fn new(settings: Settings, queries: Arc<Queries>, isolation: Isolation) -> Self {
        Self { settings, queries, isolation, topics: Vec::new(), turn: 0, postponed: None }
    }

    /// The client that read `topic` so far, or a new one.
    fn take(&mut self, topic: &Arc<str>) -> Result<TopicReader, LogError> {
        match self.topics.iter().position(|reader| reader.topic() == topic) {
            Some(index) => Ok(self.topics.swap_remove(index)),
            None => TopicReader::new(&self.settings.reader(self.isolation), topic.clone()),
        }
    }
}

impl Reader for KafkaReader {
    fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        let mut by_topic: BTreeMap<Arc<str>, Vec<(TopicPartition, Position)>> = BTreeMap::new();
        for (at, position) in self.queries.pin(from, self.isolation)? {
            by_topic.entry(at.topic.clone()).or_default().push((at, position));
        }
        let mut topics = Vec::with_capacity(by_topic.len());
        for (topic, positions) in by_topic {
            let mut reader = self.take(&topic)?;
            reader.assign(&positions)?;
            topics.push(reader);
        }
        self.topics = topics;
        self.turn = 0;
        self.postponed = None;
        Ok(())
    }

    fn poll(
        &mut self,
        max: usize,
        timeout: Duration,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<usize, LogError> {
        if let Some(error) = self.postponed.take() {
            return Err(error);
        }
        if self.topics.is_empty() {
            return Ok(0);
        }
        let deadline = Instant::now() + timeout;
        let several = self.topics.len() > 1;
        let mut wait = if several { timeout.min(TURN) } else { timeout };
        let (mut visited, mut ended, mut quiet) = (0, false, 0);
        while visited < max {
            self.turn %= self.topics.len();
            match self.topics[self.turn].poll(&self.queries, wait, visit) {
                Ok(Seen::Record) => {
                    visited += 1;
                    quiet = 0;
                    wait = Duration::ZERO;
                    continue;
                }
                Ok(Seen::End) => ended = true,
                Ok(Seen::Nothing) => {}
                Err(error) if visited == 0 => return Err(error),
                Err(error) => {
                    self.postponed = Some(error);
                    break;
                }
            }
            self.turn += 1;
            quiet += 1;
            // An end is news too: whoever waits for a position need not wait for the time-out.
            if (visited > 0 || ended) && quiet >= self.topics.len() {
                break;
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                break;
            }
            wait = match (visited > 0 || ended, several) {
                (true, _) => Duration::ZERO,
                (false, true) => remaining.min(TURN),
                (false, false) => remaining,
            };
        }
        Ok(visited)
    }

    fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.topics.iter().find(|reader| *reader.topic() == at.topic)?.position(at.partition)
    }
}
