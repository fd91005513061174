//! Cuts a body into the raw texts of its events, so that one bad event never costs the good ones and the rejected
//! topic gets the original bytes.

mod entries;

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Map, Value, value::RawValue};
use telemetry_schemas::time::EventTime;

use self::entries::{Entries, Sorted};
use crate::validate::{self, Code, Violation, bounded, nearest, rfc3339};

/// How the events stand in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One event, an array of events, or `{"events":[…],"sent_at":…}`.
    Json,
    /// One event a line.
    Ndjson,
}

/// A body cut into events.
#[derive(Debug)]
pub struct Batch {
    pub events: Vec<RawEvent>,
    /// The client's clock when it sent the batch.
    pub sent_at: Option<EventTime>,
}

/// The text of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// As received.
    pub bytes: Bytes,
    /// False when the bytes are not UTF-8 and thus cannot be JSON.
    pub is_utf8: bool,
}

/// Why a body could not be cut into events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    Malformed(Violation),
    TooManyEvents { limit: usize },
}

/// Keys beside `events` that the envelope may have.
const ENVELOPE_KEYS: [&str; 2] = ["events", "sent_at"];

/// Cuts `body` into at most `max_events` events.
pub fn split(body: &Bytes, form: Form, max_events: usize) -> Result<Batch, Unreadable> {
    match form {
        Form::Ndjson => split_lines(body, max_events),
        Form::Json => split_json(body, max_events),
    }
}

fn split_lines(body: &Bytes, max_events: usize) -> Result<Batch, Unreadable> {
    let mut events = Vec::new();
    for line in body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        if events.len() == max_events {
            return Err(Unreadable::TooManyEvents { limit: max_events });
        }
        events.push(RawEvent { bytes: body.slice_ref(line), is_utf8: std::str::from_utf8(line).is_ok() });
    }
    if events.is_empty() {
        return Err(Unreadable::Malformed(Violation::new(Code::InvalidJson, "", "the body is empty")));
    }
    Ok(Batch { events, sent_at: None })
}

fn split_json(body: &Bytes, max_events: usize) -> Result<Batch, Unreadable> {
    let text = Utf8Text::of(body);
    let raw = |value: &RawValue| text.raw_event(body, value.get());
    let (values, sent_at) = match first_byte(body) {
        None => return Err(malformed("the body is empty").into()),
        Some(b'[') => (read::<Vec<&RawValue>>(&text.text)?, None),
        Some(b'{') => {
            let Some(batch) = envelope(&text.text)? else {
                let event = text.raw_event(body, text.text.trim_ascii());
                return Ok(Batch { events: vec![event], sent_at: None });
            };
            batch
        }
        Some(_) => return Err(malformed("the body must be an object or an array").into()),
    };
    if values.len() > max_events {
        return Err(Unreadable::TooManyEvents { limit: max_events });
    }
    if values.is_empty() {
        return Err(malformed("there are no events in the body").into());
    }
    Ok(Batch { events: values.into_iter().map(raw).collect(), sent_at })
}

/// A body of another product's client: its records, and what stands beside them.
#[derive(Debug)]
pub struct Foreign {
    pub records: Vec<RawEvent>,
    /// Beside the list; of a record that came alone, its own fields.
    pub envelope: Map<String, Value>,
}

/// Cuts `body`, an array, an object with the array `list`, one record, or one record a line, into at most `max_events`.
pub fn split_foreign(body: &Bytes, list: &str, max_events: usize) -> Result<Foreign, Unreadable> {
    let text = Utf8Text::of(body);
    let raw = |value: &RawValue| text.raw_event(body, value.get());
    let (values, envelope) = match first_byte(body) {
        None => return Err(malformed("the body is empty").into()),
        Some(b'[') => (read::<Vec<&RawValue>>(&text.text)?, Map::new()),
        Some(b'{') => match read::<Entries<'_>>(&text.text) {
            Ok(Entries(entries)) => {
                let records = only_entry(&entries, list)?;
                let is_list = |value: &RawValue| value.get().starts_with('[');
                let values = match records.filter(|value| is_list(value)) {
                    Some(values) => read(values.get())?,
                    None => vec![read(&text.text)?],
                };
                let beside = entries.iter().filter(|(key, _)| key != list);
                let value = |value: &RawValue| validate::json(value.get().as_bytes()).unwrap_or(Value::Null);
                (values, beside.map(|(key, beside)| (key.to_string(), value(beside))).collect())
            }
            Err(violation) if body.trim_ascii().contains(&b'\n') => {
                let lines = split_lines(body, max_events)?;
                // Lines of which not even the first is a record are no lines of records.
                let first = lines.events.first().is_some_and(|first| validate::json(&first.bytes).is_ok());
                if !first {
                    return Err(violation.into());
                }
                return Ok(Foreign { records: lines.events, envelope: Map::new() });
            }
            Err(violation) => return Err(violation.into()),
        },
        Some(_) => return Err(malformed("the body must be an object or an array").into()),
    };
    if values.len() > max_events {
        return Err(Unreadable::TooManyEvents { limit: max_events });
    }
    Ok(Foreign { records: values.into_iter().map(raw).collect(), envelope })
}

fn first_byte(body: &[u8]) -> Option<u8> {
    body.trim_ascii_start().first().copied()
}

fn malformed(message: &str) -> Violation {
    Violation::new(Code::InvalidJson, "", message)
}

impl From<Violation> for Unreadable {
    fn from(violation: Violation) -> Self {
        Self::Malformed(violation)
    }
}

fn read<'t, T: serde::Deserialize<'t>>(text: &'t str) -> Result<T, Violation> {
    serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))
}

/// A body as text. Bytes that are not UTF-8 are replaced one by one, so that places in the text are places in the
/// body; the events that hold such bytes are refused later, the others live.
struct Utf8Text<'b> {
    text: Cow<'b, str>,
    /// Places of the replaced bytes, ascending.
    replaced: Vec<usize>,
}

impl<'b> Utf8Text<'b> {
    fn of(body: &'b [u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(body) {
            return Self { text: Cow::Borrowed(text), replaced: Vec::new() };
        }
        let mut text = String::with_capacity(body.len());
        let mut replaced = Vec::new();
        for chunk in body.utf8_chunks() {
            text.push_str(chunk.valid());
            for _ in chunk.invalid() {
                replaced.push(text.len());
                text.push('?');
            }
        }
        Self { text: Cow::Owned(text), replaced }
    }

    fn raw_event(&self, body: &Bytes, event: &str) -> RawEvent {
        let start = event.as_ptr() as usize - self.text.as_ptr() as usize;
        let end = start + event.len();
        let is_utf8 = self.replaced.get(self.replaced.partition_point(|at| *at < start)).is_none_or(|at| *at >= end);
        RawEvent { bytes: body.slice(start..end), is_utf8 }
    }
}

type Envelope<'t> = (Vec<&'t RawValue>, Option<EventTime>);

/// Reads an object as a batch; `None` when it has no `events` and so must be one event.
fn envelope(object: &str) -> Result<Option<Envelope<'_>>, Violation> {
    let Sorted { mut lists, beside } = read(object)?;
    let Some(events) = lists.pop() else {
        return Ok(None);
    };
    if !lists.is_empty() {
        return Err(given_twice("events"));
    }
    if let Some((key, _)) = beside.iter().find(|(key, _)| !ENVELOPE_KEYS.contains(&key.as_ref())) {
        return Err(unknown_key(key));
    }
    let Some(events) = events else {
        return Err(Violation::new(Code::DatatypeMismatch, "/events", "must be an array of events"));
    };
    let sent_at = only_entry(&beside, "sent_at")?.map(instant).transpose()?;
    Ok(Some((events, sent_at)))
}

fn only_entry<'t>(entries: &[(Cow<'t, str>, &'t RawValue)], key: &str) -> Result<Option<&'t RawValue>, Violation> {
    let mut found = entries.iter().filter(|(name, _)| name == key).map(|(_, value)| *value);
    let first = found.next();
    if found.next().is_some() { Err(given_twice(key)) } else { Ok(first) }
}

fn given_twice(key: &str) -> Violation {
    Violation::new(Code::DuplicateKey, format!("/{key}"), format!("the key `{key}` is given twice"))
}

fn unknown_key(key: &str) -> Violation {
    let key = bounded(key);
    let hint = match nearest(&key, &ENVELOPE_KEYS) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "a batch has `events` and `sent_at`".to_owned(),
    };
    let message = format!("`{key}` is not a key of a batch");
    Violation::new(Code::AdditionalProperties, format!("/{key}"), message).with_hint(hint)
}

fn instant(value: &RawValue) -> Result<EventTime, Violation> {
    let parsed = serde_json::from_str::<Cow<'_, str>>(value.get()).ok().and_then(|text| rfc3339::parse(&text));
    parsed.ok_or_else(|| {
        Violation::new(Code::TimestampInvalid, "/sent_at", "is not an RFC 3339 date-time")
            .with_hint("RFC 3339 with an offset, such as 2026-01-31T12:00:00.000Z")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(body: &str) -> Result<Vec<String>, Unreadable> {
        cut(body.as_bytes(), Form::Json)
    }

    fn cut(body: &[u8], form: Form) -> Result<Vec<String>, Unreadable> {
        let batch = split(&Bytes::copy_from_slice(body), form, 3)?;
        Ok(batch.events.iter().map(|event| String::from_utf8_lossy(&event.bytes).into_owned()).collect())
    }

    fn refused(body: &str) -> (Code, String) {
        match json(body) {
            Err(Unreadable::Malformed(violation)) => (violation.code, violation.path),
            other => panic!("{body} gave {other:?}"),
        }
    }

    #[test]
    fn every_form_gives_the_raw_texts() {
        assert_eq!(json("\n {\"a\": 1} \t").unwrap(), [r#"{"a": 1}"#]);
        assert_eq!(json(r#"[{"a":1}, 2 ,"x"]"#).unwrap(), [r#"{"a":1}"#, "2", r#""x""#]);
        assert_eq!(json(r#"{"sent_at":"2026-01-01T00:00:00Z","events":[{"a" :1}]}"#).unwrap(), [r#"{"a" :1}"#]);
        assert_eq!(cut(b"{\"a\":1}\r\n\n not json\n", Form::Ndjson).unwrap(), [r#"{"a":1}"#, "not json"]);
    }

    #[test]
    fn a_batch_says_when_it_was_sent() {
        let body = Bytes::from_static(br#"{"events":[{}],"sent_at":"1970-01-01T00:00:01Z"}"#);
        assert_eq!(split(&body, Form::Json, 3).unwrap().sent_at, Some(EventTime(1_000)));
    }

    #[test]
    fn what_is_no_batch_is_refused_with_its_place() {
        assert_eq!(refused(""), (Code::InvalidJson, String::new()));
        assert_eq!(refused("[]"), (Code::InvalidJson, String::new()));
        assert_eq!(refused("{\"events\":[}"), (Code::InvalidJson, String::new()));
        assert_eq!(refused(r#""text""#), (Code::InvalidJson, String::new()));
        for no_list in ["{}", r#"{"a":[{}]}"#, "null", "true", "-1", "2", "0.5", r#""text""#] {
            let body = format!(r#"{{"events":{no_list},"sent_at":1}}"#);
            assert_eq!(refused(&body), (Code::DatatypeMismatch, "/events".into()), "{no_list}");
        }
        assert_eq!(refused(r#"{"events":[1],"events":[2]}"#), (Code::DuplicateKey, "/events".into()));
        assert_eq!(refused(r#"{"events":[1],"sentAt":1}"#), (Code::AdditionalProperties, "/sentAt".into()));
        assert_eq!(refused(r#"{"events":[1],"sent_at":1}"#), (Code::TimestampInvalid, "/sent_at".into()));
        assert_eq!(json("[1,2,3,4]"), Err(Unreadable::TooManyEvents { limit: 3 }));
    }

    #[test]
    fn only_the_event_with_bytes_that_are_no_text_suffers() {
        let body = Bytes::from_static(b"[{\"a\":\"\xc3\xa4\"},{\"a\":\"\xff\xfe\"},{\"a\":2}]");
        let events = split(&body, Form::Json, 3).unwrap().events;
        assert_eq!(events.iter().map(|event| event.is_utf8).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(&events[1].bytes[..], b"{\"a\":\"\xff\xfe\"}");
        assert_eq!(&events[2].bytes[..], b"{\"a\":2}");
    }

    #[test]
    fn depth_does_not_matter_here() {
        let deep = format!("[{}{}]", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(json(&deep).unwrap().len(), 1);
    }
}
