//! The JSON Schema of the native event, and the names that are valid in one.

use std::sync::LazyLock;

use serde_json::Value;

/// Version of the event schema; stored with rejected events.
pub const EVENT_SCHEMA_VERSION: i32 = 1;

/// The event's JSON Schema (2020-12), as the file says it.
pub const EVENT_SCHEMA: &str = include_str!("../json/event.schema.json");

/// The JSON Schema of a batch, `{"events":[…], "sent_at"}`; it refers to the event's by its `$id`.
pub const BATCH_SCHEMA: &str = include_str!("../json/batch.schema.json");

static EVENT: LazyLock<Value> = LazyLock::new(|| parse(EVENT_SCHEMA));
static BATCH: LazyLock<Value> = LazyLock::new(|| parse(BATCH_SCHEMA));
static EVENT_FIELDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| names(&["properties"]));
static CONTEXT_FIELDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| names(&["$defs", "context", "properties"]));
static EVENT_TYPES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    EVENT["properties"]["event_type"]["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
});

/// The event's JSON Schema, parsed.
pub fn event_schema() -> &'static Value {
    &EVENT
}

/// The batch's JSON Schema, parsed.
pub fn batch_schema() -> &'static Value {
    &BATCH
}

/// Names valid at the top level of an event.
pub fn event_fields() -> &'static [&'static str] {
    &EVENT_FIELDS
}

/// Names valid in `context`.
pub fn context_fields() -> &'static [&'static str] {
    &CONTEXT_FIELDS
}

/// Valid values of `event_type`.
pub fn event_types() -> &'static [&'static str] {
    &EVENT_TYPES
}

/// The candidate most like `name`, when one is like it enough to be what was meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = normalize(name);
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&wanted, &normalize(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// `userId`, `User-ID` and `user_id` are the same.
fn normalize(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("the schema is embedded at build time, and a test parses it")
}

fn names(path: &[&str]) -> Vec<&'static str> {
    let object = path.iter().fold(&*EVENT, |value, key| &value[*key]);
    object.as_object().into_iter().flat_map(|map| map.keys()).map(String::as_str).collect()
}

#[cfg(test)]
mod tests;
