//! What a scenario must come to, by the oracle, and how what came of it is held against that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use service_kit::config::Sources;
use telemetry_schemas::{
    BreachLevel, BreachStatus, Event, EventTime, EventType, TtfBreach, TtfRecord, alert::Notification,
    event::EventContext,
};
use ttf_processor::{
    JourneyDefinition,
    oracle::{self, ExpectedJourney},
};

use super::Scenario;

/// The end state by the oracle.
pub struct Expected {
    pub journeys: Vec<ExpectedJourney>,
}

type AttemptKey = (String, String, String);

/// The highest level still open of each attempt, `None` when all is well.
pub type NotifiedLevels = BTreeMap<AttemptKey, Option<BreachLevel>>;

impl Expected {
    pub fn of(scenario: &Scenario, now_ms: i64) -> Self {
        let events: Vec<Event> = scenario.events.iter().map(|event| native(event, now_ms)).collect();
        Self::of_events(&default_journeys(), &events, EventTime(now_ms))
    }

    /// What these events must come to, with every deadline judged that was due (grace included) by `judged_until`.
    pub fn of_events(definitions: &[JourneyDefinition], events: &[Event], judged_until: EventTime) -> Self {
        Self { journeys: oracle::expected(definitions, events, judged_until) }
    }

    /// The same, of events in their JSON form.
    pub fn by(definitions: &[JourneyDefinition], events: &[Value], now_ms: i64) -> Self {
        let events: Vec<Event> = events.iter().map(|event| native(event, now_ms)).collect();
        Self::of_events(definitions, &events, EventTime(now_ms))
    }

    /// Holds all records against the oracle: the last one of each attempt, and that revisions run without gaps.
    pub fn check_records(&self, records: &[TtfRecord]) -> Result<(), String> {
        let mut by_attempt: BTreeMap<AttemptKey, Vec<&TtfRecord>> = BTreeMap::new();
        for record in records {
            by_attempt.entry(key_of_record(record)).or_default().push(record);
        }
        if by_attempt.len() != self.journeys.len() {
            return Err(format!("{} journeys were expected, {} have records", self.journeys.len(), by_attempt.len()));
        }
        for journey in &self.journeys {
            let Some(records) = by_attempt.get(&key_of(journey)) else {
                return Err(format!("{} has no record", journey.user_id));
            };
            let revisions: Vec<_> = records.iter().map(|record| record.revision).collect();
            let without_gap: Vec<_> = (1..=records.len() as i64).collect();
            if revisions != without_gap {
                return Err(format!("{} has revisions {revisions:?}", journey.user_id));
            }
            journey.check_record(records[records.len() - 1])?;
        }
        Ok(())
    }

    /// Holds all breaches, in order of offset per user, against the oracle; none may be there twice.
    pub fn check_breaches(&self, breaches: &[TtfBreach]) -> Result<(), String> {
        let ids: BTreeSet<_> = breaches.iter().map(|breach| &breach.breach_id).collect();
        if ids.len() != breaches.len() {
            return Err(format!("{} breaches have only {} different ids", breaches.len(), ids.len()));
        }
        let mut by_attempt: BTreeMap<AttemptKey, Vec<&TtfBreach>> = BTreeMap::new();
        for breach in breaches {
            let key = (breach.user_id.clone(), breach.journey.clone(), breach.attempt.clone());
            by_attempt.entry(key).or_default().push(breach);
        }
        for journey in &self.journeys {
            journey.check_breaches(by_attempt.remove(&key_of(journey)).unwrap_or_default())?;
        }
        if by_attempt.is_empty() {
            Ok(())
        } else {
            Err(format!("breaches of unknown journeys: {:?}", by_attempt.keys()))
        }
    }

    /// Holds the outbox, in order per group, against the oracle and the breaches: the last thing said of a journey is
    /// its highest open level, or that all is well; nothing is said twice in a row; nothing is said of a journey
    /// without a breach that fired.
    pub fn check_notifications(&self, outbox: &[Notification], breaches: &[TtfBreach]) -> Result<(), String> {
        let fired: BTreeSet<AttemptKey> = breaches
            .iter()
            .filter(|breach| breach.status == BreachStatus::Firing && !breach.late)
            .map(|breach| (breach.user_id.clone(), breach.journey.clone(), breach.attempt.clone()))
            .collect();
        let mut said: BTreeMap<AttemptKey, Vec<(BreachStatus, BreachLevel)>> = BTreeMap::new();
        for notification in outbox {
            let [first, ..] = notification.alerts.as_slice() else {
                return Err(format!("notification {} is about nobody", notification.notification_id));
            };
            let key = (first.user_id.clone(), first.journey.clone(), first.attempt.clone());
            said.entry(key).or_default().push((notification.status, notification.level));
        }
        for (key, open) in self.open_levels() {
            let of_journey = said.remove(&key).unwrap_or_default();
            if of_journey.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(format!("{key:?} was told the same twice: {of_journey:?}"));
            }
            if !of_journey.is_empty() && !fired.contains(&key) {
                return Err(format!("{key:?} never fired but was notified: {of_journey:?}"));
            }
            let fits = match (open, of_journey.last()) {
                (Some(level), Some((BreachStatus::Firing, told))) => level == *told,
                (None, None | Some((BreachStatus::Resolved, _))) => true,
                _ => false,
            };
            if !fits {
                return Err(format!("{key:?} stands at {open:?} but was told {of_journey:?}"));
            }
        }
        if said.is_empty() { Ok(()) } else { Err(format!("notifications about unknown journeys: {:?}", said.keys())) }
    }

    /// The highest level that is open in the end, of each journey.
    pub fn open_levels(&self) -> NotifiedLevels {
        self.journeys
            .iter()
            .map(|journey| {
                let open = journey.breaches.iter().filter(|breach| !breach.resolved).map(|breach| breach.level).max();
                (key_of(journey), open)
            })
            .collect()
    }
}

fn key_of(journey: &ExpectedJourney) -> AttemptKey {
    (journey.user_id.clone(), journey.journey.clone(), journey.attempt.clone())
}

fn key_of_record(record: &TtfRecord) -> AttemptKey {
    (record.user_id.clone(), record.journey.clone(), record.attempt.clone())
}

/// The journeys of the configuration's defaults.
pub fn default_journeys() -> Vec<JourneyDefinition> {
    let sources = Sources::new(include_str!("../../../config/telemetry.yaml"));
    service_kit::config::load_section(sources, "journeys").expect("the default journeys are sound")
}

/// A generated event as the gateway must understand it, in a way of its own.
pub fn native(event: &Value, received_at: i64) -> Event {
    let text = |name: &str| event[name].as_str().map(ToOwned::to_owned);
    let context = &event["context"];
    Event {
        tenant: "default".to_owned(),
        source: "http".to_owned(),
        event_id: text("event_id").expect("generated"),
        event_name: text("event_name").expect("generated"),
        event_type: match event["event_type"].as_str() {
            Some("ttf_milestone") => EventType::TtfMilestone,
            Some("track") => EventType::Track,
            other => panic!("{other:?} is not generated"),
        },
        timestamp: EventTime::parse(event["timestamp"].as_str().expect("generated")).expect("generated"),
        original_timestamp: None,
        sent_at: None,
        received_at: EventTime(received_at),
        user_id: text("user_id"),
        anonymous_id: None,
        session_id: None,
        journey_id: text("journey_id"),
        properties: event["properties"].as_object().cloned().unwrap_or_else(Map::new),
        context: EventContext {
            release: context["release"].as_str().map(ToOwned::to_owned),
            segments: context["segments"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
            ..EventContext::default()
        },
        sealed: BTreeMap::new(),
        replay: false,
    }
}
