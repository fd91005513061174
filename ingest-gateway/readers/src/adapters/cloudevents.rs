//! CloudEvents 1.0: the JSON format, and the attributes of the binary mode put into the same form.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use serde_json::{Map, Value};

use super::{EventNames, Translated, draft::Draft};
use crate::validate::{Code, Violation};

/// Native fields and the attributes they come from.
pub(super) const PATHS: [(&str, &str); 8] = [
    ("/event_name", "/type"),
    ("/event_id", "/id"),
    ("/timestamp", "/time"),
    ("/user_id", "/subject"),
    ("/anonymous_id", "/anonymousid"),
    ("/session_id", "/sessionid"),
    ("/journey_id", "/journeyid"),
    ("/properties", "/data"),
];

/// `source` is part of an event's identity, which has bounds.
const MAX_SOURCE: usize = 200;

/// Attributes that are understood, or carry nothing the event needs.
const CONSUMED: [&str; 4] = ["specversion", "datacontenttype", "dataschema", "partitionkey"];

/// Puts one event into the native form. Extension attributes `anonymousid`, `sessionid`, `journeyid` and `eventtype` fill
/// the native fields; others go to the properties.
///
/// # Errors
/// A version other than 1.x, or no usable `source` or `id`.
pub fn translate(mut record: Map<String, Value>, names: &EventNames) -> Result<Translated, Violation> {
    version(record.get("specversion"))?;
    let source = source(record.remove("source"))?;
    if !matches!(record.get("id"), Some(Value::String(id)) if !id.is_empty()) {
        return Err(required("id"));
    }
    let mut draft = Draft::default();
    match (record.remove("data"), record.remove("data_base64")) {
        (Some(Value::Object(data)), _) => draft.properties(Some(data.into())),
        (Some(data), _) => draft.property("data", Some(data)),
        (None, encoded) => draft.property("data_base64", encoded),
    }
    let event_type = record.remove("eventtype");
    let event_type = event_type.as_ref().and_then(Value::as_str).unwrap_or("track");
    draft.named(&record.remove("type").unwrap_or(Value::String(String::new())), event_type, names);
    for (attribute, field) in [
        ("id", "event_id"),
        ("subject", "user_id"),
        ("anonymousid", "anonymous_id"),
        ("sessionid", "session_id"),
        ("journeyid", "journey_id"),
    ] {
        draft.id(field, record.remove(attribute));
    }
    draft.timestamp(record.remove("time"));
    for name in CONSUMED {
        record.remove(name);
    }
    for (name, value) in record {
        draft.property(&name, Some(value));
    }
    Ok(Translated { event: draft.finish(), sent_at: None, source: Some(source) })
}

fn version(stated: Option<&Value>) -> Result<(), Violation> {
    match stated {
        None => Err(required("specversion").with_hint("send specversion 1.0")),
        Some(Value::String(version)) if version == "1" || version.starts_with("1.") => Ok(()),
        Some(_) => Err(Violation::new(Code::UnknownValue, "/specversion", "is not a version that is taken")
            .with_hint("send specversion 1.0")),
    }
}

fn source(stated: Option<Value>) -> Result<String, Violation> {
    let Some(Value::String(source)) = stated.filter(|source| source.as_str() != Some("")) else {
        return Err(required("source"));
    };
    if source.chars().any(char::is_control) {
        return Err(Violation::new(Code::ControlCharacter, "/source", "must not contain control characters"));
    }
    if source.chars().nth(MAX_SOURCE).is_some() {
        let message = format!("must have at most {MAX_SOURCE} characters");
        return Err(Violation::new(Code::TooLong, "/source", message));
    }
    Ok(source)
}

fn required(attribute: &str) -> Violation {
    Violation::new(Code::RequiredMissing, format!("/{attribute}"), format!("`{attribute}` is required"))
}

/// The JSON form of an event whose attributes came as headers and whose data is the body (HTTP and Kafka, binary mode).
///
/// # Errors
/// Data that is said to be JSON and is not.
pub fn from_binary<'h>(
    attributes: impl Iterator<Item = (&'h str, String)>,
    content_type: Option<&str>,
    data: &[u8],
) -> Result<Map<String, Value>, Violation> {
    let mut record: Map<String, Value> =
        attributes.map(|(name, value)| (name.to_ascii_lowercase(), Value::String(value))).collect();
    if data.is_empty() {
        return Ok(record);
    }
    let media_type = content_type.unwrap_or("application/json").split(';').next().unwrap_or_default().trim();
    let media_type = media_type.to_ascii_lowercase();
    if media_type == "application/json" || media_type.ends_with("+json") {
        record.insert("data".to_owned(), crate::validate::json(data)?);
    } else if media_type.starts_with("text/")
        && let Ok(text) = std::str::from_utf8(data)
    {
        record.insert("data".to_owned(), text.into());
    } else {
        use base64::Engine;
        let encoded = base64::engine::general_purpose::STANDARD.encode(data);
        record.insert("data_base64".to_owned(), encoded.into());
    }
    Ok(record)
}

/// Undoes the percent-encoding of an attribute in an HTTP header (HTTP binding, 3.1.3.2).
pub fn header_text(value: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let encoded = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        if let Some(byte) = encoded {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}
