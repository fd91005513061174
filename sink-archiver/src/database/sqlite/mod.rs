//! SQLite, for one machine: the same semantics as PostgreSQL on a file. Every call runs on a blocking thread; one
//! connection writes, another reads, so that a question never waits for a batch.

mod cohorts;
mod duty;
mod insert;
mod ledger;
mod privacy;
mod retention;
mod schema;

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use fail::fail_point;
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, named_params, params};
use stream_runtime::log::TopicPartition;
use telemetry_schemas::{TtfRecord, time::EventTime};

use super::{
    Database, DatabaseError, Duty, Held, Maintained, Person, Resolved, Written,
    people::Missing,
    rows::{Batch, End, JourneyKey},
    same_cluster,
};
use crate::{
    cohorts::rows::{CohortRows, Signups, Targets},
    erasure::LedgerKey,
    objects::tally::Came,
    privacy::{
        access::UserRows,
        certificate::{Certificate, Step},
    },
    retention::{Census, Expiry},
    whereabouts::{Sought, StoredEvent},
};

/// One database file.
#[derive(Clone)]
pub struct Sqlite {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    ledger_key: RwLock<Option<LedgerKey>>,
}

impl Sqlite {
    /// Opens the file, making it and its folder when missing.
    pub fn open(path: &Path) -> Result<Self, DatabaseError> {
        let cannot = |error: &dyn std::fmt::Display| {
            DatabaseError::Fatal(format!("cannot open archive database {}: {error}", path.display()))
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
        }
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(Duration::from_secs(10))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // A crash of the machine may lose the last batches with their offsets: they are read again.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            // 32 MiB of pages in memory, and 64 MiB of log between checkpoints: half the time per row of the defaults.
            connection.pragma_update(None, "cache_size", -32_768)?;
            connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
            connection.set_prepared_statement_cache_capacity(64);
            Ok(connection)
        };
        let shared = Shared {
            path: path.to_owned(),
            writer: Mutex::new(connect().map_err(|error| cannot(&error))?),
            reader: Mutex::new(connect().map_err(|error| cannot(&error))?),
            ledger_key: RwLock::new(None),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || work(&shared))
            .await
            .map_err(|error| DatabaseError::Fatal(format!("a database call ended early: {error}")))?
    }
}

fn stored_event(connection: &Connection, sought: &Sought) -> rusqlite::Result<StoredEvent> {
    let Sought { event, at, offset: _ } = sought;
    let parameters =
        params![event.tenant, event.source, event.event_id, event.timestamp.to_rfc3339(), &*at.topic, at.partition];
    connection.query_row(include_str!("queries/stored_event.sql"), parameters, |row| {
        let received_at: Option<String> = row.get(0)?;
        Ok(StoredEvent {
            received_at: received_at.and_then(|text| EventTime::parse(&text).ok()),
            next_offset: row.get::<_, Option<i64>>(1)?.unwrap_or(0),
        })
    })
}

impl Shared {
    fn ledger_key(&self) -> Result<LedgerKey, DatabaseError> {
        let key = self.ledger_key.read().clone();
        key.ok_or_else(|| DatabaseError::Fatal("the erasure ledger was not opened".to_owned()))
    }
}

#[async_trait]
impl Database for Sqlite {
    async fn migrate(&self) -> Result<(), DatabaseError> {
        self.blocking(|shared| schema::migrate(&mut shared.writer.lock())).await
    }

    async fn open_ledger(&self, configured: Option<&str>) -> Result<(), DatabaseError> {
        let configured = configured.map(str::to_owned);
        self.blocking(move |shared| {
            let key = ledger::open(&shared.writer.lock(), configured.as_deref())?;
            *shared.ledger_key.write() = Some(key);
            Ok(())
        })
        .await
    }

    async fn follow(&self, cluster_id: &str) -> Result<(), DatabaseError> {
        let cluster_id = cluster_id.to_owned();
        self.blocking(move |shared| {
            let followed = shared
                .writer
                .lock()
                .query_row(include_str!("queries/follow.sql"), [&cluster_id], |row| row.get::<_, String>(0))
                .map_err(|error| unavailable(&error))?;
            same_cluster(&followed, &cluster_id)
        })
        .await
    }

    async fn claim(&self, owner: &str, partitions: &[TopicPartition]) -> Result<Vec<i64>, DatabaseError> {
        let owner = owner.to_owned();
        let partitions = partitions.to_vec();
        self.blocking(move |shared| {
            let mut writer = shared.writer.lock();
            let transaction = begin(&mut writer)?;
            let next = partitions
                .iter()
                .map(|at| {
                    transaction
                        .prepare_cached(include_str!("queries/claim.sql"))?
                        .query_row(params![&*at.topic, at.partition, owner], |row| row.get(0))
                })
                .collect::<rusqlite::Result<Vec<i64>>>()
                .map_err(|error| unavailable(&error))?;
            transaction.commit().map_err(|error| unavailable(&error))?;
            Ok(next)
        })
        .await
    }

    async fn write(&self, owner: &str, batch: Arc<Batch>) -> Result<Written, DatabaseError> {
        let owner = owner.to_owned();
        self.blocking(move |shared| {
            let key = shared.ledger_key()?;
            let mut writer = shared.writer.lock();
            let transaction = begin(&mut writer)?;
            move_offsets(&transaction, &owner, &batch)?;
            fail_point!("archiver::database::after_offsets", |_| Err(DatabaseError::at("after_offsets")));
            forget(&transaction, &key, &batch)?;
            let ledger =
                ledger::read(&transaction, &key, batch.users().into_iter()).map_err(|error| unavailable(&error))?;
            let kept = batch.keep(&ledger);
            insert::all(&transaction, &kept)?;
            fail_point!("archiver::database::before_commit", |_| Err(DatabaseError::at("before_commit")));
            transaction.commit().map_err(|error| unavailable(&error))?;
            fail_point!("archiver::database::after_commit", |_| Err(DatabaseError::at("after_commit")));
            Ok(Written::of(&batch, &kept))
        })
        .await
    }

    async fn resolve(&self, people: Vec<(Person, EventTime)>) -> Result<HashMap<Person, Resolved>, DatabaseError> {
        self.blocking(move |shared| {
            let key = shared.ledger_key()?;
            let mut writer = shared.writer.lock();
            let transaction = begin(&mut writer)?;
            let resolved =
                ledger::resolve(&transaction, &key, people, Missing::Make).map_err(|error| unavailable(&error))?;
            transaction.commit().map_err(|error| unavailable(&error))?;
            Ok(resolved)
        })
        .await
    }

    async fn lookup(&self, people: Vec<(Person, EventTime)>) -> Result<HashMap<Person, Resolved>, DatabaseError> {
        self.blocking(move |shared| {
            let key = shared.ledger_key()?;
            let mut writer = shared.writer.lock();
            let transaction = begin(&mut writer)?;
            ledger::resolve(&transaction, &key, people, Missing::Leave).map_err(|error| unavailable(&error))
        })
        .await
    }

    async fn people_of(&self, tenant: &str, pseudonyms: Vec<String>) -> Result<HashMap<String, Person>, DatabaseError> {
        let tenant = tenant.to_owned();
        self.blocking(move |shared| {
            ledger::people_of(&shared.reader.lock(), &tenant, pseudonyms).map_err(|error| unavailable(&error))
        })
        .await
    }

    async fn journeys(&self, tenant: &str, user_id: &str) -> Result<Vec<TtfRecord>, DatabaseError> {
        let (tenant, user_id) = (tenant.to_owned(), user_id.to_owned());
        self.blocking(move |shared| {
            let reader = shared.reader.lock();
            let mut statement =
                reader.prepare_cached(include_str!("queries/journeys.sql")).map_err(|error| unavailable(&error))?;
            let rows = statement
                .query_map(params![tenant, user_id], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))
                .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
                .map_err(|error| unavailable(&error))?;
            rows.into_iter()
                .map(|(text, efficiency_score)| {
                    super::record_from_json(&text).map(|record| TtfRecord { efficiency_score, ..record })
                })
                .collect()
        })
        .await
    }

    async fn take_duty(&self, duty: Duty) -> Result<Option<Box<dyn Held>>, DatabaseError> {
        self.blocking(move |shared| duty::take(&shared.path, duty)).await
    }

    async fn cohort_rows(&self, signups: Signups, targets: &Targets) -> Result<CohortRows, DatabaseError> {
        let targets = targets.clone();
        self.blocking(move |shared| {
            cohorts::rows(&mut shared.reader.lock(), signups, &targets).map_err(|error| unavailable(&error))
        })
        .await
    }

    async fn certificates(&self, erasure_id: Option<&str>) -> Result<Vec<Certificate>, DatabaseError> {
        let id = erasure_id.map(str::to_owned);
        self.blocking(move |shared| {
            privacy::certificates(&shared.reader.lock(), id.as_deref()).map_err(|error| unavailable(&error))
        })
        .await
    }

    async fn note_certificate(&self, erasure_id: &str, step: Step, at: EventTime) -> Result<bool, DatabaseError> {
        let id = erasure_id.to_owned();
        self.blocking(move |shared| {
            privacy::note(&shared.writer.lock(), &id, step, at).map_err(|error| unavailable(&error))
        })
        .await
    }

    async fn rows_of(&self, tenant: &str, user_id: &str) -> Result<UserRows, DatabaseError> {
        let (tenant, user_id) = (tenant.to_owned(), user_id.to_owned());
        self.blocking(move |shared| {
            privacy::rows_of(&shared.reader.lock(), &tenant, &user_id).map_err(|error| unavailable(&error))
        })
        .await
    }

    async fn stored_event(&self, sought: &Sought) -> Result<StoredEvent, DatabaseError> {
        let sought = sought.clone();
        self.blocking(move |shared| stored_event(&shared.reader.lock(), &sought).map_err(|error| unavailable(&error)))
            .await
    }

    async fn expiring(&self, expiry: Expiry) -> Result<Census, DatabaseError> {
        self.blocking(move |shared| {
            retention::expiring(&shared.reader.lock(), &expiry).map_err(|error| unavailable(&error))
        })
        .await
    }

    async fn count(&self, came: &Came) -> Result<u64, DatabaseError> {
        let came = came.clone();
        self.blocking(move |shared| retention::count(&shared.reader.lock(), &came).map_err(|error| unavailable(&error)))
            .await
    }

    async fn expire(&self, expiry: Expiry, _oldest: Option<EventTime>) -> Result<u64, DatabaseError> {
        self.blocking(move |shared| {
            retention::expire(&shared.writer.lock(), &expiry).map_err(|error| unavailable(&error))
        })
        .await
    }

    async fn maintain(&self) -> Result<Maintained, DatabaseError> {
        Ok(Maintained::default())
    }

    async fn versions(&self) -> Result<(i32, i32), DatabaseError> {
        self.blocking(|shared| schema::versions(&shared.reader.lock()).map_err(|error| unavailable(&error))).await
    }

    async fn ping(&self) -> Result<(), DatabaseError> {
        self.blocking(|shared| {
            shared.reader.lock().query_row("SELECT 1", [], |_| Ok(())).map_err(|error| unavailable(&error))
        })
        .await
    }
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, DatabaseError> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| unavailable(&error))
}

fn move_offsets(transaction: &Transaction<'_>, owner: &str, batch: &Batch) -> Result<(), DatabaseError> {
    for offset in &batch.offsets {
        let moved = transaction
            .prepare_cached(include_str!("queries/move_offset.sql"))
            .and_then(|mut statement| {
                statement.execute(params![&*offset.topic, offset.partition, offset.expected, offset.next, owner])
            })
            .map_err(|error| unavailable(&error))?;
        if moved != 1 {
            return Err(DatabaseError::Moved(format!(
                "{}[{}] is not where it was left",
                offset.topic, offset.partition
            )));
        }
    }
    Ok(())
}

fn forget(transaction: &Transaction<'_>, key: &LedgerKey, batch: &Batch) -> Result<(), DatabaseError> {
    for erasure in &batch.erasures {
        ledger::erase(transaction, key, &erasure.row, batch.place_of(erasure.index))
            .map_err(|error| poison_or(erasure.index, &error))?;
    }
    for (journey, end) in batch.ended_journeys() {
        erase_until(transaction, include_str!("queries/end_journey.sql"), journey, end)?;
    }
    for (journey, end) in batch.ended_breaches() {
        erase_until(transaction, include_str!("queries/end_breaches.sql"), journey, end)?;
    }
    Ok(())
}

fn erase_until(
    transaction: &Transaction<'_>,
    sql: &'static str,
    at: JourneyKey<'_>,
    end: End,
) -> Result<(), DatabaseError> {
    for statement in statements(sql) {
        transaction
            .prepare_cached(statement)
            .and_then(|mut statement| {
                statement.execute(named_params! {
                    ":tenant": at.tenant, ":user_id": at.user_id, ":journey": at.journey, ":attempt": at.attempt,
                    ":until": end.until.to_rfc3339(),
                })
            })
            .map_err(|error| poison_or(end.index, &error))?;
    }
    Ok(())
}

/// The single statements of a file of ours (no semicolons inside literals).
fn statements(sql: &'static str) -> impl Iterator<Item = &'static str> {
    sql.split(';').map(str::trim).filter(|statement| !statement.is_empty())
}

/// True when the row itself is at fault.
fn is_data_error(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig)
    ) || matches!(error, rusqlite::Error::ToSqlConversionFailure(_))
}

fn poison_or(index: usize, error: &rusqlite::Error) -> DatabaseError {
    if is_data_error(error) { DatabaseError::Poison(BTreeSet::from([index])) } else { unavailable(error) }
}

fn unavailable(error: &rusqlite::Error) -> DatabaseError {
    DatabaseError::Unavailable(format!("sqlite: {error}"))
}
