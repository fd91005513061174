//! Puts archived events back through the pipe, marked as replayed.
//!
//! The database takes each event once and the object archive none of them again, so restoring twice does no harm.
//! Events of people who were erased cannot come back: nothing leads from their pseudonyms to them any more.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{Array, RecordBatch, StringArray, TimestampMillisecondArray, cast::AsArray};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;
use serde_json::{Map, Value};
use stream_runtime::{
    log::{Delivery, LogError, NewRecord, Publisher},
    sink::SinkError,
};
use telemetry_schemas::{
    Codec, Event, EventType, RecordKey,
    event::{Consent, EventContext},
    time::EventTime,
    topics,
};

use super::{
    days::{DayManifest, closed, newest},
    names::{Dataset, ObjectName, date_of},
    store::Store,
};
use crate::database::{Database, Person};

/// Records that are on their way to the log at once.
const IN_FLIGHT: usize = 2_000;

/// Which events.
#[derive(Debug, Clone)]
pub struct Window {
    /// Received at or after.
    pub from: EventTime,
    /// … and before.
    pub to: EventTime,
    /// `None`: of all tenants.
    pub tenant: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    pub objects: u64,
    /// Events put on the topic (or that would be).
    pub events: u64,
    /// Events of people whose pseudonym names nobody any more.
    pub forgotten: u64,
}

/// Restores events.
pub struct Restorer {
    store: Store,
    database: Arc<dyn Database>,
    codec: Codec,
    /// `None`: only counted.
    publisher: Option<Arc<dyn Publisher>>,
}

impl Restorer {
    pub fn new(store: Store, database: Arc<dyn Database>, codec: Codec, publisher: Option<Arc<dyn Publisher>>) -> Self {
        Self { store, database, codec, publisher }
    }

    /// Puts the events of a window back; `seen` hears of each object that is done.
    ///
    /// # Errors
    /// When the store, the database or the log does not answer, or an object is not what its manifest says. What was
    /// put back stays; the same again is safe.
    pub async fn restore(&self, window: &Window, seen: &mut dyn FnMut(&Restored)) -> Result<Restored, SinkError> {
        let mut restored = Restored::default();
        let (first, last) = (date_of(window.from), date_of(EventTime(window.to.0 - 1)));
        for date in closed(&self.store).await?.into_iter().filter(|date| (&first..=&last).contains(&date)) {
            let Some(manifest) = newest(&self.store, &date).await? else { continue };
            self.restore_day(&manifest, window, &mut restored, seen).await?;
        }
        Ok(restored)
    }

    async fn restore_day(
        &self,
        manifest: &DayManifest,
        window: &Window,
        restored: &mut Restored,
        seen: &mut dyn FnMut(&Restored),
    ) -> Result<(), SinkError> {
        for object in &manifest.objects {
            let Some(name) = ObjectName::parse(&object.path) else { continue };
            if name.dataset != Dataset::Events || window.tenant.as_ref().is_some_and(|tenant| *tenant != name.tenant) {
                continue;
            }
            let path = self.store.names.under_root(&object.path);
            let bytes = match path {
                Some(path) => self.store.read(&path).await?,
                None => None,
            };
            let bytes =
                bytes.filter(|bytes| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes)) == object.sha256);
            let Some(bytes) = bytes else {
                let message = format!("{} is missing or changed; see `ttf archive verify`", object.path);
                return Err(SinkError::Fatal(message));
            };
            let rows = rows(&name.tenant, &bytes)?;
            let people = self.people(&name.tenant, &rows).await?;
            let mut deliveries: Vec<Delivery> = Vec::new();
            for row in rows {
                if row.event.received_at < window.from || row.event.received_at >= window.to {
                    continue;
                }
                let Some(event) = row.named(&people) else {
                    restored.forgotten += 1;
                    continue;
                };
                restored.events += 1;
                if let Some(publisher) = &self.publisher {
                    deliveries.push(self.publish(&**publisher, &event).await?);
                    if deliveries.len() >= IN_FLIGHT {
                        settle(&mut deliveries).await?;
                    }
                }
            }
            settle(&mut deliveries).await?;
            restored.objects += 1;
            seen(restored);
        }
        Ok(())
    }

    async fn people(&self, tenant: &str, rows: &[ArchivedEvent]) -> Result<HashMap<String, Person>, SinkError> {
        let mut pseudonyms: Vec<String> =
            rows.iter().flat_map(|row| row.user.iter().chain(&row.anonymous)).cloned().collect();
        pseudonyms.sort_unstable();
        pseudonyms.dedup();
        self.database.people_of(tenant, pseudonyms).await.map_err(SinkError::from)
    }

    async fn publish(&self, publisher: &dyn Publisher, event: &Event) -> Result<Delivery, SinkError> {
        let record = record_of(&self.codec, event)?;
        loop {
            match publisher.publish(record.clone()) {
                Ok(delivery) => return Ok(delivery),
                Err(LogError::QueueFull) => tokio::task::yield_now().await,
                Err(error) => return Err(SinkError::Unavailable(error.to_string())),
            }
        }
    }
}

async fn settle(deliveries: &mut Vec<Delivery>) -> Result<(), SinkError> {
    for delivery in deliveries.drain(..) {
        delivery.await.map_err(|error| SinkError::Unavailable(error.to_string()))?;
    }
    Ok(())
}

/// The record the gateway would write, with the time of receipt.
fn record_of(codec: &Codec, event: &Event) -> Result<NewRecord, SinkError> {
    let key = match (&event.user_id, &event.anonymous_id) {
        (Some(user), _) => Some(RecordKey::user(&*event.tenant, &**user).to_bytes()),
        (None, Some(anonymous)) => Some(RecordKey::anonymous(&*event.tenant, &**anonymous).to_bytes()),
        (None, None) => None,
    };
    let value = codec.encode(event).map_err(|error| SinkError::Unavailable(error.to_string()))?;
    let kind = crate::database::rows::name_of(event.event_type);
    Ok(NewRecord {
        topic: topics::EVENTS.into(),
        partition: None,
        key: key.map(Bytes::from),
        value: Some(Bytes::from(value)),
        headers: vec![
            (topics::HEADER_EVENT_NAME.to_owned(), Bytes::copy_from_slice(event.event_name.as_bytes())),
            (topics::HEADER_EVENT_TYPE.to_owned(), Bytes::from(kind)),
        ],
        timestamp_ms: Some(event.received_at.0),
    })
}

/// An event as the archive has it: people by pseudonym only.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchivedEvent {
    /// Without ids of people.
    pub event: Event,
    pub user: Option<String>,
    pub anonymous: Option<String>,
}

impl ArchivedEvent {
    /// The event with its people; `None` when one of them is forgotten.
    fn named(self, people: &HashMap<String, Person>) -> Option<Event> {
        let id = |pseudonym: Option<String>| match pseudonym {
            None => Some(None),
            Some(pseudonym) => people.get(&pseudonym).map(|person| Some(person.id.clone())),
        };
        Some(Event { user_id: id(self.user)?, anonymous_id: id(self.anonymous)?, replay: true, ..self.event })
    }
}

/// The events of an object.
///
/// # Errors
/// When it is no object of events.
pub fn rows(tenant: &str, parquet: &Bytes) -> Result<Vec<ArchivedEvent>, SinkError> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(parquet.clone()).and_then(ParquetRecordBatchReaderBuilder::build);
    let mut events = Vec::new();
    for batch in reader.map_err(damaged)? {
        let batch = batch.map_err(damaged)?;
        let columns = Columns(&batch);
        for row in 0..batch.num_rows() {
            events.push(columns.event(tenant, row)?);
        }
    }
    Ok(events)
}

struct Columns<'a>(&'a RecordBatch);

impl Columns<'_> {
    fn maybe_text(&self, name: &str, row: usize) -> Result<Option<String>, SinkError> {
        let column: &StringArray =
            self.0.column_by_name(name).and_then(|column| column.as_string_opt()).ok_or_else(|| damaged(name))?;
        Ok((!column.is_null(row)).then(|| column.value(row).to_owned()))
    }

    fn text(&self, name: &str, row: usize) -> Result<String, SinkError> {
        self.maybe_text(name, row)?.ok_or_else(|| damaged(name))
    }

    fn maybe_time(&self, name: &str, row: usize) -> Result<Option<EventTime>, SinkError> {
        let column =
            self.0.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<TimestampMillisecondArray>());
        let column = column.ok_or_else(|| damaged(name))?;
        Ok((!column.is_null(row)).then(|| EventTime(column.value(row))))
    }

    fn time(&self, name: &str, row: usize) -> Result<EventTime, SinkError> {
        self.maybe_time(name, row)?.ok_or_else(|| damaged(name))
    }

    fn json(&self, name: &str, row: usize) -> Result<Map<String, Value>, SinkError> {
        serde_json::from_str(&self.text(name, row)?).map_err(|_| damaged(name))
    }

    fn event(&self, tenant: &str, row: usize) -> Result<ArchivedEvent, SinkError> {
        let kind = Value::String(self.text("event_type", row)?);
        let event = Event {
            tenant: tenant.to_owned(),
            source: self.text("source", row)?,
            event_id: self.text("event_id", row)?,
            event_name: self.text("event_name", row)?,
            event_type: serde_json::from_value(kind).unwrap_or(EventType::Unknown),
            timestamp: self.time("timestamp", row)?,
            original_timestamp: self.maybe_time("original_timestamp", row)?,
            sent_at: self.maybe_time("sent_at", row)?,
            received_at: self.time("received_at", row)?,
            user_id: None,
            anonymous_id: None,
            session_id: self.maybe_text("session_id", row)?,
            journey_id: self.maybe_text("journey_id", row)?,
            properties: self.json("properties", row)?,
            context: context(&self.json("context", row)?),
            sealed: std::collections::BTreeMap::new(),
            replay: false,
        };
        let user = self.maybe_text("user_pseudonym", row)?;
        let anonymous = self.maybe_text("anonymous_pseudonym", row)?;
        Ok(ArchivedEvent { event, user, anonymous })
    }
}

/// The context of its JSON form.
fn context(object: &Map<String, Value>) -> EventContext {
    let text = |from: &Map<String, Value>, name: &str| from.get(name).and_then(Value::as_str).map(str::to_owned);
    let pairs = |name: &str| {
        let pairs = object.get(name).and_then(Value::as_object).into_iter().flatten();
        pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    };
    let library = object.get("library").and_then(Value::as_object).cloned().unwrap_or_default();
    EventContext {
        library_name: text(&library, "name"),
        library_version: text(&library, "version"),
        locale: text(object, "locale"),
        timezone: text(object, "timezone"),
        ip: text(object, "ip"),
        user_agent: text(object, "user_agent"),
        release: text(object, "release"),
        segments: pairs("segments"),
        experiments: pairs("experiments"),
        consent: object.get("consent").and_then(|consent| serde_json::from_value::<Consent>(consent.clone()).ok()),
    }
}

fn damaged(what: impl std::fmt::Display) -> SinkError {
    SinkError::Fatal(format!("an object of events cannot be read: {what}"))
}
