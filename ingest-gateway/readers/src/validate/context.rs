//! The rules of `context`: its known keys and what they hold.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use telemetry_schemas::event::{Consent, EventContext};

use super::{
    Code, Violation,
    fields::{Findings, longer_than, too_long},
    names::{bounded, nearest, pointer_segment},
};

const KEYS: [&str; 9] =
    ["library", "locale", "timezone", "ip", "user_agent", "release", "segments", "experiments", "consent"];
const TEXTS: [&str; 5] = ["locale", "timezone", "ip", "user_agent", "release"];
const LIBRARY_KEYS: [&str; 2] = ["name", "version"];
const CONSENT_KEYS: [&str; 2] = ["analytics", "marketing"];

const MAX_TEXT: usize = 200;
const MAX_USER_AGENT: usize = 1_000;
const MAX_SEGMENTS: usize = 255;

pub fn check(value: &Value, findings: &mut Findings) {
    let Value::Object(context) = value else {
        return findings.wrong_kind("/context", "an object", value);
    };
    unknown_keys(context, "/context", &KEYS, findings);
    for key in TEXTS {
        if let Some(value) = context.get(key) {
            text(|| format!("/context/{key}"), value, max_length(key), findings);
        }
    }
    if let Some(library) = object(context, "library", findings) {
        unknown_keys(library, "/context/library", &LIBRARY_KEYS, findings);
        for (key, value) in library.iter().filter(|(key, _)| LIBRARY_KEYS.contains(&key.as_str())) {
            text(|| format!("/context/library/{key}"), value, MAX_TEXT, findings);
        }
    }
    for key in ["segments", "experiments"] {
        if let Some(map) = object(context, key, findings) {
            texts_by_name(key, map, findings);
        }
    }
    if let Some(consent) = object(context, "consent", findings) {
        unknown_keys(consent, "/context/consent", &CONSENT_KEYS, findings);
        for key in CONSENT_KEYS {
            match consent.get(key) {
                None if key == "analytics" => {
                    let violation = Violation::new(
                        Code::RequiredMissing,
                        "/context/consent/analytics",
                        "`consent.analytics` is required",
                    );
                    findings.add(violation.with_hint("say whether analytics was agreed to: true or false"));
                }
                None | Some(Value::Bool(_)) => {}
                Some(value) => findings.wrong_kind(format!("/context/consent/{key}"), "a boolean", value),
            }
        }
    }
}

/// Takes a checked `context` apart.
pub fn take(context: Map<String, Value>) -> EventContext {
    let mut taken = EventContext::default();
    for (name, value) in context {
        match (name.as_str(), value) {
            ("library", Value::Object(mut library)) => {
                taken.library_name = library.remove("name").and_then(text_of);
                taken.library_version = library.remove("version").and_then(text_of);
            }
            ("segments", Value::Object(texts)) => taken.segments = texts_of(texts),
            ("experiments", Value::Object(texts)) => taken.experiments = texts_of(texts),
            ("consent", Value::Object(consent)) => {
                let agreed = |key: &str| consent.get(key).and_then(Value::as_bool).unwrap_or(false);
                taken.consent = Some(Consent { analytics: agreed("analytics"), marketing: agreed("marketing") });
            }
            ("locale", value) => taken.locale = text_of(value),
            ("timezone", value) => taken.timezone = text_of(value),
            ("ip", value) => taken.ip = text_of(value),
            ("user_agent", value) => taken.user_agent = text_of(value),
            ("release", value) => taken.release = text_of(value),
            _ => {}
        }
    }
    taken
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn texts_of(map: Map<String, Value>) -> BTreeMap<String, String> {
    map.into_iter().filter_map(|(name, value)| Some((name, text_of(value)?))).collect()
}

fn max_length(key: &str) -> usize {
    match key {
        "user_agent" => MAX_USER_AGENT,
        _ => MAX_TEXT,
    }
}

fn object<'v>(context: &'v Map<String, Value>, key: &str, findings: &mut Findings) -> Option<&'v Map<String, Value>> {
    match context.get(key)? {
        Value::Object(map) => Some(map),
        value => {
            findings.wrong_kind(format!("/context/{key}"), "an object", value);
            None
        }
    }
}

/// The path is put together only for what is wrong.
fn text(path: impl FnOnce() -> String, value: &Value, max: usize, findings: &mut Findings) {
    match value {
        Value::String(text) if longer_than(text, max) => findings.add(too_long(path(), max)),
        Value::String(_) => {}
        value => findings.wrong_kind(path(), "a string", value),
    }
}

fn texts_by_name(key: &str, map: &Map<String, Value>, findings: &mut Findings) {
    if map.len() > MAX_SEGMENTS {
        let message = format!("must have at most {MAX_SEGMENTS} keys");
        findings.add(Violation::new(Code::TooManyKeys, format!("/context/{key}"), message));
    }
    for (name, value) in map {
        text(|| format!("/context/{key}/{}", pointer_segment(name)), value, MAX_TEXT, findings);
    }
}

fn unknown_keys(map: &Map<String, Value>, path: &str, known: &[&str], findings: &mut Findings) {
    for key in map.keys().filter(|key| !known.contains(&key.as_str())) {
        let message = format!("`{}` is not a known key of `{}`", bounded(key), path[1..].replace('/', "."));
        let violation = Violation::new(Code::AdditionalProperties, format!("{path}/{}", pointer_segment(key)), message);
        findings.add(match nearest(key, known) {
            Some(name) => violation.with_hint(format!("did you mean `{name}`?")),
            None => violation.with_hint(format!("known keys: {}", known.join(", "))),
        });
    }
}
