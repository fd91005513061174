//! Two records, breaches or states → the fields that differ.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use telemetry_schemas::{
    AvroMessage, BreachLevel, BreachReason, BreachStatus, EventTime, TtfBreach, TtfRecord,
    json::to_json,
    state::{AttemptState, JourneyState},
};

use crate::journey::{
    Version,
    deadlines::{self, Outcome},
    snapshot::success_at,
};

/// A field in which what was emitted and what was recomputed are not the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldDiff {
    /// `total_ms`, `stages.<id>.target_ms`, `segments.<name>`, `breaches.<level>.status`, `state.…`.
    pub field: String,
    /// `null`: not there.
    pub emitted: Value,
    /// `null`: not there.
    pub recomputed: Value,
}

/// Whose it is, its numbering and when it was written: not content.
const NOT_CONTENT: [&str; 8] =
    ["record_id", "tenant", "journey", "user_id", "attempt", "revision", "generation", "emitted_at"];

/// The content in which two records of one attempt differ.
pub fn records(emitted: &TtfRecord, recomputed: &TtfRecord) -> Vec<FieldDiff> {
    let same_numbering = TtfRecord {
        record_id: emitted.record_id.clone(),
        revision: emitted.revision,
        generation: emitted.generation,
        emitted_at: emitted.emitted_at,
        ..recomputed.clone()
    };
    if *emitted == same_numbering {
        return Vec::new();
    }
    diff(&content(emitted), &content(recomputed))
}

/// Every field of a message by its path.
fn content(record: &TtfRecord) -> BTreeMap<String, Value> {
    let mut fields = flat("", &message(record));
    fields.retain(|field, _| !NOT_CONTENT.contains(&field.as_str()));
    fields
}

fn message<T: AvroMessage>(message: &T) -> Value {
    let mut value = to_json(message);
    // By id: a list's positions say nothing.
    if let Some(stages) = value.get_mut("stages") {
        let by_id = stages.as_array_mut().into_iter().flatten().map(|stage| {
            let mut stage = stage.take();
            let id = stage.as_object_mut().and_then(|stage| stage.remove("id"));
            (id.and_then(|id| id.as_str().map(str::to_owned)).unwrap_or_default(), stage)
        });
        *stages = Value::Object(by_id.collect());
    }
    value
}

fn flat(path: &str, value: &Value) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields.extend(flat(&path, value));
            }
        }
        Value::Null => {}
        other => {
            fields.insert(path.to_owned(), other.clone());
        }
    }
    fields
}

fn diff(emitted: &BTreeMap<String, Value>, recomputed: &BTreeMap<String, Value>) -> Vec<FieldDiff> {
    let fields: std::collections::BTreeSet<&String> = emitted.keys().chain(recomputed.keys()).collect();
    fields
        .into_iter()
        .filter(|field| emitted.get(*field) != recomputed.get(*field))
        .map(|field| FieldDiff {
            field: field.clone(),
            emitted: emitted.get(field).cloned().unwrap_or_default(),
            recomputed: recomputed.get(field).cloned().unwrap_or_default(),
        })
        .collect()
}

/// How a level stands in the end: status, reason, due time, threshold. A deadline that was kept after all stands
/// like one that was never missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    status: BreachStatus,
    reason: Option<BreachReason>,
    due_at: EventTime,
    threshold_ms: i64,
}

impl Standing {
    fn emitted(breach: &TtfBreach) -> Option<Self> {
        (!is_over(breach)).then_some(Self {
            status: breach.status,
            reason: breach.reason,
            due_at: breach.due_at,
            threshold_ms: breach.threshold_ms.0,
        })
    }

    fn recomputed(version: &Version, attempt: &AttemptState, level: BreachLevel) -> Option<Self> {
        let breach = deadlines::breach(version, attempt, level)?;
        let (status, reason) = match breach.outcome {
            Outcome::Firing => (BreachStatus::Firing, None),
            Outcome::Resolved(BreachReason::Revised) => return None,
            Outcome::Resolved(reason) => (BreachStatus::Resolved, Some(reason)),
        };
        Some(Self { status, reason, due_at: breach.due_at, threshold_ms: breach.threshold.0 })
    }

    fn fields(self) -> BTreeMap<String, Value> {
        let mut fields = BTreeMap::from([
            ("status".to_owned(), Value::from(self.status.as_str())),
            ("due_at".to_owned(), Value::from(self.due_at.to_rfc3339())),
            ("threshold_ms".to_owned(), Value::from(self.threshold_ms)),
        ]);
        if let Some(reason) = self.reason {
            fields.insert("reason".to_owned(), serde_json::to_value(reason).unwrap_or_default());
        }
        fields
    }
}

/// Whether this breach says that there is none any more.
pub fn is_over(breach: &TtfBreach) -> bool {
    matches!(breach.reason, Some(BreachReason::Revised | BreachReason::Erased))
}

/// Whether the last breach emitted for a level says how it stands.
pub fn breach_stands(
    version: &Version,
    attempt: &AttemptState,
    level: BreachLevel,
    emitted: Option<&TtfBreach>,
) -> bool {
    emitted.and_then(Standing::emitted) == Standing::recomputed(version, attempt, level)
}

/// The levels in which the breaches emitted for an attempt and the recomputed ones differ. `recomputed` is `None`
/// when there is no such attempt.
pub fn breaches(emitted: &[&TtfBreach], recomputed: Option<(&Version, &AttemptState)>) -> Vec<FieldDiff> {
    let mut found = Vec::new();
    for level in BreachLevel::ALL {
        let emitted = emitted.iter().find(|breach| breach.level == level).and_then(|breach| Standing::emitted(breach));
        let recomputed = recomputed.and_then(|(version, attempt)| Standing::recomputed(version, attempt, level));
        match (emitted, recomputed) {
            (emitted, recomputed) if emitted == recomputed => {}
            (Some(emitted), Some(recomputed)) => {
                let path = |fields: BTreeMap<String, Value>| {
                    fields.into_iter().map(|(name, value)| (format!("breaches.{}.{name}", level.as_str()), value))
                };
                found.extend(diff(&path(emitted.fields()).collect(), &path(recomputed.fields()).collect()));
            }
            (emitted, recomputed) => found.push(FieldDiff {
                field: format!("breaches.{}", level.as_str()),
                emitted: emitted.map_or(Value::Null, |standing| standing.status.as_str().into()),
                recomputed: recomputed.map_or(Value::Null, |standing| standing.status.as_str().into()),
            }),
        }
    }
    found
}

/// The facts and judgements in which two states of one attempt differ.
pub fn attempts(version: Option<&Version>, known: &AttemptState, fresh: &AttemptState) -> Vec<FieldDiff> {
    let (known, fresh) = (without_history(version, known), without_history(version, fresh));
    if known == fresh {
        return Vec::new();
    }
    diff(&fields_of_state(&known), &fields_of_state(&fresh))
}

/// An attempt without what depends on when it was looked at.
fn without_history(version: Option<&Version>, attempt: &AttemptState) -> AttemptState {
    let mut attempt = AttemptState { revision: 0, ..attempt.clone() };
    if let Some(version) = version {
        attempt.abandoned &= success_at(version, &attempt).is_none();
        let stands = |level| Standing::recomputed(version, &attempt, level).is_some();
        let standing: Vec<BreachLevel> = BreachLevel::ALL.into_iter().filter(|level| stands(*level)).collect();
        attempt.deadlines.retain(|judged| standing.contains(&judged.level));
    }
    for judged in &mut attempt.deadlines {
        (judged.firing, judged.late, judged.detected_at) = (false, false, EventTime(0));
    }
    attempt.deadlines.sort_by_key(|judged| judged.level);
    attempt
}

fn fields_of_state(attempt: &AttemptState) -> BTreeMap<String, Value> {
    let mut value = serde_json::to_value(attempt).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        for name in ["journey", "attempt", "revision"] {
            map.remove(name);
        }
        let judged: serde_json::Map<_, _> =
            attempt.deadlines.iter().map(|judged| (judged.level.as_str().to_owned(), "judged".into())).collect();
        map.insert("deadlines".to_owned(), judged.into());
    }
    instants(&mut value);
    flat("state", &value)
}

/// What `identify` events said of the user, where two states differ in it.
pub fn identity(known: &JourneyState, fresh: &JourneyState) -> Vec<FieldDiff> {
    let told = |state: &JourneyState| {
        let mut value = serde_json::json!({
            "erased_at": state.erased_at.map(EventTime::to_rfc3339),
            "segments": state.segments,
            "experiments": state.experiments,
            "release": state.release,
        });
        instants(&mut value);
        flat("state.user", &value)
    };
    diff(&told(known), &told(fresh))
}

/// Shows every `at` as an instant.
fn instants(value: &mut Value) {
    let Value::Object(map) = value else { return };
    for (name, value) in map {
        match value.as_i64() {
            Some(at) if name == "at" => *value = EventTime(at).to_rfc3339().into(),
            _ => instants(value),
        }
    }
}
