//! A journey with deadlines of seconds, told by events of its own.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use telemetry_schemas::{Event, EventTime, EventType, event::EventContext};

/// From signup to the one deadline, in milliseconds.
pub const DUE: i64 = 4_000;
/// When a deadline is judged after it is due, in milliseconds.
pub const GRACE: i64 = 500;

const SIGNUP: &str = "quick_signup";
const SUCCESS: &str = "quick_success";

/// The journey's definition; the events of other journeys mean nothing to it.
pub fn quick_journeys() -> Value {
    json!([{
        "id": "quick",
        "version": 1,
        "milestones": [{ "id": "signup", "events": [SIGNUP] }, { "id": "success", "events": [SUCCESS] }],
        "stages": [{ "id": "all", "from": "signup", "to": "success", "target": "1s" }],
        "total": { "target": "1s" },
        "deadlines": [{ "level": "warning", "after": format!("{DUE}ms") }],
        "segments": [],
        "experiments": [],
        "grace": format!("{GRACE}ms"),
    }])
}

/// One signup of each of these users.
pub fn signups<'a>(users: impl IntoIterator<Item = &'a str>, at_ms: i64) -> Vec<Event> {
    users.into_iter().map(|user| event(user, SIGNUP, at_ms)).collect()
}

fn event(user: &str, name: &str, at_ms: i64) -> Event {
    Event {
        tenant: "default".to_owned(),
        source: "http".to_owned(),
        event_id: format!("{user}:{name}"),
        event_name: name.to_owned(),
        event_type: EventType::Track,
        timestamp: EventTime(at_ms),
        original_timestamp: None,
        sent_at: None,
        received_at: EventTime(at_ms),
        user_id: Some(user.to_owned()),
        anonymous_id: None,
        session_id: None,
        journey_id: None,
        properties: Map::new(),
        context: EventContext::default(),
        sealed: BTreeMap::new(),
        replay: false,
    }
}
