//! What clients of other products send, in the native form. Pure functions: no I/O, no clock.
//!
//! Each dialect has a module that turns one record of its clients into the JSON of a native event; the native rules then
//! decide about it. What the dialect knows and the native form does not goes into `properties`, so that nothing is lost.

pub mod cloudevents;
mod draft;
mod lenient_time;
pub mod mixpanel;
mod names;
pub mod posthog;
pub mod segment;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Map, Value};
use telemetry_schemas::time::EventTime;

pub use self::names::EventNames;
use crate::validate::{Code, Violation};

/// A record in the native form.
#[derive(Debug, Clone, PartialEq)]
pub struct Translated {
    /// The native event's JSON; not checked yet.
    pub event: Map<String, Value>,
    /// The client's clock when it sent the record, where the record itself says so.
    pub sent_at: Option<EventTime>,
    /// The event's own source (`CloudEvents`); the way in is the source of all others.
    pub source: Option<String>,
}

impl From<Map<String, Value>> for Translated {
    fn from(event: Map<String, Value>) -> Self {
        Self { event, sent_at: None, source: None }
    }
}

/// Whose form the records of a request have, with what the request says about all of them.
#[derive(Debug, Clone)]
pub enum Dialect {
    Segment(segment::Batch),
    PostHog(posthog::Batch),
    Mixpanel(mixpanel::Endpoint),
    CloudEvents,
}

/// A dialect together with the installation's names of events.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub dialect: Dialect,
    pub names: Arc<EventNames>,
    /// The key in the body that told whose events these are; a record with another one is not theirs.
    pub own_key: Option<Arc<str>>,
}

impl Adapter {
    /// Puts one record into the native form.
    ///
    /// # Errors
    /// A record that has no native form, such as one of a kind that is not known.
    pub fn translate(&self, record: Map<String, Value>) -> Result<Translated, Violation> {
        self.check_key(&record)?;
        match &self.dialect {
            Dialect::Segment(batch) => segment::translate(record, batch, &self.names),
            Dialect::PostHog(batch) => Ok(posthog::translate(record, batch, &self.names)),
            Dialect::Mixpanel(endpoint) => Ok(mixpanel::translate(record, *endpoint, &self.names)),
            Dialect::CloudEvents => cloudevents::translate(record, &self.names),
        }
    }

    fn check_key(&self, record: &Map<String, Value>) -> Result<(), Violation> {
        let Some(own) = self.own_key.as_deref() else { return Ok(()) };
        let token = match record.get("$token") {
            Some(token) => Some(("/$token", token)),
            None => record.get("properties").and_then(|below| Some(("/properties/token", below.get("token")?))),
        };
        match token {
            Some((path, Value::String(token))) if token != own => {
                let violation = Violation::new(Code::KeyMismatch, path, "is not the key of this request");
                Err(violation.with_hint("send the events of another project in a request of their own"))
            }
            _ => Ok(()),
        }
    }

    /// Where the sender wrote what stands at `path` of the native event.
    pub fn sender_path(&self, path: &str) -> String {
        let table: &[(&str, &str)] = match &self.dialect {
            Dialect::Segment(_) => &segment::PATHS,
            Dialect::PostHog(_) => &posthog::PATHS,
            Dialect::Mixpanel(endpoint) => endpoint.paths(),
            Dialect::CloudEvents => &cloudevents::PATHS,
        };
        let (first, rest) = match path.get(1..).and_then(|tail| tail.find('/')) {
            Some(end) => path.split_at(end + 1),
            None => (path, ""),
        };
        match table.iter().find(|(native, _)| *native == first) {
            Some((_, theirs)) => format!("{theirs}{rest}"),
            None => path.to_owned(),
        }
    }
}
