//! What librdkafka asks and tells the member of a group from inside its polls.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use tracing::warn;

use super::{
    context::{log_error_event, log_line},
    lifeline::Lifeline,
    record::partitions_of,
};
use crate::log::TopicPartition;

/// The facility of librdkafka's line about a session that ended without an answer from the coordinator. From then on
/// the member has no id; nothing else tells so.
const SESSION_OVER: &str = "SESSTMOUT";

/// A question of librdkafka that waits for its answer.
pub(super) enum Question {
    Assign(Vec<TopicPartition>),
    Revoke(Vec<TopicPartition>),
}

/// Records the group's questions; also the context of the client.
pub(super) struct Membership {
    pub(super) lifeline: Lifeline,
    pub(super) questions: Mutex<VecDeque<Question>>,
    /// The reason given with the last error event.
    pub(super) reason: Mutex<String>,
    /// Nobody listens any more: answer at once, so that the consumer can close.
    pub(super) closing: AtomicBool,
    /// The session ended since the last assignment.
    pub(super) session_over: AtomicBool,
}

impl Membership {
    pub(super) fn new(lifeline: Lifeline) -> Self {
        Self {
            lifeline,
            questions: Mutex::default(),
            reason: Mutex::default(),
            closing: AtomicBool::default(),
            session_over: AtomicBool::default(),
        }
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if facility == SESSION_OVER {
            self.session_over.store(true, Ordering::Release);
        }
        log_line(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.lifeline.look(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error_event(&error, reason);
        reason.clone_into(&mut self.reason.lock());
    }
}

impl ConsumerContext for Membership {
    /// Overrides the whole answer: rdkafka's own assigns at once and drops errors.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let assigns = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answered = if assigns { consumer.assign(&TopicPartitionList::new()) } else { consumer.unassign() };
            if let Err(error) = answered {
                warn!(%error, "could not give up partitions while closing");
            }
            return;
        }
        if assigns {
            // It comes in the order of the log lines.
            self.session_over.store(false, Ordering::Release);
        }
        let partitions = partitions_of(partitions);
        let question = if assigns { Question::Assign(partitions) } else { Question::Revoke(partitions) };
        self.questions.lock().push_back(question);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            warn!(%error, "offsets were not committed");
        }
    }
}
