//! Remembers which events were taken, so that a sender's retry is a `duplicate` and no second event.
//!
//! An event counts as seen only once the log has acknowledged it: looking and remembering are two steps with the
//! acknowledgement between them. A repeat that comes while the first is still on its way waits for it ([`under_way`]) where
//! both came to the same process. Where two gateways publish it at the same time, the one that Redis hears of first has
//! accepted it; the other's record is there as well, and everything downstream is idempotent by event id. Losing the
//! memory (a restart, Redis away) costs no event, only the outcome `duplicate`.

mod memory;
mod owed;
mod redis;
pub mod under_way;

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use self::{memory::Memory, redis::Shared, under_way::UnderWay};
use crate::{config::DedupConfig, metrics::DedupMetrics};

/// An event's identity, hashed: 96 bits, so that among 100 million ids a false repeat has a chance below 1 in 10^13.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 12]);

impl Identity {
    /// The identity of an event is its tenant, source and id.
    pub fn of(tenant: &str, source: &str, event_id: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [tenant, source, event_id] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut identity = [0; 12];
        identity.copy_from_slice(&digest[..12]);
        Self(identity)
    }
}

/// The memory of a gateway; cheap to clone.
#[derive(Clone)]
pub struct Dedup {
    memory: Option<Memory>,
    shared: Option<Shared>,
    pub under_way: UnderWay,
}

impl Dedup {
    /// # Errors
    /// A Redis address that cannot be read.
    pub fn new(config: &DedupConfig, redis: Option<&str>, metrics: DedupMetrics) -> anyhow::Result<Self> {
        if !config.enabled {
            return Ok(Self { memory: None, shared: None, under_way: UnderWay::default() });
        }
        let window = config.window.as_std();
        let shared = redis.map(|url| Shared::new(url, window, config.redis_timeout.as_std(), metrics.clone()));
        let memory = Memory::new(window, config.max_ids, Instant::now(), metrics);
        Ok(Self { memory: Some(memory), shared: shared.transpose()?, under_way: UnderWay::default() })
    }

    /// For each identity, whether it was taken before. Never fails: who cannot be asked has not seen it.
    pub async fn seen(&self, identities: &[Identity]) -> Vec<bool> {
        let mut seen = self.seen_here(identities);
        let unknown: Vec<usize> = (0..seen.len()).filter(|index| !seen[*index]).collect();
        if let (Some(shared), false) = (&self.shared, unknown.is_empty()) {
            let asked: Vec<Identity> = unknown.iter().map(|index| identities[*index]).collect();
            for (index, found) in unknown.into_iter().zip(shared.seen(&asked).await) {
                seen[index] = found;
            }
        }
        seen
    }

    fn seen_here(&self, identities: &[Identity]) -> Vec<bool> {
        match &self.memory {
            Some(memory) => memory.seen(identities, Instant::now()),
            None => vec![false; identities.len()],
        }
    }

    /// Remembers events that the log has acknowledged. The answer says of each whether another gateway was first.
    pub async fn remember(&self, identities: &[Identity]) -> Vec<bool> {
        if let Some(memory) = &self.memory {
            memory.remember(identities, Instant::now());
        }
        match self.shared.as_ref().filter(|_| !identities.is_empty()) {
            Some(shared) => shared.remember(identities).await,
            None => vec![false; identities.len()],
        }
    }

    pub fn is_on(&self) -> bool {
        self.memory.is_some()
    }
}

/// Nothing waits longer for Redis than this, whatever the configuration says.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
