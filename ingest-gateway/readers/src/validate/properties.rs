//! The rules of `properties`: how much may be in there, and what `performance` and `error` events must tell.

use serde_json::{Map, Number, Value};
use telemetry_schemas::event::EventType;

use super::{
    Code, Violation,
    fields::{Findings, longer_than, too_long},
    names::{nearest, pointer_segment},
};

const MAX_KEYS: usize = 255;
/// `properties` itself is level 1.
const MAX_DEPTH: usize = 5;
/// In UTF-8.
const MAX_STRING_BYTES: usize = 8 * 1024;
/// Of the named properties that become labels.
const MAX_NAME: usize = 200;

const STATUSES: [&str; 2] = ["ok", "error"];

pub fn check(value: Option<&Value>, event_type: Option<EventType>, findings: &mut Findings) {
    let properties = match value {
        None => {
            if let Some(EventType::Performance | EventType::Error) = event_type {
                findings.add(Violation::new(Code::RequiredMissing, "/properties", "`properties` is required"));
            }
            return;
        }
        Some(Value::Object(properties)) => properties,
        Some(value) => return findings.wrong_kind("/properties", "an object", value),
    };
    size(properties, findings);
    match event_type {
        Some(EventType::Performance) => performance(properties, findings),
        Some(EventType::Error) => error(properties, findings),
        _ => {}
    }
}

/// Finds the first thing in each property that is over a limit. Paths are only put together when there is one.
fn size(properties: &Map<String, Value>, findings: &mut Findings) {
    if properties.len() > MAX_KEYS {
        let message = format!("has {} keys, at most {MAX_KEYS} are taken", properties.len());
        findings.add(Violation::new(Code::TooManyKeys, "/properties", message));
    }
    for (key, value) in properties {
        let Some((excess, segments)) = excess(value, 2) else {
            continue;
        };
        let inner = segments.iter().rev().fold(String::new(), |path, segment| path + "/" + segment);
        let path = format!("/properties/{}{inner}", pointer_segment(key));
        findings.add(match excess {
            Excess::Depth => {
                Violation::new(Code::TooDeep, path, format!("is nested more than {MAX_DEPTH} levels deep"))
                    .with_hint("`properties` itself is level 1; send deeper structures as a JSON string")
            }
            Excess::Length => {
                Violation::new(Code::TooLong, path, format!("must have at most {MAX_STRING_BYTES} bytes in UTF-8"))
            }
        });
    }
}

#[derive(Clone, Copy)]
enum Excess {
    Depth,
    Length,
}

/// The first excess inside `value`, which stands at `level`, with its path from the inside out.
fn excess(value: &Value, level: usize) -> Option<(Excess, Vec<String>)> {
    match value {
        Value::String(text) => (text.len() > MAX_STRING_BYTES).then(|| (Excess::Length, Vec::new())),
        Value::Array(_) | Value::Object(_) if level > MAX_DEPTH => Some((Excess::Depth, Vec::new())),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let (excess, mut segments) = excess(item, level + 1)?;
            segments.push(index.to_string());
            Some((excess, segments))
        }),
        Value::Object(map) => map.iter().find_map(|(key, item)| {
            let (excess, mut segments) = excess(item, level + 1)?;
            segments.push(pointer_segment(key));
            Some((excess, segments))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn performance(properties: &Map<String, Value>, findings: &mut Findings) {
    const DURATION: &str = "/properties/duration_ms";
    name(properties, "operation", Presence::Required("performance"), findings);
    match properties.get("duration_ms") {
        Some(Value::Number(number)) if number.as_f64().is_some_and(|ms| ms >= 0.0) => {}
        Some(Value::Number(_)) => findings.add(Violation::new(Code::OutOfRange, DURATION, "must not be negative")),
        Some(value) => findings.wrong_kind(DURATION, "a number", value),
        None => findings.add(required("duration_ms", "performance")),
    }
    if let Some(status) = properties.get("status") {
        one_of("/properties/status", status, &STATUSES, findings);
    }
    if let Some(status) = properties.get("http_status") {
        http_status(status, findings);
    }
}

fn http_status(value: &Value, findings: &mut Findings) {
    const PATH: &str = "/properties/http_status";
    let Value::Number(number) = value else {
        return findings.wrong_kind(PATH, "a whole number", value);
    };
    if !is_whole(number) {
        findings.add(Violation::new(Code::DatatypeMismatch, PATH, "must be a whole number"));
    } else if !number.as_f64().is_some_and(|status| (100.0..=599.0).contains(&status)) {
        findings.add(Violation::new(Code::OutOfRange, PATH, "must be from 100 to 599"));
    }
}

/// JSON Schema counts 200.0 as a whole number.
fn is_whole(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|value| value.fract() == 0.0)
}

fn one_of(path: &str, value: &Value, valid: &[&str], findings: &mut Findings) {
    let Value::String(text) = value else {
        return findings.wrong_kind(path, "a string", value);
    };
    if !valid.contains(&text.as_str()) {
        let hint = match nearest(text, valid) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of {}", valid.join(", ")),
        };
        findings.add(Violation::new(Code::UnknownValue, path, "is not a known value").with_hint(hint));
    }
}

fn error(properties: &Map<String, Value>, findings: &mut Findings) {
    name(properties, "error_type", Presence::Required("error"), findings);
    name(properties, "severity", Presence::Optional, findings);
    name(properties, "operation", Presence::Optional, findings);
    match properties.get("message") {
        None | Some(Value::String(_)) => {}
        Some(value) => findings.wrong_kind("/properties/message", "a string", value),
    }
    match properties.get("handled") {
        None | Some(Value::Bool(_)) => {}
        Some(value) => findings.wrong_kind("/properties/handled", "a boolean", value),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// By events of this type; then it must not be empty either.
    Required(&'static str),
    Optional,
}

/// A short text that becomes a label.
fn name(properties: &Map<String, Value>, key: &str, presence: Presence, findings: &mut Findings) {
    let path = || format!("/properties/{key}");
    match (properties.get(key), presence) {
        (None, Presence::Required(event_type)) => findings.add(required(key, event_type)),
        (Some(Value::String(text)), Presence::Required(_)) if text.is_empty() => {
            findings.add(Violation::new(Code::TooShort, path(), "must not be empty"));
        }
        (Some(Value::String(text)), _) if longer_than(text, MAX_NAME) => findings.add(too_long(path(), MAX_NAME)),
        (None, Presence::Optional) | (Some(Value::String(_)), _) => {}
        (Some(value), _) => findings.wrong_kind(path(), "a string", value),
    }
}

fn required(name: &str, event_type: &str) -> Violation {
    let message = format!("`properties.{name}` is required for `{event_type}` events");
    Violation::new(Code::RequiredMissing, format!("/properties/{name}"), message)
}
