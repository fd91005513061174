//! What the journeys look at of an event, borrowed from its bytes: most events change nothing, so as little as
//! possible is made of them.

use std::{cell::OnceCell, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use smallvec::SmallVec;
use telemetry_schemas::{Event, EventTime, EventType, event::Consent};

/// The part of an [`Event`] that journeys are made of.
#[derive(Debug, Deserialize)]
pub struct EventView<'a> {
    pub tenant: &'a str,
    pub event_id: &'a str,
    pub event_name: &'a str,
    pub event_type: EventType,
    pub timestamp: EventTime,
    pub received_at: EventTime,
    pub user_id: Option<&'a str>,
    pub journey_id: Option<&'a str>,
    #[serde(borrow)]
    pub properties: Properties<'a>,
    #[serde(borrow)]
    pub context: ContextView<'a>,
}

/// The part of its context.
#[derive(Debug, Deserialize)]
pub struct ContextView<'a> {
    pub library_name: Option<&'a str>,
    pub locale: Option<&'a str>,
    pub timezone: Option<&'a str>,
    pub release: Option<&'a str>,
    #[serde(borrow)]
    pub segments: Pairs<'a>,
    #[serde(borrow)]
    pub experiments: Pairs<'a>,
    pub consent: Option<Consent>,
}

impl<'a> EventView<'a> {
    pub fn of(event: &'a Event) -> Self {
        let context = &event.context;
        Self {
            tenant: &event.tenant,
            event_id: &event.event_id,
            event_name: &event.event_name,
            event_type: event.event_type,
            timestamp: event.timestamp,
            received_at: event.received_at,
            user_id: event.user_id.as_deref(),
            journey_id: event.journey_id.as_deref(),
            properties: Properties { source: Source::Map(&event.properties), parsed: OnceCell::new() },
            context: ContextView {
                library_name: context.library_name.as_deref(),
                locale: context.locale.as_deref(),
                timezone: context.timezone.as_deref(),
                release: context.release.as_deref(),
                segments: context.segments.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
                experiments: context.experiments.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
                consent: context.consent,
            },
        }
    }
}

/// Names and values.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pairs<'a>(SmallVec<[(&'a str, &'a str); 4]>);

impl<'a> Pairs<'a> {
    pub fn get(&self, name: &str) -> Option<&'a str> {
        // The last of a name counts, as in a map.
        self.0.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Pairs<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<'a>(PhantomData<&'a str>);
        impl<'de: 'a, 'a> Visitor<'de> for OfMap<'a> {
            type Value = Pairs<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Pairs<'a>, A::Error> {
                let mut pairs = SmallVec::new();
                while let Some(pair) = entries.next_entry::<&str, &str>()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData))
    }
}

/// The properties of an event, parsed when they are asked for.
#[derive(Debug)]
pub struct Properties<'a> {
    source: Source<'a>,
    parsed: OnceCell<Map<String, Value>>,
}

#[derive(Debug)]
enum Source<'a> {
    /// A JSON object. One that cannot be parsed has no properties: whoever shows or stores them tells of it.
    Text(&'a str),
    Map(&'a Map<String, Value>),
}

impl Properties<'_> {
    /// The property of this name, or, where there is none, the value at this dotted path.
    pub fn at(&self, name: &str) -> Option<&Value> {
        match self.source {
            Source::Map(map) => property_at(map, name),
            Source::Text(text) if !may_hold(text, name) => None,
            Source::Text(text) => {
                property_at(self.parsed.get_or_init(|| serde_json::from_str(text).unwrap_or_default()), name)
            }
        }
    }
}

/// False when the text of an object certainly has no property of this name or path: parsing costs more than looking.
fn may_hold(text: &str, name: &str) -> bool {
    let first = name.split_once('.').map_or(name, |(first, _)| first);
    text.contains(first) || text.contains('\\')
}

fn property_at<'a>(properties: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = properties.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    property_at(properties.get(first)?.as_object()?, rest)
}

impl<'de: 'a, 'a> Deserialize<'de> for Properties<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = &'de str;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object as text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<&'de str, E> {
                Ok(text)
            }
        }
        let text = deserializer.deserialize_str(Text)?;
        Ok(Self { source: Source::Text(text), parsed: OnceCell::new() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use telemetry_schemas::Codec;

    use super::*;
    use crate::journey::testing::{EventExt, NINE, event};

    #[test]
    fn a_view_of_the_bytes_shows_what_a_view_of_the_event_shows() {
        let event = event("signup", NINE)
            .with_property("plan", "team")
            .with_property("nested", serde_json::json!({"seats": 3}))
            .with_segment("country", "FR")
            .with_experiment("checklist", "b")
            .with_release("1.2")
            .in_attempt("second");
        let codec = Codec::without_registry();
        let bytes = codec.encode(&event).unwrap();
        let read: EventView<'_> = codec.decode_view::<Event, _>(&bytes).unwrap();
        let of_event = EventView::of(&event);
        for name in ["plan", "nested", "nested.seats", "nested.none", "none"] {
            assert_eq!(read.properties.at(name), of_event.properties.at(name), "{name}");
        }
        let shown = |view: &EventView<'_>| {
            let EventView { properties: _, .. } = view;
            format!("{:?} {:?} {:?} {:?} {:?}", view.tenant, view.event_id, view.event_type, view.user_id, view.context)
        };
        assert_eq!(shown(&read), shown(&of_event));
        assert_eq!((read.timestamp, read.received_at), (event.timestamp, event.received_at));
    }

    proptest! {
        #[test]
        fn a_property_is_found_however_its_name_is_written(name in "[a-z\u{e4}\"\\\\.]{1,6}", value in any::<i64>()) {
            let plain = Value::Object(Map::from_iter([(name.clone(), Value::from(value))])).to_string();
            let escaped: String = name.encode_utf16().fold(String::new(), |text, unit| text + &format!("\\u{unit:04x}"));
            for text in [plain, format!("{{\"{escaped}\":{value}}}")] {
                let properties = Properties { source: Source::Text(&text), parsed: OnceCell::new() };
                prop_assert_eq!(properties.at(&name), Some(&Value::from(value)), "{}", text);
            }
        }
    }
}
