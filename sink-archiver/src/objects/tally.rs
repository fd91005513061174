//! Holds the rows of an archived day against those of the database: is everything in both?
//!
//! Counted are different rows (a topic may have an event twice, the database has it once) of people who are known, and
//! which the database still has to keep. What differs is what the database could not hold (dead letters), or is still on
//! its way.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use arrow_array::{Array, RecordBatch, cast::AsArray, types::TimestampMillisecondType};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;
use sha2::{Digest, Sha256};
use stream_runtime::sink::SinkError;
use telemetry_schemas::time::EventTime;

use super::{
    days::{DayManifest, end_of},
    names::{Dataset, ObjectName},
    store::Store,
};
use crate::{
    config::RetentionConfig,
    database::{Database, Person},
    retention::{Table, plan},
};

const DAY_MS: i64 = 86_400_000;

/// What a day's objects and the database have of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub dataset: Dataset,
    pub tenant: String,
    /// Rows of the objects.
    pub archived: u64,
    /// Of those, the ones that are to be in the database.
    pub expected: u64,
    pub in_database: u64,
}

impl Tally {
    pub fn is_even(&self) -> bool {
        self.expected == self.in_database
    }
}

/// Rows of a table that came in a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    pub table: Table,
    pub tenant: String,
    pub from: EventTime,
    pub to: EventTime,
    /// Rows older than this do not count: they may be past their retention.
    pub not_before: EventTime,
}

/// Counts a day, tenant by tenant.
///
/// # Errors
/// When the store or the database does not answer, or an object cannot be read.
pub async fn of_day(
    store: &Store,
    database: &dyn Database,
    retention: &RetentionConfig,
    manifest: &DayManifest,
    now: EventTime,
) -> Result<Vec<Tally>, SinkError> {
    let to = end_of(&manifest.date)?;
    let mut objects: BTreeMap<(Dataset, String), Vec<&str>> = BTreeMap::new();
    for object in &manifest.objects {
        let Some(name) = ObjectName::parse(&object.path) else { continue };
        objects.entry((name.dataset, name.tenant)).or_default().push(&object.path);
    }
    let mut tallies = Vec::new();
    for ((dataset, tenant), paths) in objects {
        let layout = Layout::of(dataset);
        let not_before = kept_from(retention, layout.table, &tenant, now);
        let mut seen = Seen { not_before, ..Seen::default() };
        for path in paths {
            let Some(path) = store.names.under_root(path) else { continue };
            let Some(bytes) = store.read(&path).await? else { continue };
            seen.take(&layout, &bytes)?;
        }
        let known = known(database, &tenant, &seen).await?;
        let from = EventTime(to.0 - DAY_MS);
        let came = Came { table: layout.table, tenant: tenant.clone(), from, to, not_before };
        let in_database = database.count(&came).await.map_err(SinkError::from)?;
        tallies.push(Tally { dataset, tenant, archived: seen.rows, expected: seen.of(&known), in_database });
    }
    Ok(tallies)
}

async fn known(database: &dyn Database, tenant: &str, seen: &Seen) -> Result<HashMap<String, Person>, SinkError> {
    let pseudonyms: Vec<String> = seen.by_person.keys().flatten().cloned().collect();
    if pseudonyms.is_empty() {
        return Ok(HashMap::new());
    }
    database.people_of(tenant, pseudonyms).await.map_err(SinkError::from)
}

/// From when on the database has to have everything of a tenant.
fn kept_from(retention: &RetentionConfig, table: Table, tenant: &str, now: EventTime) -> EventTime {
    let due = plan::due(retention, now);
    let of_tenant = due.iter().filter(|due| due.class.tables().contains(&table) && due.scope.includes(tenant));
    of_tenant.map(|due| due.before).max().unwrap_or(EventTime(0))
}

/// Which columns of a dataset tell its rows apart, and how old they are.
struct Layout {
    table: Table,
    time: &'static str,
    key: &'static [&'static str],
}

impl Layout {
    const fn of(dataset: Dataset) -> Self {
        match dataset {
            Dataset::Events => {
                Self { table: Table::Events, time: "timestamp", key: &["source", "event_id", "timestamp"] }
            }
            Dataset::Records => Self {
                table: Table::Records,
                time: "signup_at",
                key: &["user_pseudonym", "journey", "attempt", "generation", "revision"],
            },
            Dataset::Breaches => Self {
                table: Table::Breaches,
                time: "signup_at",
                key: &[
                    "user_pseudonym",
                    "journey",
                    "attempt",
                    "kind",
                    "level",
                    "status",
                    "reason",
                    "detected_at",
                    "record_revision",
                ],
            },
        }
    }
}

/// What the objects of a tenant have.
#[derive(Default)]
struct Seen {
    not_before: EventTime,
    rows: u64,
    /// Hashes of the keys of the rows that count, by pseudonym; `None`: of nobody.
    by_person: HashMap<Option<String>, HashSet<[u8; 16]>>,
}

impl Seen {
    fn take(&mut self, layout: &Layout, parquet: &Bytes) -> Result<(), SinkError> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(parquet.clone())
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .map_err(damaged)?;
        for batch in reader {
            self.take_batch(layout, &batch.map_err(damaged)?)?;
        }
        Ok(())
    }

    fn take_batch(&mut self, layout: &Layout, batch: &RecordBatch) -> Result<(), SinkError> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| damaged(format!("it has no column {name}")));
        let times = column(layout.time)?.as_primitive_opt::<TimestampMillisecondType>();
        let times = times.ok_or_else(|| damaged("its times are none"))?;
        let people = column("user_pseudonym")?.as_string_opt::<i32>();
        let people = people.ok_or_else(|| damaged("its pseudonyms are no text"))?;
        let keys = layout.key.iter().map(|name| column(name)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            self.rows += 1;
            if times.value(row) < self.not_before.0 {
                continue;
            }
            let mut hash = Sha256::new();
            for key in &keys {
                hash.update(value_of(key.as_ref(), row)?);
                hash.update([0x1f]);
            }
            let mut short = [0; 16];
            short.copy_from_slice(&hash.finalize()[..16]);
            let person = people.is_valid(row).then(|| people.value(row).to_owned());
            self.by_person.entry(person).or_default().insert(short);
        }
        Ok(())
    }

    /// How many different rows are of nobody, or of somebody who is known.
    fn of(&self, known: &HashMap<String, Person>) -> u64 {
        let counts = |person: &Option<String>| person.as_ref().is_none_or(|person| known.contains_key(person));
        let counted = self.by_person.iter().filter(|(person, _)| counts(person));
        // An event is the same whoever it is said to be of.
        let different: BTreeSet<&[u8; 16]> = counted.flat_map(|(_, rows)| rows).collect();
        different.len() as u64
    }
}

fn value_of(column: &dyn Array, row: usize) -> Result<Vec<u8>, SinkError> {
    if column.is_null(row) {
        return Ok(vec![0]);
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return Ok(texts.value(row).as_bytes().to_vec());
    }
    // Numbers and times: their bytes in the column.
    let one = column.slice(row, 1).to_data();
    let bytes = one.buffers().first().ok_or_else(|| damaged("a column has no values"))?;
    let width = one.data_type().primitive_width().ok_or_else(|| damaged("a key is no plain value"))?;
    let start = one.offset() * width;
    Ok(bytes.as_slice()[start..start + width].to_vec())
}

fn damaged(error: impl std::fmt::Display) -> SinkError {
    SinkError::Fatal(format!("an object cannot be read: {error}"))
}
