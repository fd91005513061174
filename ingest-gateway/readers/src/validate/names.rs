//! Names in messages: the nearest valid one, JSON Pointers, kinds of values.

use serde_json::Value;
use telemetry_schemas::json_schema;

/// The valid name closest to `given`, when it is close enough to have been meant.
pub fn nearest<'n>(given: &str, valid: &[&'n str]) -> Option<&'n str> {
    const LONGEST_SLIP: usize = 64;
    if given.len() > LONGEST_SLIP { None } else { json_schema::nearest(given, valid.iter().copied()) }
}

/// A key as it may stand in a message: cut to a bounded length, without control characters.
pub fn bounded(key: &str) -> String {
    const MAX_CHARS: usize = 60;
    let mut text: String =
        key.chars().take(MAX_CHARS).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if key.chars().nth(MAX_CHARS).is_some() {
        text.push('…');
    }
    text
}

/// A key as a segment of a JSON Pointer (RFC 6901), bounded.
pub fn pointer_segment(key: &str) -> String {
    bounded(key).replace('~', "~0").replace('/', "~1")
}

/// What kind of value this is, with its article.
pub const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_across_spellings() {
        let valid = ["event_name", "event_type", "user_id", "anonymous_id", "properties"];
        assert_eq!(nearest("eventName", &valid), Some("event_name"));
        assert_eq!(nearest("userid", &valid), Some("user_id"));
        assert_eq!(nearest("propertys", &valid), Some("properties"));
        assert_eq!(nearest("zzz", &valid), None);
    }
}
