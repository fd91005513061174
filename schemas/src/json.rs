//! The JSON form of messages, as people and programs outside see it: HTTP answers, `ttf tail`, webhooks.
//!
//! Field names are those of the Avro form; instants are RFC 3339 in UTC with milliseconds, durations whole
//! milliseconds, enums `snake_case`, and properties an object. Three things differ in shape: `context.library` is
//! `{name, version}`, an event leaves out what it does not have (so that it reads like the event that was sent), and
//! a rejected payload is `payload` when it is UTF-8 and `payload_base64` otherwise.
//!
//! What is an instant or embedded JSON is read from the Avro schema, so a new field needs nothing here.

mod shape;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::Value;

use crate::{message::AvroMessage, redact::without_values};

/// A JSON value is not of a message's form.
#[derive(Debug, thiserror::Error)]
#[error("not the JSON form of {message}: {detail}")]
pub struct FromJsonError {
    message: &'static str,
    detail: String,
}

/// The message's JSON form.
pub fn to_json<T: AvroMessage>(message: &T) -> Value {
    let mut value = serde_json::to_value(message)
        .expect("messages are made of strings, numbers, lists and maps with string keys, which JSON can always carry");
    shape::of(T::TYPE).humanize(&mut value);
    value
}

/// The message of this JSON form. Unknown fields are ignored, unknown enum values become `Unknown`.
pub fn from_json<T: AvroMessage + DeserializeOwned>(mut value: Value) -> Result<T, FromJsonError> {
    let error = |detail: String| FromJsonError { message: T::NAME, detail };
    shape::of(T::TYPE).dehumanize(&mut value, "").map_err(error)?;
    serde_json::from_value(value).map_err(|cause| error(without_values(&cause.to_string())))
}

/// Serializes a message in its JSON form, where serde is asked for a field's value.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonForm<T>(pub T);

impl<T: AvroMessage> Serialize for JsonForm<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        to_json(&self.0).serialize(serializer)
    }
}

impl<'de, T: AvroMessage> Deserialize<'de> for JsonForm<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_json(Value::deserialize(deserializer)?).map(Self).map_err(serde::de::Error::custom)
    }
}
