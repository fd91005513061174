//! Kafka ingress: events produced straight to `telemetry.events.raw.v1` pass the same judge as those over HTTP,
//! exactly once: what comes of a record and the record's offset are committed together.

use std::{collections::HashSet, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use serde_json::{Map, Value};
use service_kit::{CancellationToken, Kit};
use stream_runtime::{
    log::{Log, NewRecord, RecordRef},
    transform::{self, Transform, TransformOptions},
};
use telemetry_schemas::{EncodeError, time::EventTime, topics};
use tokio::runtime::Handle;

use crate::{
    adapters::{Adapter, Dialect, EventNames, cloudevents},
    app_metrics::AppSample,
    batch::{self, Batch, Form, RawEvent, Unreadable},
    config::KafkaIngressConfig,
    dedup::{Dedup, Identity},
    judge::{Accepted, Judge, Judged, Reception},
    outcome::{Outcome, Tally},
    records::Records,
    validate::{self, Code, Violation},
};

const SOURCE: &str = "kafka";

/// Between two tries to encode while the schema registry is away.
const REGISTRY_PAUSE: Duration = Duration::from_millis(500);

/// What the ingress works with.
pub struct Ingress {
    pub config: KafkaIngressConfig,
    pub judge: Judge,
    pub records: Records,
    /// What senders of CloudEvents call their events.
    pub names: Arc<EventNames>,
    pub dedup: Dedup,
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
            adapter: Adapter { dialect: Dialect::CloudEvents, names: self.names, own_key: None },
            dedup: self.dedup,
            batch_events: self.batch_events,
            clock: || EventTime(service_kit::clock::now_ms()),
            shutdown: kit.shutdown(),
            runtime: Handle::current(),
            uncommitted: Vec::new(),
            taken: HashSet::new(),
        };
        transform::run(options, self.log, intake, kit).context("cannot start the Kafka ingress")
    }
}

/// Turns raw records into events and rejected events.
struct RawIntake {
    tenant: String,
    judge: Judge,
    records: Records,
    adapter: Adapter,
    dedup: Dedup,
    batch_events: usize,
    clock: fn() -> EventTime,
    shutdown: CancellationToken,
    /// For what is asked of Redis.
    runtime: Handle,
    /// What was decided about the events whose transaction is not committed yet.
    uncommitted: Vec<Decided>,
    /// The identities among them that a repeat is recognised by.
    taken: HashSet<Identity>,
}

/// What a record holds.
enum Raw {
    Events(Batch),
    CloudEvents(Vec<RawEvent>),
    /// One event in binary mode, put together, with its text.
    CloudEvent(Map<String, Value>, Bytes),
}

enum Decided {
    Duplicate,
    Accepted {
        lag: i64,
        app: Option<AppSample>,
        /// What a repeat is recognised by.
        identity: Option<Identity>,
        /// Its record's place among the outputs.
        at: usize,
    },
    Rejected {
        reason: &'static str,
    },
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
        let judge = &self.judge;
        let judged: Vec<Judged> = match self.open(record, &value) {
            Ok(Raw::Events(batch)) => {
                reception.sent_at = batch.sent_at;
                batch.events.iter().map(|raw| judge.event(raw, &reception)).collect()
            }
            Ok(Raw::CloudEvents(events)) => {
                events.iter().map(|raw| judge.translated(raw, &self.adapter, &reception)).collect()
            }
            Ok(Raw::CloudEvent(event, raw)) => vec![judge.record(event, &raw, &self.adapter, &reception)],
            Err(violation) => vec![Judged::Rejected(Box::new(judge.unreadable(violation, &value, &reception)))],
        };
        for judged in judged {
            let decided = match &judged {
                Judged::Accepted(accepted) => {
                    let identity = self.identity(accepted);
                    if identity.is_some_and(|identity| !self.taken.insert(identity)) {
                        Decided::Duplicate
                    } else {
                        let (event, at) = (&accepted.event, out.len());
                        out.push(self.encoded(|records| records.event(event)));
                        let lag = event.received_at.since(event.timestamp).0;
                        Decided::Accepted { lag, app: AppSample::of(event), identity, at }
                    }
                }
                Judged::Rejected(rejection) => {
                    out.push(self.encoded(|records| records.rejected(&rejection.event)));
                    Decided::Rejected { reason: rejection.reason() }
                }
            };
            self.uncommitted.push(decided);
        }
    }

    /// Asks about all identities of the transaction at once, and leaves out what was taken before.
    fn committing(&mut self, out: &mut Vec<NewRecord>) {
        let asked: Vec<(usize, usize, Identity)> = self
            .uncommitted
            .iter()
            .enumerate()
            .filter_map(|(index, decided)| match decided {
                Decided::Accepted { identity: Some(identity), at, .. } => Some((index, *at, *identity)),
                _ => None,
            })
            .collect();
        let identities: Vec<Identity> = asked.iter().map(|(_, _, identity)| *identity).collect();
        let seen = self.runtime.block_on(self.dedup.seen(&identities));
        let mut repeats = HashSet::new();
        for ((index, at, identity), _) in asked.into_iter().zip(seen).filter(|(_, seen)| *seen) {
            self.uncommitted[index] = Decided::Duplicate;
            self.taken.remove(&identity);
            repeats.insert(at);
        }
        if !repeats.is_empty() {
            let mut places = 0..;
            out.retain(|_| places.next().is_none_or(|place| !repeats.contains(&place)));
        }
    }

    fn committed(&mut self) {
        let mut tally = Tally::open(&self.judge.metrics, &self.tenant, SOURCE, self.uncommitted.len());
        for decided in self.uncommitted.drain(..) {
            match decided {
                Decided::Accepted { lag, app, .. } => {
                    if let Some(sample) = &app {
                        self.judge.app_metrics.observe(sample);
                    }
                    self.judge.metrics.lag(lag);
                    tally.count(Outcome::Accepted);
                }
                Decided::Duplicate => tally.count(Outcome::Duplicate),
                Decided::Rejected { reason } => tally.reject(reason),
            }
        }
        let taken: Vec<Identity> = self.taken.drain().collect();
        self.runtime.block_on(self.dedup.remember(&taken));
    }

    fn rolled_back(&mut self) {
        self.uncommitted.clear();
        self.taken.clear();
    }
}

impl RawIntake {
    /// What a repeat of the event is recognised by.
    fn identity(&self, accepted: &Accepted) -> Option<Identity> {
        let event = &accepted.event;
        let has_one = accepted.has_own_id && self.dedup.is_on();
        has_one.then(|| Identity::of(&event.tenant, &event.source, &event.event_id))
    }

    /// Tells native events from CloudEvents and cuts the record into them.
    fn open(&self, record: &RecordRef<'_>, value: &Bytes) -> Result<Raw, Violation> {
        let unreadable = |unreadable: Unreadable| match unreadable {
            Unreadable::Malformed(violation) => violation,
            Unreadable::TooManyEvents { limit } => {
                Violation::new(Code::TooLarge, "", format!("the record has more than {limit} events"))
            }
        };
        let content_type = record.headers.get("content-type").and_then(|value| std::str::from_utf8(value).ok());
        let is_structured = content_type.is_some_and(|media_type| {
            media_type.trim_start().to_ascii_lowercase().starts_with("application/cloudevents")
        });
        if is_structured || (content_type.is_none() && says_it_is_a_cloud_event(value)) {
            let batch = batch::split_foreign(value, "", self.batch_events).map_err(unreadable)?;
            return Ok(Raw::CloudEvents(batch.records));
        }
        let attributes = attributes(record)?;
        if !attributes.is_empty() {
            let attributes = attributes.iter().map(|(name, value)| (name.as_str(), value.clone()));
            let event = cloudevents::from_binary(attributes, content_type, value)?;
            let raw = serde_json::to_vec(&event).unwrap_or_default();
            return Ok(Raw::CloudEvent(event, raw.into()));
        }
        batch::split(value, Form::Json, self.batch_events).map(Raw::Events).map_err(unreadable)
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

/// Producers without headers still send CloudEvents: an object, or the first of an array, with a `specversion`.
fn says_it_is_a_cloud_event(value: &Bytes) -> bool {
    const ATTRIBUTE: &[u8] = b"\"specversion\"";
    let may_be = value.windows(ATTRIBUTE.len()).any(|bytes| bytes == ATTRIBUTE);
    may_be
        && batch::split_foreign(value, "", usize::MAX)
            .ok()
            .and_then(|batch| batch.records.first().and_then(|first| validate::json(&first.bytes).ok()))
            .is_some_and(|first| first.get("specversion").is_some())
}

/// The attributes of a CloudEvent in binary mode (Kafka binding, 3.2): UTF-8, not percent-encoded.
fn attributes(record: &RecordRef<'_>) -> Result<Vec<(String, String)>, Violation> {
    let headers = (0..record.headers.len()).map(|index| record.headers.at(index));
    headers
        .filter_map(|(name, value)| Some((name.strip_prefix("ce_")?, value)))
        .map(|(name, value)| match std::str::from_utf8(value) {
            Ok(value) => Ok((name.to_owned(), value.to_owned())),
            Err(_) => Err(Violation::new(Code::InvalidUtf8, format!("/{name}"), "the header is not UTF-8")),
        })
        .collect()
}

#[cfg(test)]
mod tests;
