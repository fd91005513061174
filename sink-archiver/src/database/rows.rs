//! What is written in one transaction, and the choices that need no database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};
use telemetry_schemas::{
    BreachReason, BreachStatus, Event, JourneyStatus, TtfBreach, TtfRecord, erasure::Erasure, event::EventContext,
    time::EventTime,
};

use crate::erasure::Ledger;

/// A row with its place in the batch it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Sourced<T> {
    /// Index of the record in the batch.
    pub index: usize,
    pub row: T,
}

/// How far one partition moves with the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetMove {
    pub topic: Arc<str>,
    pub partition: i32,
    /// What must be stored now, or somebody else has moved it.
    pub expected: i64,
    pub next: i64,
}

/// Everything one transaction writes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub events: Vec<Sourced<Event>>,
    pub records: Vec<Sourced<TtfRecord>>,
    pub breaches: Vec<Sourced<TtfBreach>>,
    pub erasures: Vec<Sourced<Erasure>>,
    pub offsets: Vec<OffsetMove>,
    /// Partition and offset of each erasure, by its index.
    pub places: BTreeMap<usize, (i32, i64)>,
}

impl Batch {
    /// Partition and offset of the record with this index.
    pub fn place_of(&self, index: usize) -> (i32, i64) {
        self.places.get(&index).copied().unwrap_or_default()
    }

    /// Takes rows out that the database can never accept.
    pub fn remove(&mut self, poison: &BTreeSet<usize>) {
        self.events.retain(|sourced| !poison.contains(&sourced.index));
        self.records.retain(|sourced| !poison.contains(&sourced.index));
        self.breaches.retain(|sourced| !poison.contains(&sourced.index));
        self.erasures.retain(|sourced| !poison.contains(&sourced.index));
    }

    /// Everybody this batch is about, as (tenant, user).
    pub fn users(&self) -> BTreeSet<(&str, &str)> {
        let events = self
            .events
            .iter()
            .filter_map(|sourced| Some((sourced.row.tenant.as_str(), sourced.row.user_id.as_deref()?)));
        let records = self.records.iter().map(|s| (s.row.tenant.as_str(), s.row.user_id.as_str()));
        let breaches = self.breaches.iter().map(|s| (s.row.tenant.as_str(), s.row.user_id.as_str()));
        events.chain(records).chain(breaches).collect()
    }

    /// What of the batch is to be written, given who was erased.
    pub fn keep(&self, ledger: &Ledger) -> Kept<'_> {
        let journeys = self.ended_journeys();
        let breaches = self.ended_breaches();
        let is_ended = |s: &Sourced<TtfRecord>| {
            journeys
                .get(&JourneyKey::of(&s.row))
                .is_some_and(|end| s.row.emitted_at <= end.until && s.index < end.index)
        };
        let is_closed = |s: &Sourced<TtfBreach>| {
            breaches.get(&JourneyKey::of_breach(&s.row)).is_some_and(|end| s.row.detected_at <= end.until)
        };
        Kept {
            events: self.events.iter().filter(|s| !ledger.forgets_event(&s.row)).collect(),
            records: self.records.iter().filter(|s| !ledger.forgets_record(&s.row) && !is_ended(s)).collect(),
            breaches: self.breaches.iter().filter(|s| !ledger.forgets_breach(&s.row) && !is_closed(s)).collect(),
        }
    }

    /// The journeys this batch says are erased.
    pub fn ended_journeys(&self) -> BTreeMap<JourneyKey<'_>, End> {
        let erased = self.records.iter().filter(|s| s.row.status == JourneyStatus::Erased);
        last_ends(erased.map(|s| (JourneyKey::of(&s.row), End { index: s.index, until: s.row.emitted_at })))
    }

    /// The journeys whose breaches this batch says are erased.
    pub fn ended_breaches(&self) -> BTreeMap<JourneyKey<'_>, End> {
        let erased = self.breaches.iter().filter(|s| s.row.reason == Some(BreachReason::Erased));
        last_ends(erased.map(|s| (JourneyKey::of_breach(&s.row), End { index: s.index, until: s.row.detected_at })))
    }
}

/// Word that what was written of a journey up to an instant is erased. What comes after belongs to a new start, and
/// may be there already when this word is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Index of the record that says so.
    pub index: usize,
    pub until: EventTime,
}

fn last_ends<'a>(ends: impl Iterator<Item = (JourneyKey<'a>, End)>) -> BTreeMap<JourneyKey<'a>, End> {
    let mut last: BTreeMap<JourneyKey<'a>, End> = BTreeMap::new();
    for (journey, end) in ends {
        let known = last.entry(journey).or_insert(end);
        if end.until >= known.until {
            *known = end;
        }
    }
    last
}

/// The rows of a batch that are written.
#[derive(Debug, Default)]
pub struct Kept<'a> {
    pub events: Vec<&'a Sourced<Event>>,
    pub records: Vec<&'a Sourced<TtfRecord>>,
    pub breaches: Vec<&'a Sourced<TtfBreach>>,
}

/// One attempt of one user's journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JourneyKey<'a> {
    pub tenant: &'a str,
    pub user_id: &'a str,
    pub journey: &'a str,
    pub attempt: &'a str,
}

impl<'a> JourneyKey<'a> {
    pub fn of_breach(breach: &'a TtfBreach) -> Self {
        Self { tenant: &breach.tenant, user_id: &breach.user_id, journey: &breach.journey, attempt: &breach.attempt }
    }

    pub fn of(record: &'a TtfRecord) -> Self {
        Self { tenant: &record.tenant, user_id: &record.user_id, journey: &record.journey, attempt: &record.attempt }
    }
}

/// How new a record is: the state's generation, then its revision.
pub fn version(record: &TtfRecord) -> (i32, i64) {
    (record.generation, record.revision)
}

/// The newest record of each attempt, in the order of their keys (so that concurrent writers lock alike).
pub fn newest<'a>(records: impl IntoIterator<Item = &'a TtfRecord>) -> Vec<&'a TtfRecord> {
    let mut newest: BTreeMap<JourneyKey<'a>, &'a TtfRecord> = BTreeMap::new();
    for record in records {
        let known = newest.entry(JourneyKey::of(record)).or_insert(record);
        if version(record) > version(known) {
            *known = record;
        }
    }
    newest.into_values().collect()
}

/// How new a breach event is. A resolution beats a firing that was emitted with it.
pub fn breach_version(breach: &TtfBreach) -> (EventTime, i64, bool) {
    (breach.detected_at, breach.record_revision, breach.status == BreachStatus::Resolved)
}

/// The latest event of each deadline of each attempt, in the order of their keys.
pub fn latest<'a>(breaches: impl IntoIterator<Item = &'a TtfBreach>) -> Vec<&'a TtfBreach> {
    let mut latest: BTreeMap<_, &'a TtfBreach> = BTreeMap::new();
    for breach in breaches {
        let key = (
            breach.tenant.as_str(),
            breach.user_id.as_str(),
            breach.journey.as_str(),
            breach.attempt.as_str(),
            name_of(breach.kind),
            breach.level,
        );
        let known = latest.entry(key).or_insert(breach);
        if breach_version(breach) > breach_version(known) {
            *known = breach;
        }
    }
    latest.into_values().collect()
}

/// The name an enum has on the wire.
pub fn name_of<T: serde::Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => "unknown".to_owned(),
    }
}

/// String pairs (segments, experiments) as JSON text.
pub fn pairs_json(pairs: &BTreeMap<String, String>) -> String {
    let object: Map<String, Value> = pairs.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str()))).collect();
    Value::Object(object).to_string()
}

/// A record's stages as JSON text, in the contracts' form.
pub fn stages_json(record: &TtfRecord) -> String {
    let stages = record.stages.iter().map(|stage| {
        serde_json::json!({
            "id": stage.id,
            "from_at": stage.from_at.map(EventTime::to_rfc3339),
            "to_at": stage.to_at.map(EventTime::to_rfc3339),
            "duration_ms": stage.duration_ms,
            "target_ms": stage.target_ms,
            "met": stage.met,
            "anomaly": stage.anomaly,
        })
    });
    Value::Array(stages.collect()).to_string()
}

/// An event's context as JSON text, in the contracts' form; what is unknown is left out.
pub fn context_json(context: &EventContext) -> String {
    let mut object = Map::new();
    let mut library = Map::new();
    let text = |into: &mut Map<String, Value>, name: &str, value: &Option<String>| {
        if let Some(value) = value {
            into.insert(name.to_owned(), Value::from(value.as_str()));
        }
    };
    text(&mut library, "name", &context.library_name);
    text(&mut library, "version", &context.library_version);
    text(&mut object, "locale", &context.locale);
    text(&mut object, "timezone", &context.timezone);
    text(&mut object, "ip", &context.ip);
    text(&mut object, "user_agent", &context.user_agent);
    text(&mut object, "release", &context.release);
    if !library.is_empty() {
        object.insert("library".to_owned(), Value::Object(library));
    }
    for (name, pairs) in [("segments", &context.segments), ("experiments", &context.experiments)] {
        if !pairs.is_empty() {
            object.insert(name.to_owned(), serde_json::json!(pairs));
        }
    }
    if let Some(consent) = context.consent {
        object.insert("consent".to_owned(), serde_json::json!(consent));
    }
    Value::Object(object).to_string()
}

/// An event's properties as JSON text.
pub fn properties_json(properties: &Map<String, Value>) -> String {
    serde_json::to_string(properties).expect("a JSON object can always be written as text")
}
