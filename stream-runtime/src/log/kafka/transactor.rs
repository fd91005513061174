//! The transactional producer.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use fail::fail_point;
use parking_lot::{Condvar, Mutex};
use rdkafka::{
    ClientContext, Message,
    config::RDKafkaLogLevel,
    consumer::ConsumerGroupMetadata,
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::DeliveryResult,
    producer::{Producer, ProducerContext, ThreadedProducer},
};

use super::{
    context::{log_error_event, log_line},
    error::{classify, is_unknown_topic},
    lifeline::Lifeline,
    record::{list_to_commit, to_send},
    settings::Settings,
    verdict::{Signal, verdict},
};
use crate::log::{GroupMetadata, LogError, NewRecord, NextOffset, TransactionError, Transactor, Verdict};

/// How long a full queue is waited for between two tries.
const QUEUE_PAUSE: Duration = Duration::from_micros(500);

/// Counts delivery reports. Only totals: a report of an earlier transaction cannot be taken for one of this.
#[derive(Default)]
struct Counted {
    reported: u64,
    /// Somebody waits for this many.
    awaited: Option<u64>,
    /// The first record that was not delivered since the transaction began.
    failed: Option<String>,
}

struct Reports {
    lifeline: Lifeline,
    counted: Mutex<Counted>,
    all_in: Condvar,
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
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        let mut counted = self.counted.lock();
        counted.reported += 1;
        if let Err((error, message)) = report
            && counted.failed.is_none()
        {
            counted.failed = Some(format!("record for {}[{}]: {error}", message.topic(), message.partition()));
        }
        if counted.awaited.is_some_and(|awaited| counted.reported >= awaited) {
            self.all_in.notify_all();
        }
    }
}

/// How far the commit of the open transaction has come: a call that is made again goes on from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    Delivered,
    OffsetsSent,
}

pub(super) struct KafkaTransactor {
    /// rdkafka's own thread polls: `abort_transaction` and `init_transactions` do not, and without polling
    /// they would wait for delivery reports that nobody takes.
    producer: ThreadedProducer<Reports>,
    reports: Arc<Reports>,
    produced: u64,
    stage: Stage,
    /// Since when the records of the open transaction are waited for.
    delivering: Option<Instant>,
    /// How long a transaction may be open.
    patience: Duration,
    limit: usize,
}

impl KafkaTransactor {
    pub(super) fn new(settings: &Settings, transactional_id: &str) -> Result<Self, LogError> {
        let config = settings.transactor(transactional_id);
        let reports =
            Reports { lifeline: Lifeline::of(&config), counted: Mutex::default(), all_in: Condvar::default() };
        let producer: ThreadedProducer<Reports> = config
            .create_with_context(reports)
            .map_err(|error| classify(&error, "making a transactional producer", None))?;
        let reports = producer.context().clone();
        Ok(Self {
            producer,
            reports,
            produced: 0,
            stage: Stage::Open,
            delivering: None,
            patience: Duration::from_millis(settings.transaction_timeout_ms()),
            limit: settings.message_limit(),
        })
    }

    /// Before every step that waits for a broker: a step that found none is tried again.
    fn mend(&self) {
        self.reports.lifeline.mend(self.producer.client());
    }

    /// The verdict on an error; an unusable producer tells why it is.
    fn judge(&self, error: &KafkaError, doing: &str) -> TransactionError {
        let told = Signal::of(error);
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            // A specific code in the error itself (a stale member) says more than the general state.
            let signal = Signal::fatal(code);
            return TransactionError::new(verdict(signal), format!("{doing}: {reason}"));
        }
        let verdict = told.map_or(Verdict::Indeterminate, verdict);
        TransactionError::new(verdict, format!("{doing}: {error}"))
    }

    /// Waits until every produced record has its report. Certainly not committed when this fails.
    fn wait_delivered(&mut self, deadline: Instant) -> Result<(), TransactionError> {
        let since = *self.delivering.get_or_insert_with(Instant::now);
        // As long as the transaction may be open its records may come in.
        let late = if since.elapsed() < self.patience { Verdict::Retry } else { Verdict::RollBack };
        let mut counted = self.reports.counted.lock();
        counted.awaited = Some(self.produced);
        while counted.reported < self.produced {
            if self.reports.all_in.wait_until(&mut counted, deadline).timed_out() {
                break;
            }
        }
        counted.awaited = None;
        let missing = self.produced.saturating_sub(counted.reported);
        let failed = counted.failed.clone();
        drop(counted);
        if let Some(failed) = failed {
            return Err(self.judge_delivery(&failed));
        }
        if missing > 0 {
            let text = format!("{missing} records were not acknowledged in time");
            return Err(TransactionError::new(late, text));
        }
        // The last report is in; librdkafka counts it off a moment later, and a flush inside the commit would
        // wait a tenth of a second for that moment.
        while self.producer.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                return Err(TransactionError::new(late, "records are still in flight"));
            }
            thread::yield_now();
        }
        Ok(())
    }

    fn judge_delivery(&self, failed: &str) -> TransactionError {
        let verdict =
            self.producer.client().fatal_error().map_or(Verdict::RollBack, |(code, _)| verdict(Signal::fatal(code)));
        TransactionError::new(verdict, format!("not delivered: {failed}"))
    }
}

impl Transactor for KafkaTransactor {
    fn init(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        self.mend();
        self.producer.init_transactions(timeout).map_err(|error| self.judge(&error, "joining as a producer"))
    }

    fn begin(&mut self) -> Result<(), TransactionError> {
        self.producer.begin_transaction().map_err(|error| self.judge(&error, "beginning a transaction"))?;
        self.reports.counted.lock().failed = None;
        self.delivering = None;
        self.stage = Stage::Open;
        Ok(())
    }

    fn produce(&mut self, record: &NewRecord) -> Result<(), TransactionError> {
        debug_assert!(self.stage == Stage::Open, "a record after the commit has begun would not be part of it");
        let deadline = Instant::now() + self.patience;
        let mut sent = to_send(record, ());
        loop {
            let error = match self.producer.send(sent) {
                Ok(()) => {
                    self.produced += 1;
                    return Ok(());
                }
                Err((error, unsent)) => {
                    sent = unsent;
                    error
                }
            };
            match error.rdkafka_error_code() {
                Some(Code::QueueFull) if Instant::now() < deadline => thread::sleep(QUEUE_PAUSE),
                Some(Code::QueueFull) => {
                    return Err(TransactionError::new(Verdict::RollBack, "the queue stayed full"));
                }
                // The same record would be refused again.
                Some(Code::MessageSizeTooLarge) => {
                    let text = LogError::TooLarge { size: record.size(), limit: self.limit };
                    return Err(TransactionError::new(Verdict::Fatal, format!("record for {}: {text}", record.topic)));
                }
                Some(code) if is_unknown_topic(code) => {
                    let text = LogError::UnknownTopic(record.topic.to_string());
                    return Err(TransactionError::new(Verdict::Fatal, text.to_string()));
                }
                // The transaction has failed meanwhile (a record was not delivered): it can only be aborted.
                Some(Code::State) => {
                    return Err(TransactionError::new(Verdict::RollBack, format!("producing: {error}")));
                }
                _ => return Err(self.judge(&error, "producing")),
            }
        }
    }

    fn commit(
        &mut self,
        offsets: &[NextOffset],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> Result<(), TransactionError> {
        self.mend();
        let deadline = Instant::now() + timeout;
        let remaining = || deadline.saturating_duration_since(Instant::now());
        if self.stage < Stage::Delivered {
            self.wait_delivered(deadline)?;
            self.stage = Stage::Delivered;
            fail_point!("kafka-delivered");
        }
        if self.stage < Stage::OffsetsSent {
            if !offsets.is_empty() {
                let list = list_to_commit(offsets)
                    .map_err(|error| TransactionError::new(Verdict::Fatal, error.to_string()))?;
                let group = group
                    .0
                    .downcast_ref::<ConsumerGroupMetadata>()
                    .ok_or_else(|| TransactionError::new(Verdict::Fatal, "the group membership is of another log"))?;
                self.producer
                    .send_offsets_to_transaction(&list, group, remaining())
                    .map_err(|error| self.judge(&error, "adding offsets to the transaction"))?;
            }
            self.stage = Stage::OffsetsSent;
            fail_point!("kafka-offsets-sent");
        }
        self.producer
            .commit_transaction(remaining())
            .map_err(|error| self.judge(&error, "committing the transaction"))?;
        self.stage = Stage::Open;
        fail_point!("kafka-committed");
        Ok(())
    }

    fn abort(&mut self, timeout: Duration) -> Result<(), TransactionError> {
        self.mend();
        self.producer.abort_transaction(timeout).map_err(|error| self.judge(&error, "aborting the transaction"))?;
        self.stage = Stage::Open;
        Ok(())
    }
}
