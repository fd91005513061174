//! A state as a set of facts: what was seen, and by which event first. A state is the minimum of what its events say,
//! fact by fact, so that two states can be ordered fact by fact, too.

use std::collections::BTreeMap;

use serde_json::Value;
use telemetry_schemas::{EventTime, state::JourneyState};

/// Where a fact stands in a state: journey, attempt (both `""` for what `identify` said), name.
pub(super) type Place = (String, String, String);

/// One fact; the lesser one wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fact {
    pub at: EventTime,
    event_id: String,
    value: String,
}

/// Every fact of a state.
pub(super) fn facts(state: &JourneyState) -> BTreeMap<Place, Fact> {
    let mut all = BTreeMap::new();
    // By way of JSON: the field names are the names, whatever types hold them.
    let user = serde_json::to_value(state).unwrap_or_default();
    collect(&user, ("", ""), &mut all);
    for attempt in user["attempts"].as_array().into_iter().flatten() {
        let of = (text(&attempt["journey"]), text(&attempt["attempt"]));
        collect(attempt, (&of.0, &of.1), &mut all);
    }
    all
}

fn collect(from: &Value, (journey, attempt): (&str, &str), all: &mut BTreeMap<Place, Fact>) {
    for kind in ["milestones", "segments", "experiments"] {
        for (name, said) in from[kind].as_object().into_iter().flatten() {
            all.insert((journey.to_owned(), attempt.to_owned(), format!("{kind}.{name}")), fact(said));
        }
    }
    if from["release"].is_object() {
        all.insert((journey.to_owned(), attempt.to_owned(), "release".to_owned()), fact(&from["release"]));
    }
}

fn fact(said: &Value) -> Fact {
    Fact {
        at: EventTime(said["at"].as_i64().unwrap_or_default()),
        event_id: text(&said["event_id"]),
        value: text(&said["value"]),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
