//! The id of an event, in as few bytes as it needs.

use std::{cmp::Ordering, fmt};

use compact_str::CompactString;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};
use uuid::{Uuid, fmt::Hyphenated};

/// The id of an event. A UUID in its usual text form takes 16 bytes; any other text is kept as it is.
///
/// Ids compare as their texts do. In Avro an id is its UTF-8 text, or a zero byte and the 16 bytes of the UUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId(Form);

/// One text has one form only, so that equal forms are equal ids.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Uuid(Uuid),
    Text(CompactString),
}

/// Before the bytes of a UUID. No id that a gateway lets in begins with it.
const UUID_MARK: u8 = 0;

impl EventId {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [UUID_MARK, uuid @ ..] if uuid.len() == 16 => {
                Uuid::from_slice(uuid).ok().map(|uuid| Self(Form::Uuid(uuid)))
            }
            text => std::str::from_utf8(text).ok().map(Self::from),
        }
    }

    /// From the numbers that serde makes of the Avro form in JSON.
    pub(crate) fn from_numbers(value: &serde_json::Value) -> Option<Self> {
        let byte = |number: &serde_json::Value| number.as_u64().and_then(|number| u8::try_from(number).ok());
        let bytes: Option<Vec<u8>> = value.as_array()?.iter().map(byte).collect();
        Self::from_bytes(&bytes?)
    }

    fn with_text<T>(&self, look: impl FnOnce(&str) -> T) -> T {
        match &self.0 {
            Form::Uuid(uuid) => look(uuid.hyphenated().encode_lower(&mut [0; Hyphenated::LENGTH])),
            Form::Text(text) => look(text),
        }
    }

    /// Compares with an id that is at hand as text.
    pub fn cmp_text(&self, other: &str) -> Ordering {
        self.with_text(|text| text.cmp(other))
    }
}

impl From<&str> for EventId {
    fn from(text: &str) -> Self {
        // Only the form that is printed again: hyphens and lower case.
        let usual = text.len() == Hyphenated::LENGTH && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match usual.then(|| Uuid::try_parse(text)) {
            Some(Ok(uuid)) => Self(Form::Uuid(uuid)),
            _ => Self(Form::Text(text.into())),
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl Ord for EventId {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            // Hexadecimal digits sort as the bytes they stand for, and all hyphens are in the same places.
            (Form::Uuid(one), Form::Uuid(other)) => one.cmp(other),
            (_, _) => other.with_text(|text| self.cmp_text(text)),
        }
    }
}

impl PartialOrd for EventId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Form::Uuid(uuid) => {
                let mut bytes = [UUID_MARK; 17];
                bytes[1..].copy_from_slice(uuid.as_bytes());
                serializer.serialize_bytes(&bytes)
            }
            Form::Text(text) => serializer.serialize_bytes(text.as_bytes()),
        }
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Id;
        impl<'de> Visitor<'de> for Id {
            type Value = EventId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event id")
            }

            // Version 1 of the schema, and JSON.
            fn visit_str<E: Error>(self, text: &str) -> Result<EventId, E> {
                Ok(EventId::from(text))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<EventId, E> {
                EventId::from_bytes(bytes).ok_or_else(|| E::custom("neither UTF-8 nor a marked UUID"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<EventId, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = numbers.next_element()? {
                    bytes.push(byte);
                }
                self.visit_bytes(&bytes)
            }
        }
        deserializer.deserialize_any(Id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_id() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<[u8; 16]>().prop_map(|bytes| Uuid::from_bytes(bytes).to_string()),
            any::<[u8; 16]>().prop_map(|bytes| Uuid::from_bytes(bytes).to_string().to_uppercase()),
            any::<[u8; 16]>().prop_map(|bytes| Uuid::from_bytes(bytes).simple().to_string()),
            "[0-9a-f-]{36}",
            "[^\\p{Cc}]{1,40}",
        ]
    }

    proptest! {
        #[test]
        fn an_id_comes_back_as_it_was(text in any_id()) {
            let id = EventId::from(text.as_str());
            prop_assert_eq!(id.to_string(), text.clone());
            let value = serde_json::to_value(&id).expect("numbers");
            prop_assert_eq!(EventId::from_numbers(&value), Some(id.clone()));
            prop_assert_eq!(serde_json::from_value::<EventId>(value).expect("an id"), id);
        }

        #[test]
        fn ids_compare_as_their_texts_do(one in any_id(), other in any_id()) {
            let ids = [EventId::from(one.as_str()), EventId::from(other.as_str())];
            prop_assert_eq!(ids[0].cmp(&ids[1]), one.cmp(&other));
            prop_assert_eq!(ids[0].cmp_text(&other), one.cmp(&other));
            prop_assert_eq!(ids[0] == ids[1], one == other);
        }
    }

    #[test]
    fn a_uuid_takes_seventeen_bytes_and_damaged_bytes_are_refused() {
        let id = EventId::from("0190f5f3-6c3b-7d5e-8a43-1f2e3d4c5b6a");
        let written = serde_json::to_value(&id).expect("numbers");
        assert_eq!(written.as_array().map(Vec::len), Some(17));
        assert_eq!(EventId::from_bytes(&[0xff, 0xfe]), None);
    }
}
