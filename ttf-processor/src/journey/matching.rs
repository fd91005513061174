//! What one event contributes: the milestones it reaches, and the segments, experiments and release it tells.

use std::borrow::Cow;

use serde_json::Value;
use smallvec::SmallVec;
use telemetry_schemas::EventType;

use super::{
    plan::{Journeys, MilestoneMatch, Wanted},
    view::EventView,
};

/// Longer values are not taken: segments are for grouping.
const MAX_VALUE_BYTES: usize = 200;

/// A value that an event tells of its user or journey.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub kind: Kind,
    pub name: &'a str,
    pub value: Cow<'a, str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Segment,
    Experiment,
    Release,
}

/// Whether events of this type can matter to a journey at all.
pub fn type_takes_part(event_type: EventType) -> bool {
    matches!(
        event_type,
        EventType::TtfMilestone | EventType::Track | EventType::Page | EventType::Identify | EventType::Group
    )
}

/// The milestones this event reaches.
pub(super) fn milestones<'a>(
    journeys: &'a Journeys,
    event: &'a EventView<'_>,
) -> impl Iterator<Item = &'a MilestoneMatch> {
    journeys.matches(event.event_name).iter().filter(|candidate| {
        candidate.conditions.iter().all(|(property, allowed)| {
            event.properties.at(property).is_some_and(|actual| allowed.iter().any(|value| same_value(value, actual)))
        })
    })
}

/// The wanted values this event carries. Without consent to analytics only milestones are taken from it.
pub(super) fn told<'a>(wanted: &'a Wanted, event: &'a EventView<'_>) -> SmallVec<[Told<'a>; 6]> {
    let mut told = SmallVec::new();
    if event.context.consent.is_some_and(|consent| !consent.analytics) {
        return told;
    }
    for name in &wanted.segments {
        if let Some(value) = segment(event, name) {
            told.push(Told { kind: Kind::Segment, name, value });
        }
    }
    for name in &wanted.experiments {
        if let Some(value) = event.context.experiments.get(name).and_then(usable) {
            told.push(Told { kind: Kind::Experiment, name, value: Cow::Borrowed(value) });
        }
    }
    if let Some(value) = event.context.release.and_then(usable) {
        told.push(Told { kind: Kind::Release, name: "", value: Cow::Borrowed(value) });
    }
    told
}

/// A segment's value: from `context.segments`, else the property of this name, else the context's own.
fn segment<'a>(event: &'a EventView<'_>, name: &str) -> Option<Cow<'a, str>> {
    let context = &event.context;
    if let Some(value) = context.segments.get(name).and_then(usable) {
        return Some(Cow::Borrowed(value));
    }
    if let Some(value) = event.properties.at(name).and_then(as_text) {
        return Some(value);
    }
    let own = match name {
        "locale" => context.locale,
        "timezone" => context.timezone,
        "release" => context.release,
        "library" => context.library_name,
        _ => return None,
    };
    own.and_then(usable).map(Cow::Borrowed)
}

/// Equal as JSON, numbers by value (`1` is `1.0`).
fn same_value(expected: &Value, actual: &Value) -> bool {
    match (expected.as_f64(), actual.as_f64()) {
        (Some(expected), Some(actual)) => expected.total_cmp(&actual).is_eq(),
        _ => expected == actual,
    }
}

fn as_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => usable(text).map(Cow::Borrowed),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(truth) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn usable(text: &str) -> Option<&str> {
    (!text.is_empty() && text.len() <= MAX_VALUE_BYTES).then_some(text)
}
