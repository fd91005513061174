//! Writes a cohort's events to the topic of events, as the gateway would.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, Producer, ThreadedProducer},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use telemetry_schemas::{
    Codec, Event, EventTime, EventType,
    event::EventContext,
    key::SEPARATOR,
    topics::{self, HEADER_EVENT_NAME, HEADER_EVENT_TYPE},
};

use crate::{
    clients::{self, Undelivered},
    cohort::{Arrival, Cohort, Kind},
};

/// Everything must be acknowledged this long after the last record was handed over.
const FLUSH: Duration = Duration::from_secs(60);

const MILESTONES: [&str; 5] =
    ["signup", "first_project_created", "first_agent_created", "first_workflow_created", "first_success"];
const OTHERS: [(&str, EventType, &str); 8] = [
    ("page_viewed", EventType::Page, "page"),
    ("page_viewed", EventType::Page, "page"),
    ("docs_opened", EventType::Track, "track"),
    ("agent_edited", EventType::Track, "track"),
    ("workflow_run", EventType::Track, "track"),
    ("invite_sent", EventType::Track, "track"),
    ("search_used", EventType::Track, "track"),
    ("settings_changed", EventType::Track, "track"),
];
const PLANS: [&str; 3] = ["free", "pro", "enterprise"];
const CHANNELS: [&str; 4] = ["organic", "ads", "partner", "referral"];
const COUNTRIES: [&str; 6] = ["CH", "DE", "US", "FR", "IN", "JP"];
const SIZES: [&str; 4] = ["1-10", "11-50", "51-250", "251+"];
const LOCALES: [&str; 3] = ["en-US", "de-CH", "fr-FR"];
const USER_AGENT: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko)";

/// Which cohort.
#[derive(Debug, Clone, clap::Args)]
pub struct CohortArgs {
    #[arg(long, default_value_t = 200_000)]
    pub users: u64,
    /// On average; milestones are about 3.5 of them
    #[arg(long, default_value_t = 20.0)]
    pub events_per_user: f64,
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// When the first signup is, in seconds from now. Ahead by default, so that no deadline falls due meanwhile: what
    /// is measured does not depend on how long ago the events were made
    #[arg(long, default_value_t = 86_400, allow_negative_numbers = true)]
    pub start_in: i64,
    /// Seconds between the first signup and the last
    #[arg(long, default_value_t = 14_400)]
    pub span: i64,
    /// What user ids begin with
    #[arg(long, default_value = "user")]
    pub prefix: String,
}

impl CohortArgs {
    pub fn cohort(&self) -> anyhow::Result<Cohort> {
        if self.users == 0 {
            bail!("a cohort has users");
        }
        Ok(Cohort {
            users: self.users,
            events_per_user: self.events_per_user,
            seed: self.seed,
            start_ms: now_ms() + self.start_in * 1_000,
            span_ms: self.span * 1_000,
        })
    }
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cohort: CohortArgs,
}

#[derive(Debug, Serialize)]
pub struct Generated {
    events: u64,
    milestones: u64,
    users: u64,
    key_and_value_bytes: u64,
    seconds: f64,
}

pub fn run(brokers: &str, args: &Args) -> anyhow::Result<Generated> {
    let producer = clients::producer(brokers, 20)?;
    let mut writer = EventWriter::new(&args.cohort.prefix);
    let mut generated =
        Generated { events: 0, milestones: 0, users: args.cohort.users, key_and_value_bytes: 0, seconds: 0.0 };
    let began = Instant::now();
    for arrival in args.cohort.cohort()?.arrivals() {
        let record = writer.write(arrival)?;
        record.send(&producer)?;
        generated.events += 1;
        generated.milestones += u64::from(matches!(arrival.kind, Kind::Milestone(_)));
        generated.key_and_value_bytes += (record.key.len() + record.value.len()) as u64;
    }
    finish(&producer)?;
    generated.seconds = began.elapsed().as_secs_f64();
    Ok(generated)
}

/// Waits until everything is on the log.
pub fn finish(producer: &ThreadedProducer<Undelivered>) -> anyhow::Result<()> {
    producer.flush(FLUSH).context("not every event was acknowledged")?;
    match producer.context().count() {
        0 => Ok(()),
        undelivered => bail!("{undelivered} events were not delivered"),
    }
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Turns arrivals into records; one event and one buffer serve them all.
pub struct EventWriter {
    codec: Codec,
    event: Event,
    prefix: String,
    key: String,
    value: Vec<u8>,
}

/// A record of the topic of events.
pub struct EventRecord<'a> {
    pub key: &'a str,
    pub value: &'a [u8],
    event_name: &'a str,
    event_type: &'static str,
}

impl EventWriter {
    pub fn new(prefix: &str) -> Self {
        let context = EventContext {
            library_name: Some("telemetry.js".to_owned()),
            library_version: Some("2.4.1".to_owned()),
            timezone: Some("Europe/Zurich".to_owned()),
            ip: Some("203.0.113.0".to_owned()),
            user_agent: Some(USER_AGENT.to_owned()),
            release: Some("2026.11".to_owned()),
            ..EventContext::default()
        };
        let event = Event {
            tenant: "default".to_owned(),
            source: "http".to_owned(),
            event_id: String::new(),
            event_name: String::new(),
            event_type: EventType::Track,
            timestamp: EventTime(0),
            original_timestamp: None,
            sent_at: None,
            received_at: EventTime(0),
            user_id: Some(String::new()),
            anonymous_id: None,
            session_id: Some(String::new()),
            journey_id: None,
            properties: Map::new(),
            context,
            sealed: std::collections::BTreeMap::new(),
            replay: false,
        };
        Self {
            codec: Codec::without_registry(),
            event,
            prefix: prefix.to_owned(),
            key: String::new(),
            value: Vec::new(),
        }
    }

    pub fn write(&mut self, arrival: Arrival) -> anyhow::Result<EventRecord<'_>> {
        let Arrival { user, kind, at_ms, received_ms, number } = arrival;
        let pick = |of: &[&'static str], salt: u64| of[(mixed(user, salt) % of.len() as u64) as usize];
        let (name, event_type, type_name) = match kind {
            Kind::Milestone(index) => (MILESTONES[index as usize], EventType::TtfMilestone, "ttf_milestone"),
            Kind::Identify => ("identify", EventType::Identify, "identify"),
            Kind::Performance => ("api_call", EventType::Performance, "performance"),
            Kind::Other(other) => OTHERS[other as usize % OTHERS.len()],
        };
        let event = &mut self.event;
        (event.event_type, event.timestamp, event.received_at) = (event_type, EventTime(at_ms), EventTime(received_ms));
        put(&mut event.event_name, format_args!("{name}"));
        let (high, low) = (mixed(user, 0x1D), mixed(user, u64::from(number) + 0x100));
        put(
            &mut event.event_id,
            format_args!(
                "{:08x}-{:04x}-7{:03x}-8{:03x}-{:08x}{number:04x}",
                high >> 32,
                high >> 16 & 0xFFFF,
                high & 0xFFF,
                low >> 52,
                low & 0xFFFF_FFFF
            ),
        );
        put(event.user_id.get_or_insert_default(), format_args!("{}-{user:08}", self.prefix));
        put(event.session_id.get_or_insert_default(), format_args!("session-{:012x}", mixed(user, 0x5E) >> 16));
        put(event.context.locale.get_or_insert_default(), format_args!("{}", pick(&LOCALES, 1)));
        for (name, value) in [("plan", pick(&PLANS, 2)), ("channel", pick(&CHANNELS, 3))] {
            match event.context.segments.get_mut(name) {
                Some(segment) => put(segment, format_args!("{value}")),
                None => drop(event.context.segments.insert(name.to_owned(), value.to_owned())),
            }
        }
        match (kind, event.properties.get_mut("position")) {
            (Kind::Identify, _) => {
                event.properties = object(json!({ "country": pick(&COUNTRIES, 4), "company_size": pick(&SIZES, 5) }));
            }
            (Kind::Performance, _) => {
                event.properties = object(json!({ "operation": "GET /api/v1/projects", "duration_ms": 12.5 }));
            }
            // Of nearly all events only this changes.
            (Kind::Milestone(_) | Kind::Other(_), Some(position)) => *position = number.into(),
            (Kind::Milestone(_) | Kind::Other(_), None) => {
                let properties = json!({ "screen": "onboarding", "position": number, "path": "/projects/new" });
                event.properties = object(properties);
            }
        }
        self.value.clear();
        self.codec.encode_into(&self.event, &mut self.value)?;
        put(&mut self.key, format_args!("default{SEPARATOR}u{SEPARATOR}{}-{user:08}", self.prefix));
        Ok(EventRecord { key: &self.key, value: &self.value, event_name: name, event_type: type_name })
    }

    /// Of the event written last.
    pub fn event_id(&self) -> &str {
        &self.event.event_id
    }
}

impl EventRecord<'_> {
    /// Hands the record over; waits while the producer's queue is full.
    pub fn send(&self, producer: &ThreadedProducer<Undelivered>) -> anyhow::Result<()> {
        let mut record = BaseRecord::to(topics::EVENTS).key(self.key).payload(self.value).headers(
            OwnedHeaders::new_with_capacity(2)
                .insert(Header { key: HEADER_EVENT_NAME, value: Some(self.event_name) })
                .insert(Header { key: HEADER_EVENT_TYPE, value: Some(self.event_type) }),
        );
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error).context("cannot produce"),
            }
        }
    }
}

fn put(text: &mut String, value: std::fmt::Arguments<'_>) {
    text.clear();
    // Writing to a string does not fail.
    let _ = text.write_fmt(value);
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// SplitMix64's finalizer: the same input always gives the same number.
fn mixed(user: u64, salt: u64) -> u64 {
    let mut z = user.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt.wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_an_event_of_its_user() {
        let mut writer = EventWriter::new("u");
        let arrival = Arrival { user: 7, kind: Kind::Milestone(2), at_ms: 5_000, received_ms: 6_000, number: 3 };
        let record = writer.write(arrival).unwrap();
        let event: Event = Codec::without_registry().decode(record.value).unwrap();
        assert_eq!(record.key, "default\u{1f}u\u{1f}u-00000007");
        assert_eq!(
            (event.event_name.as_str(), event.timestamp, event.received_at),
            ("first_agent_created", EventTime(5_000), EventTime(6_000))
        );
        assert_eq!(event.event_id.len(), 36);
        assert!((300..700).contains(&record.value.len()), "{} bytes", record.value.len());
    }

    #[test]
    fn events_of_a_user_have_different_ids() {
        let mut writer = EventWriter::new("u");
        let mut id = |user, number| {
            writer.write(Arrival { user, kind: Kind::Other(0), at_ms: 0, received_ms: 0, number }).unwrap();
            writer.event_id().to_owned()
        };
        assert_ne!(id(1, 1), id(1, 2));
        assert_ne!(id(1, 1), id(2, 1));
        assert_eq!(id(1, 1), id(1, 1));
    }
}
