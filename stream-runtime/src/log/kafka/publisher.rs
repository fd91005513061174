//! Publishing outside transactions: idempotent, acknowledged by every replica in sync.

use std::{
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::DeliveryResult,
    producer::{Producer, ProducerContext, ThreadedProducer},
};
use tokio::sync::oneshot;

use super::{
    context::{log_error_event, log_line},
    error::classify,
    lifeline::Lifeline,
    record::to_send,
    settings::Settings,
};
use crate::log::{Delivery, LogError, NewRecord, Publisher};

type Outcome = Result<(i32, i64), LogError>;

/// Hands each delivery report to the future that waits for it. rdkafka's own thread polls.
struct Reports {
    lifeline: Lifeline,
    limit: usize,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.lifeline.look(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error_event(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<oneshot::Sender<Outcome>>;

    fn delivery(&self, report: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        let outcome = match report {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, message)) => {
                let size = message.key_len() + message.payload_len();
                Err(undelivered(error, message.topic(), size, self.limit))
            }
        };
        // Who does not wait does not want to know.
        let _ = waiting.send(outcome);
    }
}

/// The error of a record that was not taken or not delivered.
pub(super) fn undelivered(error: &KafkaError, topic: &str, size: usize, limit: usize) -> LogError {
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => LogError::TooLarge { size, limit },
        _ => classify(error, &format!("publishing to {topic}"), Some(topic)),
    }
}

pub(super) struct KafkaPublisher {
    producer: ThreadedProducer<Reports>,
    limit: usize,
}

impl KafkaPublisher {
    pub(super) fn new(settings: &Settings) -> Result<Self, LogError> {
        let limit = settings.message_limit();
        let config = settings.publisher();
        let producer: ThreadedProducer<Reports> = config
            .create_with_context(Reports { lifeline: Lifeline::of(&config), limit })
            .map_err(|error| classify(&error, "making a publisher", None))?;
        Ok(Self { producer, limit })
    }
}

impl Publisher for KafkaPublisher {
    fn publish(&self, record: NewRecord) -> Result<Delivery, LogError> {
        self.producer.context().lifeline.mend(self.producer.client());
        let (sender, receiver) = oneshot::channel();
        if let Err((error, _)) = self.producer.send(to_send(&record, Box::new(sender))) {
            return Err(undelivered(&error, &record.topic, record.size(), self.limit));
        }
        Ok(Box::pin(async move {
            receiver.await.unwrap_or_else(|_| Err(LogError::Unavailable("the publisher was closed".into())))
        }))
    }

    fn flush(&self, timeout: Duration) -> Result<(), LogError> {
        let deadline = Instant::now() + timeout;
        // Not `Producer::flush`: it waits in steps of 100 ms.
        while self.producer.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                let waiting = self.producer.in_flight_count();
                return Err(LogError::Unavailable(format!("{waiting} records are not acknowledged yet")));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_too_large_tells_its_size_and_the_limit() {
        let error =
            undelivered(&KafkaError::MessageProduction(Code::MessageSizeTooLarge), "orders", 2_000_000, 1_000_000);
        assert!(matches!(error, LogError::TooLarge { size: 2_000_000, limit: 1_000_000 }));
    }

    #[test]
    fn what_did_not_arrive_in_time_may_be_sent_again() {
        for code in [Code::MessageTimedOut, Code::NotEnoughReplicas, Code::PurgeQueue, Code::BrokerTransportFailure] {
            assert!(undelivered(&KafkaError::MessageProduction(code), "orders", 1, 1).is_retriable(), "{code}");
        }
    }
}
