//! Reads JSON strictly: a key given twice is an error (which of the two was meant?), nesting is bounded.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, de::Read, map::Entry};

use super::{Code, Violation, bounded};

/// Deeper nesting than this is refused while reading; what the schema allows is far less.
const MAX_NESTING: usize = 64;

/// Reads one JSON value that must fill `raw`.
pub fn read(raw: &[u8]) -> Result<Value, Violation> {
    // Known to be text as a whole, no string in it needs a look at its bytes of its own.
    match std::str::from_utf8(raw) {
        Ok(text) => read_from(serde_json::Deserializer::from_str(text)),
        Err(_) => read_from(serde_json::Deserializer::from_slice(raw)),
    }
}

fn read_from<'de, R: Read<'de>>(mut deserializer: serde_json::Deserializer<R>) -> Result<Value, Violation> {
    let fault = RefCell::new(None);
    let read = Strict { depth: 0, fault: &fault }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| match fault.into_inner() {
        Some(fault) => fault.into_violation(),
        None => syntax(&error),
    })
}

/// A syntax error in the words of an answer. The parser's messages tell places, never contents.
pub fn syntax(error: &serde_json::Error) -> Violation {
    let message = error.to_string();
    if message.starts_with("number out of range") {
        return Violation::new(Code::NumberOutOfRange, "", message).with_hint("send the number as a string");
    }
    let lone_surrogate = message.contains("surrogate") || message.contains("hex escape");
    let violation = Violation::new(Code::InvalidJson, "", message);
    if lone_surrogate { violation.with_hint("a \\u escape is one half of a surrogate pair") } else { violation }
}

/// What the reader itself found wrong; its path is put together from the inside out.
struct Fault {
    code: Code,
    message: String,
    segments: Vec<String>,
}

impl Fault {
    fn into_violation(self) -> Violation {
        let path = self.segments.iter().rev().fold(String::new(), |path, segment| path + "/" + segment);
        Violation::new(self.code, path, self.message)
    }
}

struct Strict<'f> {
    depth: usize,
    fault: &'f RefCell<Option<Fault>>,
}

impl Strict<'_> {
    fn inner(&self) -> Self {
        Strict { depth: self.depth + 1, fault: self.fault }
    }

    fn fail<E: serde::de::Error>(&self, code: Code, message: String, segment: Option<&str>) -> E {
        let segments = segment.map(super::names::pointer_segment).into_iter().collect();
        *self.fault.borrow_mut() = Some(Fault { code, message, segments });
        E::custom("refused")
    }

    fn came_through(&self, segment: impl FnOnce() -> String) {
        if let Some(fault) = self.fault.borrow_mut().as_mut() {
            fault.segments.push(segment());
        }
    }

    fn check_depth<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.depth < MAX_NESTING {
            return Ok(());
        }
        Err(self.fail(Code::TooDeep, format!("nested more than {MAX_NESTING} levels deep"), None))
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut items = Vec::new();
        loop {
            match seq.next_element_seed(self.inner()) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => return Ok(Value::Array(items)),
                Err(error) => {
                    self.came_through(|| items.len().to_string());
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.check_depth()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            match map.entry(key) {
                Entry::Occupied(first) => {
                    let key = first.key();
                    let message = format!("the key `{}` is given twice", bounded(key));
                    return Err(self.fail(Code::DuplicateKey, message, Some(key)));
                }
                Entry::Vacant(place) => match entries.next_value_seed(self.inner()) {
                    Ok(value) => drop(place.insert(value)),
                    Err(error) => {
                        self.came_through(|| super::names::pointer_segment(place.key()));
                        return Err(error);
                    }
                },
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(raw: &str) -> (Code, String) {
        let violation = read(raw.as_bytes()).expect_err("must be refused");
        (violation.code, violation.path)
    }

    #[test]
    fn a_key_given_twice_is_found_at_any_depth() {
        assert_eq!(refused(r#"{"a":1,"a":1}"#), (Code::DuplicateKey, "/a".into()));
        assert_eq!(refused(r#"{"p":{"list":[0,{"x/y":1,"x/y":2}]}}"#), (Code::DuplicateKey, "/p/list/1/x~1y".into()));
        assert_eq!(refused(r#"{"a":1,"\u0061":1}"#), (Code::DuplicateKey, "/a".into()));
    }

    #[test]
    fn nesting_is_bounded_before_the_stack_is() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert_eq!(refused(&deep).0, Code::TooDeep);
    }

    #[test]
    fn what_is_not_json_says_where() {
        assert_eq!(refused("{\"a\":NaN}").0, Code::InvalidJson);
        assert_eq!(refused("{\"a\":1e400}").0, Code::NumberOutOfRange);
        assert_eq!(refused("{\"a\":\"\\ud800\"}").0, Code::InvalidJson);
        assert_eq!(refused("{} {}").0, Code::InvalidJson);
        assert_eq!(refused("").0, Code::InvalidJson);
    }

    #[test]
    fn whole_numbers_keep_every_digit() {
        let value = read(br#"{"n":9007199254740993,"u":18446744073709551615}"#).expect("is JSON");
        assert_eq!(value.to_string(), r#"{"n":9007199254740993,"u":18446744073709551615}"#);
    }
}
