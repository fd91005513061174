//! A manifest of every UTC day that is over: its objects with rows, bytes and checksums, and the stretch of each
//! partition they come from.
//!
//! A day is closed once every partition has complete cuts up to its end. What comes for a closed day later (an event
//! that was on its way for long) makes a new revision of its manifest. Manifests are put where none is, so that two
//! processes that close a day write it once.

mod chain;
mod close;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stream_runtime::{log::TopicPartition, sink::SinkError};
use telemetry_schemas::time::EventTime;

pub use chain::{Chain, CompleteCut};
pub use close::{DayCloser, Open};

use super::{names::Dataset, store::Store};

/// What a day is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayManifest {
    /// The UTC day, `2026-11-23`.
    pub date: String,
    /// Grows when something comes for a day that was closed.
    pub revision: u32,
    #[serde(with = "telemetry_schemas::time::rfc3339")]
    pub closed_at: EventTime,
    pub totals: Vec<Total>,
    pub partitions: Vec<Stretch>,
    pub objects: Vec<DayObject>,
}

/// What a tenant has of a dataset on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    pub dataset: Dataset,
    pub tenant: String,
    pub objects: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// The cuts of a partition in which the day's objects were looked for: offsets `from..to`, without a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    pub topic: String,
    pub partition: i32,
    pub from: i64,
    pub to: i64,
    /// Where the next day is looked for: the start of the first cut with something later, or `to`.
    pub next: i64,
}

impl Stretch {
    pub fn at(&self) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), self.partition)
    }
}

/// One object, and the cut it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayObject {
    /// Below the archive's root.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
    pub start: i64,
    pub end: i64,
}

/// Says that a revision of a day was found complete and unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedMark {
    pub date: String,
    pub revision: u32,
    #[serde(with = "telemetry_schemas::time::rfc3339")]
    pub verified_at: EventTime,
    pub objects: u64,
    pub rows: u64,
    /// Rows that were held against the topics as well; the others are older than what the topics keep.
    pub rows_compared: u64,
}

impl DayManifest {
    pub fn rows(&self) -> u64 {
        self.objects.iter().map(|object| object.rows).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.bytes).sum()
    }
}

/// Counts objects by dataset and tenant.
fn totals(objects: &[DayObject]) -> Vec<Total> {
    let mut totals: BTreeMap<(Dataset, String), Total> = BTreeMap::new();
    for object in objects {
        let Some(name) = super::names::ObjectName::parse(&object.path) else { continue };
        let key = (name.dataset, name.tenant);
        let total = totals.entry(key.clone()).or_insert_with(|| Total {
            dataset: key.0,
            tenant: key.1,
            objects: 0,
            rows: 0,
            bytes: 0,
        });
        total.objects += 1;
        total.rows += object.rows;
        total.bytes += object.bytes;
    }
    totals.into_values().collect()
}

/// The newest manifest of a day.
///
/// # Errors
/// When the store does not answer, or the manifest is damaged.
pub async fn newest(store: &Store, date: &str) -> Result<Option<DayManifest>, SinkError> {
    let revisions = store.list(&store.names.days_folder(Some(date))).await?;
    let is_manifest = |name: &str| !name.ends_with(".verified.json");
    let revision = revisions
        .iter()
        .filter_map(|path| path.filename().filter(|name| is_manifest(name))?.strip_suffix(".json")?.parse::<u32>().ok())
        .max();
    let Some(revision) = revision else { return Ok(None) };
    read_json(store, &store.names.day(date, revision)).await
}

/// The mark that this revision of the day was verified.
///
/// # Errors
/// When the store does not answer, or the mark is damaged.
pub async fn verified(store: &Store, date: &str, revision: u32) -> Result<Option<VerifiedMark>, SinkError> {
    read_json(store, &store.names.verified(date, revision)).await
}

/// The days that have a manifest, in order.
///
/// # Errors
/// When the store does not answer.
pub async fn closed(store: &Store) -> Result<Vec<String>, SinkError> {
    let folders = store.folders(&store.names.days_folder(None)).await?;
    Ok(folders.iter().filter_map(|folder| folder.filename().map(str::to_owned)).collect())
}

/// The instant a UTC day ends.
///
/// # Errors
/// When it is no day.
pub fn end_of(date: &str) -> Result<EventTime, SinkError> {
    close::midnight_after(date).map(EventTime)
}

async fn read_json<T: for<'de> Deserialize<'de>>(
    store: &Store,
    path: &object_store::path::Path,
) -> Result<Option<T>, SinkError> {
    let Some(bytes) = store.read(path).await? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| SinkError::Fatal(format!("archive object {path} is damaged: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_counted_by_dataset_and_tenant() {
        let object = |path: &str, rows| DayObject {
            path: path.to_owned(),
            rows,
            bytes: 10 * rows,
            sha256: String::new(),
            start: 0,
            end: 1,
        };
        let counted = totals(&[
            object("dataset=events/tenant=a/date=d/telemetry.events.v1-0-00.parquet", 2),
            object("dataset=events/tenant=a/date=d/telemetry.events.v1-1-00.parquet", 3),
            object("dataset=records/tenant=b/date=d/telemetry.ttf.records.v1-1-00.parquet", 4),
        ]);
        let seen: Vec<_> = counted.iter().map(|t| (t.dataset, t.tenant.as_str(), t.objects, t.rows, t.bytes)).collect();
        assert_eq!(seen, [(Dataset::Events, "a", 2, 5, 50), (Dataset::Records, "b", 1, 4, 40)]);
    }
}
