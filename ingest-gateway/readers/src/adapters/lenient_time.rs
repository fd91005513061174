//! Instants as other products' clients write them.

use serde_json::Value;
use telemetry_schemas::time::EventTime;

use crate::validate::rfc3339;

/// Numbers below this are seconds since 1970, the others milliseconds: as seconds it is the year 5138, as milliseconds
/// it is March 1973.
const SECONDS_BELOW: f64 = 1e11;

/// Reads a time: RFC 3339, the same without an offset (UTC) or with a blank for the `T`, a date, or a number of seconds
/// or milliseconds since 1970. `None` when it is none of them.
pub fn read(value: &Value) -> Option<EventTime> {
    match value {
        Value::Number(number) => from_number(number.as_f64()?),
        Value::String(text) => from_text(text.trim()),
        _ => None,
    }
}

/// As [`read`], in the form of the native event; what is no time stays as it is, for the check to name it.
pub fn native(value: Value) -> Value {
    match read(&value) {
        Some(time) => Value::String(time.to_rfc3339()),
        None => value,
    }
}

fn from_number(number: f64) -> Option<EventTime> {
    let millis = if number.abs() < SECONDS_BELOW { number * 1_000.0 } else { number };
    // Years 0 to 9999, so that it can be written as RFC 3339.
    (-6.2e13..2.5e14).contains(&millis).then_some(EventTime(millis.round() as i64))
}

fn from_text(text: &str) -> Option<EventTime> {
    if let Some(time) = rfc3339::parse(text) {
        return Some(time);
    }
    if !text.is_ascii() {
        return None;
    }
    if text.len() == 10 {
        return rfc3339::parse(&format!("{text}T00:00:00Z")).or_else(|| from_number(text.parse().ok()?));
    }
    if text.len() > 10 && matches!(text.as_bytes()[10], b' ' | b'T' | b't') {
        let (date, time) = (&text[..10], text[11..].trim());
        let zone = time.rfind(['+', '-', 'Z', 'z']);
        let complete = match zone {
            None => format!("{date}T{time}Z"),
            Some(at) if time[at..].len() == 5 => {
                format!("{date}T{}{}:{}", time[..at].trim(), &time[at..at + 3], &time[at + 3..])
            }
            Some(at) => format!("{date}T{}{}", time[..at].trim(), &time[at..]),
        };
        return rfc3339::parse(&complete);
    }
    from_number(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_forms_clients_write_are_read() {
        let noon = Some(EventTime(1_795_392_000_123));
        for form in [
            json!("2026-11-23T08:00:00.123Z"),
            json!("2026-11-23T08:00:00.123456+00:00"),
            json!("2026-11-23T09:00:00.123+0100"),
            json!("2026-11-23 08:00:00.123"),
            json!("2026-11-23T08:00:00.123"),
            json!("2026-11-23 08:00:00.123 +00:00"),
            json!(1_795_420_800.123),
            json!(1_795_420_800_123_i64),
            json!("1795420800123"),
        ] {
            assert_eq!(read(&form), noon.map(|time| EventTime(time.0 + 28_800_000)), "{form}");
        }
        assert_eq!(read(&json!("1970-01-02")), Some(EventTime(86_400_000)));
        assert_eq!(read(&json!(1.5)), Some(EventTime(1_500)));
    }

    #[test]
    fn what_is_no_time_stays_for_the_check() {
        for form in [
            json!("soon"),
            json!(""),
            json!("2026-13-01 00:00:00"),
            json!(1e300),
            json!(null),
            json!({}),
            json!("äöüäöüäöüäöü"),
        ] {
            assert_eq!(read(&form), None, "{form}");
            assert_eq!(native(form.clone()), form);
        }
    }
}
