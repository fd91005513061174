//! Which values of a message look different in JSON, read from its Avro schema.

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use crate::{message::MessageType, state::EventId, time::EventTime};

/// What is to be done with a value between the two forms.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// The same in both.
    Plain,
    /// Milliseconds ↔ RFC 3339.
    Instant,
    /// Text ↔ the JSON value it holds.
    Json,
    /// An array of numbers ↔ text in a field of the same name, or base64 in one with `_base64`.
    Bytes,
    /// An array of numbers ↔ the id it stands for (see [`crate::state::EventId`]).
    EventId,
    /// Only the fields that differ.
    Record { name: String, fields: BTreeMap<String, Shape> },
    /// Array or map.
    Each(Box<Shape>),
}

/// The shape of a message.
pub(super) fn of(message: MessageType) -> &'static Shape {
    static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| {
        MessageType::ALL
            .iter()
            .map(|message| {
                let schema: Value = serde_json::from_str(message.schema_json())
                    .expect("the schemas are embedded at build time, and a test parses every one of them");
                Shape::of_schema(&schema, &mut HashMap::new())
            })
            .collect()
    });
    &SHAPES[message as usize]
}

impl Shape {
    fn of_schema(schema: &Value, named: &mut HashMap<String, Shape>) -> Self {
        match schema {
            Value::String(name) if name == "bytes" => Self::Bytes,
            Value::String(name) => named.get(name).cloned().unwrap_or(Self::Plain),
            // A union: ours are all of null and one other.
            Value::Array(branches) => branches
                .iter()
                .map(|branch| Self::of_schema(branch, named))
                .find(|shape| *shape != Self::Plain)
                .unwrap_or(Self::Plain),
            Value::Object(object) => Self::of_object(object, named),
            _ => Self::Plain,
        }
    }

    fn of_object(object: &Map<String, Value>, named: &mut HashMap<String, Shape>) -> Self {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let element = |key: &str, named: &mut _| match object.get(key).map(|items| Self::of_schema(items, named)) {
            None | Some(Self::Plain) => Self::Plain,
            Some(shape) => Self::Each(Box::new(shape)),
        };
        match text("type") {
            _ if text("logicalType") == Some("timestamp-millis") => Self::Instant,
            _ if text("logicalType") == Some("event-id") => Self::EventId,
            _ if text("contentMediaType") == Some("application/json") => Self::Json,
            Some("array") => element("items", named),
            Some("map") => element("values", named),
            Some("record") => {
                let name = text("name").unwrap_or_default().to_owned();
                let mut fields = BTreeMap::new();
                for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                    let shape = Self::of_schema(&field["type"], named);
                    if let (Some(field_name), true) = (field["name"].as_str(), shape != Self::Plain) {
                        fields.insert(field_name.to_owned(), shape);
                    }
                }
                let shape = Self::Record { name: name.clone(), fields };
                named.insert(name, shape.clone());
                shape
            }
            _ => Self::Plain,
        }
    }

    /// From what serde writes to the JSON form.
    pub fn humanize(&self, value: &mut Value) {
        match (self, value) {
            (Self::Instant, value) => {
                if let Some(millis) = value.as_i64() {
                    *value = Value::String(EventTime(millis).to_rfc3339());
                }
            }
            (Self::EventId, value) => {
                if let Some(id) = EventId::from_numbers(value) {
                    *value = Value::String(id.to_string());
                }
            }
            (Self::Json, value) => {
                if let Some(parsed) = value.as_str().and_then(|text| serde_json::from_str(text).ok()) {
                    *value = parsed;
                }
            }
            (Self::Each(shape), Value::Array(items)) => items.iter_mut().for_each(|item| shape.humanize(item)),
            (Self::Each(shape), Value::Object(items)) => items.values_mut().for_each(|item| shape.humanize(item)),
            (Self::Record { name, fields }, Value::Object(object)) => {
                for (field, shape) in fields {
                    if *shape == Self::Bytes {
                        show_bytes(object, field);
                    } else if let Some(value) = object.get_mut(field) {
                        shape.humanize(value);
                    }
                }
                match name.as_str() {
                    "Event" => omit_absent(object, &["properties", "context"]),
                    "EventContext" => {
                        nest_library(object);
                        omit_absent(object, &[]);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// From the JSON form to what serde reads; `path` is where `value` is.
    pub fn dehumanize(&self, value: &mut Value, path: &str) -> Result<(), String> {
        match (self, value) {
            (Self::Instant, value) => {
                if let Some(text) = value.as_str() {
                    let instant = EventTime::parse(text).map_err(|_| format!("{path} is not a time in RFC 3339"))?;
                    *value = Value::from(instant.0);
                }
            }
            (Self::Json, value) => *value = Value::String(value.to_string()),
            (Self::Each(shape), Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    shape.dehumanize(item, &format!("{path}/{index}"))?;
                }
            }
            (Self::Each(shape), Value::Object(items)) => {
                for (key, item) in items {
                    shape.dehumanize(item, &format!("{path}/{key}"))?;
                }
            }
            (Self::Record { name, fields }, Value::Object(object)) => {
                if name == "EventContext" {
                    flatten_library(object);
                }
                for (field, shape) in fields {
                    let path = format!("{path}/{field}");
                    if *shape == Self::Bytes {
                        hide_bytes(object, field, &path)?;
                    } else if let Some(value) = object.get_mut(field) {
                        shape.dehumanize(value, &path)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Takes out nulls and empty objects, but keeps the named fields.
fn omit_absent(object: &mut Map<String, Value>, keep: &[&str]) {
    object.retain(|name, value| {
        let absent = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        !absent || keep.contains(&name.as_str())
    });
}

const LIBRARY: [(&str, &str); 2] = [("library_name", "name"), ("library_version", "version")];

fn nest_library(context: &mut Map<String, Value>) {
    let mut library = Map::new();
    for (flat, nested) in LIBRARY {
        if let Some(value) = context.remove(flat).filter(|value| !value.is_null()) {
            library.insert(nested.to_owned(), value);
        }
    }
    context.insert("library".to_owned(), Value::Object(library));
}

fn flatten_library(context: &mut Map<String, Value>) {
    let Some(Value::Object(mut library)) = context.remove("library") else { return };
    for (flat, nested) in LIBRARY {
        if let Some(value) = library.remove(nested) {
            context.insert(flat.to_owned(), value);
        }
    }
}

fn base64_field(field: &str) -> String {
    format!("{field}_base64")
}

fn show_bytes(object: &mut Map<String, Value>, field: &str) {
    let Some(Value::Array(numbers)) = object.remove(field) else { return };
    let bytes: Vec<u8> = numbers.iter().filter_map(Value::as_u64).map(|number| number as u8).collect();
    match String::from_utf8(bytes) {
        Ok(text) => object.insert(field.to_owned(), Value::String(text)),
        Err(error) => object.insert(base64_field(field), Value::String(BASE64_STANDARD.encode(error.as_bytes()))),
    };
}

fn hide_bytes(object: &mut Map<String, Value>, field: &str, path: &str) -> Result<(), String> {
    let bytes = match (object.remove(&base64_field(field)), object.get(field)) {
        (Some(Value::String(encoded)), _) => {
            BASE64_STANDARD.decode(encoded).map_err(|_| format!("{path}_base64 is not base64"))?
        }
        (_, Some(Value::String(text))) => text.as_bytes().to_vec(),
        _ => return Ok(()),
    };
    object.insert(field.to_owned(), Value::from(bytes));
    Ok(())
}
