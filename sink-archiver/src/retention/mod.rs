//! Retention: what goes, when, and never before it is archived and verified.
//!
//! Raw events, and what was computed of journeys, go from the database; objects go from the archive when their day is
//! past the longest of the three (on S3 by lifecycle rules, in a folder by us). [`plan`] decides, and is pure;
//! [`Retention`] asks the stores, carries out, and tells. A scheduled job does it, one process at a time ([`job`]).

pub mod job;
pub mod plan;

use std::{collections::BTreeSet, sync::Arc};

use serde::Serialize;
use stream_runtime::sink::SinkError;
use telemetry_schemas::time::EventTime;

pub use plan::{Class, Due, Expiry, Scope, Table};

use crate::{
    config::{ObjectLockConfig, ObjectLockMode, RetentionConfig},
    database::Database,
    objects::{
        bucket::{Bucket, Rule},
        days::{self, DayManifest},
        names::{Dataset, ObjectName},
        store::Store,
    },
};

/// What a table has that is past its time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Rows that may go.
    pub rows: u64,
    /// Rows past their time that have to wait, because they are not archived and verified.
    pub waiting: u64,
    /// Of the oldest row that may go.
    pub oldest: Option<EventTime>,
}

impl Census {
    /// Of both together.
    pub fn and(self, other: Self) -> Self {
        let oldest = self.oldest.into_iter().chain(other.oldest).min();
        Self { rows: self.rows + other.rows, waiting: self.waiting + other.waiting, oldest }
    }
}

/// One line of a plan: what of a table, or of the objects, goes for some tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub class: Class,
    /// A table, or `objects`.
    pub what: String,
    /// `null`: every tenant without a rule of its own.
    pub tenant: Option<String>,
    pub keep_days: i64,
    /// What is older is past its time.
    #[serde(with = "telemetry_schemas::time::rfc3339")]
    pub before: EventTime,
    /// Rows (or objects) that go now.
    pub due: u64,
    /// Rows past their time that stay until they are archived and verified.
    pub waiting: u64,
    /// Set once it was carried out.
    pub deleted: Option<u64>,
}

/// The whole picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Everything received before this instant is archived and verified; `null`: nothing is.
    #[serde(with = "telemetry_schemas::time::rfc3339::option")]
    pub verified_until: Option<EventTime>,
    pub lines: Vec<Line>,
    /// `null` for what is no S3.
    pub lifecycle: Option<Lifecycle>,
}

/// What S3 is to do, and what it says it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lifecycle {
    pub wanted: Vec<Rule>,
    pub there: Vec<Rule>,
    pub lock_wanted: Option<(ObjectLockMode, u32)>,
    pub lock_there: Option<(ObjectLockMode, u32)>,
}

impl Lifecycle {
    pub fn is_right(&self) -> bool {
        self.wanted == self.there && (self.lock_wanted.is_none() || self.lock_wanted == self.lock_there)
    }
}

/// Enforces retention on a database and an object archive.
pub struct Retention {
    config: RetentionConfig,
    lock: Option<ObjectLockConfig>,
    database: Arc<dyn Database>,
    store: Store,
}

impl Retention {
    pub fn new(
        config: RetentionConfig,
        lock: Option<ObjectLockConfig>,
        database: Arc<dyn Database>,
        store: Store,
    ) -> Self {
        Self { config, lock, database, store }
    }

    /// What would go at this instant.
    ///
    /// # Errors
    /// When the database or the store does not answer.
    pub async fn plan(&self, now: EventTime) -> Result<Report, SinkError> {
        self.run(now, false).await
    }

    /// Deletes what is due at this instant; tells what went. Safe to repeat, and to be cut short.
    ///
    /// # Errors
    /// When the database or the store does not answer.
    pub async fn apply(&self, now: EventTime) -> Result<Report, SinkError> {
        self.run(now, true).await
    }

    async fn run(&self, now: EventTime, carry_out: bool) -> Result<Report, SinkError> {
        let verified_until = self.verified_until().await?;
        let mut lines = Vec::new();
        for due in plan::due(&self.config, now) {
            for table in due.class.tables() {
                let expiry = Expiry {
                    table: *table,
                    scope: due.scope.clone(),
                    before: due.before,
                    written_before: verified_until.unwrap_or(EventTime(0)),
                };
                let census = self.database.expiring(expiry.clone()).await.map_err(SinkError::from)?;
                let deleted = if carry_out && census.rows > 0 {
                    Some(self.database.expire(expiry, census.oldest).await.map_err(SinkError::from)?)
                } else {
                    None
                };
                lines.push(line(&due, table.name(), census.rows, census.waiting, deleted));
            }
        }
        let lifecycle = self.lifecycle(carry_out).await?;
        for due in plan::due_objects(&self.config, now) {
            let old = self.old_objects(&due).await?;
            // S3 deletes by its rules.
            let deleted = if carry_out && lifecycle.is_none() && !old.is_empty() {
                for path in &old {
                    if let Some(path) = self.store.names.under_root(path) {
                        self.store.delete(&path).await?;
                    }
                }
                Some(old.len() as u64)
            } else {
                None
            };
            lines.push(line(&due, "objects", old.len() as u64, 0, deleted));
        }
        Ok(Report { verified_until, lines, lifecycle })
    }

    /// The end of the last day up to which every closed day is verified in its newest revision.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn verified_until(&self) -> Result<Option<EventTime>, SinkError> {
        let mut until = None;
        for date in days::closed(&self.store).await? {
            let Some(manifest) = days::newest(&self.store, &date).await? else { break };
            if days::verified(&self.store, &date, manifest.revision).await?.is_none() {
                break;
            }
            until = Some(days::end_of(&date)?);
        }
        Ok(until)
    }

    async fn old_objects(&self, due: &Due) -> Result<Vec<String>, SinkError> {
        let mut old = Vec::new();
        for date in days::closed(&self.store).await? {
            if days::end_of(&date)? > due.before {
                break;
            }
            let Some(manifest) = days::newest(&self.store, &date).await? else { continue };
            old.extend(self.there(&manifest, &due.scope).await?);
        }
        Ok(old)
    }

    /// The day's objects of these tenants that are still there.
    async fn there(&self, manifest: &DayManifest, scope: &Scope) -> Result<Vec<String>, SinkError> {
        let mut there = Vec::new();
        for object in &manifest.objects {
            let Some(name) = ObjectName::parse(&object.path) else { continue };
            let Some(path) = self.store.names.under_root(&object.path) else { continue };
            if scope.includes(&name.tenant) && self.store.exists(&path).await? {
                there.push(object.path.clone());
            }
        }
        Ok(there)
    }

    async fn lifecycle(&self, write: bool) -> Result<Option<Lifecycle>, SinkError> {
        let Some(bucket) = self.store.bucket() else { return Ok(None) };
        let mut tenants: BTreeSet<String> = self.config.tenants.keys().cloned().collect();
        for dataset in Dataset::ALL {
            for folder in self.store.folders(&self.store.names.dataset_folder(dataset, None)).await? {
                tenants.extend(folder.filename().and_then(crate::objects::names::tenant_of_folder));
            }
        }
        let wanted = plan::lifecycle(&self.config, &self.store.names, &tenants);
        let lock_wanted = self.lock.map(|lock| (lock.mode, lock.days()));
        let wanted = Wanted { rules: wanted, lock: lock_wanted };
        let found = wanted.held_against(bucket).await?;
        if !write || found.is_right() {
            return Ok(Some(found));
        }
        if found.there != found.wanted {
            bucket.put_rules(&found.wanted).await?;
        }
        if let Some(lock) = self.lock.filter(|_| found.lock_there != found.lock_wanted) {
            bucket.put_object_lock(lock).await?;
        }
        // Read back: a server may take rules and forget them.
        wanted.held_against(bucket).await.map(Some)
    }
}

/// What the bucket is to do.
struct Wanted {
    rules: Vec<Rule>,
    lock: Option<(ObjectLockMode, u32)>,
}

impl Wanted {
    async fn held_against(&self, bucket: &Bucket) -> Result<Lifecycle, SinkError> {
        let lock_there = match self.lock {
            Some(_) => bucket.object_lock().await?,
            None => None,
        };
        let there = bucket.rules().await?;
        Ok(Lifecycle { wanted: self.rules.clone(), there, lock_wanted: self.lock, lock_there })
    }
}

fn line(due: &Due, what: &str, rows: u64, waiting: u64, deleted: Option<u64>) -> Line {
    Line {
        class: due.class,
        what: what.to_owned(),
        tenant: due.scope.tenant().map(str::to_owned),
        keep_days: due.keep_days,
        before: due.before,
        due: rows,
        waiting,
        deleted,
    }
}
