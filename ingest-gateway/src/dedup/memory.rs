//! The memory of one process: bounded, the oldest forgotten first.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::Identity;
use crate::metrics::DedupMetrics;

/// Locks are held for the ids of one request; shards let requests pass each other.
const SHARDS: usize = 16;

/// Ids with the second they were taken in.
#[derive(Clone)]
pub struct Memory(Arc<Inner>);

struct Inner {
    shards: Vec<Mutex<Shard>>,
    window_s: u32,
    max_ids: usize,
    started: Instant,
    metrics: DedupMetrics,
}

#[derive(Default)]
struct Shard {
    taken_at: HashMap<Identity, u32, BuildHasherDefault<Already>>,
    /// In the order they were taken.
    order: VecDeque<(Identity, u32)>,
}

/// Identities are hashes already.
#[derive(Default)]
struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length of the array, which is always the same.
    fn write_usize(&mut self, _: usize) {}
}

impl Memory {
    pub fn new(window: Duration, max_ids: usize, now: Instant, metrics: DedupMetrics) -> Self {
        Self(Arc::new(Inner {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            window_s: u32::try_from(window.as_secs().max(1)).unwrap_or(u32::MAX),
            max_ids: max_ids.div_ceil(SHARDS),
            started: now,
            metrics,
        }))
    }

    pub fn seen(&self, identities: &[Identity], now: Instant) -> Vec<bool> {
        let now = self.seconds(now);
        identities
            .iter()
            .map(|identity| {
                let taken_at = self.shard(identity).lock().taken_at.get(identity).copied();
                taken_at.is_some_and(|taken_at| now.saturating_sub(taken_at) < self.0.window_s)
            })
            .collect()
    }

    pub fn remember(&self, identities: &[Identity], now: Instant) {
        let now = self.seconds(now);
        for identity in identities {
            let mut shard = self.shard(identity).lock();
            let before = shard.taken_at.len();
            shard.take(*identity, now, self.0.window_s, self.0.max_ids);
            self.0.metrics.ids.add(shard.taken_at.len() as i64 - before as i64);
        }
    }

    fn shard(&self, identity: &Identity) -> &Mutex<Shard> {
        &self.0.shards[usize::from(identity.0[11]) % SHARDS]
    }

    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.0.started).as_secs()).unwrap_or(u32::MAX)
    }
}

impl Shard {
    fn take(&mut self, identity: Identity, now: u32, window_s: u32, max_ids: usize) {
        // A repeat keeps its first time: the window is counted from when it was taken.
        let known = self.taken_at.get(&identity).is_some_and(|taken_at| now.saturating_sub(*taken_at) < window_s);
        if known {
            return;
        }
        self.taken_at.insert(identity, now);
        self.order.push_back((identity, now));
        while let Some((oldest, taken_at)) = self.order.front().copied() {
            let is_over = now.saturating_sub(taken_at) >= window_s;
            if !is_over && self.taken_at.len() <= max_ids {
                break;
            }
            self.order.pop_front();
            // Taken again since, it has a later place in the order.
            if self.taken_at.get(&oldest) == Some(&taken_at) {
                self.taken_at.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use service_kit::Metrics;

    use super::*;

    fn identity(number: usize) -> Identity {
        Identity::of("t", "http", &number.to_string())
    }

    fn memory(window_s: u64, max_ids: usize) -> (Memory, Instant, DedupMetrics) {
        let (start, metrics) = (Instant::now(), DedupMetrics::new(&Metrics::default()));
        (Memory::new(Duration::from_secs(window_s), max_ids, start, metrics.clone()), start, metrics)
    }

    #[test]
    fn an_id_is_known_until_its_window_is_over() {
        let (memory, start, _) = memory(60, 1_000);
        let at = |seconds| start + Duration::from_secs(seconds);
        memory.remember(&[identity(1)], at(0));
        memory.remember(&[identity(1)], at(30));
        assert_eq!(memory.seen(&[identity(1), identity(2)], at(59)), [true, false]);
        assert_eq!(memory.seen(&[identity(1)], at(60)), [false], "a repeat does not make the window longer");
        memory.remember(&[identity(1)], at(61));
        assert_eq!(memory.seen(&[identity(1)], at(120)), [true]);
    }

    #[test]
    fn the_bound_is_kept_and_the_oldest_go_first() {
        let (memory, start, metrics) = memory(3_600, 1_600);
        for number in 0..10_000 {
            memory.remember(&[identity(number)], start);
        }
        assert!(metrics.ids.get() <= 1_600, "{}", metrics.ids.get());
        assert!(metrics.ids.get() > 1_500);
        assert_eq!(memory.seen(&[identity(9_999), identity(0)], start), [true, false]);
        let held: usize = memory.0.shards.iter().map(|shard| shard.lock().order.len()).sum();
        assert_eq!(held as i64, metrics.ids.get());
    }

    #[test]
    fn ids_whose_window_is_over_leave_the_memory() {
        let (memory, start, metrics) = memory(10, 100_000);
        for number in 0..1_000 {
            memory.remember(&[identity(number)], start);
        }
        for number in 1_000..2_000 {
            memory.remember(&[identity(number)], start + Duration::from_secs(11));
        }
        assert_eq!(metrics.ids.get(), 1_000);
    }

    #[test]
    fn an_identity_is_its_three_parts() {
        let all = [("t", "http", "e"), ("t", "http", "f"), ("t", "/shop", "e"), ("u", "http", "e"), ("th", "ttp", "e")];
        let identities: std::collections::HashSet<Identity> =
            all.into_iter().map(|(tenant, source, id)| Identity::of(tenant, source, id)).collect();
        assert_eq!(identities.len(), all.len());
    }
}
