//! The cache that several processes share: one hash per user in Redis.
//!
//! Field `complete_in` holds the epoch in which the hash was filled; every other field is one attempt.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::{
    Client, Pipeline,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use sha2::{Digest, Sha256};
use telemetry_schemas::{TtfRecord, json};

use super::{Cache, CacheError, Epoch, UNFED, UserKey};
use crate::{config::RedisConfig, database::rows::version};

const COMPLETE_IN: &str = "complete_in";
/// Characters of a value's version: ten of the generation, a dot, nineteen of the revision.
const VERSION_CHARS: usize = 30;
/// As long as a reader may take between its question to the database and the fill.
const FENCE: Duration = Duration::from_secs(60);

/// Journeys in Redis.
pub struct RedisCache {
    connection: ConnectionManager,
    key_prefix: String,
    ttl: Duration,
    timeout: Duration,
    /// The run of the server that was last seen: another one may have come back with an older copy.
    run: Mutex<Option<String>>,
}

impl From<redis::RedisError> for CacheError {
    fn from(error: redis::RedisError) -> Self {
        Self(error.to_string())
    }
}

impl RedisCache {
    /// Connects when first used, and again whenever the connection is lost.
    pub fn open(config: &RedisConfig) -> Result<Self, CacheError> {
        let client = Client::open(config.url.expose())
            .map_err(|_| CacheError("archive.live_view.url is not a Redis URL".to_owned()))?;
        let timeout = config.timeout.as_std();
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_max_delay(Duration::from_secs(1))
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let connection = ConnectionManager::new_lazy_with_config(client, settings)?;
        Ok(Self {
            connection,
            key_prefix: config.key_prefix.clone(),
            ttl: config.ttl.as_std(),
            timeout,
            run: Mutex::new(None),
        })
    }

    async fn run<T: redis::FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, CacheError> {
        let mut connection = self.connection.clone();
        match tokio::time::timeout(self.timeout * 2, pipeline.query_async(&mut connection)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(CacheError("no answer in time".to_owned())),
        }
    }

    /// What the server calls its present run; `None` where it may not be asked.
    async fn run_id(&self) -> Result<Option<String>, CacheError> {
        let mut connection = self.connection.clone();
        let mut info = redis::cmd("INFO");
        let answer = tokio::time::timeout(self.timeout * 2, info.arg("server").query_async::<String>(&mut connection));
        match answer.await {
            Ok(Ok(text)) => {
                Ok(text.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned()))
            }
            Ok(Err(error)) if error.code() == Some("NOPERM") => Ok(None),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(CacheError("no answer in time".to_owned())),
        }
    }

    fn epoch_key(&self) -> String {
        format!("{}:epoch", self.key_prefix)
    }

    /// The user's hash. The id itself is not in the name; the braces keep the fence on the same cluster node.
    fn hash_key(&self, user: &UserKey) -> String {
        let digest = Sha256::new_with_prefix(&user.tenant).chain_update([0x1f]).chain_update(&user.user_id).finalize();
        format!("{}:{{{}}}", self.key_prefix, hex::encode(&digest[..16]))
    }

    fn fence_key(&self, user: &UserKey) -> String {
        format!("{}:erased", self.hash_key(user))
    }

    fn ttl_ms(&self) -> u64 {
        self.ttl.as_millis() as u64
    }
}

fn field(record: &TtfRecord) -> String {
    format!("{}\u{1f}{}", record.journey, record.attempt)
}

fn value(record: &TtfRecord) -> String {
    let (generation, revision) = version(record);
    format!("{generation:010}.{revision:019}{}", json::to_json(record))
}

fn record_of(value: &str) -> Option<TtfRecord> {
    let text = value.get(VERSION_CHARS..)?;
    json::from_json(serde_json::from_str(text).ok()?).ok()
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, user: &UserKey) -> Result<(Epoch, Option<Vec<TtfRecord>>), CacheError> {
        let key = self.hash_key(user);
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(self.epoch_key()).cmd("HGETALL").arg(&key);
        let (epoch, fields): (Option<Epoch>, BTreeMap<String, String>) = self.run(&pipeline).await?;
        let epoch = epoch.unwrap_or(UNFED);
        if epoch == UNFED || fields.get(COMPLETE_IN) != Some(&epoch.to_string()) {
            return Ok((epoch, None));
        }
        let attempts = fields.iter().filter(|(field, _)| *field != COMPLETE_IN);
        let records: Option<Vec<TtfRecord>> = attempts.map(|(_, value)| record_of(value)).collect();
        Ok((epoch, records))
    }

    async fn fill(&self, user: &UserKey, epoch: Epoch, records: &[TtfRecord]) -> Result<(), CacheError> {
        if epoch == UNFED {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        let call = pipeline.cmd("EVAL").arg(include_str!("fill.lua")).arg(2);
        call.arg(self.hash_key(user)).arg(self.fence_key(user)).arg(self.ttl_ms()).arg(epoch);
        for record in records {
            call.arg(field(record)).arg(value(record));
        }
        self.run::<(i64,)>(&pipeline).await.map(drop)
    }

    async fn update(&self, records: &[TtfRecord]) -> Result<(), CacheError> {
        let mut users: BTreeMap<UserKey, Vec<&TtfRecord>> = BTreeMap::new();
        for record in records {
            users.entry(UserKey::new(record.tenant.as_str(), record.user_id.as_str())).or_default().push(record);
        }
        let users: Vec<_> = users.into_iter().collect();
        for some in users.chunks(500) {
            let mut pipeline = redis::pipe();
            for (user, records) in some {
                let call = pipeline.cmd("EVAL").arg(include_str!("update.lua")).arg(1).arg(self.hash_key(user));
                call.arg(self.ttl_ms()).arg(FENCE.as_millis() as u64);
                for record in records {
                    call.arg(field(record)).arg(value(record));
                }
                call.ignore();
            }
            self.run::<()>(&pipeline).await?;
        }
        Ok(())
    }

    async fn remove(&self, user: &UserKey) -> Result<(), CacheError> {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        pipeline.cmd("SET").arg(self.fence_key(user)).arg(1).arg("PX").arg(FENCE.as_millis() as u64).ignore();
        pipeline.cmd("DEL").arg(self.hash_key(user)).ignore();
        self.run::<()>(&pipeline).await
    }

    async fn renew(&self) -> Result<(), CacheError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg(self.epoch_key()).arg(new_epoch()).ignore();
        self.run::<()>(&pipeline).await
    }

    async fn revive(&self) -> Result<(), CacheError> {
        let run = self.run_id().await?;
        let is_another = run.is_some() && self.run.lock().as_ref().is_some_and(|known| Some(known) != run.as_ref());
        if is_another {
            self.renew().await?;
        } else {
            let mut pipeline = redis::pipe();
            pipeline.cmd("SET").arg(self.epoch_key()).arg(new_epoch()).arg("NX").ignore();
            self.run::<()>(&pipeline).await?;
        }
        if run.is_some() {
            *self.run.lock() = run;
        }
        Ok(())
    }
}

/// Random, so that an epoch lost with the cache never comes again.
fn new_epoch() -> Epoch {
    rand::random_range(1..=u64::MAX)
}
