//! The one decision every event passes through, whichever way it came in: take it or refuse it. Pure but for the ids
//! it makes up.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};
use service_kit::config::TenantsConfig;
use sha2::{Digest, Sha256};
use telemetry_schemas::{
    event::{Event, EventType},
    ids::new_event_id,
    json_schema::EVENT_SCHEMA_VERSION,
    rejected::{RejectedEvent, RejectionReason},
    time::{EventTime, Millis},
};

use crate::{
    adapters::Adapter,
    app_metrics::AppMetrics,
    batch::RawEvent,
    metrics::EventMetrics,
    normalise::{self, ClockRules},
    plan::{Mode, Plans},
    privacy::Treatment,
    validate::{self, Checked, Code, Invalid, Violation},
};

/// Where no tenant's configuration says otherwise: 400 days.
pub const DEFAULT_MAX_AGE: Millis = Millis(400 * 86_400_000);

/// How and when an event came in.
#[derive(Debug, Clone)]
pub struct Reception<'r> {
    pub tenant: &'r str,
    /// `http` or `kafka`.
    pub source: &'static str,
    pub received_at: EventTime,
    pub sent_at: Option<EventTime>,
    /// Topic, partition and offset, when it came from a topic.
    pub origin: Option<(&'r str, i32, i64)>,
}

/// What was decided about an event.
#[derive(Debug)]
pub enum Judged {
    Accepted(Box<Accepted>),
    Rejected(Box<Rejection>),
}

/// An event that is taken.
#[derive(Debug)]
pub struct Accepted {
    pub event: Event,
    /// The id is the sender's, so that a repeat has it, too.
    pub has_own_id: bool,
    /// How it is not as planned, where the tenant's plan warns of that.
    pub warning: Option<Violation>,
}

/// A refused event.
#[derive(Debug)]
pub struct Rejection {
    /// Never empty.
    pub violations: Vec<Violation>,
    pub event_id: Option<String>,
    /// True when it said of itself that it is a `test`.
    pub is_test: bool,
    /// What goes to the rejected topic.
    pub event: RejectedEvent,
}

impl Rejection {
    /// The code it is counted under.
    pub fn reason(&self) -> &'static str {
        self.violations.first().map_or("unknown", |violation| violation.code.as_str())
    }

    /// Names the places of what is wrong as the sender wrote them.
    fn name_paths(&mut self, sender_path: impl Fn(&str) -> String) {
        for violation in &mut self.violations {
            violation.path = sender_path(&violation.path);
        }
        for reason in &mut self.event.reasons {
            reason.path = sender_path(&reason.path);
        }
    }
}

impl Judged {
    /// True when this is a `test` event, valid or not.
    pub fn is_test(&self) -> bool {
        match self {
            Self::Accepted(accepted) => accepted.event.event_type == EventType::Test,
            Self::Rejected(rejection) => rejection.is_test,
        }
    }
}

/// Rules and limits, the same for every way in.
#[derive(Debug, Clone)]
pub struct Judge {
    pub event_bytes: usize,
    pub max_skew: Millis,
    pub max_future: Millis,
    /// For the tenants' `max_event_age`.
    pub tenants: Arc<TenantsConfig>,
    pub plans: Arc<Plans>,
    /// What is done with personal data.
    pub treatment: Treatment,
    pub metrics: EventMetrics,
    pub app_metrics: AppMetrics,
}

impl Judge {
    /// Decides about one event.
    pub fn event(&self, raw: &RawEvent, reception: &Reception<'_>) -> Judged {
        if !raw.is_utf8 {
            let violation = Violation::new(Code::InvalidUtf8, "", "the event holds bytes that are not UTF-8");
            return self.reject(Invalid::unread(violation), &raw.bytes, reception);
        }
        match validate::event(&raw.bytes, self.event_bytes) {
            Ok(checked) => self.checked(checked, &raw.bytes, reception, reception.source),
            Err(invalid) => self.reject(*invalid, &raw.bytes, reception),
        }
    }

    /// Decides about one record of another product's client.
    pub fn translated(&self, raw: &RawEvent, adapter: &Adapter, reception: &Reception<'_>) -> Judged {
        if !raw.is_utf8 {
            return self.event(raw, reception);
        }
        match validate::read_object(&raw.bytes, self.event_bytes) {
            Ok(record) => self.record(record, &raw.bytes, adapter, reception),
            Err(invalid) => self.reject(*invalid, &raw.bytes, reception),
        }
    }

    /// As [`Judge::translated`], for a record that was put together from the request's parts; `raw` is its text.
    pub fn record(
        &self,
        record: Map<String, Value>,
        raw: &Bytes,
        adapter: &Adapter,
        reception: &Reception<'_>,
    ) -> Judged {
        let translated = match adapter.translate(record) {
            Ok(translated) => translated,
            Err(violation) => {
                let content = self.reread(raw);
                return self.reject(Invalid { content, ..Invalid::unread(violation) }, raw, reception);
            }
        };
        let reception = Reception { sent_at: translated.sent_at.or(reception.sent_at), ..reception.clone() };
        let source = translated.source.as_deref().unwrap_or(reception.source);
        let mut judged = match validate::object(translated.event) {
            Ok(checked) => self.checked(checked, raw, &reception, source),
            Err(invalid) => self.reject(*invalid, raw, &reception),
        };
        if let Judged::Rejected(rejection) = &mut judged {
            rejection.name_paths(|path| adapter.sender_path(path));
            // The policy saw the native form; what is written is the sender's, where the same names stand elsewhere.
            if !rejection.event.payload.is_empty() {
                rejection.event.payload = self.treatment.rejected_bytes(reception.tenant, raw);
            }
        }
        judged
    }

    fn reread(&self, raw: &Bytes) -> Option<Map<String, Value>> {
        validate::read_object(raw, self.event_bytes).ok()
    }

    fn checked(&self, mut checked: Checked, raw: &Bytes, reception: &Reception<'_>, source: &str) -> Judged {
        let clock = self.clock_of(reception.tenant);
        let times = normalise::times(checked.timestamp(), reception.sent_at, reception.received_at, &clock);
        let times = match times {
            Ok(times) => times,
            Err(violation) => return self.reject(checked.into_invalid(vec![violation]), raw, reception),
        };
        let mut warning = None;
        if let Some(finding) = self.plans.judge(reception.tenant, checked.content()) {
            self.metrics.unplanned(reception.tenant, &finding);
            match finding.mode {
                Mode::Block => return self.reject(checked.into_invalid(finding.violations), raw, reception),
                Mode::Warn => warning = finding.violations.into_iter().next(),
                Mode::Observe => {}
            }
        }
        let Ok(sealed) = self.treatment.accepted(reception.tenant, checked.content_mut()) else {
            return self.reject(checked.into_invalid(vec![consent_missing()]), raw, reception);
        };
        let new_id = || new_event_id(reception.received_at);
        let valid = checked.take();
        let has_own_id = valid.event_id.is_some();
        let event = Event { sealed, ..normalise::event(valid, times, reception.tenant, source, new_id) };
        Judged::Accepted(Box::new(Accepted { event, has_own_id, warning }))
    }

    fn clock_of(&self, tenant: &str) -> ClockRules {
        let max_age = self.tenants.max_event_age(tenant).map_or(DEFAULT_MAX_AGE, |age| Millis(age.millis()));
        ClockRules { max_skew: self.max_skew, max_future: self.max_future, max_age }
    }

    /// Refuses a body of which not even the events could be told apart.
    pub fn unreadable(&self, violation: Violation, body: &Bytes, reception: &Reception<'_>) -> Rejection {
        self.rejection(Invalid::unread(violation), body, reception)
    }

    fn reject(&self, invalid: Invalid, raw: &Bytes, reception: &Reception<'_>) -> Judged {
        Judged::Rejected(Box::new(self.rejection(invalid, raw, reception)))
    }

    fn rejection(&self, invalid: Invalid, raw: &Bytes, reception: &Reception<'_>) -> Rejection {
        let reasons = invalid
            .violations
            .iter()
            .map(|violation| RejectionReason {
                code: violation.code.as_str().to_owned(),
                path: self.treatment.said(reception.tenant, &violation.path),
                message: self.treatment.said(reception.tenant, &violation.message),
            })
            .collect();
        let is_coded = invalid.violations.iter().any(|violation| violation.code == Code::InvalidEncoding);
        let payload = match invalid.content {
            Some(content) => self.treatment.rejected(reception.tenant, content, raw),
            // Compressed bytes cannot be looked at.
            None if is_coded => Vec::new(),
            None => self.treatment.rejected_bytes(reception.tenant, raw),
        };
        let origin = reception.origin;
        Rejection {
            is_test: invalid.event_type.as_deref() == Some("test"),
            violations: invalid.violations,
            event_id: invalid.event_id,
            event: RejectedEvent {
                tenant: reception.tenant.to_owned(),
                source: reception.source.to_owned(),
                received_at: reception.received_at,
                reasons,
                payload,
                payload_bytes: raw.len() as i64,
                payload_sha256: hex::encode(Sha256::digest(raw)),
                schema_version: EVENT_SCHEMA_VERSION,
                topic: origin.map(|(topic, _, _)| topic.to_owned()),
                partition: origin.map(|(_, partition, _)| partition),
                offset: origin.map(|(_, _, offset)| offset),
            },
        }
    }
}

/// Why an event is refused whose person did not agree to analytics.
fn consent_missing() -> Violation {
    let message = "without consent to analytics only milestones of journeys are kept, and nothing of this event";
    Violation::new(Code::ConsentMissing, "/context/consent/analytics", message)
}
