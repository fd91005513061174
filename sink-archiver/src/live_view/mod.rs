//! The live view: where every journey of a user stands now, quickly.
//!
//! A cache in front of the `journeys` table, never the truth: losing it loses nothing and stops nothing.
//! What is cached of a user is served only when it is complete and of the current *epoch*; the epoch grows when
//! the cache may have missed a write (a new assignment, a failed update), so that everything is read anew.

mod memory;
mod read_through;
mod redis;

use std::sync::Arc;

use async_trait::async_trait;
use service_kit::Kit;
use telemetry_schemas::TtfRecord;

pub use memory::MemoryCache;
pub use read_through::ReadThrough;
pub use redis::RedisCache;

use crate::{
    config::{ArchiveConfig, LiveViewConfig},
    database::{self, Database},
};

/// Where the journeys of users stand.
#[async_trait]
pub trait LiveView: Send + Sync + 'static {
    /// The newest record of every attempt of this user, ordered by journey and attempt; empty when nothing is known.
    ///
    /// # Errors
    /// When neither the cache nor the database answers.
    async fn journeys(&self, tenant: &str, user_id: &str) -> anyhow::Result<Vec<TtfRecord>>;

    /// Shows records that the database has; older ones than those shown change nothing.
    async fn put(&self, records: &[TtfRecord]);

    /// Forgets an erased user; false when the cache did not answer: it is told later, and shows the user no more.
    async fn remove(&self, tenant: &str, user_id: &str) -> bool;

    /// What is cached may be old: reads everything anew.
    async fn distrust(&self);

    /// Catches up on what could not be done while the cache was away. Called about once a second.
    async fn maintain(&self);
}

/// What keeps the journeys of some users at hand.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// The current epoch, and the user's journeys when they are complete and of this epoch.
    async fn get(&self, user: &UserKey) -> Result<(Epoch, Option<Vec<TtfRecord>>), CacheError>;

    /// Keeps the user's complete journeys, as read from the database after the epoch was; newer records that
    /// came in between stay.
    async fn fill(&self, user: &UserKey, epoch: Epoch, records: &[TtfRecord]) -> Result<(), CacheError>;

    /// Takes newer records of users in.
    async fn update(&self, records: &[TtfRecord]) -> Result<(), CacheError>;

    /// Removes the user and refuses to be filled with them for a minute (by a reader that asked the database
    /// before the erasure).
    async fn remove(&self, user: &UserKey) -> Result<(), CacheError>;

    /// Starts a new epoch.
    async fn renew(&self) -> Result<(), CacheError>;

    /// Starts an epoch where none is (the cache was emptied), and a new one where the cache has come back from an older
    /// copy of itself. Called about once a second.
    async fn revive(&self) -> Result<(), CacheError>;
}

/// A number that is new each time everything cached becomes doubtful; [`UNFED`] when nobody feeds the cache.
pub type Epoch = u64;

/// No epoch: nothing is kept.
pub const UNFED: Epoch = 0;

/// A user of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserKey {
    pub tenant: String,
    pub user_id: String,
}

impl UserKey {
    pub fn new(tenant: impl Into<String>, user_id: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), user_id: user_id.into() }
    }
}

/// The cache did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CacheError(pub String);

/// Opens the configured live view on its database. In one process all services share the result; only with Redis
/// do several processes see each other's updates (a memory cache nobody feeds keeps nothing and asks the database).
pub async fn open_live_view(config: &ArchiveConfig, kit: &Kit) -> anyhow::Result<Arc<dyn LiveView>> {
    let database = database::open(&config.database)?;
    Ok(over(database, config, kit)?)
}

/// The configured live view on a database that is open already.
pub fn over(database: Arc<dyn Database>, config: &ArchiveConfig, kit: &Kit) -> Result<Arc<dyn LiveView>, CacheError> {
    let cache: Box<dyn Cache> = match &config.live_view {
        LiveViewConfig::Memory(memory) => Box::new(MemoryCache::new(memory.users)),
        LiveViewConfig::Redis(redis) => Box::new(RedisCache::open(redis)?),
    };
    Ok(Arc::new(ReadThrough::new(cache, database, kit)))
}
