//! Instants and durations, in whole milliseconds.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An instant: milliseconds since 1970-01-01T00:00:00Z. serde writes it as that number, which is what Avro's
/// `timestamp-millis` is; the JSON form of messages ([`crate::json`]) shows it as RFC 3339, and so do fields
/// marked `#[serde(with = "telemetry_schemas::time::rfc3339")]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

/// A duration in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl EventTime {
    /// The instant as RFC 3339 in UTC with exactly three fractional digits.
    pub fn to_rfc3339(self) -> String {
        match Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => format!("{timestamp:.3}"),
            Err(_) => format!("{}ms", self.0),
        }
    }

    /// Parses RFC 3339 (any offset); fractions finer than a millisecond are cut off.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        if !has_rfc3339_shape(text.as_bytes()) {
            return Err(InvalidTime);
        }
        let timestamp: Timestamp = text.parse().map_err(|_| InvalidTime)?;
        // Towards the past, also before 1970.
        Ok(Self(timestamp.as_nanosecond().div_euclid(1_000_000) as i64))
    }

    /// `self − earlier`; negative when `earlier` is later.
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// `self + duration`.
    pub fn plus(self, duration: Millis) -> Self {
        Self(self.0.saturating_add(duration.0))
    }
}

/// `YYYY-MM-DDThh:mm:ss[.f…](Z|±hh:mm)`. The parser behind it takes more: basic format, bare hours, annotations.
fn has_rfc3339_shape(text: &[u8]) -> bool {
    const DATE_TIME: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    const OFFSET: &[u8] = b"+dd:dd";
    let fits = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, expected)| match expected {
                b'd' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b't'),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
    };
    let Some((date_time, rest)) = text.split_at_checked(DATE_TIME.len()) else { return false };
    let offset = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        None => rest,
    };
    fits(date_time, DATE_TIME) && (matches!(offset, b"Z" | b"z") || fits(offset, OFFSET))
}

/// A text is not a time in RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time in RFC 3339, such as 2026-01-31T09:30:00Z")]
pub struct InvalidTime;

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl Millis {
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds * 1_000)
    }

    pub const fn from_minutes(minutes: i64) -> Self {
        Self(minutes * 60_000)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// Instants as RFC 3339 in UTC with milliseconds: `#[serde(with = "telemetry_schemas::time::rfc3339")]`.
pub mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::EventTime;

    pub fn serialize<S: Serializer>(time: &EventTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        EventTime::parse(&text).map_err(D::Error::custom)
    }

    /// The same for an `Option`: `with = "telemetry_schemas::time::rfc3339::option"`.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        use super::EventTime;

        pub fn serialize<S: Serializer>(time: &Option<EventTime>, serializer: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => serializer.serialize_some(&time.to_rfc3339()),
                None => serializer.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<EventTime>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            text.map(|text| EventTime::parse(&text).map_err(D::Error::custom)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn rfc3339_is_read_in_every_form_it_has() {
        let forms = [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:00z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T23:30:00-00:30", 0),
            ("1970-01-01T00:00:00.5Z", 500),
            ("1970-01-01T00:00:00.123999999Z", 123),
            ("1969-12-31T23:59:59.9995Z", -1),
            ("2024-02-29T12:00:00.000Z", 1_709_208_000_000),
        ];
        for (text, millis) in forms {
            assert_eq!(EventTime::parse(text), Ok(EventTime(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let others = [
            "",
            "now",
            "1970-01-01",
            "1970-01-01T00:00:00",
            "1970-01-01 00:00:00Z",
            "19700101T000000Z",
            "1970-01-01T00Z",
            "1970-01-01T00:00Z",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00:00,5Z",
            "1970-01-01T00:00:00+0100",
            "1970-01-01T00:00:00+01",
            "1970-01-01T00:00:00Z[UTC]",
            " 1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z ",
            "2023-02-29T00:00:00Z",
            "1970-13-01T00:00:00Z",
            "1970-01-01T25:00:00Z",
            "1970-01-01T00:00:00+99:00",
            "١٩٧٠-01-01T00:00:00Z",
        ];
        for text in others {
            assert_eq!(EventTime::parse(text), Err(InvalidTime), "{text}");
        }
    }

    #[test]
    fn three_fraction_digits_are_always_shown() {
        assert_eq!(EventTime(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(EventTime(1_709_208_000_007).to_string(), "2024-02-29T12:00:00.007Z");
        assert_eq!(EventTime(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn the_serde_modules_write_and_read_text() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Form {
            #[serde(with = "rfc3339")]
            at: EventTime,
            #[serde(default, with = "rfc3339::option")]
            until: Option<EventTime>,
        }
        let form = Form { at: EventTime(7), until: Some(EventTime(8)) };
        let value = serde_json::to_value(&form).expect("JSON");
        assert_eq!(value, json!({"at": "1970-01-01T00:00:00.007Z", "until": "1970-01-01T00:00:00.008Z"}));
        assert_eq!(serde_json::from_value::<Form>(value).expect("its own form"), form);
        let bare: Form = serde_json::from_value(json!({"at": "1970-01-01T00:00:00Z"})).expect("valid");
        assert_eq!(bare, Form { at: EventTime(0), until: None });
        assert!(serde_json::from_value::<Form>(json!({"at": 7})).is_err());
    }

    #[test]
    fn arithmetic_does_not_overflow() {
        assert_eq!(EventTime(5).since(EventTime(7)), Millis(-2));
        assert_eq!(EventTime(i64::MAX).plus(Millis(1)), EventTime(i64::MAX));
        assert_eq!(EventTime(i64::MIN).since(EventTime(1)), Millis(i64::MIN));
        assert_eq!(Millis::from_minutes(2), Millis::from_secs(120));
    }

    proptest! {
        #[test]
        fn text_comes_back_as_the_same_instant(millis in -62_135_596_800_000_i64..253_402_300_799_999) {
            prop_assert_eq!(EventTime::parse(&EventTime(millis).to_rfc3339()), Ok(EventTime(millis)));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = EventTime::parse(&text);
        }
    }
}
