//! Starts the archiver: a consumer group per store, and in the database one for events and one for what is computed
//! from them, so that none waits for another.

use std::{sync::Arc, time::Duration};

use service_kit::{Kit, config::Secret};
use stream_runtime::{
    log::Log,
    sink::{self, SinkOptions},
};
use telemetry_schemas::{
    Codec,
    topics::{ERASURES, EVENTS, TTF_BREACHES, TTF_RECORDS},
};

use crate::{
    cohorts::{self, rows::Targets},
    config::{ArchiveConfig, RetentionConfig},
    database::{self, Database, DatabaseError, sink::DatabaseSink},
    live_view::LiveView,
    metrics::Metrics,
    objects::{sink::ObjectSink, start::GroupOffsets, store::Store, verify::Verifier, writer::CutWriter},
    privacy::watch::{self, Watch},
    rejects::Rejects,
    retention::{
        Retention,
        job::{self, Job},
    },
    upkeep,
};

/// Consumer group that writes events to the database.
pub const EVENTS_GROUP: &str = "ttf-archiver-events";
/// Consumer group that writes journeys and breaches to the database and the live view, and erases. Apart from the
/// events, so that a backlog of those delays no journey.
pub const JOURNEYS_GROUP: &str = "ttf-archiver-journeys";
/// Consumer group of the object sink.
pub const OBJECTS_GROUP: &str = "ttf-archiver-objects";

const DATABASE_CHECK: &str = "archive database";
/// How long rows wait for company before they are written.
const DATABASE_BATCH_INTERVAL: Duration = Duration::from_millis(200);
const CLUSTER_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_START: Duration = Duration::from_secs(2);
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Starts the archiver on the kit and returns. `targets` are those of the whole way of each journey. While the database is away it waits (and is not ready); a database
/// that is newer than this program, or a wrong erasure key, ends the process.
///
/// # Errors
/// When the configuration cannot be used.
pub async fn run(
    config: ArchiveConfig,
    retention: RetentionConfig,
    targets: Targets,
    log: Arc<dyn Log>,
    codec: Codec,
    live_view: Arc<dyn LiveView>,
    kit: &Kit,
) -> anyhow::Result<()> {
    let database = database::open(&config.database)?;
    let store = Store::open(&config.s3)?;
    // Asked for here, so that the process is not ready before the database answered.
    kit.health().readiness(DATABASE_CHECK).set(false);
    let started = kit.clone();
    kit.spawn("archiver", async move {
        if !wait_for_database(&*database, &config, &log, &started).await? {
            return Ok(());
        }
        let sinks = [
            ("database-events", EVENTS_GROUP, vec![EVENTS]),
            ("database-journeys", JOURNEYS_GROUP, vec![TTF_RECORDS, TTF_BREACHES, ERASURES]),
        ];
        for (name, group, topics) in sinks {
            let mut options = SinkOptions::new(name, group, topics.into_iter().map(str::to_owned).collect());
            options.batch_interval = DATABASE_BATCH_INTERVAL;
            start_database_sink(options, &database, &log, &codec, live_view.clone(), &started)?;
        }
        upkeep::start(Arc::clone(&database), &started);
        cohorts::start(&config.cohorts, targets, Arc::clone(&database), Arc::clone(&log), codec.clone(), &started)?;
        let erasures = Watch {
            database: Arc::clone(&database),
            log: Arc::clone(&log),
            codec: codec.clone(),
            live_view_ttl: config.live_view.ttl(),
        };
        watch::start(erasures, &started)?;
        start_retention(&store, &database, &log, &codec, &config, retention, &started);
        start_object_sink(store, &database, &log, &codec, &config, &started)?;
        watch(&*database, &started).await;
        Ok(())
    });
    Ok(())
}

/// Brings the configured database's schema up to date.
///
/// # Errors
/// When it does not answer, or is newer than this program.
pub async fn migrate(config: &ArchiveConfig) -> anyhow::Result<()> {
    let database = database::open(&config.database)?;
    prepare(&*database, config).await?;
    Ok(())
}

/// The schema version the configured database has (0: none yet), and the one [`migrate`] brings it to.
///
/// # Errors
/// When it does not answer.
pub async fn schema_versions(config: &ArchiveConfig) -> anyhow::Result<(i32, i32)> {
    Ok(database::open(&config.database)?.versions().await?)
}

async fn prepare(database: &dyn Database, config: &ArchiveConfig) -> Result<(), DatabaseError> {
    database.migrate().await?;
    database.open_ledger(config.erasure_key.as_ref().map(Secret::expose)).await
}

/// Makes sure that the database's offsets are those of this log.
async fn follow(database: &dyn Database, log: &Arc<dyn Log>) -> Result<(), DatabaseError> {
    let log = Arc::clone(log);
    let asked = tokio::task::spawn_blocking(move || log.cluster_id(CLUSTER_TIMEOUT)).await;
    let cluster_id = asked
        .map_err(|error| DatabaseError::Fatal(error.to_string()))?
        .map_err(|error| DatabaseError::Unavailable(format!("the log does not say which it is: {error}")))?;
    database.follow(&cluster_id).await
}

/// False when the process is to end before the database and the log answered.
async fn wait_for_database(
    database: &dyn Database,
    config: &ArchiveConfig,
    log: &Arc<dyn Log>,
    kit: &Kit,
) -> anyhow::Result<bool> {
    let check = kit.health().check(DATABASE_CHECK);
    let shutdown = kit.shutdown();
    loop {
        let prepared = match prepare(database, config).await {
            Ok(()) => follow(database, log).await,
            Err(error) => Err(error),
        };
        match prepared {
            Ok(()) => {
                check.healthy();
                kit.health().readiness(DATABASE_CHECK).set(true);
                return Ok(true);
            }
            Err(DatabaseError::Unavailable(message)) => {
                tracing::warn!(message, "archive database is not available yet");
                check.unhealthy(message);
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(false),
            () = tokio::time::sleep(RETRY_START) => {}
        }
    }
}

fn start_database_sink(
    options: SinkOptions,
    database: &Arc<dyn Database>,
    log: &Arc<dyn Log>,
    codec: &Codec,
    live_view: Arc<dyn LiveView>,
    kit: &Kit,
) -> anyhow::Result<()> {
    let rejects = Rejects::new(log.publisher()?, codec.clone());
    let owner = format!("{}-{}", std::process::id(), hex::encode(rand::random::<[u8; 8]>()));
    let sink = DatabaseSink::new(Arc::clone(database), live_view, codec.clone(), rejects, Metrics::new(kit), owner);
    sink::run(options, Arc::clone(log), sink, kit)
}

fn start_object_sink(
    store: Store,
    database: &Arc<dyn Database>,
    log: &Arc<dyn Log>,
    codec: &Codec,
    config: &ArchiveConfig,
    kit: &Kit,
) -> anyhow::Result<()> {
    let topics = [EVENTS, TTF_RECORDS, TTF_BREACHES];
    let options = SinkOptions::new("objects", OBJECTS_GROUP, topics.map(str::to_owned).to_vec());
    let metrics = Metrics::new(kit);
    let offsets = GroupOffsets::new(Arc::clone(log), OBJECTS_GROUP);
    let writer = CutWriter::new(store.clone(), Arc::clone(database), codec.clone(), metrics.clone());
    let sink = ObjectSink::new(store, writer, Arc::new(offsets), &config.rotation, metrics);
    sink::run(options, Arc::clone(log), sink, kit)
}

fn start_retention(
    store: &Store,
    database: &Arc<dyn Database>,
    log: &Arc<dyn Log>,
    codec: &Codec,
    config: &ArchiveConfig,
    retention: RetentionConfig,
    kit: &Kit,
) {
    let writer = CutWriter::new(store.clone(), Arc::clone(database), codec.clone(), Metrics::new(kit));
    let (interval, enforce) = (retention.interval.as_std(), retention.enforce);
    let job = Job {
        database: Arc::clone(database),
        store: store.clone(),
        log: Arc::clone(log),
        verifier: Verifier::new(store.clone(), writer, Some(Arc::clone(log))),
        retention: Retention::new(retention, config.s3.object_lock(), Arc::clone(database), store.clone()),
        enforce,
    };
    job::start(job, interval, kit);
}

/// Shows on `/health` whether the database answers, until shutdown.
async fn watch(database: &dyn Database, kit: &Kit) {
    let check = kit.health().check(DATABASE_CHECK);
    let shutdown = kit.shutdown();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PING_INTERVAL) => {}
        }
        match database.ping().await {
            Ok(()) => check.healthy(),
            Err(error) => check.degraded(error.to_string()),
        }
    }
}
