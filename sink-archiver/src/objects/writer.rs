//! Writes the objects of a cut: every one of them, or the cut is not complete.

use std::sync::Arc;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use bytes::Bytes;
use fail::fail_point;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stream_runtime::{
    log::{Record, TopicPartition},
    sink::SinkError,
};
use telemetry_schemas::{Codec, DecodeError, time::EventTime};

use super::{
    grouping::{Erased, Grouped, People, Seen, group, is_replayed},
    names::{Cut, Dataset},
    parquet,
    rows::Row,
    store::{Put, Store},
};
use crate::{
    database::{Database, Person},
    decode::decode_all,
    metrics::Metrics,
};

/// Objects of one cut that are put at once.
const CONCURRENT_PUTS: usize = 4;

/// The recorded end of a cut.
#[derive(Debug, Serialize, Deserialize)]
struct RecordedCut {
    start: i64,
    end: i64,
}

/// Says that a cut is complete, and what it is made of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub topic: String,
    pub partition: i32,
    pub start: i64,
    pub end: i64,
    pub objects: Vec<ManifestEntry>,
}

/// One object of a cut.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// Below the archive's root.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
}

/// One object before it is put.
pub(super) struct Object {
    pub dataset: Dataset,
    pub path: Path,
    pub rows: u64,
    pub bytes: Bytes,
}

/// The objects of a cut before they are put.
pub(super) struct Built {
    pub objects: Vec<Object>,
    pub left_out: LeftOut,
}

/// What people without a pseudonym get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pseudonyms {
    /// One is made.
    Make,
    /// None: their rows are left out as unstorable.
    Known,
}

/// Records of a cut that are in none of its objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub undecodable: u64,
    pub forgotten: u64,
    pub unstorable: u64,
    /// Events that came out of the archive.
    pub replayed: u64,
}

/// Turns cuts into objects.
pub struct CutWriter {
    store: Store,
    database: Arc<dyn Database>,
    codec: Codec,
    metrics: Metrics,
}

impl CutWriter {
    pub fn new(store: Store, database: Arc<dyn Database>, codec: Codec, metrics: Metrics) -> Self {
        Self { store, database, codec, metrics }
    }

    /// The recorded end of the cut that starts at `start`.
    pub async fn recorded_end(&self, at: &TopicPartition, start: i64) -> Result<Option<i64>, SinkError> {
        read_cut(&self.store, at, start).await
    }

    /// Records the cut before any of its objects; the end that counts is the one recorded first.
    pub async fn record(&self, cut: &Cut) -> Result<i64, SinkError> {
        let text = serde_json::json!({"start": cut.start, "end": cut.end}).to_string();
        let path = self.store.names.cut(&cut.at, cut.start);
        match self.store.create(&path, Bytes::from(text)).await? {
            Put::Written => Ok(cut.end),
            Put::Present => self
                .recorded_end(&cut.at, cut.start)
                .await?
                .ok_or_else(|| SinkError::Unavailable(format!("archive object {path} was there and is gone"))),
        }
    }

    /// Writes every object of the cut, then says that it is complete.
    pub async fn write(&self, cut: &Cut, records: Vec<Record>) -> Result<(), SinkError> {
        let Built { objects, left_out } = self.build(cut, records, Pseudonyms::Make).await?;
        self.skip(cut, "undecodable", left_out.undecodable);
        self.skip(cut, "forgotten", left_out.forgotten);
        self.skip(cut, "unstorable", left_out.unstorable);
        self.skip(cut, "replayed", left_out.replayed);
        let entries: Vec<ManifestEntry> = futures::stream::iter(objects)
            .map(|object| self.put(object))
            .buffered(CONCURRENT_PUTS)
            .try_collect()
            .await?;
        fail_point!("archiver::objects::before_complete", |_| Err(SinkError::Unavailable(
            "fail point archiver::objects::before_complete".to_owned()
        )));
        self.complete(cut, entries).await
    }

    /// Makes the objects of a cut, without putting them anywhere.
    pub(super) async fn build(
        &self,
        cut: &Cut,
        records: Vec<Record>,
        pseudonyms: Pseudonyms,
    ) -> Result<Built, SinkError> {
        let (rows, mut left_out, Seen { users, devices }) = self.decode(records).await?;
        // Users first: the devices of those who were erased are to have no pseudonym again.
        let users = self.resolve(users, pseudonyms).await?;
        let (rows, forgotten, devices, users) = blocking(move || {
            let (rows, forgotten) = without_forgotten(rows, &users);
            let devices = if forgotten == 0 { devices } else { Seen::of(&rows).devices };
            (rows, forgotten, devices, users)
        })
        .await?;
        left_out.forgotten = forgotten;
        let devices = self.resolve(devices, pseudonyms).await?;
        let names = self.store.names.clone();
        let place = cut.clone();
        blocking(move || {
            let grouped = group(rows, &users, &devices);
            left_out.unstorable = grouped.unstorable;
            build(grouped, &names, &place).map(|objects| Built { objects, left_out })
        })
        .await?
    }

    async fn resolve(&self, people: Vec<(Person, EventTime)>, pseudonyms: Pseudonyms) -> Result<People, SinkError> {
        if people.is_empty() {
            return Ok(People::new());
        }
        let resolved = match pseudonyms {
            Pseudonyms::Make => self.database.resolve(people).await,
            Pseudonyms::Known => self.database.lookup(people).await,
        };
        resolved.map_err(SinkError::from)
    }

    /// The rows there are, what is none, and who is in them.
    async fn decode(&self, records: Vec<Record>) -> Result<(Vec<Row>, LeftOut, Seen), SinkError> {
        let codec = self.codec.clone();
        let rows = move || {
            let decoded = decode_all(&codec, &records)?;
            let all = decoded.len();
            let rows = records.iter().zip(decoded);
            let rows = rows.filter_map(|(record, message)| Some(Row { offset: record.offset, message: message.ok()? }));
            let mut rows: Vec<Row> = rows.collect();
            // The database sink reads the same topics and dead-letters what nobody can decode.
            let undecodable = (all - rows.len()) as u64;
            let decodable = rows.len();
            rows.retain(|row| !is_replayed(row));
            let replayed = (decodable - rows.len()) as u64;
            let seen = Seen::of(&rows);
            Ok((rows, LeftOut { undecodable, replayed, ..LeftOut::default() }, seen))
        };
        blocking(rows).await?.map_err(|error: DecodeError| SinkError::Unavailable(error.to_string()))
    }

    async fn put(&self, object: Object) -> Result<ManifestEntry, SinkError> {
        let dataset = object.dataset.as_str();
        let put = self.store.create(&object.path, object.bytes.clone()).await?;
        fail_point!("archiver::objects::between_objects", |_| Err(SinkError::Unavailable(
            "fail point archiver::objects::between_objects".to_owned()
        )));
        if put == Put::Written {
            self.metrics.objects.with_label_values(&[dataset, "written"]).inc();
            self.metrics.object_bytes.with_label_values(&[dataset]).inc_by(object.bytes.len() as u64);
            return Ok(self.entry(&object.path, object.rows, &object.bytes));
        }
        // What is there stays, also when it was written before an erasure and holds more rows than ours.
        self.metrics.objects.with_label_values(&[dataset, "present"]).inc();
        let there =
            self.store.read(&object.path).await?.ok_or_else(|| {
                SinkError::Unavailable(format!("archive object {} was there and is gone", object.path))
            })?;
        let rows = row_count(&there)
            .map_err(|error| SinkError::Fatal(format!("archive object {} is damaged: {error}", object.path)))?;
        Ok(self.entry(&object.path, rows, &there))
    }

    fn entry(&self, path: &Path, rows: u64, bytes: &Bytes) -> ManifestEntry {
        ManifestEntry {
            path: self.store.names.below_root(path),
            rows,
            bytes: bytes.len() as u64,
            sha256: hex::encode(Sha256::digest(bytes)),
        }
    }

    async fn complete(&self, cut: &Cut, objects: Vec<ManifestEntry>) -> Result<(), SinkError> {
        let manifest = Manifest {
            topic: cut.at.topic.to_string(),
            partition: cut.at.partition,
            start: cut.start,
            end: cut.end,
            objects,
        };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| SinkError::Fatal(format!("cannot write a manifest: {error}")))?;
        self.store.create(&self.store.names.complete(&cut.at, cut.end), Bytes::from(text)).await.map(drop)
    }

    fn skip(&self, cut: &Cut, reason: &str, records: u64) {
        let dataset = Dataset::of_topic(&cut.at.topic).map_or("other", Dataset::as_str);
        self.metrics.skipped.with_label_values(&[dataset, reason]).inc_by(records);
    }
}

/// The recorded end of the cut that starts at `start`.
pub(super) async fn read_cut(store: &Store, at: &TopicPartition, start: i64) -> Result<Option<i64>, SinkError> {
    let path = store.names.cut(at, start);
    let Some(bytes) = store.read(&path).await? else { return Ok(None) };
    let cut: RecordedCut = serde_json::from_slice(&bytes)
        .map_err(|error| SinkError::Fatal(format!("archive object {path} is damaged: {error}")))?;
    if cut.start != start || cut.end <= start {
        return Err(SinkError::Fatal(format!("archive object {path} is damaged: it does not start there")));
    }
    Ok(Some(cut.end))
}

/// The rows that no erasure covers, and how many there were of the others.
fn without_forgotten(mut rows: Vec<Row>, users: &People) -> (Vec<Row>, u64) {
    let erased = Erased::among(users);
    let all = rows.len();
    rows.retain(|row| !erased.forgets(row));
    let forgotten = (all - rows.len()) as u64;
    (rows, forgotten)
}

fn build(grouped: Grouped, names: &super::names::Names, cut: &Cut) -> Result<Vec<Object>, SinkError> {
    let objects = grouped.objects.into_iter().map(|((dataset, tenant, date), rows)| {
        let bytes = parquet::write(&rows)
            .map_err(|error| SinkError::Fatal(format!("cannot write rows as Parquet: {error}")))?;
        let path = names.object(dataset, &tenant, &date, cut);
        Ok(Object { dataset, path, rows: rows.count() as u64, bytes })
    });
    objects.collect()
}

pub(super) fn row_count(parquet: &Bytes) -> Result<u64, ::parquet::errors::ParquetError> {
    let reader = SerializedFileReader::new(parquet.clone())?;
    Ok(reader.metadata().file_metadata().num_rows() as u64)
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SinkError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| SinkError::Fatal(format!("archive work ended early: {error}")))
}
