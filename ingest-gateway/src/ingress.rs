//! Kafka ingress: events produced straight to `telemetry.events.raw.v1` pass the same judge as those over HTTP,
//! exactly once: what comes of a record and the record's offset are committed together.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use service_kit::{CancellationToken, Kit};
use stream_runtime::{
    log::{Log, NewRecord, RecordRef},
    transform::{self, Transform, TransformOptions},
};
use telemetry_schemas::{EncodeError, time::EventTime, topics};

use crate::{
    batch::{self, Batch, Form, Unreadable},
    config::KafkaIngressConfig,
    judge::{Judge, Judged, Reception},
    outcome::{Outcome, Tally},
    records::Records,
    validate::{Code, Violation},
};

const SOURCE: &str = "kafka";

/// Between two tries to encode while the schema registry is away.
const REGISTRY_PAUSE: Duration = Duration::from_millis(500);

/// What the ingress works with.
pub struct Ingress {
    pub config: KafkaIngressConfig,
    pub judge: Judge,
    pub records: Records,
    pub batch_events: usize,
    pub log: Arc<dyn Log>,
}

impl Ingress {
    /// Starts the ingress on a thread of the kit.
    pub fn start(self, kit: &Kit) -> anyhow::Result<()> {
        let options = TransformOptions {
            commit_interval: self.config.commit_interval.as_std(),
            ..TransformOptions::new(
                "gateway-ingress",
                self.config.ordinal.clone(),
                self.config.group.clone(),
                vec![topics::EVENTS_RAW.to_owned()],
                "ttf_gateway_ingress",
            )
        };
        let intake = RawIntake {
            tenant: self.config.tenant,
            judge: self.judge,
            records: self.records,
            batch_events: self.batch_events,
            clock: || EventTime(service_kit::clock::now_ms()),
            shutdown: kit.shutdown(),
            uncommitted: Vec::new(),
        };
        transform::run(options, self.log, intake, kit).context("cannot start the Kafka ingress")
    }
}

/// Turns raw records into events and rejected events.
struct RawIntake {
    tenant: String,
    judge: Judge,
    records: Records,
    batch_events: usize,
    clock: fn() -> EventTime,
    shutdown: CancellationToken,
    /// What was decided about the events whose transaction is not committed yet.
    uncommitted: Vec<Decided>,
}

enum Decided {
    Accepted { lag: i64 },
    Rejected { reason: &'static str },
}

impl Transform for RawIntake {
    fn map(&mut self, record: &RecordRef<'_>, out: &mut Vec<NewRecord>) {
        let mut reception = Reception {
            tenant: &self.tenant,
            source: SOURCE,
            received_at: (self.clock)(),
            sent_at: None,
            origin: Some((record.topic, record.partition, record.offset)),
        };
        let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
        let judged = match self.events_of(&value) {
            Ok(batch) => {
                reception.sent_at = batch.sent_at;
                batch.events.iter().map(|raw| self.judge.event(raw, &reception)).collect()
            }
            Err(violation) => {
                vec![Judged::Rejected(Box::new(self.judge.unreadable(violation, &value, &reception)))]
            }
        };
        for judged in judged {
            let decided = match &judged {
                Judged::Accepted(accepted) => {
                    let event = &accepted.event;
                    out.push(self.encoded(|records| records.event(event)));
                    Decided::Accepted { lag: event.received_at.since(event.timestamp).0 }
                }
                Judged::Rejected(rejection) => {
                    out.push(self.encoded(|records| records.rejected(&rejection.event)));
                    Decided::Rejected { reason: rejection.reason() }
                }
            };
            self.uncommitted.push(decided);
        }
    }

    fn committed(&mut self) {
        let mut tally = Tally::open(&self.judge.metrics, &self.tenant, SOURCE, self.uncommitted.len());
        for decided in self.uncommitted.drain(..) {
            match decided {
                Decided::Accepted { lag } => {
                    self.judge.metrics.lag(lag);
                    tally.count(Outcome::Accepted);
                }
                Decided::Rejected { reason } => tally.reject(reason),
            }
        }
    }

    fn rolled_back(&mut self) {
        self.uncommitted.clear();
    }
}

impl RawIntake {
    fn events_of(&self, value: &Bytes) -> Result<Batch, Violation> {
        batch::split(value, Form::Json, self.batch_events).map_err(|unreadable| match unreadable {
            Unreadable::Malformed(violation) => violation,
            Unreadable::TooManyEvents { limit } => {
                Violation::new(Code::TooLarge, "", format!("the record has more than {limit} events"))
            }
        })
    }

    /// Encodes, waiting for the schema registry as long as it takes: this thread has nothing else to do, and the
    /// record must not be passed over.
    ///
    /// # Panics
    /// When the process is to end before the registry is back, or the registry refuses the schema. The transaction is
    /// never committed then, and the record comes again.
    fn encoded(&self, encode: impl Fn(&Records) -> Result<NewRecord, EncodeError>) -> NewRecord {
        loop {
            let error = match encode(&self.records) {
                Ok(record) => return record,
                Err(error) => error,
            };
            assert!(error.is_retriable() && !self.shutdown.is_cancelled(), "cannot encode an event: {error}");
            tracing::warn!(%error, "waiting for the schema registry");
            std::thread::sleep(REGISTRY_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests;
