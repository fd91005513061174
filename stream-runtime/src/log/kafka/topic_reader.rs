//! Reads one topic outside any group, with the position of what is never shown counted in.
//!
//! The position must count transaction markers and aborted records. librdkafka tells it in one place only: in
//! the text of the event that says that a partition has been read to its end. rdkafka keeps of that event the
//! partition, not the topic, so that each topic has a client of its own.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use tracing::warn;

use super::{
    close::close,
    context::{log_error_event, log_line},
    error::{classify, classify_code, is_mended, is_unknown_topic},
    lifeline::Lifeline,
    queries::Queries,
    record::{lend, list_at},
};
use crate::log::{Isolation, LogError, Position, RecordRef, TopicPartition};

const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
const WATERMARK_PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the reason of the last error event: rdkafka hands it over just before the event itself.
struct Reasons {
    lifeline: Lifeline,
    last: Mutex<String>,
}

impl ClientContext for Reasons {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.lifeline.look(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error_event(&error, reason);
        reason.clone_into(&mut self.last.lock());
    }
}

impl ConsumerContext for Reasons {}

/// The offset in `Fetch from broker 1 reached end of partition at offset 42 (HighwaterMark 42)`.
fn end_in(reason: &str) -> Option<i64> {
    let (_, rest) = reason.split_once("end of partition at offset ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// One topic being read.
pub(super) struct TopicReader {
    topic: Arc<str>,
    /// Taken only when dropped.
    consumer: Option<BaseConsumer<Reasons>>,
    told: HashMap<i32, Position>,
    read_to: HashMap<i32, i64>,
}

/// What one look at a topic brought.
pub(super) enum Seen {
    Record,
    /// A partition was read to its end.
    End,
    Nothing,
}

impl TopicReader {
    pub(super) fn new(config: &ClientConfig, topic: Arc<str>) -> Result<Self, LogError> {
        let consumer = config
            .create_with_context(Reasons { lifeline: Lifeline::of(config), last: Mutex::default() })
            .map_err(|error| classify(&error, "making a reader", Some(&topic)))?;
        Ok(Self { topic, consumer: Some(consumer), told: HashMap::new(), read_to: HashMap::new() })
    }

    pub(super) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Reads these partitions of the topic, and no others, from these places.
    pub(super) fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        debug_assert!(from.iter().all(|(at, _)| at.topic == self.topic), "a reader of one topic");
        self.consumer()
            .assign(&list_at(from)?)
            .map_err(|error| classify(&error, &format!("reading {}", self.topic), Some(&self.topic)))?;
        self.told = from.iter().map(|(at, position)| (at.partition, *position)).collect();
        self.read_to.clear();
        Ok(())
    }

    /// The offset up to which a partition was read; `None` before anything was.
    pub(super) fn position(&self, partition: i32) -> Option<i64> {
        self.read_to.get(&partition).copied()
    }

    fn consumer(&self) -> &BaseConsumer<Reasons> {
        self.consumer.as_ref().expect("the consumer is there until the reader is dropped")
    }

    /// Takes one thing off the queue.
    pub(super) fn poll(
        &mut self,
        queries: &Queries,
        wait: Duration,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<Seen, LogError> {
        let consumer = self.consumer.as_ref().expect("the consumer is there until the reader is dropped");
        consumer.context().lifeline.mend(consumer.client());
        match consumer.poll(wait) {
            None => Ok(Seen::Nothing),
            Some(Ok(message)) => {
                lend(&message, &mut |record| {
                    self.read_to.insert(record.partition, record.offset + 1);
                    visit(record);
                });
                Ok(Seen::Record)
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let reason = consumer.context().last.lock().clone();
                if let Some(end) = end_in(&reason) {
                    let read_to = self.read_to.entry(partition).or_insert(end);
                    *read_to = end.max(*read_to);
                } else {
                    warn!(reason, "librdkafka tells the end of a partition in other words");
                }
                Ok(Seen::End)
            }
            Some(Err(error)) => self.judge(queries, &error).map_or(Ok(Seen::Nothing), Err),
        }
    }

    fn judge(&self, queries: &Queries, error: &KafkaError) -> Option<LogError> {
        let code = error.rdkafka_error_code()?;
        let reason = || self.consumer().context().last.lock().clone();
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
                Some(self.out_of_range(queries).unwrap_or_else(|| LogError::Unavailable(reason())))
            }
            code if is_unknown_topic(code) => Some(LogError::UnknownTopic(self.topic.to_string())),
            code if is_mended(code) => None,
            // Of the group whose name librdkafka wants: it is never joined.
            Code::GroupAuthorizationFailed | Code::CoordinatorNotAvailable | Code::NotCoordinator => None,
            code => Some(classify_code(code, &reason(), Some(&self.topic))),
        }
    }

    fn out_of_range(&self, queries: &Queries) -> Option<LogError> {
        for (partition, told) in &self.told {
            let at = TopicPartition { topic: self.topic.clone(), partition: *partition };
            let told = match told {
                Position::Offset(offset) => Some(*offset),
                Position::Beginning | Position::End => None,
            };
            let Some(offset) = self.read_to.get(partition).copied().or(told) else { continue };
            match queries.watermarks(&at, Isolation::ReadUncommitted, WATERMARK_PATIENCE) {
                Ok((start, end)) if offset < start || offset > end => {
                    return Some(LogError::OffsetOutOfRange { at, offset, start, end });
                }
                Ok(_) => {}
                Err(error) => return Some(error),
            }
        }
        None
    }
}

impl Drop for TopicReader {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            close(consumer, CLOSE_PATIENCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_from_librdkafkas_words() {
        let reason = "Fetch from broker 1 reached end of partition at offset 42 (HighwaterMark 45)";
        assert_eq!(end_in(reason), Some(42));
        assert_eq!(end_in("Fetch from broker 1 failed"), None);
        assert_eq!(end_in("reached end of partition at offset INVALID"), None);
    }
}
