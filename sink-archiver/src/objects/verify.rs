//! Proves that a day is complete, unchanged, and what the topics hold.
//!
//! Unchanged: every object its manifest names has the bytes, rows and checksum named there. Complete: the cuts it was
//! made from follow each other without a gap, and no finished object of the day is left unnamed. What the topics hold:
//! as far as they still keep the records, the objects are made again from them and compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow_array::{RecordBatch, cast::AsArray, types::Int64Type};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;
use sha2::{Digest, Sha256};
use stream_runtime::{log::Log, sink::SinkError};
use telemetry_schemas::time::EventTime;

use super::{
    days::{Chain, DayManifest, DayObject, Stretch, VerifiedMark, newest},
    names::{Cut, Dataset, ObjectName},
    store::Store,
    topic,
    writer::{CutWriter, Pseudonyms, row_count},
};

/// Objects that are read at once.
const CONCURRENT_READS: usize = 4;

/// What is wrong with a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// There is no manifest: the day is not over, not complete, or nothing was archived on it.
    NotClosed,
    /// An object the manifest names is not there.
    Missing,
    /// An object is not what the manifest says.
    Changed,
    /// A finished object of the day that its manifest does not name.
    Unnamed,
    /// Cuts do not follow each other.
    Gap,
    /// A row that no record of the topic explains.
    NotInTopic,
    /// A record of the topic that is in no object.
    NotArchived,
    /// A row that says something else than its record.
    Differs,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    pub fault: Fault,
    /// An object's path, or a partition.
    pub place: String,
    pub detail: String,
}

/// What came of verifying a day.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DayReport {
    pub date: String,
    pub revision: Option<u32>,
    pub objects: u64,
    pub rows: u64,
    pub bytes: u64,
    /// Rows that were made again from the topics and are the same.
    pub rows_compared: u64,
    /// Rows whose records the topics do not keep any more.
    pub rows_beyond_topic: u64,
    /// Rows of people who were erased since.
    pub rows_of_erased: u64,
    pub findings: Vec<Finding>,
}

impl DayReport {
    pub fn is_right(&self) -> bool {
        self.findings.is_empty()
    }

    fn find(&mut self, fault: Fault, place: impl Into<String>, detail: impl Into<String>) {
        self.findings.push(Finding { fault, place: place.into(), detail: detail.into() });
    }

    /// The mark of a day that is right.
    pub fn mark(&self, verified_at: EventTime) -> Option<VerifiedMark> {
        let revision = self.revision.filter(|_| self.is_right())?;
        Some(VerifiedMark {
            date: self.date.clone(),
            revision,
            verified_at,
            objects: self.objects,
            rows: self.rows,
            rows_compared: self.rows_compared,
        })
    }
}

/// Verifies days.
pub struct Verifier {
    store: Store,
    writer: CutWriter,
    /// `None`: nothing is held against the topics.
    log: Option<Arc<dyn Log>>,
}

impl Verifier {
    pub fn new(store: Store, writer: CutWriter, log: Option<Arc<dyn Log>>) -> Self {
        Self { store, writer, log }
    }

    /// Verifies the newest revision of a day.
    ///
    /// # Errors
    /// When the store, the database or the log does not answer; what is wrong with the day is in the report.
    pub async fn verify(&self, date: &str) -> Result<DayReport, SinkError> {
        let mut report = DayReport { date: date.to_owned(), ..DayReport::default() };
        let Some(manifest) = newest(&self.store, date).await? else {
            report.find(Fault::NotClosed, date, "the day has no manifest");
            return Ok(report);
        };
        report.revision = Some(manifest.revision);
        let objects = self.read_all(&manifest, &mut report).await?;
        self.find_unnamed(&manifest, &mut report).await?;
        for stretch in &manifest.partitions {
            self.follow(&manifest, stretch, &objects, &mut report).await?;
        }
        report.findings.sort();
        Ok(report)
    }

    /// Verifies a day and, when it is right, says so beside its manifest.
    ///
    /// # Errors
    /// Like [`Verifier::verify`].
    pub async fn verify_and_mark(&self, date: &str, now: EventTime) -> Result<DayReport, SinkError> {
        let report = self.verify(date).await?;
        if let Some(mark) = report.mark(now) {
            let text = serde_json::to_vec_pretty(&mark).map_err(|error| SinkError::Fatal(error.to_string()))?;
            self.store.create(&self.store.names.verified(date, mark.revision), Bytes::from(text)).await?;
        }
        Ok(report)
    }

    /// Reads every object the manifest names; those that are as named.
    async fn read_all(
        &self,
        manifest: &DayManifest,
        report: &mut DayReport,
    ) -> Result<BTreeMap<String, Bytes>, SinkError> {
        let read: Vec<_> = manifest.objects.iter().map(|object| self.read(object).boxed()).collect();
        let mut right = BTreeMap::new();
        let mut read = futures::stream::iter(read).buffered(CONCURRENT_READS);
        while let Some((object, bytes)) = read.try_next().await? {
            let Some(bytes) = bytes else {
                report.find(Fault::Missing, &object.path, "the object is not there");
                continue;
            };
            if let Some(detail) = difference(object, &bytes) {
                report.find(Fault::Changed, &object.path, detail);
                continue;
            }
            report.objects += 1;
            report.rows += object.rows;
            report.bytes += object.bytes;
            right.insert(object.path.clone(), bytes);
        }
        Ok(right)
    }

    async fn read<'a>(&self, object: &'a DayObject) -> Result<(&'a DayObject, Option<Bytes>), SinkError> {
        let bytes = match self.store.names.under_root(&object.path) {
            Some(path) => self.store.read(&path).await?,
            None => None,
        };
        Ok((object, bytes))
    }

    /// Looks for finished objects of the day that nobody named.
    async fn find_unnamed(&self, manifest: &DayManifest, report: &mut DayReport) -> Result<(), SinkError> {
        let named: BTreeSet<&str> = manifest.objects.iter().map(|object| object.path.as_str()).collect();
        for path in self.objects_of(&manifest.date).await? {
            if named.contains(path.as_str()) {
                continue;
            }
            let Some(name) = ObjectName::parse(&path) else { continue };
            let at = stream_runtime::log::TopicPartition::new(name.topic.as_str(), name.partition);
            let cut = Chain::from(&self.store, at, name.start).next().await?;
            match cut {
                // A cut in progress: its objects are right already and nobody counts on them yet.
                None => {}
                Some(cut) if cut.objects.iter().any(|entry| entry.path == path) => {
                    report.find(Fault::Unnamed, path, "it came after the day was closed, and waits for a revision");
                }
                Some(_) => report.find(Fault::Unnamed, path, "no cut has written it"),
            }
        }
        Ok(())
    }

    async fn objects_of(&self, date: &str) -> Result<Vec<String>, SinkError> {
        let mut found = Vec::new();
        for dataset in Dataset::ALL {
            for tenant in self.store.folders(&self.store.names.dataset_folder(dataset, None)).await? {
                let folder = tenant.join(format!("date={date}"));
                let objects = self.store.list(&folder).await?;
                found.extend(objects.iter().map(|path| self.store.names.below_root(path)));
            }
        }
        Ok(found)
    }

    /// Follows the cuts of a partition and, where the topic still has their records, makes them again.
    async fn follow(
        &self,
        manifest: &DayManifest,
        stretch: &Stretch,
        objects: &BTreeMap<String, Bytes>,
        report: &mut DayReport,
    ) -> Result<(), SinkError> {
        let at = stretch.at();
        let kept_from = match &self.log {
            Some(log) => topic::oldest(log, &at).await?,
            None => i64::MAX,
        };
        let mut chain = Chain::from(&self.store, at.clone(), stretch.from);
        while chain.position() < stretch.to {
            let Some(cut) = chain.next().await? else {
                let detail = format!("there is no complete cut at offset {}", chain.position());
                report.find(Fault::Gap, at.to_string(), detail);
                return Ok(());
            };
            let of_day = |path: &str| ObjectName::parse(path).is_some_and(|name| name.date == manifest.date);
            let paths: Vec<&str> = cut.objects.iter().map(|o| o.path.as_str()).filter(|path| of_day(path)).collect();
            for path in &paths {
                if !manifest.objects.iter().any(|object| object.path == *path) {
                    report.find(Fault::Unnamed, *path, "its cut names it, the day does not");
                }
            }
            let Some(log) = self.log.as_ref().filter(|_| cut.start >= kept_from) else {
                let rows = cut.objects.iter().filter(|object| of_day(&object.path)).map(|object| object.rows);
                report.rows_beyond_topic += rows.sum::<u64>();
                continue;
            };
            let records = topic::read(log, &at, cut.start, cut.end).await?;
            let place = Cut { at: at.clone(), start: cut.start, end: cut.end };
            let built = self.writer.build(&place, records, Pseudonyms::Known).await?;
            let made: BTreeMap<String, Bytes> = built
                .objects
                .into_iter()
                .map(|object| (self.store.names.below_root(&object.path), object.bytes))
                .collect();
            let may_be_gone = built.left_out.forgotten + built.left_out.unstorable;
            compare(&paths, &made, objects, may_be_gone, &of_day, report)?;
        }
        Ok(())
    }
}

/// How an object differs from what its manifest says of it.
fn difference(object: &DayObject, bytes: &Bytes) -> Option<String> {
    if bytes.len() as u64 != object.bytes {
        return Some(format!("{} bytes instead of {}", bytes.len(), object.bytes));
    }
    if hex::encode(Sha256::digest(bytes)) != object.sha256 {
        return Some("its checksum is another".to_owned());
    }
    match row_count(bytes) {
        Ok(rows) if rows == object.rows => None,
        Ok(rows) => Some(format!("{rows} rows instead of {}", object.rows)),
        Err(_) => Some("it cannot be read as Parquet".to_owned()),
    }
}

/// Holds the objects of a cut against those made again from the topic.
fn compare(
    paths: &[&str],
    made: &BTreeMap<String, Bytes>,
    objects: &BTreeMap<String, Bytes>,
    may_be_gone: u64,
    of_day: &dyn Fn(&str) -> bool,
    report: &mut DayReport,
) -> Result<(), SinkError> {
    for (path, _) in made.iter().filter(|(path, _)| of_day(path)) {
        if !paths.contains(&path.as_str()) {
            report.find(Fault::NotArchived, path, "the topic has records for an object that the cut does not name");
        }
    }
    let mut gone = 0;
    for path in paths {
        // What is missing or changed was found already.
        let Some(object) = objects.get(*path) else { continue };
        let again = made.get(*path);
        if again == Some(object) {
            report.rows_compared += row_count(object).map_err(damaged)?;
            continue;
        }
        let there = rows_of(object)?;
        let again = again.map(rows_of).transpose()?.unwrap_or_default();
        for offset in again.keys().filter(|offset| !there.contains_key(offset)) {
            report.find(Fault::NotArchived, *path, format!("the record at offset {offset} is not in it"));
        }
        for (offset, row) in &there {
            match again.get(offset) {
                None => gone += 1,
                Some(made) if row.says_the_same_as(made) => report.rows_compared += 1,
                Some(_) => report.find(Fault::Differs, *path, format!("the record at offset {offset} says otherwise")),
            }
        }
    }
    report.rows_of_erased += gone.min(may_be_gone);
    if gone > may_be_gone {
        let place = paths.first().copied().unwrap_or_default();
        let detail = format!("{} rows of its cut have no record in the topic", gone - may_be_gone);
        report.find(Fault::NotInTopic, place, detail);
    }
    Ok(())
}

/// One row of an object.
struct RowAt {
    batch: Arc<RecordBatch>,
    index: usize,
}

impl RowAt {
    /// Pseudonyms aside: that of an anonymous id is destroyed with the user who had it.
    fn says_the_same_as(&self, other: &Self) -> bool {
        let schema = self.batch.schema();
        schema == other.batch.schema()
            && schema.fields().iter().zip(self.batch.columns()).zip(other.batch.columns()).all(|((field, a), b)| {
                field.name().ends_with("_pseudonym") || a.slice(self.index, 1) == b.slice(other.index, 1)
            })
    }
}

fn rows_of(parquet: &Bytes) -> Result<BTreeMap<i64, RowAt>, SinkError> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(parquet.clone()).and_then(ParquetRecordBatchReaderBuilder::build);
    let mut rows = BTreeMap::new();
    for batch in reader.map_err(damaged)? {
        let batch = Arc::new(batch.map_err(damaged)?);
        let offsets = batch.column_by_name("offset").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let offsets = offsets.ok_or_else(|| damaged("it has no offsets"))?.clone();
        for (index, offset) in offsets.values().iter().enumerate() {
            rows.insert(*offset, RowAt { batch: Arc::clone(&batch), index });
        }
    }
    Ok(rows)
}

fn damaged(error: impl std::fmt::Display) -> SinkError {
    SinkError::Fatal(format!("an object cannot be read: {error}"))
}
