//! What objects are called: made of facts only, so that a replay makes the same names.

use std::fmt;

use jiff::tz::TimeZone;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use stream_runtime::log::TopicPartition;
use telemetry_schemas::{
    time::EventTime,
    topics::{EVENTS, TTF_BREACHES, TTF_RECORDS},
};

/// What a topic is archived as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dataset {
    Events,
    Records,
    Breaches,
}

impl Dataset {
    pub const ALL: [Self; 3] = [Self::Events, Self::Records, Self::Breaches];

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

    /// The manifest of a UTC day in one of its revisions.
    pub fn day(&self, date: &str, revision: u32) -> Path {
        self.path(&format!("_days/{date}/{revision:06}.json"))
    }

    /// Where it is said that this revision of a day was verified.
    pub fn verified(&self, date: &str, revision: u32) -> Path {
        self.path(&format!("_days/{date}/{revision:06}.verified.json"))
    }

    /// The folder of [`Names::day`]; without a date, of all days.
    pub fn days_folder(&self, date: Option<&str>) -> Path {
        self.path(&date.map_or("_days".to_owned(), |date| format!("_days/{date}")))
    }

    /// Where an object is put together before it gets its name; nobody reads there.
    pub fn staged(&self, unique: &str) -> Path {
        self.path(&format!("_staging/{unique}"))
    }

    /// A path below the root, as manifests name it.
    pub fn under_root(&self, below: &str) -> Option<Path> {
        Path::parse(format!("{}{below}", self.prefix)).ok()
    }

    /// The folder of a dataset; with a tenant, of that tenant's part.
    pub fn dataset_folder(&self, dataset: Dataset, tenant: Option<&str>) -> Path {
        let tenant = tenant.map_or(String::new(), |tenant| format!("/tenant={}", encoded(tenant)));
        self.path(&format!("dataset={dataset}{tenant}"))
    }

    /// The prefix of everything, with a slash at its end unless it is empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
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

/// What the name of an object of a dataset says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    pub dataset: Dataset,
    pub tenant: String,
    pub date: String,
    pub topic: String,
    pub partition: i32,
    pub start: i64,
}

impl ObjectName {
    /// Of a path below the root; `None` for everything that is no object of a dataset.
    pub fn parse(below_root: &str) -> Option<Self> {
        let mut parts = below_root.split('/');
        let folder = parts.next()?.strip_prefix("dataset=")?;
        let dataset = Dataset::ALL.into_iter().find(|dataset| dataset.as_str() == folder)?;
        let tenant = decoded(parts.next()?.strip_prefix("tenant=")?)?;
        let date = parts.next()?.strip_prefix("date=")?.to_owned();
        let mut name = parts.next()?.strip_suffix(".parquet")?.rsplitn(3, '-');
        let start = name.next()?.parse().ok()?;
        let partition = name.next()?.parse().ok()?;
        let topic = name.next()?.to_owned();
        parts.next().is_none().then_some(Self { dataset, tenant, date, topic, partition, start })
    }
}

/// The tenant of a folder `tenant=…`.
pub fn tenant_of_folder(folder: &str) -> Option<String> {
    decoded(folder.strip_prefix("tenant=")?)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
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
    fn a_name_says_what_it_was_made_of() {
        let cut = Cut { at: TopicPartition::new(TTF_RECORDS, 11), start: 42, end: 50 };
        let names = Names::below("p");
        for tenant in ["acme", "other/tenant", "ä b", ".."] {
            let path = names.object(Dataset::Records, tenant, "2026-11-23", &cut);
            let parsed = ObjectName::parse(&names.below_root(&path)).expect("a name");
            assert_eq!((parsed.tenant.as_str(), parsed.date.as_str()), (tenant, "2026-11-23"));
            assert_eq!((parsed.topic.as_str(), parsed.partition, parsed.start), (TTF_RECORDS, 11, 42));
        }
        for path in ["_cuts/t/0/1.json", "dataset=events/x", "dataset=other/tenant=a/date=b/t-0-1.parquet"] {
            assert_eq!(ObjectName::parse(path), None, "{path}");
        }
    }

    #[test]
    fn days_are_utc() {
        assert_eq!(date_of(EventTime(0)), "1970-01-01");
        assert_eq!(date_of(EventTime(86_399_999)), "1970-01-01");
        assert_eq!(date_of(EventTime(86_400_000)), "1970-01-02");
    }
}
