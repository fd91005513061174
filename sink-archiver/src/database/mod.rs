//! The database: rows and offsets in one transaction, pseudonyms, the erasure ledger.
//!
//! [`Database`] is the seam; `postgres/` (PostgreSQL, TimescaleDB) and `sqlite/` stand behind it with the same
//! semantics, and `sink` feeds it from the topics. Migrations are numbered SQL files, never edited once released.

mod duty;
mod ledger_key;
pub mod migrations;
mod people;
mod postgres;
pub mod rows;
pub mod sink;
mod sqlite;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use stream_runtime::{log::TopicPartition, sink::SinkError};
use telemetry_schemas::{TtfRecord, json, time::EventTime};

pub use duty::{Duty, Held};
pub use people::{Person, Resolved, SubjectKind};
pub use postgres::{Inspection, Postgres};
use rows::{Batch, Kept};
pub use sqlite::Sqlite;

use crate::{
    cohorts::rows::{CohortRows, Signups, Targets},
    config::DatabaseConfig,
    objects::tally::Came,
    privacy::{
        access::UserRows,
        certificate::{Certificate, Step},
    },
    retention::{Census, Expiry},
    whereabouts::{Sought, StoredEvent},
};

/// What can go wrong, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Away, slow, busy, full: the same again later.
    #[error("database is not available: {0}")]
    Unavailable(String),
    /// These rows (indices into the batch) can never be stored; nothing was written.
    #[error("{} rows cannot be stored", .0.len())]
    Poison(BTreeSet<usize>),
    /// The stored offsets are not what we thought; nothing was written.
    #[error("offsets have moved: {0}")]
    Moved(String),
    /// Not to be mended by trying again.
    #[error("{0}")]
    Fatal(String),
}

impl DatabaseError {
    /// What a fail point makes of this place.
    pub fn at(place: &str) -> Self {
        Self::Unavailable(format!("fail point {place}"))
    }
}

impl From<DatabaseError> for SinkError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(message) => Self::Unavailable(message),
            DatabaseError::Moved(message) => Self::Moved(message),
            DatabaseError::Poison(_) => Self::Fatal(error.to_string()),
            DatabaseError::Fatal(message) => Self::Fatal(message),
        }
    }
}

/// The archive's database.
#[async_trait]
pub trait Database: Send + Sync + 'static {
    /// Brings the schema up to date; refuses a database that is newer than this program.
    async fn migrate(&self) -> Result<(), DatabaseError>;

    /// The key of the erasure ledger: `configured`, or the one the database keeps (made when there is none).
    /// Refuses a configured key that is not the one the ledger was written with.
    async fn open_ledger(&self, configured: Option<&str>) -> Result<(), DatabaseError>;

    /// Notes whose offsets it keeps. Refuses another cluster's log while it holds offsets: they count other records there,
    /// and what lies before them would be passed over.
    async fn follow(&self, cluster_id: &str) -> Result<(), DatabaseError>;

    /// Makes `owner` the owner of these partitions and tells the stored next offsets, in the same order; 0 where
    /// nothing was read yet.
    async fn claim(&self, owner: &str, partitions: &[TopicPartition]) -> Result<Vec<i64>, DatabaseError>;

    /// Writes a batch and moves its offsets, in one transaction; on any error nothing is written.
    async fn write(&self, owner: &str, batch: Arc<Batch>) -> Result<Written, DatabaseError>;

    /// Pseudonyms and erasures of some people, given when the newest thing about each was received.
    /// Makes pseudonyms for those who have none, except where all of it came before their erasure.
    async fn resolve(&self, people: Vec<(Person, EventTime)>) -> Result<HashMap<Person, Resolved>, DatabaseError>;

    /// Like [`Database::resolve`], but makes no pseudonym.
    async fn lookup(&self, people: Vec<(Person, EventTime)>) -> Result<HashMap<Person, Resolved>, DatabaseError>;

    /// Who stands behind these pseudonyms of a tenant; those whose mapping was destroyed are left out.
    async fn people_of(&self, tenant: &str, pseudonyms: Vec<String>) -> Result<HashMap<String, Person>, DatabaseError>;

    /// The newest record of every attempt of a user, ordered by journey and attempt.
    async fn journeys(&self, tenant: &str, user_id: &str) -> Result<Vec<TtfRecord>, DatabaseError>;

    /// Takes a duty; `None` while another process has it.
    async fn take_duty(&self, duty: Duty) -> Result<Option<Box<dyn Held>>, DatabaseError>;

    /// How far every attempt of these signups is; `targets` are those of the whole way.
    async fn cohort_rows(&self, signups: Signups, targets: &Targets) -> Result<CohortRows, DatabaseError>;

    /// What of a table is past its time.
    async fn expiring(&self, expiry: Expiry) -> Result<Census, DatabaseError>;

    /// One certificate, or (`None`) those of all erasures that are not complete.
    async fn certificates(&self, erasure_id: Option<&str>) -> Result<Vec<Certificate>, DatabaseError>;

    /// Notes that a step of an erasure is done; true when it was not noted before.
    async fn note_certificate(&self, erasure_id: &str, step: Step, at: EventTime) -> Result<bool, DatabaseError>;

    /// Every row of a user, as it is stored.
    async fn rows_of(&self, tenant: &str, user_id: &str) -> Result<UserRows, DatabaseError>;

    /// The row of an event, and how far its partition was read.
    async fn stored_event(&self, sought: &Sought) -> Result<StoredEvent, DatabaseError>;

    /// How many rows of a table came in a stretch of time.
    async fn count(&self, came: &Came) -> Result<u64, DatabaseError>;

    /// Deletes what is past its time, from the row of instant `oldest` on; tells how many rows went.
    async fn expire(&self, expiry: Expiry, oldest: Option<EventTime>) -> Result<u64, DatabaseError>;

    /// Makes the partitions that are missing and brings the roll-ups up to date; nothing where the database does it by
    /// itself, or has neither.
    async fn maintain(&self) -> Result<Maintained, DatabaseError>;

    /// The schema version the database has (0: none yet), and the one this program brings it to.
    async fn versions(&self) -> Result<(i32, i32), DatabaseError>;

    /// Whether it answers.
    async fn ping(&self) -> Result<(), DatabaseError>;
}

/// What [`Database::maintain`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Maintained {
    pub partitions: i32,
    /// Hours of signups that were rolled up again.
    pub hours: i32,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    pub events: usize,
    pub records: usize,
    pub breaches: usize,
    /// Rows left out because their user was erased.
    pub forgotten: usize,
    /// Indices (into the batch) of the records that were kept.
    pub kept_records: Vec<usize>,
}

impl Written {
    fn of(batch: &Batch, kept: &Kept<'_>) -> Self {
        let (events, records, breaches) = (kept.events.len(), kept.records.len(), kept.breaches.len());
        let rows = batch.events.len() + batch.records.len() + batch.breaches.len();
        Self {
            events,
            records,
            breaches,
            forgotten: rows - events - records - breaches,
            kept_records: kept.records.iter().map(|sourced| sourced.index).collect(),
        }
    }
}

/// Opens the configured database without touching its schema.
pub fn open(config: &DatabaseConfig) -> Result<Arc<dyn Database>, DatabaseError> {
    match config {
        DatabaseConfig::Sqlite(sqlite) => Ok(Arc::new(Sqlite::open(&sqlite.path)?)),
        DatabaseConfig::Postgres(postgres) => Ok(Arc::new(Postgres::open(postgres)?)),
    }
}

/// Whether the log that is followed is the one to be read.
fn same_cluster(followed: &str, cluster_id: &str) -> Result<(), DatabaseError> {
    if followed == cluster_id {
        return Ok(());
    }
    Err(DatabaseError::Fatal(format!(
        "this archive follows the log of cluster `{followed}`, this is cluster `{cluster_id}`, and its offsets count other \
         records; to go on with a new cluster empty the table sink_offsets and name another archive.s3.prefix (operations, \
         \"All brokers are lost\")"
    )))
}

/// Reads a record back from the JSON form the `journeys` queries make.
fn record_from_json(text: &str) -> Result<TtfRecord, DatabaseError> {
    let broken = |error: &dyn std::fmt::Display| DatabaseError::Fatal(format!("a stored journey is damaged: {error}"));
    let value = serde_json::from_str(text).map_err(|error| broken(&error))?;
    json::from_json(value).map_err(|error| broken(&error))
}
