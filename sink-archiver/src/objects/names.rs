//! What objects are called: made of facts only, so that a replay makes the same names.

use std::fmt;

use jiff::tz::TimeZone;
use object_store::path::Path;
use stream_runtime::log::TopicPartition;
use telemetry_schemas::{
    time::EventTime,
    topics::{EVENTS, TTF_BREACHES, TTF_RECORDS},
};

/// What a topic is archived as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dataset {
    Events,
    Records,
    Breaches,
}

impl Dataset {
    pub fn of_topic(topic: &str) -> Option<Self> {
        match topic {
            EVENTS => Some(Self::Events),
            TTF_RECORDS => Some(Self::Records),
            TTF_BREACHES => Some(Self::Breaches),
            _ => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Records => "records",
            Self::Breaches => "breaches",
        }
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stretch of one partition whose objects are written together: offsets `start..end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub at: TopicPartition,
    pub start: i64,
    pub end: i64,
}

/// Names below one prefix.
#[derive(Debug, Clone)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// `prefix` is a path in the bucket, or empty.
    pub fn below(prefix: &str) -> Self {
        let trimmed = prefix.trim_matches('/');
        let prefix = if trimmed.is_empty() { String::new() } else { format!("{trimmed}/") };
        Self { prefix }
    }

    /// The folder of everything.
    pub fn root(&self) -> Path {
        Path::parse(&self.prefix).expect("a prefix that made names before")
    }

    /// A path as seen from the root, so that it holds wherever the archive is moved.
    pub fn below_root(&self, path: &Path) -> String {
        path.as_ref().strip_prefix(&self.prefix).unwrap_or(path.as_ref()).to_owned()
    }

    /// `dataset=…/tenant=…/date=…/<topic>-<partition>-<start>.parquet`.
    pub fn object(&self, dataset: Dataset, tenant: &str, date: &str, cut: &Cut) -> Path {
        let TopicPartition { topic, partition } = &cut.at;
        self.path(&format!(
            "dataset={dataset}/tenant={}/date={date}/{topic}-{partition}-{:020}.parquet",
            encoded(tenant),
            cut.start
        ))
    }

    /// Where the end of the cut that starts at this offset is recorded.
    pub fn cut(&self, at: &TopicPartition, start: i64) -> Path {
        self.path(&format!("_cuts/{}/{}/{start:020}.json", at.topic, at.partition))
    }

    /// Where it is said that everything before this offset is complete.
    pub fn complete(&self, at: &TopicPartition, end: i64) -> Path {
        self.path(&format!("_complete/{}/{}/{end:020}.json", at.topic, at.partition))
    }

    /// The folder of [`Names::complete`].
    pub fn complete_folder(&self, at: &TopicPartition) -> Path {
        self.path(&format!("_complete/{}/{}", at.topic, at.partition))
    }

    fn path(&self, below: &str) -> Path {
        Path::parse(format!("{}{below}", self.prefix)).expect("parts are encoded: no empty, dot or control parts")
    }
}

/// The offset in the name of a [`Names::cut`] or [`Names::complete`] object.
pub fn offset_of(path: &Path) -> Option<i64> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

/// The UTC day of an instant, `2026-11-23`.
pub fn date_of(at: EventTime) -> String {
    match jiff::Timestamp::from_millisecond(at.0) {
        Ok(timestamp) => timestamp.to_zoned(TimeZone::UTC).date().to_string(),
        Err(_) => "__HIVE_DEFAULT_PARTITION__".to_owned(),
    }
}

/// Percent-encodes what Hive-style readers or object stores would take amiss.
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    // A dot alone would be a path of its own; inside a name it is harmless.
    let dots_are_plain = !value.bytes().all(|byte| byte == b'.');
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        if plain(byte) || (byte == b'.' && dots_are_plain) {
            text.push(char::from(byte));
        } else {
            text.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
        }
        text
    })
}

fn hex_digit(nibble: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(nibble & 0xf)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_topic_partition_and_start() {
        let cut = Cut { at: TopicPartition::new(EVENTS, 7), start: 42, end: 50 };
        let names = Names::below("/archive/");
        assert_eq!(
            names.object(Dataset::Events, "acme", "2026-11-23", &cut).as_ref(),
            "archive/dataset=events/tenant=acme/date=2026-11-23/telemetry.events.v1-7-00000000000000000042.parquet"
        );
        let path = names.complete(&cut.at, cut.end);
        assert_eq!(path.as_ref(), "archive/_complete/telemetry.events.v1/7/00000000000000000050.json");
        assert_eq!(offset_of(&path), Some(50));
    }

    #[test]
    fn a_tenant_cannot_leave_its_folder() {
        let cut = Cut { at: TopicPartition::new(EVENTS, 0), start: 0, end: 1 };
        for tenant in ["../other", ".", "..", "a/b", "a=b", "ä\u{1}", ""] {
            let path = Names::below("").object(Dataset::Events, tenant, "2026-11-23", &cut);
            assert_eq!(path.parts().count(), 4, "{path}");
        }
    }

    #[test]
    fn days_are_utc() {
        assert_eq!(date_of(EventTime(0)), "1970-01-01");
        assert_eq!(date_of(EventTime(86_399_999)), "1970-01-01");
        assert_eq!(date_of(EventTime(86_400_000)), "1970-01-02");
    }
}
