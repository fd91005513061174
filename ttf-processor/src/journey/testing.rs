//! Journeys and events for tests.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Map;
use telemetry_schemas::{
    Event, EventTime, EventType, Millis,
    event::{Consent, EventContext},
};

use super::{JourneyDefinition, Journeys};

/// 2026-01-05T09:00:00Z, when the users of the tests sign up.
pub const NINE: EventTime = EventTime(1_767_603_600_000);

pub const MINUTE: i64 = 60_000;
pub const DAY: i64 = 86_400_000;

/// The journeys of the default configuration.
pub fn default_journeys() -> Vec<JourneyDefinition> {
    #[derive(Deserialize)]
    struct Journeys {
        journeys: Vec<JourneyDefinition>,
    }
    let yaml = include_str!("../../../config/telemetry.yaml");
    let parsed: Journeys = serde_saphyr::from_str(yaml).expect("the default configuration parses");
    parsed.journeys
}

/// The default journey.
pub fn onboarding() -> JourneyDefinition {
    default_journeys().remove(0)
}

pub fn journeys(definitions: &[JourneyDefinition]) -> Journeys {
    Journeys::new(definitions).expect("the definitions are sound")
}

/// `minutes` after [`NINE`].
pub fn at(minutes: i64) -> EventTime {
    NINE.plus(Millis::from_minutes(minutes))
}

/// An event of user `u-1` of tenant `default`, received a second after it happened.
pub fn event(name: &str, timestamp: EventTime) -> Event {
    Event {
        tenant: "default".to_owned(),
        source: "http".to_owned(),
        event_id: format!("{name}@{}", timestamp.since(NINE).0),
        event_name: name.to_owned(),
        event_type: EventType::Track,
        timestamp,
        original_timestamp: None,
        sent_at: None,
        received_at: timestamp.plus(Millis(1_000)),
        user_id: Some("u-1".to_owned()),
        anonymous_id: None,
        session_id: None,
        journey_id: None,
        properties: Map::new(),
        context: EventContext::default(),
        sealed: BTreeMap::new(),
        replay: false,
    }
}

/// What tests want to say about an event besides its name and time.
pub trait EventExt {
    fn of_type(self, event_type: EventType) -> Self;
    fn in_attempt(self, journey_id: &str) -> Self;
    fn with_id(self, event_id: &str) -> Self;
    fn received(self, at: EventTime) -> Self;
    fn with_property(self, name: &str, value: impl Into<serde_json::Value>) -> Self;
    fn with_segment(self, name: &str, value: &str) -> Self;
    fn with_experiment(self, name: &str, value: &str) -> Self;
    fn with_release(self, release: &str) -> Self;
    fn without_consent(self) -> Self;
}

impl EventExt for Event {
    fn of_type(self, event_type: EventType) -> Self {
        Self { event_type, ..self }
    }

    fn in_attempt(self, journey_id: &str) -> Self {
        Self { journey_id: Some(journey_id.to_owned()), ..self }
    }

    fn with_id(self, event_id: &str) -> Self {
        Self { event_id: event_id.to_owned(), ..self }
    }

    fn received(self, at: EventTime) -> Self {
        Self { received_at: at, ..self }
    }

    fn with_property(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.properties.insert(name.to_owned(), value.into());
        self
    }

    fn with_segment(mut self, name: &str, value: &str) -> Self {
        self.context.segments.insert(name.to_owned(), value.to_owned());
        self
    }

    fn with_experiment(mut self, name: &str, value: &str) -> Self {
        self.context.experiments.insert(name.to_owned(), value.to_owned());
        self
    }

    fn with_release(mut self, release: &str) -> Self {
        self.context.release = Some(release.to_owned());
        self
    }

    fn without_consent(mut self) -> Self {
        self.context.consent = Some(Consent { analytics: false, marketing: false });
        self
    }
}
