//! Instants and durations, in whole milliseconds.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An instant: milliseconds since 1970-01-01T00:00:00Z. In JSON it is RFC 3339 UTC with
/// milliseconds (see [`rfc3339`]); in Avro a `timestamp-millis` long.
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
    pub fn parse(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<Timestamp>().map(|timestamp| Self(timestamp.as_millisecond()))
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
