//! Rows as the object archive keeps them: pseudonyms instead of ids.

use telemetry_schemas::{Event, TtfBreach, TtfRecord, time::EventTime};

use super::names::{Dataset, date_of};
use crate::{
    database::{Person, SubjectKind},
    decode::Message,
};

/// One message with its offset.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub offset: i64,
    pub message: Message,
}

/// An event and who it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    pub offset: i64,
    pub event: Event,
    pub user: Option<String>,
    pub anonymous: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RecordRow {
    pub offset: i64,
    pub record: TtfRecord,
    pub user: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct BreachRow {
    pub offset: i64,
    pub breach: TtfBreach,
    pub user: String,
}

/// Whom a row names: its user, or its anonymous id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject<'a> {
    pub tenant: &'a str,
    pub id: &'a str,
}

impl<'a> Subject<'a> {
    pub fn of(person: &'a Person) -> Self {
        Self { tenant: &person.tenant, id: &person.id }
    }

    pub fn person(self, kind: SubjectKind) -> Person {
        Person { tenant: self.tenant.to_owned(), kind, id: self.id.to_owned() }
    }
}

impl Row {
    /// The user this row is about.
    pub fn user(&self) -> Option<Subject<'_>> {
        let (tenant, id) = match &self.message {
            Message::Event(event) => (&event.tenant, event.user_id.as_ref()?),
            Message::Record(record) => (&record.tenant, &record.user_id),
            Message::Breach(breach) => (&breach.tenant, &breach.user_id),
            Message::Erasure(_) => return None,
        };
        Some(Subject { tenant, id })
    }

    /// The anonymous id this row carries.
    pub fn anonymous(&self) -> Option<Subject<'_>> {
        let Message::Event(event) = &self.message else { return None };
        Some(Subject { tenant: &event.tenant, id: event.anonymous_id.as_ref()? })
    }

    /// The instant that erasures are held against.
    pub fn instant(&self) -> EventTime {
        match &self.message {
            Message::Event(event) => event.received_at,
            Message::Record(record) => record.emitted_at,
            Message::Breach(breach) => breach.detected_at,
            Message::Erasure(erasure) => erasure.erased_at,
        }
    }

    /// Which objects it belongs to: dataset, tenant and UTC day (of receipt, emission or detection).
    pub fn folder(&self) -> Option<(Dataset, String, String)> {
        let (dataset, tenant) = match &self.message {
            Message::Event(event) => (Dataset::Events, &event.tenant),
            Message::Record(record) => (Dataset::Records, &record.tenant),
            Message::Breach(breach) => (Dataset::Breaches, &breach.tenant),
            Message::Erasure(_) => return None,
        };
        Some((dataset, tenant.clone(), date_of(self.instant())))
    }
}
