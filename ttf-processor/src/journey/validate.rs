//! What makes journey definitions sound. All problems are reported at once, each with the path to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use super::{
    definition::{JourneyDefinition, MilestoneDefinition},
    plan::millis,
};
use telemetry_schemas::{BreachLevel, Millis};

/// Everything that is wrong with a list of journey definitions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DefinitionErrors(pub Vec<Problem>);

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Such as `journeys[0].stages[2].from`.
    pub path: String,
    pub message: String,
}

impl fmt::Display for DefinitionErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", problem.path, problem.message)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem { path: path.into(), message: message.into() });
    }
}

/// Checks each definition by itself, and the versions of each journey against each other.
pub(super) fn check(definitions: &[JourneyDefinition]) -> Result<(), DefinitionErrors> {
    let mut problems = Problems::default();
    if definitions.is_empty() {
        problems.add(
            "journeys",
            "has no journey: nothing would be measured; define one, or leave the section out for the one that comes \
             with the product",
        );
    }
    let mut journeys: BTreeMap<&str, Vec<(usize, &JourneyDefinition)>> = BTreeMap::new();
    for (index, definition) in definitions.iter().enumerate() {
        check_one(definition, &format!("journeys[{index}]"), &mut problems);
        journeys.entry(&definition.id).or_default().push((index, definition));
    }
    for versions in journeys.values_mut() {
        versions.sort_by_key(|(_, definition)| definition.version);
        for pair in versions.windows(2) {
            check_succession(pair[0].1, pair[1].1, &format!("journeys[{}]", pair[1].0), &mut problems);
        }
        check_meanings(versions, &mut problems);
    }
    if problems.0.is_empty() { Ok(()) } else { Err(DefinitionErrors(problems.0)) }
}

fn check_one(definition: &JourneyDefinition, path: &str, problems: &mut Problems) {
    check_name(&definition.id, &format!("{path}.id"), problems);
    if definition.version < 1 {
        problems.add(format!("{path}.version"), "must be 1 or more");
    }
    check_milestones(definition, path, problems);
    check_stages(definition, path, problems);
    check_deadlines(definition, path, problems);
    check_durations(definition, path, problems);
    for (list, names) in [("segments", &definition.segments), ("experiments", &definition.experiments)] {
        for (index, name) in duplicates(names.iter().map(String::as_str)) {
            problems.add(format!("{path}.{list}[{index}]"), format!("`{name}` is listed twice"));
        }
    }
}

fn check_milestones(definition: &JourneyDefinition, path: &str, problems: &mut Problems) {
    if definition.milestones.len() < 2 {
        problems.add(format!("{path}.milestones"), "a journey needs at least a first and a last milestone");
    }
    for (index, id) in duplicates(definition.milestones.iter().map(|milestone| milestone.id.as_str())) {
        problems.add(format!("{path}.milestones[{index}].id"), format!("`{id}` is used twice"));
    }
    for (index, milestone) in definition.milestones.iter().enumerate() {
        let path = format!("{path}.milestones[{index}]");
        check_name(&milestone.id, &format!("{path}.id"), problems);
        if milestone.events.is_empty() {
            problems.add(format!("{path}.events"), "needs at least one event name");
        }
        for (property, expected) in &milestone.conditions {
            if !is_scalar_or_list(expected) {
                problems.add(
                    format!("{path}.where.{property}"),
                    "must be a text, number or boolean, or a non-empty list of these",
                );
            }
        }
    }
}

fn check_stages(definition: &JourneyDefinition, path: &str, problems: &mut Problems) {
    for (index, id) in duplicates(definition.stages.iter().map(|stage| stage.id.as_str())) {
        problems.add(format!("{path}.stages[{index}].id"), format!("`{id}` is used twice"));
    }
    let ids: Vec<&str> = definition.milestones.iter().map(|milestone| milestone.id.as_str()).collect();
    for (index, stage) in definition.stages.iter().enumerate() {
        let path = format!("{path}.stages[{index}]");
        check_name(&stage.id, &format!("{path}.id"), problems);
        if stage.id == "total" {
            problems.add(format!("{path}.id"), "`total` is the whole journey and cannot name a stage");
        }
        if millis(stage.target) <= Millis(0) {
            problems.add(format!("{path}.target"), "must be longer than zero");
        }
        for (end, milestone, expected) in [("from", &stage.from, ids.get(index)), ("to", &stage.to, ids.get(index + 1))]
        {
            if !ids.contains(&milestone.as_str()) {
                problems.add(
                    format!("{path}.{end}"),
                    format!("unknown milestone `{milestone}` (known: {})", ids.join(", ")),
                );
            } else if let Some(expected) = expected.filter(|expected| **expected != milestone.as_str()) {
                problems.add(
                    format!("{path}.{end}"),
                    format!(
                        "is `{milestone}` but should be `{expected}`: stages lead from each milestone to the next, \
                         in the order of `milestones`"
                    ),
                );
            }
        }
    }
    if ids.len() >= 2 && definition.stages.len() != ids.len() - 1 {
        problems.add(
            format!("{path}.stages"),
            format!(
                "has {} stages for {} milestones; there must be one from each milestone to the next",
                definition.stages.len(),
                ids.len()
            ),
        );
    }
}

fn check_deadlines(definition: &JourneyDefinition, path: &str, problems: &mut Problems) {
    for (index, deadline) in definition.deadlines.iter().enumerate() {
        if deadline.level == BreachLevel::Unknown {
            problems.add(format!("{path}.deadlines[{index}].level"), "must be warning, critical or escalation");
        }
        if millis(deadline.after) <= Millis(0) {
            problems.add(format!("{path}.deadlines[{index}].after"), "must be longer than zero");
        }
    }
    for (index, pair) in definition.deadlines.windows(2).enumerate() {
        let path = format!("{path}.deadlines[{}]", index + 1);
        if pair[1].level <= pair[0].level {
            problems.add(
                format!("{path}.level"),
                format!(
                    "`{}` cannot follow `{}`: each level once, in the order warning, critical, escalation",
                    pair[1].level.as_str(),
                    pair[0].level.as_str()
                ),
            );
        }
        if millis(pair[1].after) <= millis(pair[0].after) {
            problems.add(format!("{path}.after"), "must be longer than the deadline before it");
        }
    }
}

fn check_durations(definition: &JourneyDefinition, path: &str, problems: &mut Problems) {
    let abandon_after = millis(definition.abandon_after);
    for (name, duration) in [
        ("total.target", millis(definition.total.target)),
        ("max_alert_lateness", millis(definition.max_alert_lateness)),
        ("abandon_after", abandon_after),
    ] {
        if duration <= Millis(0) {
            problems.add(format!("{path}.{name}"), "must be longer than zero");
        }
    }
    if let Some(last) = definition.deadlines.last()
        && abandon_after <= millis(last.after)
    {
        problems.add(format!("{path}.abandon_after"), "must be longer than the last deadline");
    }
    if millis(definition.state_ttl) <= abandon_after {
        problems.add(format!("{path}.state_ttl"), "must be longer than `abandon_after`");
    }
}

/// A newer version against the one before it.
fn check_succession(older: &JourneyDefinition, newer: &JourneyDefinition, path: &str, problems: &mut Problems) {
    if older.version == newer.version {
        problems.add(format!("{path}.version"), format!("journey `{}` has version {} twice", newer.id, newer.version));
        return;
    }
    match (older.effective_from, newer.effective_from) {
        (_, None) => problems.add(
            format!("{path}.effective_from"),
            format!("is needed: version {} of `{}` follows version {}", newer.version, newer.id, older.version),
        ),
        (Some(before), Some(from)) if from <= before => problems.add(
            format!("{path}.effective_from"),
            format!("must be later than that of version {} ({before})", older.version),
        ),
        _ => {}
    }
    if let (Some(before), Some(first)) = (older.milestones.first(), newer.milestones.first())
        && before.id != first.id
    {
        problems.add(
            format!("{path}.milestones[0].id"),
            format!(
                "is `{}`, but version {} starts with `{}`: what starts a journey is the same in all versions; \
                 define another journey instead",
                first.id, older.version, before.id
            ),
        );
    }
}

/// A milestone id stands for the same events in all versions, so that what was seen of it holds in all of them.
fn check_meanings(versions: &[(usize, &JourneyDefinition)], problems: &mut Problems) {
    let mut meanings: BTreeMap<&str, (i32, &MilestoneDefinition)> = BTreeMap::new();
    for (index, definition) in versions {
        for (position, milestone) in definition.milestones.iter().enumerate() {
            let (version, first) = *meanings.entry(&milestone.id).or_insert((definition.version, milestone));
            let same_events =
                first.events.iter().collect::<BTreeSet<_>>() == milestone.events.iter().collect::<BTreeSet<_>>();
            if !same_events || first.conditions != milestone.conditions {
                problems.add(
                    format!("journeys[{index}].milestones[{position}]"),
                    format!(
                        "`{}` matches other events than in version {version}: change both alike, or give it a new id",
                        milestone.id
                    ),
                );
            }
        }
    }
}

fn check_name(name: &str, path: &str, problems: &mut Problems) {
    let sound = !name.is_empty()
        && name.len() <= 100
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !sound {
        problems.add(path, format!("`{name}` must be 1 to 100 letters, digits, `_`, `-` or `.`"));
    }
}

fn is_scalar_or_list(value: &Value) -> bool {
    match value {
        Value::Array(values) => !values.is_empty() && values.iter().all(is_scalar),
        value => is_scalar(value),
    }
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

fn duplicates<'a>(names: impl Iterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    let mut seen = BTreeSet::new();
    names.enumerate().filter(|(_, name)| !seen.insert(*name)).collect()
}
