//! PostgreSQL and TimescaleDB. Hypertables are made where the extension is there; every statement works on both.

mod address;
mod cohorts;
mod duty;
mod errors;
mod insert;
mod inspect;
mod ledger;
mod privacy;
mod retention;
mod schema;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts, Transaction};
use fail::fail_point;
use parking_lot::RwLock;
use stream_runtime::log::TopicPartition;
use telemetry_schemas::{TtfRecord, time::EventTime};
use tokio_postgres::{NoTls, types::ToSql};

use super::{
    Database, DatabaseError, Duty, Held, Maintained, Person, Resolved, Written,
    people::Missing,
    rows::{Batch, End, JourneyKey},
    same_cluster,
};
use crate::{
    cohorts::rows::{CohortRows, Signups, Targets},
    config::PostgresConfig,
    erasure::LedgerKey,
    objects::tally::Came,
    privacy::{
        access::UserRows,
        certificate::{Certificate, Step},
    },
    retention::{Census, Expiry},
    whereabouts::{Sought, StoredEvent},
};
use address::Address;
use errors::{is_data_error, unavailable};
pub use inspect::Inspection;

/// TimescaleDB unpacks at most 100 000 rows for one statement on compressed chunks, and fails beyond: a late row would be
/// tried for ever. PostgreSQL takes a setting it does not know.
const LATE_ROWS: &str = "-c timescaledb.max_tuples_decompressed_per_dml_transaction=0";

/// A pool of connections to one database.
pub struct Postgres {
    pool: Pool,
    ledger_key: RwLock<Option<LedgerKey>>,
}

impl Postgres {
    /// Prepares the pool; connects when first used.
    pub fn open(config: &PostgresConfig) -> Result<Self, DatabaseError> {
        let Address { config: mut connection, tls } = Address::parse(config.url.expose())?;
        let settings = format!(
            "{} -c statement_timeout={} -c client_min_messages=warning {LATE_ROWS}",
            connection.get_options().unwrap_or_default(),
            config.statement_timeout.millis()
        );
        connection.options(settings.trim());
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = match tls {
            Some(tls) => Manager::from_config(connection, tls, recycling),
            None => Manager::from_config(connection, NoTls, recycling),
        };
        let wait = Some(std::time::Duration::from_secs(10));
        let pool = Pool::builder(manager)
            .max_size(config.pool.max(1))
            .timeouts(Timeouts { wait, create: wait, recycle: wait })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| DatabaseError::Fatal(format!("cannot make a connection pool: {error}")))?;
        Ok(Self { pool, ledger_key: RwLock::new(None) })
    }

    async fn client(&self) -> Result<Object, DatabaseError> {
        self.pool.get().await.map_err(|error| DatabaseError::Unavailable(errors::of_pool(&error)))
    }

    fn ledger_key(&self) -> Result<LedgerKey, DatabaseError> {
        let key = self.ledger_key.read().clone();
        key.ok_or_else(|| DatabaseError::Fatal("the erasure ledger was not opened".to_owned()))
    }
}

#[async_trait]
impl Database for Postgres {
    async fn migrate(&self) -> Result<(), DatabaseError> {
        let client = self.client().await?;
        schema::migrate(&client).await
    }

    async fn open_ledger(&self, configured: Option<&str>) -> Result<(), DatabaseError> {
        let client = self.client().await?;
        let key = ledger::open(&client, configured).await?;
        *self.ledger_key.write() = Some(key);
        Ok(())
    }

    async fn follow(&self, cluster_id: &str) -> Result<(), DatabaseError> {
        let client = self.client().await?;
        let row = client.query_one(include_str!("queries/follow.sql"), &[&cluster_id]).await;
        same_cluster(row.map_err(|error| unavailable(&error))?.get(0), cluster_id)
    }

    async fn claim(&self, owner: &str, partitions: &[TopicPartition]) -> Result<Vec<i64>, DatabaseError> {
        let topics: Vec<&str> = partitions.iter().map(|at| &*at.topic).collect();
        let numbers: Vec<i32> = partitions.iter().map(|at| at.partition).collect();
        let client = self.client().await?;
        let rows = client
            .query(include_str!("queries/claim.sql"), &[&topics, &numbers, &owner])
            .await
            .map_err(|error| unavailable(&error))?;
        let stored: HashMap<(String, i32), i64> =
            rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect();
        Ok(partitions
            .iter()
            .map(|at| stored.get(&(at.topic.to_string(), at.partition)).copied().unwrap_or_default())
            .collect())
    }

    async fn write(&self, owner: &str, batch: Arc<Batch>) -> Result<Written, DatabaseError> {
        let key = self.ledger_key()?;
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(|error| unavailable(&error))?;
        let lock = if batch.erasures.is_empty() {
            include_str!("queries/lock_writers_shared.sql")
        } else {
            include_str!("queries/lock_writers_alone.sql")
        };
        run(&transaction, lock, &[]).await.map_err(|error| unavailable(&error))?;
        move_offsets(&transaction, owner, &batch).await?;
        fail_point!("archiver::database::after_offsets", |_| Err(DatabaseError::at("after_offsets")));
        forget(&transaction, &key, &batch).await?;
        let hashes = batch.users().into_iter().map(|(tenant, user_id)| ((tenant, user_id), key.hash(tenant, user_id)));
        let ledger = ledger::read(&transaction, hashes.collect()).await?;
        let kept = batch.keep(&ledger);
        insert::all(&transaction, &kept).await?;
        fail_point!("archiver::database::before_commit", |_| Err(DatabaseError::at("before_commit")));
        transaction.commit().await.map_err(|error| unavailable(&error))?;
        fail_point!("archiver::database::after_commit", |_| Err(DatabaseError::at("after_commit")));
        Ok(Written::of(&batch, &kept))
    }

    async fn resolve(&self, people: Vec<(Person, EventTime)>) -> Result<HashMap<Person, Resolved>, DatabaseError> {
        let key = self.ledger_key()?;
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(|error| unavailable(&error))?;
        run(&transaction, include_str!("queries/lock_writers_shared.sql"), &[])
            .await
            .map_err(|error| unavailable(&error))?;
        let resolved = ledger::resolve(&transaction, &key, people, Missing::Make).await?;
        transaction.commit().await.map_err(|error| unavailable(&error))?;
        Ok(resolved)
    }

    async fn lookup(&self, people: Vec<(Person, EventTime)>) -> Result<HashMap<Person, Resolved>, DatabaseError> {
        let key = self.ledger_key()?;
        let mut client = self.client().await?;
        let transaction = client.transaction().await.map_err(|error| unavailable(&error))?;
        ledger::resolve(&transaction, &key, people, Missing::Leave).await
    }

    async fn people_of(&self, tenant: &str, pseudonyms: Vec<String>) -> Result<HashMap<String, Person>, DatabaseError> {
        let client = self.client().await?;
        ledger::people_of(&client, tenant, &pseudonyms).await
    }

    async fn journeys(&self, tenant: &str, user_id: &str) -> Result<Vec<TtfRecord>, DatabaseError> {
        let client = self.client().await?;
        let statement =
            client.prepare_cached(include_str!("queries/journeys.sql")).await.map_err(|error| unavailable(&error))?;
        let rows = match client.query(&statement, &[&tenant, &user_id]).await {
            Ok(rows) => rows,
            // An id the database cannot even be asked for was never stored.
            Err(error) if is_data_error(&error) => Vec::new(),
            Err(error) => return Err(unavailable(&error)),
        };
        rows.iter().map(|row| super::record_from_json(row.get::<_, &str>(0))).collect()
    }

    async fn take_duty(&self, duty: Duty) -> Result<Option<Box<dyn Held>>, DatabaseError> {
        duty::take(self.client().await?, duty).await
    }

    async fn cohort_rows(&self, signups: Signups, targets: &Targets) -> Result<CohortRows, DatabaseError> {
        cohorts::rows(&mut self.client().await?, signups, targets).await
    }

    async fn certificates(&self, erasure_id: Option<&str>) -> Result<Vec<Certificate>, DatabaseError> {
        let client = self.client().await?;
        privacy::certificates(&client, erasure_id).await
    }

    async fn note_certificate(&self, erasure_id: &str, step: Step, at: EventTime) -> Result<bool, DatabaseError> {
        let client = self.client().await?;
        privacy::note(&client, erasure_id, step, at).await
    }

    async fn rows_of(&self, tenant: &str, user_id: &str) -> Result<UserRows, DatabaseError> {
        let client = self.client().await?;
        privacy::rows_of(&client, tenant, user_id).await
    }

    async fn stored_event(&self, sought: &Sought) -> Result<StoredEvent, DatabaseError> {
        let client = self.client().await?;
        stored_event(&client, sought).await
    }

    async fn expiring(&self, expiry: Expiry) -> Result<Census, DatabaseError> {
        retention::expiring(&mut self.client().await?, &expiry).await
    }

    async fn count(&self, came: &Came) -> Result<u64, DatabaseError> {
        retention::count(&mut self.client().await?, came).await
    }

    async fn expire(&self, expiry: Expiry, oldest: Option<EventTime>) -> Result<u64, DatabaseError> {
        retention::expire(&mut self.client().await?, &expiry, oldest).await
    }

    async fn maintain(&self) -> Result<Maintained, DatabaseError> {
        let mut client = self.client().await?;
        Ok(Maintained {
            partitions: call(&mut client, include_str!("queries/make_partitions.sql")).await?,
            hours: call(&mut client, include_str!("queries/refresh_rollups.sql")).await?,
        })
    }

    async fn versions(&self) -> Result<(i32, i32), DatabaseError> {
        let client = self.client().await?;
        schema::versions(&client).await
    }

    async fn ping(&self) -> Result<(), DatabaseError> {
        self.client().await?.simple_query("SELECT 1").await.map(drop).map_err(|error| unavailable(&error))
    }
}

async fn stored_event(client: &Object, sought: &Sought) -> Result<StoredEvent, DatabaseError> {
    let Sought { event, at, offset: _ } = sought;
    let sql = include_str!("queries/stored_event.sql");
    let parameters: [&(dyn ToSql + Sync); 6] =
        [&event.tenant, &event.source, &event.event_id, &event.timestamp.0, &&*at.topic, &at.partition];
    match client.query_one(sql, &parameters).await {
        Ok(row) => Ok(StoredEvent {
            received_at: row.get::<_, Option<i64>>(0).map(EventTime),
            next_offset: row.get::<_, Option<i64>>(1).unwrap_or(0),
        }),
        // An id the database cannot even be asked for was never stored.
        Err(error) if is_data_error(&error) => Ok(StoredEvent::default()),
        Err(error) => Err(unavailable(&error)),
    }
}

/// Calls a function that may take its time, in a transaction of its own.
async fn call(client: &mut Object, sql: &str) -> Result<i32, DatabaseError> {
    let transaction = client.transaction().await.map_err(|error| unavailable(&error))?;
    let patiently = transaction.batch_execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '5s'").await;
    patiently.map_err(|error| unavailable(&error))?;
    let row = transaction.query_one(sql, &[]).await.map_err(|error| unavailable(&error))?;
    transaction.commit().await.map_err(|error| unavailable(&error))?;
    Ok(row.get(0))
}

async fn run(
    transaction: &Transaction<'_>,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<u64, tokio_postgres::Error> {
    let statement = transaction.prepare_cached(sql).await?;
    transaction.execute(&statement, parameters).await
}

/// Moves every offset of the batch, or none and tells that another owner (or an older copy) is behind it.
async fn move_offsets(transaction: &Transaction<'_>, owner: &str, batch: &Batch) -> Result<(), DatabaseError> {
    let topics: Vec<&str> = batch.offsets.iter().map(|o| &*o.topic).collect();
    let partitions: Vec<i32> = batch.offsets.iter().map(|o| o.partition).collect();
    let expected: Vec<i64> = batch.offsets.iter().map(|o| o.expected).collect();
    let next: Vec<i64> = batch.offsets.iter().map(|o| o.next).collect();
    let moved =
        run(transaction, include_str!("queries/move_offsets.sql"), &[&topics, &partitions, &expected, &next, &owner])
            .await
            .map_err(|error| unavailable(&error))?;
    if moved == batch.offsets.len() as u64 {
        return Ok(());
    }
    Err(DatabaseError::Moved(format!("{moved} of {} partitions are where they were left", batch.offsets.len())))
}

/// Carries out the erasures of the batch, and removes the journeys it says are erased.
async fn forget(transaction: &Transaction<'_>, key: &LedgerKey, batch: &Batch) -> Result<(), DatabaseError> {
    for erasure in &batch.erasures {
        let place = batch.place_of(erasure.index);
        ledger::erase(transaction, key, &erasure.row, place).await.map_err(|error| poison_or(erasure.index, &error))?;
    }
    for (journey, end) in batch.ended_journeys() {
        erase_until(transaction, &END_JOURNEY, journey, end).await?;
    }
    for (journey, end) in batch.ended_breaches() {
        erase_until(transaction, &END_BREACHES, journey, end).await?;
    }
    Ok(())
}

/// The stages go first: they are found by the journey.
const END_JOURNEY: [&str; 3] = [
    include_str!("queries/end_stage_durations.sql"),
    include_str!("queries/end_journeys.sql"),
    include_str!("queries/end_ttf_records.sql"),
];
const END_BREACHES: [&str; 2] =
    [include_str!("queries/end_breaches.sql"), include_str!("queries/end_breach_status.sql")];

async fn erase_until(
    transaction: &Transaction<'_>,
    statements: &[&str],
    at: JourneyKey<'_>,
    end: End,
) -> Result<(), DatabaseError> {
    for sql in statements {
        run(transaction, sql, &[&at.tenant, &at.user_id, &at.journey, &at.attempt, &end.until.0])
            .await
            .map_err(|error| poison_or(end.index, &error))?;
    }
    Ok(())
}

fn poison_or(index: usize, error: &tokio_postgres::Error) -> DatabaseError {
    if is_data_error(error) { DatabaseError::Poison(BTreeSet::from([index])) } else { unavailable(error) }
}
