//! What has changed between the definitions that were loaded before and those that are loaded now. Pure.
//!
//! A version that is in force is what its journeys are judged by, those under way too: it may not change under their
//! feet. What may change in place is how events are recognised (a correction holds for events from then on, in all
//! versions alike) and how long the processor waits.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use telemetry_schemas::EventTime;

use super::{definition::JourneyDefinition, validate::Problem};

/// A definition as it was loaded, kept in its JSON form: another release may know more keys, or fewer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    pub definition: Value,
    /// When a processor loaded it as it is.
    #[serde(with = "telemetry_schemas::time::rfc3339")]
    pub loaded_at: EventTime,
    /// It takes the place of one of the same version that was remembered before.
    #[serde(default)]
    pub replaces: bool,
}

/// A version of a journey.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId {
    pub journey: String,
    pub version: i32,
}

/// What is different from what is remembered.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// What may not be, with the path to it.
    pub refused: Vec<Problem>,
    /// Versions loaded for the first time, by their index in the definitions.
    pub new: Vec<usize>,
    /// Versions of which something was changed that may be, with what that is.
    pub corrected: Vec<(usize, Vec<String>)>,
    /// Versions that are remembered and not defined any more.
    pub unloaded: Vec<VersionId>,
}

impl Remembered {
    pub fn of(definition: &JourneyDefinition, loaded_at: EventTime, replaces: bool) -> Self {
        Self { definition: as_json(definition), loaded_at, replaces }
    }

    /// Which version it is; `None` when it is no definition.
    pub fn id(&self) -> Option<VersionId> {
        let version = self.definition.get("version")?.as_i64()?;
        Some(VersionId {
            journey: self.definition.get("id")?.as_str()?.to_owned(),
            version: i32::try_from(version).ok()?,
        })
    }

    fn effective_from(&self) -> Option<EventTime> {
        EventTime::parse(self.definition.get("effective_from")?.as_str()?).ok()
    }
}

impl Changes {
    /// Holds `definitions` against what is remembered.
    pub fn between(remembered: &[Remembered], definitions: &[JourneyDefinition], now: EventTime) -> Self {
        let mut changes = Self::default();
        for (index, definition) in definitions.iter().enumerate() {
            let path = format!("journeys[{index}]");
            let id = VersionId { journey: definition.id.clone(), version: definition.version };
            match remembered.iter().find(|known| known.id().as_ref() == Some(&id)) {
                None => match late(remembered, definition, now) {
                    Some(message) => changes.refuse(format!("{path}.effective_from"), message),
                    None => changes.new.push(index),
                },
                Some(known) => changes.compare(known, definition, index, now),
            }
        }
        let defined = |id: &VersionId| definitions.iter().any(|it| it.id == id.journey && it.version == id.version);
        changes.unloaded = remembered.iter().filter_map(Remembered::id).filter(|id| !defined(id)).collect();
        changes.unloaded.sort();
        changes
    }

    fn refuse(&mut self, path: String, message: String) {
        self.refused.push(Problem { path, message });
    }

    fn compare(&mut self, known: &Remembered, definition: &JourneyDefinition, index: usize, now: EventTime) {
        let (before, after) = (&known.definition, as_json(definition));
        let mut judged = Vec::new();
        differences(&judged_by(before), &judged_by(&after), "", &mut judged);
        let mut corrected = Vec::new();
        differences(&recognised_by(before), &recognised_by(&after), "", &mut corrected);
        let is_to_come = |from: Option<EventTime>| from.is_some_and(|from| from > now);
        if is_to_come(known.effective_from()) && is_to_come(definition.effective_from) {
            // No journey belongs to it yet.
            corrected.append(&mut judged);
        }
        for difference in judged {
            let message = format!(
                "{}, but version {} of `{}` has {} since it was loaded at {}, and journeys under way are judged by it; \
                 put that back, and add the change as the next version with an `effective_from` in the future",
                difference.now_words(),
                definition.version,
                definition.id,
                difference.before,
                known.loaded_at
            );
            self.refuse(format!("journeys[{index}].{}", difference.path), message);
        }
        if !corrected.is_empty() {
            let words = |it: &Difference| format!("{}: {} → {}", it.path, it.before, it.now);
            self.corrected.push((index, corrected.iter().map(words).collect()));
        }
    }
}

/// Why a version that is loaded for the first time comes too late.
fn late(remembered: &[Remembered], definition: &JourneyDefinition, now: EventTime) -> Option<String> {
    let from = definition.effective_from.filter(|from| *from <= now)?;
    let of_journey = |known: &&Remembered| known.id().is_some_and(|id| id.journey == definition.id);
    let before = remembered.iter().filter(of_journey).filter_map(Remembered::id).map(|id| id.version).max()?;
    Some(format!(
        "{from} has passed, and version {} of `{}` was never loaded before: signups since then were judged by version \
         {before} already; choose an instant by which every processor has this configuration",
        definition.version, definition.id
    ))
}

fn as_json(definition: &JourneyDefinition) -> Value {
    serde_json::to_value(definition).expect("a definition has a JSON form: its keys are strings")
}

/// What journeys under way are judged by.
fn judged_by(definition: &Value) -> Value {
    let milestones = definition["milestones"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut judged = Map::new();
    judged.insert("effective_from".to_owned(), definition["effective_from"].clone());
    judged.insert("milestones".to_owned(), milestones.iter().map(|milestone| milestone["id"].clone()).collect());
    for key in ["stages", "total", "deadlines", "abandon_after"] {
        judged.insert(key.to_owned(), definition[key].clone());
    }
    for key in ["segments", "experiments"] {
        judged.insert(key.to_owned(), sorted(&definition[key]));
    }
    Value::Object(judged)
}

/// How events are recognised, and how patient the processor is.
fn recognised_by(definition: &Value) -> Value {
    let milestones = definition["milestones"].as_array().map(Vec::as_slice).unwrap_or_default();
    let by_id: Map<String, Value> = milestones
        .iter()
        .filter_map(|milestone| {
            let id = milestone["id"].as_str()?.to_owned();
            Some((id, json!({ "events": sorted(&milestone["events"]), "where": milestone["where"] })))
        })
        .collect();
    let mut recognised = Map::from_iter([("milestones".to_owned(), Value::Object(by_id))]);
    for key in ["grace", "max_alert_lateness", "state_ttl"] {
        recognised.insert(key.to_owned(), definition[key].clone());
    }
    Value::Object(recognised)
}

/// A list whose order means nothing.
fn sorted(list: &Value) -> Value {
    let mut names: Vec<Value> = list.as_array().cloned().unwrap_or_default();
    names.sort_by_key(Value::to_string);
    Value::Array(names)
}

/// One value that is not what it was, both in words.
#[derive(Debug, PartialEq, Eq)]
struct Difference {
    /// Below the definition.
    path: String,
    before: String,
    now: String,
}

impl Difference {
    fn now_words(&self) -> String {
        if self.now == NOTHING { "is left out".to_owned() } else { format!("is {}", self.now) }
    }
}

const NOTHING: &str = "nothing";

/// Every value that differs. Keys that only one side has are another release's and no difference.
fn differences(before: &Value, now: &Value, path: &str, found: &mut Vec<Difference>) {
    match (before, now) {
        _ if before == now => {}
        (Value::Object(before), Value::Object(now)) => {
            for (key, value) in now {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                if let Some(before) = before.get(key) {
                    differences(before, value, &path, found);
                }
            }
        }
        (Value::Array(before), Value::Array(now)) if before.len() == now.len() && is_structured(now) => {
            for (index, (before, now)) in before.iter().zip(now).enumerate() {
                differences(before, now, &format!("{path}[{index}]"), found);
            }
        }
        _ => found.push(Difference { path: path.to_owned(), before: in_words(before), now: in_words(now) }),
    }
}

fn is_structured(list: &[Value]) -> bool {
    list.iter().any(Value::is_object)
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(values) if is_structured(values) => {
            let ids: Vec<&str> = values.iter().filter_map(|value| value.get("id")?.as_str()).collect();
            let names = if ids.is_empty() { String::new() } else { format!(" ({})", ids.join(", ")) };
            format!("{} entries{names}", values.len())
        }
        other => format!("`{other}`"),
    }
}
