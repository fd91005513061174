//! Definitions made ready for use: durations in milliseconds, versions in order, events found by name.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use service_kit::config::HumanDuration;
use telemetry_schemas::{BreachLevel, EventTime, Millis};

use super::{
    definition::{JourneyDefinition, MilestoneDefinition},
    validate::{self, DefinitionErrors},
};

/// Every journey this process knows.
#[derive(Debug)]
pub struct Journeys {
    all: Vec<Journey>,
    by_event: HashMap<String, Vec<MilestoneMatch>>,
    /// What `identify` events are read for.
    pub(super) wanted: Wanted,
    /// The longest of all definitions: the state is the user's, not a journey's.
    pub state_ttl: Millis,
}

/// All versions of one journey.
#[derive(Debug)]
pub struct Journey {
    pub id: String,
    /// The milestone that starts the clock; the same in all versions.
    pub start: String,
    /// Ascending; never empty.
    pub versions: Vec<Version>,
    /// What its events are read for, over all versions.
    pub(super) wanted: Wanted,
}

/// Names of attributes to be kept.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub segments: BTreeSet<String>,
    pub experiments: BTreeSet<String>,
}

/// One version of a journey.
#[derive(Debug)]
pub struct Version {
    pub version: i32,
    pub effective_from: EventTime,
    /// Ids in the journey's order.
    pub milestones: Vec<String>,
    /// One for each pair of neighbours in `milestones`.
    pub stages: Vec<Stage>,
    pub target: Millis,
    pub deadlines: Vec<Deadline>,
    pub segments: BTreeSet<String>,
    pub experiments: BTreeSet<String>,
    pub grace: Millis,
    pub max_alert_lateness: Millis,
    pub abandon_after: Millis,
}

#[derive(Debug)]
pub struct Stage {
    pub id: String,
    pub target: Millis,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    pub level: BreachLevel,
    pub after: Millis,
}

/// A milestone that an event name may stand for.
#[derive(Debug)]
pub(super) struct MilestoneMatch {
    /// Index into the journeys.
    pub journey: usize,
    pub milestone: String,
    /// Each with the values one of which it must have.
    pub conditions: Vec<(String, Vec<Value>)>,
}

impl Journeys {
    /// Checks the definitions and makes them ready.
    ///
    /// # Errors
    /// Every problem found, each with the path to it.
    pub fn new(definitions: &[JourneyDefinition]) -> Result<Self, DefinitionErrors> {
        validate::check(definitions)?;
        let mut journeys: Vec<Journey> = Vec::new();
        let mut by_event: HashMap<String, Vec<MilestoneMatch>> = HashMap::new();
        let mut wanted = Wanted::default();
        let mut state_ttl = Millis(0);
        for definition in definitions {
            let index = journeys.iter().position(|journey| journey.id == definition.id).unwrap_or_else(|| {
                journeys.push(Journey::named(definition));
                journeys.len() - 1
            });
            let journey = &mut journeys[index];
            journey.wanted.extend(definition);
            wanted.extend(definition);
            journey.versions.push(Version::of(definition));
            state_ttl = state_ttl.max(millis(definition.state_ttl));
            for milestone in &definition.milestones {
                add_matches(&mut by_event, index, milestone);
            }
        }
        for journey in &mut journeys {
            journey.versions.sort_by_key(|version| version.version);
        }
        Ok(Self { all: journeys, by_event, wanted, state_ttl })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Journey> {
        self.all.iter()
    }

    /// The journey with this id, when it is loaded.
    pub fn get(&self, id: &str) -> Option<&Journey> {
        self.all.iter().find(|journey| journey.id == id)
    }

    /// The definition an attempt belongs to; `None` while its signup is not known or its version not loaded.
    pub fn version(&self, journey: &str, version: i32) -> Option<&Version> {
        self.get(journey)?.versions.iter().find(|candidate| candidate.version == version)
    }

    pub(super) fn all(&self) -> &[Journey] {
        &self.all
    }

    pub(super) fn matches(&self, event_name: &str) -> &[MilestoneMatch] {
        self.by_event.get(event_name).map_or(&[], Vec::as_slice)
    }
}

impl Journey {
    fn named(definition: &JourneyDefinition) -> Self {
        Self {
            id: definition.id.clone(),
            start: definition.milestones[0].id.clone(),
            versions: Vec::new(),
            wanted: Wanted::default(),
        }
    }

    /// The version a signup at `at` belongs to. The oldest one loaded takes everything before it, too.
    pub fn version_at(&self, at: EventTime) -> &Version {
        self.versions.iter().rev().find(|version| version.effective_from <= at).unwrap_or(&self.versions[0])
    }
}

impl Wanted {
    fn extend(&mut self, definition: &JourneyDefinition) {
        self.segments.extend(definition.segments.iter().cloned());
        self.experiments.extend(definition.experiments.iter().cloned());
    }
}

impl Version {
    fn of(definition: &JourneyDefinition) -> Self {
        Self {
            version: definition.version,
            effective_from: definition.effective_from.unwrap_or(EventTime(i64::MIN)),
            milestones: definition.milestones.iter().map(|milestone| milestone.id.clone()).collect(),
            stages: definition
                .stages
                .iter()
                .map(|stage| Stage { id: stage.id.clone(), target: millis(stage.target) })
                .collect(),
            target: millis(definition.total.target),
            deadlines: definition
                .deadlines
                .iter()
                .map(|deadline| Deadline { level: deadline.level, after: millis(deadline.after) })
                .collect(),
            segments: definition.segments.iter().cloned().collect(),
            experiments: definition.experiments.iter().cloned().collect(),
            grace: millis(definition.grace),
            max_alert_lateness: millis(definition.max_alert_lateness),
            abandon_after: millis(definition.abandon_after),
        }
    }

    /// The milestone that starts the clock.
    pub fn start(&self) -> &str {
        &self.milestones[0]
    }

    /// The milestone that is success.
    pub fn goal(&self) -> &str {
        &self.milestones[self.milestones.len() - 1]
    }

    pub fn deadline(&self, level: BreachLevel) -> Option<Deadline> {
        self.deadlines.iter().copied().find(|deadline| deadline.level == level)
    }
}

/// A configured duration in the domain's unit.
pub(super) fn millis(duration: HumanDuration) -> Millis {
    Millis(duration.millis())
}

/// A milestone id means the same in all versions of its journey, so it is entered once.
fn add_matches(by_event: &mut HashMap<String, Vec<MilestoneMatch>>, journey: usize, milestone: &MilestoneDefinition) {
    for event in &milestone.events {
        let matches = by_event.entry(event.clone()).or_default();
        if matches.iter().any(|known| known.journey == journey && known.milestone == milestone.id) {
            continue;
        }
        matches.push(MilestoneMatch {
            journey,
            milestone: milestone.id.clone(),
            conditions: milestone
                .conditions
                .iter()
                .map(|(property, expected)| match expected {
                    Value::Array(values) => (property.clone(), values.clone()),
                    value => (property.clone(), vec![value.clone()]),
                })
                .collect(),
        });
    }
}
