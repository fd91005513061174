//! The rules of the event's own fields. What `properties` and `context` may hold is in their own modules.

use serde_json::{Map, Value};
use telemetry_schemas::event::{EventContext, EventType};

use super::{
    Code, MAX_VIOLATIONS, ValidEvent, Violation, context,
    names::{bounded, kind, nearest, pointer_segment},
    properties, rfc3339,
};

/// The fields of an event, in the order of the documentation.
pub const FIELDS: [&str; 10] = [
    "event_name",
    "event_type",
    "event_id",
    "timestamp",
    "user_id",
    "anonymous_id",
    "session_id",
    "journey_id",
    "properties",
    "context",
];

/// The types an event may have.
pub const EVENT_TYPES: [(&str, EventType); 8] = [
    ("track", EventType::Track),
    ("ttf_milestone", EventType::TtfMilestone),
    ("identify", EventType::Identify),
    ("group", EventType::Group),
    ("page", EventType::Page),
    ("performance", EventType::Performance),
    ("error", EventType::Error),
    ("test", EventType::Test),
];

const MAX_EVENT_NAME: usize = 200;
const MAX_PERSON_ID: usize = 200;
const MAX_ID: usize = 100;

/// Collects what is wrong, up to a bound.
pub(super) struct Findings(Vec<Violation>);

impl Findings {
    pub fn add(&mut self, violation: Violation) {
        if self.0.len() < MAX_VIOLATIONS {
            self.0.push(violation);
        }
    }

    /// Adds `datatype_mismatch` unless the value is of the wanted kind.
    pub fn wrong_kind(&mut self, path: impl Into<String>, wanted: &str, value: &Value) {
        let message = format!("must be {wanted}, this is {}", kind(value));
        self.add(Violation::new(Code::DatatypeMismatch, path, message));
    }
}

/// Everything that is wrong with an event's object; empty when it is valid.
pub fn check(event: &Map<String, Value>) -> Vec<Violation> {
    let mut findings = Findings(Vec::new());
    for key in event.keys().filter(|key| !FIELDS.contains(&key.as_str())) {
        findings.add(unknown_field(key));
    }
    event_name(event.get("event_name"), &mut findings);
    let event_type = event_type(event.get("event_type"), &mut findings);
    for (field, max) in [
        ("event_id", MAX_ID),
        ("user_id", MAX_PERSON_ID),
        ("anonymous_id", MAX_PERSON_ID),
        ("session_id", MAX_ID),
        ("journey_id", MAX_ID),
    ] {
        if let Some(value) = event.get(field) {
            id(field, value, max, &mut findings);
        }
    }
    timestamp(event.get("timestamp"), &mut findings);
    subject(event, event_type, &mut findings);
    properties::check(event.get("properties"), event_type, &mut findings);
    if let Some(value) = event.get("context") {
        context::check(value, &mut findings);
    }
    findings.0
}

/// Takes a checked object apart.
pub fn take(event: Map<String, Value>) -> ValidEvent {
    let mut valid = ValidEvent {
        event_name: String::new(),
        event_type: EventType::Unknown,
        event_id: None,
        timestamp: None,
        user_id: None,
        anonymous_id: None,
        session_id: None,
        journey_id: None,
        properties: Map::new(),
        context: EventContext::default(),
    };
    for (name, value) in event {
        match (name.as_str(), value) {
            ("event_name", Value::String(text)) => valid.event_name = text,
            ("event_type", Value::String(text)) => valid.event_type = type_named(&text).unwrap_or(EventType::Unknown),
            ("event_id", Value::String(text)) => valid.event_id = Some(text),
            ("timestamp", Value::String(text)) => valid.timestamp = rfc3339::parse(&text),
            ("user_id", Value::String(text)) => valid.user_id = Some(text),
            ("anonymous_id", Value::String(text)) => valid.anonymous_id = Some(text),
            ("session_id", Value::String(text)) => valid.session_id = Some(text),
            ("journey_id", Value::String(text)) => valid.journey_id = Some(text),
            ("properties", Value::Object(properties)) => valid.properties = properties,
            ("context", Value::Object(context)) => valid.context = context::take(context),
            _ => {}
        }
    }
    valid
}

/// True when this could be an `event_id`, so that an answer may repeat it.
pub fn is_event_id(id: &str) -> bool {
    !id.is_empty() && !longer_than(id, MAX_ID) && !has_control(id)
}

/// True when an event can have this name.
pub fn is_event_name(name: &str) -> bool {
    (1..=MAX_EVENT_NAME).contains(&name.len()) && name.chars().all(is_name_char)
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.:$ -".contains(c)
}

/// True when this can be a `user_id`.
pub fn is_person_id(id: &str) -> bool {
    !id.is_empty() && !longer_than(id, MAX_PERSON_ID) && !has_control(id)
}

fn unknown_field(key: &str) -> Violation {
    let path = format!("/{}", pointer_segment(key));
    let violation =
        Violation::new(Code::AdditionalProperties, path, format!("`{}` is not a field of an event", bounded(key)));
    match nearest(key, &FIELDS) {
        Some(name) => violation.with_hint(format!("did you mean `{name}`?")),
        None => violation.with_hint("fields of your own belong into `properties`"),
    }
}

fn required(field: &str) -> Violation {
    Violation::new(Code::RequiredMissing, format!("/{field}"), format!("`{field}` is required"))
}

fn event_name(value: Option<&Value>, findings: &mut Findings) {
    const PATH: &str = "/event_name";
    let Some(value) = value else {
        return findings.add(required("event_name"));
    };
    let Value::String(name) = value else {
        return findings.wrong_kind(PATH, "a string", value);
    };
    if name.is_empty() {
        findings.add(Violation::new(Code::TooShort, PATH, "must not be empty"));
    } else if !name.chars().all(is_name_char) {
        let violation = Violation::new(Code::PatternMismatch, PATH, "must match ^[A-Za-z0-9_.:$ -]+$");
        findings.add(violation.with_hint("use letters, digits and _ . : $ - or a space"));
    } else if name.len() > MAX_EVENT_NAME {
        findings.add(too_long(PATH, MAX_EVENT_NAME));
    }
}

fn event_type(value: Option<&Value>, findings: &mut Findings) -> Option<EventType> {
    const PATH: &str = "/event_type";
    let Some(value) = value else {
        findings.add(required("event_type").with_hint(one_of_types()));
        return None;
    };
    let Value::String(name) = value else {
        findings.wrong_kind(PATH, "a string", value);
        return None;
    };
    let known = type_named(name);
    if known.is_none() {
        let hint = match nearest(name, &EVENT_TYPES.map(|(name, _)| name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => one_of_types(),
        };
        findings.add(Violation::new(Code::UnknownValue, PATH, "is not a known event type").with_hint(hint));
    }
    known
}

fn type_named(name: &str) -> Option<EventType> {
    EVENT_TYPES.iter().find(|(known, _)| *known == name).map(|(_, event_type)| *event_type)
}

/// The name of a type in the native form.
pub fn type_name(event_type: EventType) -> &'static str {
    EVENT_TYPES.iter().find(|(_, known)| *known == event_type).map_or("unknown", |(name, _)| name)
}

fn one_of_types() -> String {
    format!("one of {}", EVENT_TYPES.map(|(name, _)| name).join(", "))
}

fn id(field: &str, value: &Value, max: usize, findings: &mut Findings) {
    let path = || format!("/{field}");
    let Value::String(id) = value else {
        findings.wrong_kind(path(), "a string", value);
        return;
    };
    if id.is_empty() {
        let violation = Violation::new(Code::TooShort, path(), "must not be empty");
        findings.add(violation.with_hint("leave the field out when there is none"));
    } else if has_control(id) {
        findings.add(Violation::new(Code::ControlCharacter, path(), "must not contain control characters"));
    } else if longer_than(id, max) {
        findings.add(too_long(path(), max));
    }
}

fn timestamp(value: Option<&Value>, findings: &mut Findings) {
    const PATH: &str = "/timestamp";
    const HINT: &str = "RFC 3339 with an offset, such as 2026-01-31T12:00:00.000Z";
    match value {
        None => {}
        Some(Value::String(text)) if rfc3339::parse(text).is_some() => {}
        Some(Value::String(_)) => {
            let violation = Violation::new(Code::TimestampInvalid, PATH, "is not an RFC 3339 date-time");
            findings.add(violation.with_hint(HINT));
        }
        Some(value) => {
            let message = format!("must be a string, this is {}", kind(value));
            findings.add(Violation::new(Code::DatatypeMismatch, PATH, message).with_hint(HINT));
        }
    }
}

/// Every type but `test`, `performance` and `error` tells of a person.
fn subject(event: &Map<String, Value>, event_type: Option<EventType>, findings: &mut Findings) {
    let impersonal = matches!(event_type, None | Some(EventType::Test | EventType::Performance | EventType::Error));
    if impersonal || event.contains_key("user_id") || event.contains_key("anonymous_id") {
        return;
    }
    let violation = Violation::new(Code::RequiredMissing, "/user_id", "`user_id` or `anonymous_id` is required");
    findings.add(violation.with_hint("only `test`, `performance` and `error` events need neither"));
}

fn has_control(text: &str) -> bool {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte);
    !text.bytes().all(is_plain) && text.chars().any(char::is_control)
}

/// Lengths count characters (Unicode code points), as JSON Schema's `maxLength` does.
pub(super) fn longer_than(text: &str, max: usize) -> bool {
    text.len() > max && text.chars().nth(max).is_some()
}

pub(super) fn too_long(path: impl Into<String>, max: usize) -> Violation {
    Violation::new(Code::TooLong, path, format!("must have at most {max} characters"))
}
