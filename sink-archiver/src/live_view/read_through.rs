//! The cache first, the database when it knows nothing; a cache that fails is counted and passed by.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus::IntCounterVec;
use service_kit::Kit;
use telemetry_schemas::TtfRecord;

use super::{Cache, CacheError, LiveView, UserKey};
use crate::database::Database;

/// Removals to catch up on at most; past this the entries' own end has to do.
const MAX_UNREMOVED: usize = 100_000;

/// A live view made of a cache and a database.
pub struct ReadThrough {
    cache: Box<dyn Cache>,
    database: Arc<dyn Database>,
    /// The epoch must grow before anything cached is trusted again.
    doubtful: AtomicBool,
    /// Erased users that the cache still holds.
    unremoved: Mutex<BTreeSet<UserKey>>,
    lookups: IntCounterVec,
    errors: IntCounterVec,
}

impl ReadThrough {
    pub fn new(cache: Box<dyn Cache>, database: Arc<dyn Database>, kit: &Kit) -> Self {
        Self {
            cache,
            database,
            doubtful: AtomicBool::new(false),
            unremoved: Mutex::new(BTreeSet::new()),
            lookups: kit.metrics().counter_vec(
                "ttf_live_view_lookups_total",
                "Questions to the live view, by where the answer came from.",
                &["from"],
            ),
            errors: kit.metrics().counter_vec(
                "ttf_live_view_errors_total",
                "Failed calls to the live view's cache; the database answers instead.",
                &["operation"],
            ),
        }
    }

    fn note(&self, operation: &'static str, error: &CacheError) {
        self.errors.with_label_values(&[operation]).inc();
        tracing::debug!(operation, %error, "live view cache failed");
    }

    /// Starts a new epoch when one is due; true when the cache can be trusted.
    async fn trusted(&self) -> bool {
        if !self.doubtful.load(Ordering::Acquire) {
            return true;
        }
        match self.cache.renew().await {
            Ok(()) => {
                self.doubtful.store(false, Ordering::Release);
                true
            }
            Err(error) => {
                self.note("renew", &error);
                false
            }
        }
    }
}

#[async_trait]
impl LiveView for ReadThrough {
    async fn journeys(&self, tenant: &str, user_id: &str) -> anyhow::Result<Vec<TtfRecord>> {
        let user = UserKey::new(tenant, user_id);
        let epoch = match self.cache.get(&user).await {
            Ok((_, Some(records))) if !self.doubtful.load(Ordering::Acquire) => {
                self.lookups.with_label_values(&["cache"]).inc();
                return Ok(records);
            }
            Ok((epoch, _)) => Some(epoch),
            Err(error) => {
                self.note("get", &error);
                None
            }
        };
        let mut records = self.database.journeys(tenant, user_id).await?;
        records.sort_by(|a, b| (&a.journey, &a.attempt).cmp(&(&b.journey, &b.attempt)));
        self.lookups.with_label_values(&["database"]).inc();
        if let Some(epoch) = epoch
            && let Err(error) = self.cache.fill(&user, epoch, &records).await
        {
            self.note("fill", &error);
        }
        Ok(records)
    }

    async fn put(&self, records: &[TtfRecord]) {
        // While in doubt nothing cached is served, and the new epoch reads it all from the database.
        if !self.trusted().await {
            return;
        }
        if let Err(error) = self.cache.update(records).await {
            self.note("update", &error);
            self.doubtful.store(true, Ordering::Release);
        }
    }

    async fn remove(&self, tenant: &str, user_id: &str) -> bool {
        let user = UserKey::new(tenant, user_id);
        let Err(error) = self.cache.remove(&user).await else { return true };
        self.note("remove", &error);
        self.doubtful.store(true, Ordering::Release);
        let mut unremoved = self.unremoved.lock();
        if unremoved.len() < MAX_UNREMOVED {
            unremoved.insert(user);
        }
        false
    }

    async fn distrust(&self) {
        self.doubtful.store(true, Ordering::Release);
        self.trusted().await;
    }

    async fn maintain(&self) {
        if !self.trusted().await {
            return;
        }
        if let Err(error) = self.cache.revive().await {
            self.note("revive", &error);
            return;
        }
        loop {
            let Some(user) = self.unremoved.lock().first().cloned() else { return };
            if let Err(error) = self.cache.remove(&user).await {
                self.note("remove", &error);
                return;
            }
            self.unremoved.lock().remove(&user);
        }
    }
}
