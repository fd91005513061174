//! What the processor must come to, worked out from scratch by reading the rules, with all events at hand.
//!
//! Deliberately naive: no state, no order, no increments, nothing shared with [`crate::journey`] but the
//! definitions' YAML form. Tests hold the processor against it; nothing else uses it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use service_kit::config::HumanDuration;
use telemetry_schemas::{
    Anomaly, BreachLevel, BreachReason, BreachStatus, Event, EventTime, EventType, JourneyStatus, Millis, StageResult,
    TtfBreach, TtfRecord, erasure::Erasure,
};

use crate::journey::definition::{JourneyDefinition, MilestoneDefinition};

/// One attempt of one user's journey as it must stand in the end.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedJourney {
    pub tenant: String,
    pub user_id: String,
    pub journey: String,
    pub attempt: String,
    pub journey_version: i32,
    pub status: JourneyStatus,
    pub signup_at: EventTime,
    pub completed_at: Option<EventTime>,
    pub total_ms: Option<Millis>,
    pub stages: Vec<StageResult>,
    pub current_stage: Option<String>,
    pub efficiency_score: Option<f64>,
    pub breach_level: Option<BreachLevel>,
    pub segments: BTreeMap<String, String>,
    pub experiments: BTreeMap<String, String>,
    pub release: Option<String>,
    pub cause_event_id: Option<String>,
    /// Deadlines that were missed and judged, ascending.
    pub breaches: Vec<ExpectedBreach>,
}

/// A missed deadline as it must stand in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedBreach {
    pub level: BreachLevel,
    pub threshold_ms: Millis,
    pub signup_at: EventTime,
    pub due_at: EventTime,
    /// Success came, too late. Else it is still firing.
    pub resolved: bool,
}

/// Every started journey of every user in `events`, ordered by tenant, user, journey and attempt, with all
/// deadlines judged for which everything received up to `judged_until` had to be known. Definitions must be sound.
pub fn expected(definitions: &[JourneyDefinition], events: &[Event], judged_until: EventTime) -> Vec<ExpectedJourney> {
    let journeys: BTreeSet<&str> = definitions.iter().map(|definition| definition.id.as_str()).collect();
    let taking_part: Vec<&Event> = events.iter().filter(|event| takes_part(event)).collect();
    let attempts: BTreeSet<(&str, &str, &str)> = taking_part
        .iter()
        .map(|event| (event.tenant.as_str(), event.user_id.as_deref().unwrap_or_default(), attempt_of(event)))
        .collect();
    let mut all = Vec::new();
    for (tenant, user_id, attempt) in attempts {
        let of_user: Vec<&Event> = taking_part
            .iter()
            .copied()
            .filter(|event| event.tenant == tenant && event.user_id.as_deref() == Some(user_id))
            .collect();
        for journey in &journeys {
            let mut versions: Vec<&JourneyDefinition> =
                definitions.iter().filter(|definition| definition.id == *journey).collect();
            versions.sort_by_key(|definition| definition.version);
            all.extend(one_attempt(&versions, &of_user, attempt, judged_until));
        }
    }
    all.sort_by(|a, b| {
        (&a.tenant, &a.user_id, &a.journey, &a.attempt).cmp(&(&b.tenant, &b.user_id, &b.journey, &b.attempt))
    });
    all
}

/// The events that no erasure of their user makes void.
pub fn without_erased(events: &[Event], erasures: &[Erasure]) -> Vec<Event> {
    let is_erased = |event: &Event| {
        erasures.iter().any(|erasure| {
            erasure.tenant == event.tenant
                && Some(&erasure.user_id) == event.user_id.as_ref()
                && event.received_at < erasure.erased_at
        })
    };
    events.iter().filter(|event| !is_erased(event)).cloned().collect()
}

impl ExpectedJourney {
    /// Holds the last record of this attempt against the expectation.
    ///
    /// # Errors
    /// What was expected and what is there.
    pub fn check_record(&self, record: &TtfRecord) -> Result<(), String> {
        let actual = Self {
            tenant: record.tenant.clone(),
            user_id: record.user_id.clone(),
            journey: record.journey.clone(),
            attempt: record.attempt.clone(),
            journey_version: record.journey_version,
            status: record.status,
            signup_at: record.signup_at,
            completed_at: record.completed_at,
            total_ms: record.total_ms,
            stages: record.stages.clone(),
            current_stage: record.current_stage.clone(),
            efficiency_score: record.efficiency_score,
            breach_level: record.breach_level,
            segments: record.segments.clone(),
            experiments: record.experiments.clone(),
            release: record.release.clone(),
            cause_event_id: record.cause_event_id.clone(),
            breaches: self.breaches.clone(),
        };
        if actual == *self { Ok(()) } else { Err(format!("expected {self:#?}\nbut the record says {actual:#?}")) }
    }

    /// Holds what was said of this attempt's deadlines, in the order it was said, against the expectation. How often
    /// a deadline fired on the way does not matter, only how it stands in the end.
    ///
    /// # Errors
    /// What was expected and what is there.
    pub fn check_breaches<'a>(&self, said: impl IntoIterator<Item = &'a TtfBreach>) -> Result<(), String> {
        let mut last: BTreeMap<BreachLevel, &TtfBreach> = BTreeMap::new();
        for breach in said {
            last.insert(breach.level, breach);
        }
        for level in BreachLevel::ALL {
            let expected = self.breaches.iter().find(|expected| expected.level == level);
            let fits = match (expected, last.get(&level)) {
                (None, None) => true,
                (None, Some(said)) => {
                    said.status == BreachStatus::Resolved && said.reason == Some(BreachReason::Revised)
                }
                (Some(_), None) => false,
                (Some(expected), Some(said)) => {
                    let (status, reason) = if expected.resolved {
                        (BreachStatus::Resolved, Some(BreachReason::Completed))
                    } else {
                        (BreachStatus::Firing, None)
                    };
                    (said.status, said.reason) == (status, reason)
                        && (said.threshold_ms, said.signup_at, said.due_at)
                            == (expected.threshold_ms, expected.signup_at, expected.due_at)
                }
            };
            if !fits {
                return Err(format!("expected {level:?} to be {expected:#?}\nbut it is {:#?}", last.get(&level)));
            }
        }
        Ok(())
    }
}

fn one_attempt(
    versions: &[&JourneyDefinition],
    of_user: &[&Event],
    attempt: &str,
    judged_until: EventTime,
) -> Option<ExpectedJourney> {
    let own: Vec<&Event> = of_user.iter().copied().filter(|event| attempt_of(event) == attempt).collect();
    let signup = first(&own, &versions[0].milestones[0])?;
    let definition = versions
        .iter()
        .rev()
        .find(|definition| definition.effective_from.is_some_and(|from| from <= signup.timestamp))
        .unwrap_or(&versions[0]);
    let reached: Vec<Option<&Event>> = definition.milestones.iter().map(|milestone| first(&own, milestone)).collect();
    let success = reached[reached.len() - 1];

    let total_ms = success.map(|success| Millis((success.timestamp.0 - signup.timestamp.0).max(0)));
    let telling: Vec<&Event> = of_user
        .iter()
        .copied()
        .filter(|event| event.event_type == EventType::Identify || attempt_of(event) == attempt)
        .filter(|event| event.context.consent.is_none_or(|consent| consent.analytics))
        .collect();

    let missed: Vec<ExpectedBreach> = definition
        .deadlines
        .iter()
        .map(|deadline| (deadline, EventTime(signup.timestamp.0 + ms(deadline.after))))
        .filter(|(_, due_at)| success.is_none_or(|success| success.timestamp > *due_at))
        .map(|(deadline, due_at)| ExpectedBreach {
            level: deadline.level,
            threshold_ms: Millis(ms(deadline.after)),
            signup_at: signup.timestamp,
            due_at,
            resolved: success.is_some(),
        })
        .collect();
    let judged: Vec<ExpectedBreach> =
        missed.iter().filter(|breach| breach.due_at.0 + ms(definition.grace) <= judged_until.0).cloned().collect();
    let counted = if success.is_some() { &missed } else { &judged };

    let given_up = signup.timestamp.0 + ms(definition.abandon_after) + ms(definition.grace) <= judged_until.0;
    Some(ExpectedJourney {
        tenant: signup.tenant.clone(),
        user_id: signup.user_id.clone()?,
        journey: definition.id.clone(),
        attempt: attempt.to_owned(),
        journey_version: definition.version,
        status: match (success, given_up) {
            (Some(_), _) => JourneyStatus::Completed,
            (None, true) => JourneyStatus::Abandoned,
            (None, false) => JourneyStatus::InProgress,
        },
        signup_at: signup.timestamp,
        completed_at: success.map(|success| success.timestamp),
        total_ms,
        stages: (0..definition.stages.len()).map(|index| stage(definition, &reached, index)).collect(),
        current_stage: (0..definition.stages.len())
            .filter(|_| success.is_none())
            .rfind(|index| reached[*index].is_some())
            .map(|index| definition.stages[index].id.clone()),
        efficiency_score: total_ms.map(|total| score(total.0 as f64, ms(definition.total.target) as f64)),
        breach_level: counted.iter().map(|breach| breach.level).max(),
        segments: told(&definition.segments, &telling, segment_of),
        experiments: told(&definition.experiments, &telling, |event, name| {
            event.context.experiments.get(name).cloned()
        }),
        release: told(&[String::new()], &telling, |event, _| event.context.release.clone()).remove(""),
        cause_event_id: reached
            .iter()
            .flatten()
            .max_by_key(|event| (event.timestamp, &event.event_id))
            .map(|event| event.event_id.clone()),
        breaches: judged,
    })
}

fn stage(definition: &JourneyDefinition, reached: &[Option<&Event>], index: usize) -> StageResult {
    let target = ms(definition.stages[index].target);
    let (from, to) = (reached[index], reached[index + 1]);
    let mut duration_ms = None;
    let mut anomaly = None;
    if let (Some(from), Some(to)) = (from, to) {
        let elapsed = to.timestamp.0 - from.timestamp.0;
        duration_ms = Some(elapsed.max(0));
        if elapsed < -2_000 {
            anomaly = Some(Anomaly::OutOfOrder);
        }
    } else {
        let skipped =
            |milestone: usize| reached[milestone].is_none() && reached[milestone + 1..].iter().any(Option::is_some);
        if skipped(index) || skipped(index + 1) {
            anomaly = Some(Anomaly::Skipped);
        }
    }
    StageResult {
        id: definition.stages[index].id.clone(),
        from_at: from.map(|event| event.timestamp),
        to_at: to.map(|event| event.timestamp),
        duration_ms: duration_ms.map(Millis),
        target_ms: Millis(target),
        met: duration_ms.map(|duration| duration <= target),
        anomaly,
    }
}

/// 100 up to the target, 0 from three times the target on, a straight line between.
fn score(total: f64, target: f64) -> f64 {
    if total <= target {
        100.0
    } else if total >= 3.0 * target {
        0.0
    } else {
        100.0 * (3.0 * target - total) / (2.0 * target)
    }
}

fn takes_part(event: &Event) -> bool {
    let kind = match event.event_type {
        EventType::Track | EventType::TtfMilestone | EventType::Identify | EventType::Group | EventType::Page => true,
        EventType::Performance | EventType::Error | EventType::Test | EventType::Unknown => false,
    };
    kind && event.user_id.is_some()
}

fn attempt_of(event: &Event) -> &str {
    event.journey_id.as_deref().unwrap_or("")
}

fn first<'a>(events: &[&'a Event], milestone: &MilestoneDefinition) -> Option<&'a Event> {
    let mut matching: Vec<&Event> = events
        .iter()
        .copied()
        .filter(|event| milestone.events.contains(&event.event_name))
        .filter(|event| {
            milestone.conditions.iter().all(|(property, expected)| {
                let actual = property_of(event, property);
                match (expected, actual) {
                    (Value::Array(any), Some(actual)) => any.contains(&actual),
                    (one, Some(actual)) => *one == actual,
                    (_, None) => false,
                }
            })
        })
        .collect();
    matching.sort_by_key(|event| (event.timestamp, event.event_id.clone()));
    matching.first().copied()
}

fn property_of(event: &Event, name: &str) -> Option<Value> {
    if let Some(value) = event.properties.get(name) {
        return Some(value.clone());
    }
    let mut value = Value::Object(event.properties.clone());
    for part in name.split('.') {
        value = value.get(part)?.clone();
    }
    Some(value)
}

fn segment_of(event: &Event, name: &str) -> Option<String> {
    let from_property = match property_of(event, name) {
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Bool(truth)) => Some(truth.to_string()),
        _ => None,
    };
    let from_context = match name {
        "locale" => event.context.locale.clone(),
        "timezone" => event.context.timezone.clone(),
        "release" => event.context.release.clone(),
        "library" => event.context.library_name.clone(),
        _ => None,
    };
    let candidates = [event.context.segments.get(name).cloned(), from_property, from_context];
    candidates.into_iter().flatten().find(|text| !text.is_empty() && text.len() <= 200)
}

/// For each name the value that the earliest event tells.
fn told(
    names: &[String],
    events: &[&Event],
    value: impl Fn(&Event, &str) -> Option<String>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in names {
        let mut all: Vec<(EventTime, String, String)> = events
            .iter()
            .filter_map(|event| Some((event.timestamp, event.event_id.clone(), value(event, name)?)))
            .filter(|(_, _, text)| !text.is_empty() && text.len() <= 200)
            .collect();
        all.sort();
        if let Some((_, _, text)) = all.into_iter().next() {
            found.insert(name.clone(), text);
        }
    }
    found
}

fn ms(duration: HumanDuration) -> i64 {
    duration.millis()
}
