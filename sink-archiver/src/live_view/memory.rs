//! The cache of one process. Bounded: two generations of users, of which the older one is dropped whole.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use telemetry_schemas::TtfRecord;

use super::{Cache, CacheError, Epoch, UNFED, UserKey};
use crate::database::rows::version;

/// As long as a reader may take between its question to the database and the fill.
const FENCE: Duration = Duration::from_secs(60);

/// Journeys in this process's memory.
pub struct MemoryCache {
    users_per_generation: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    epoch: Epoch,
    young: HashMap<UserKey, Entry>,
    old: HashMap<UserKey, Entry>,
}

#[derive(Default)]
struct Entry {
    /// By (journey, attempt).
    records: BTreeMap<(String, String), TtfRecord>,
    complete_in: Option<Epoch>,
    fenced_until: Option<Instant>,
}

impl Entry {
    fn take(&mut self, record: &TtfRecord) {
        let key = (record.journey.clone(), record.attempt.clone());
        let newer = self.records.get(&key).is_none_or(|known| version(known) < version(record));
        if newer {
            self.records.insert(key, record.clone());
        }
    }
}

impl State {
    /// The user's entry, made when missing, in the young generation.
    fn entry(&mut self, user: &UserKey, users_per_generation: usize) -> &mut Entry {
        if self.young.len() >= users_per_generation && !self.young.contains_key(user) {
            self.old = std::mem::take(&mut self.young);
        }
        let known = self.old.remove(user);
        self.young.entry(user.clone()).or_insert_with(|| known.unwrap_or_default())
    }
}

impl MemoryCache {
    /// Keeps at most `users` users.
    pub fn new(users: usize) -> Self {
        Self { users_per_generation: (users / 2).max(1), state: Mutex::new(State::default()) }
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, user: &UserKey) -> Result<(Epoch, Option<Vec<TtfRecord>>), CacheError> {
        let mut state = self.state.lock();
        let epoch = state.epoch;
        if !state.young.contains_key(user) && !state.old.contains_key(user) {
            return Ok((epoch, None));
        }
        let entry = state.entry(user, self.users_per_generation);
        let complete = entry.complete_in == Some(epoch);
        Ok((epoch, complete.then(|| entry.records.values().cloned().collect())))
    }

    async fn fill(&self, user: &UserKey, epoch: Epoch, records: &[TtfRecord]) -> Result<(), CacheError> {
        let mut state = self.state.lock();
        if state.epoch == UNFED || state.epoch != epoch {
            return Ok(());
        }
        let entry = state.entry(user, self.users_per_generation);
        if entry.fenced_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        entry.fenced_until = None;
        for record in records {
            entry.take(record);
        }
        entry.complete_in = Some(epoch);
        Ok(())
    }

    async fn update(&self, records: &[TtfRecord]) -> Result<(), CacheError> {
        let mut state = self.state.lock();
        for record in records {
            let user = UserKey::new(record.tenant.as_str(), record.user_id.as_str());
            state.entry(&user, self.users_per_generation).take(record);
        }
        Ok(())
    }

    async fn remove(&self, user: &UserKey) -> Result<(), CacheError> {
        let mut state = self.state.lock();
        *state.entry(user, self.users_per_generation) =
            Entry { fenced_until: Some(Instant::now() + FENCE), ..Entry::default() };
        Ok(())
    }

    async fn renew(&self) -> Result<(), CacheError> {
        self.state.lock().epoch += 1;
        Ok(())
    }

    async fn revive(&self) -> Result<(), CacheError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn user(id: usize) -> UserKey {
        UserKey::new("acme", format!("user-{id}"))
    }

    #[tokio::test]
    async fn a_cache_nobody_feeds_keeps_nothing() {
        let cache = MemoryCache::new(10);
        cache.fill(&user(1), 0, &[samples::record("user-1", 1)]).await.expect("filled");
        assert_eq!(cache.get(&user(1)).await.expect("got"), (0, None));
    }

    #[tokio::test]
    async fn only_complete_entries_of_this_epoch_are_served() {
        let cache = MemoryCache::new(10);
        cache.renew().await.expect("renewed");
        cache.update(&[samples::record("user-1", 1)]).await.expect("updated");
        assert_eq!(cache.get(&user(1)).await.expect("got").1, None, "there may be more in the database");
        cache.fill(&user(1), 1, &[]).await.expect("filled");
        assert_eq!(cache.get(&user(1)).await.expect("got").1, Some(vec![samples::record("user-1", 1)]));
        cache.renew().await.expect("renewed");
        assert_eq!(cache.get(&user(1)).await.expect("got"), (2, None));
    }

    #[tokio::test]
    async fn the_newest_revision_stays_whatever_comes_later() {
        let cache = MemoryCache::new(10);
        cache.renew().await.expect("renewed");
        cache.update(&[samples::record("user-1", 3)]).await.expect("updated");
        cache.fill(&user(1), 1, &[samples::record("user-1", 2)]).await.expect("filled");
        cache.update(&[samples::record("user-1", 1)]).await.expect("updated");
        assert_eq!(cache.get(&user(1)).await.expect("got").1, Some(vec![samples::record("user-1", 3)]));
    }

    #[tokio::test]
    async fn an_erased_user_is_not_filled_in_again_by_a_slow_reader() {
        let cache = MemoryCache::new(10);
        cache.renew().await.expect("renewed");
        cache.fill(&user(1), 1, &[samples::record("user-1", 1)]).await.expect("filled");
        cache.remove(&user(1)).await.expect("removed");
        cache.fill(&user(1), 1, &[samples::record("user-1", 1)]).await.expect("filled");
        assert_eq!(cache.get(&user(1)).await.expect("got").1, None);
    }

    #[tokio::test]
    async fn it_holds_no_more_users_than_it_may() {
        let cache = MemoryCache::new(10);
        cache.renew().await.expect("renewed");
        for id in 0..100 {
            cache.fill(&user(id), 1, &[samples::record(&format!("user-{id}"), 1)]).await.expect("filled");
            let state = cache.state.lock();
            assert!(state.young.len() + state.old.len() <= 10);
        }
        assert!(cache.get(&user(99)).await.expect("got").1.is_some());
        assert!(cache.get(&user(0)).await.expect("got").1.is_none());
    }
}
