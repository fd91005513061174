//! What all gateways remember together. Redis is a cache: whatever it does, no event is lost or held up for long.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{
    Client, RedisResult,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::Instant;

use super::{Identity, LONGEST_WAIT, owed::Owed};
use crate::metrics::DedupMetrics;

/// After a failure Redis is left alone for so long, so that an outage costs requests no time.
const PAUSE: Duration = Duration::from_secs(1);

/// What was taken in an outage is told afterwards, so many at a time.
const AT_A_TIME: usize = 1_000;

const PREFIX: &[u8] = b"ttf:seen:";

/// The shared memory.
#[derive(Clone)]
pub struct Shared(Arc<Inner>);

struct Inner {
    connection: ConnectionManager,
    window: Duration,
    timeout: Duration,
    paused_until: Mutex<Option<Instant>>,
    owed: Owed,
    metrics: DedupMetrics,
}

impl Shared {
    /// Connects when it is first used. Must be called on a runtime.
    pub fn new(url: &str, window: Duration, timeout: Duration, metrics: DedupMetrics) -> anyhow::Result<Self> {
        let timeout = timeout.min(LONGEST_WAIT);
        let client = Client::open(url).map_err(|_| anyhow::anyhow!("gateway.redis: not a Redis address"))?;
        let settings = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let connection = ConnectionManager::new_lazy_with_config(client, settings)?;
        let owed = Owed::new(metrics.owed.clone());
        Ok(Self(Arc::new(Inner { connection, window, timeout, paused_until: Mutex::new(None), owed, metrics })))
    }

    pub async fn seen(&self, identities: &[Identity]) -> Vec<bool> {
        let mut ask = redis::cmd("MGET");
        for identity in identities {
            ask.arg(key(identity));
        }
        let mut connection = self.0.connection.clone();
        let answer: Option<Vec<Option<Vec<u8>>>> = self.bounded(ask.query_async(&mut connection)).await;
        match answer {
            Some(found) if found.len() == identities.len() => found.iter().map(Option::is_some).collect(),
            _ => vec![false; identities.len()],
        }
    }

    /// Whether each was remembered before, by another gateway. What Redis cannot be told now, it is told when it is back.
    pub async fn remember(&self, identities: &[Identity]) -> Vec<bool> {
        if let Some(was_there) = self.tell(identities).await {
            return was_there;
        }
        if self.0.owed.add(identities) {
            tokio::spawn(self.clone().settle());
        }
        vec![false; identities.len()]
    }

    /// Tells what is owed, until nothing is.
    async fn settle(self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            loop {
                let identities = self.0.owed.take(AT_A_TIME);
                if identities.is_empty() {
                    return;
                }
                if self.tell(&identities).await.is_none() {
                    self.0.owed.put_back(&identities);
                    break;
                }
            }
        }
    }

    /// Whether each was there; nothing when Redis could not be told.
    async fn tell(&self, identities: &[Identity]) -> Option<Vec<bool>> {
        let mut all = redis::pipe();
        for identity in identities {
            // The first taker's time counts.
            all.cmd("SET").arg(key(identity)).arg(1).arg("NX").arg("PX").arg(self.0.window.as_millis() as u64);
        }
        let mut connection = self.0.connection.clone();
        // `OK` where it was set, nil where it was there.
        let answer: Option<Vec<Option<String>>> = self.bounded(all.query_async(&mut connection)).await;
        let set = answer.filter(|set| set.len() == identities.len())?;
        Some(set.iter().map(Option::is_none).collect())
    }

    /// The answer, or nothing when Redis is away, slow, or was a moment ago.
    async fn bounded<T>(&self, asked: impl Future<Output = RedisResult<T>>) -> Option<T> {
        let is_paused = self.0.paused_until.lock().is_some_and(|until| Instant::now() < until);
        if is_paused {
            self.0.metrics.unavailable.inc();
            return None;
        }
        let failure = match tokio::time::timeout(self.0.timeout, asked).await {
            Ok(Ok(answer)) => {
                *self.0.paused_until.lock() = None;
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.0.metrics.unavailable.inc();
        let was_paused = self.0.paused_until.lock().replace(Instant::now() + PAUSE).is_some();
        if !was_paused {
            tracing::warn!(error = failure, "Redis is away; repeats are recognised by this process's memory alone");
        }
        None
    }
}

fn key(identity: &Identity) -> Vec<u8> {
    [PREFIX, identity.0.as_slice()].concat()
}
