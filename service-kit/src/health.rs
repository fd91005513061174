//! What `/health`, `/live` and `/ready` answer.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Serialize;

/// State of a check, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Healthy,
    /// Works, but not as it should (a cache is down, a receiver is disabled).
    Degraded,
    /// Does not do its work.
    Unhealthy,
}

/// One line of `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub status: Status,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The process's health. Cheap to clone.
///
/// Three questions with three answers: *checks* tell people what is wrong, *readiness* tells load balancers when to send
/// traffic, *progress* tells the supervisor when to restart. Messages are shown to anyone who can reach the endpoint:
/// no personal data, no secrets.
#[derive(Clone, Default)]
pub struct Health {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    checks: BTreeMap<String, (Status, String)>,
    ready: BTreeMap<String, bool>,
    progress: BTreeMap<String, Progress>,
}

struct Progress {
    max_silence: Duration,
    last_beat: Instant,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("checks", &self.checks()).finish_non_exhaustive()
    }
}

impl Health {
    /// A line of `/health`; healthy until told otherwise. One name is one line, whoever asks for it.
    pub fn check(&self, name: impl Into<String>) -> CheckHandle {
        let name = name.into();
        self.state.lock().checks.entry(name.clone()).or_insert((Status::Healthy, String::new()));
        CheckHandle { health: self.clone(), name }
    }

    /// A condition of `/ready`; not ready until set.
    pub fn readiness(&self, name: impl Into<String>) -> ReadyHandle {
        let name = name.into();
        self.state.lock().ready.entry(name.clone()).or_insert(false);
        ReadyHandle { health: self.clone(), name }
    }

    /// A loop that must go round at least every `max_silence`, else `/live` fails. Counts from now.
    pub fn progress(&self, name: impl Into<String>, max_silence: Duration) -> ProgressHandle {
        let name = name.into();
        self.state.lock().progress.insert(name.clone(), Progress { max_silence, last_beat: Instant::now() });
        ProgressHandle { health: self.clone(), name }
    }

    /// All checks by name; a silent loop is an unhealthy check.
    pub fn checks(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = self
            .state
            .lock()
            .checks
            .iter()
            .map(|(name, (status, message))| Check { name: name.clone(), status: *status, message: message.clone() })
            .collect();
        checks.extend(self.silent(Instant::now()).into_iter().map(|(name, message)| Check {
            name,
            status: Status::Unhealthy,
            message,
        }));
        checks
    }

    /// The worst of all checks.
    pub fn status(&self) -> Status {
        self.checks().into_iter().map(|check| check.status).max().unwrap_or(Status::Healthy)
    }

    /// Names of the conditions that keep the process from being ready.
    pub fn not_ready(&self) -> Vec<String> {
        self.state.lock().ready.iter().filter(|(_, ready)| !**ready).map(|(name, _)| name.clone()).collect()
    }

    /// Loops that were silent for too long at `now`, with a sentence about each.
    pub fn silent(&self, now: Instant) -> Vec<(String, String)> {
        let state = self.state.lock();
        let silence = |progress: &Progress| now.saturating_duration_since(progress.last_beat);
        state
            .progress
            .iter()
            .filter(|(_, progress)| silence(progress) > progress.max_silence)
            .map(|(name, progress)| {
                let message = format!(
                    "no progress for {} s, at most {} s expected",
                    silence(progress).as_secs(),
                    progress.max_silence.as_secs()
                );
                (name.clone(), message)
            })
            .collect()
    }

    fn set_check(&self, name: &str, status: Status, message: String) {
        let before = self.state.lock().checks.insert(name.to_owned(), (status, message.clone()));
        let changed = before.is_none_or(|(before, _)| before != status);
        if !changed {
            return;
        }
        match status {
            Status::Healthy => tracing::info!(check = name, "check is healthy"),
            Status::Degraded => tracing::warn!(check = name, message, "check is degraded"),
            Status::Unhealthy => tracing::error!(check = name, message, "check is unhealthy"),
        }
    }
}

/// Sets one line of `/health`; a change of status is logged.
#[derive(Debug, Clone)]
pub struct CheckHandle {
    health: Health,
    name: String,
}

impl CheckHandle {
    pub fn healthy(&self) {
        self.health.set_check(&self.name, Status::Healthy, String::new());
    }

    pub fn degraded(&self, message: impl Into<String>) {
        self.health.set_check(&self.name, Status::Degraded, message.into());
    }

    pub fn unhealthy(&self, message: impl Into<String>) {
        self.health.set_check(&self.name, Status::Unhealthy, message.into());
    }
}

/// Sets one condition of `/ready`.
#[derive(Debug, Clone)]
pub struct ReadyHandle {
    health: Health,
    name: String,
}

impl ReadyHandle {
    pub fn set(&self, ready: bool) {
        let before = self.health.state.lock().ready.insert(self.name.clone(), ready);
        if before != Some(ready) {
            tracing::info!(condition = self.name, ready, "readiness changed");
        }
    }
}

/// Proves that a loop goes round.
#[derive(Debug, Clone)]
pub struct ProgressHandle {
    health: Health,
    name: String,
}

impl ProgressHandle {
    pub fn beat(&self) {
        if let Some(progress) = self.health.state.lock().progress.get_mut(&self.name) {
            progress.last_beat = Instant::now();
        }
    }

    /// Forgets the loop: it ended as it should.
    pub fn end(self) {
        self.health.state.lock().progress.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides() {
        let health = Health::default();
        let (store, cache) = (health.check("store"), health.check("cache"));
        assert_eq!(health.status(), Status::Healthy);
        cache.degraded("cannot reach redis");
        assert_eq!(health.status(), Status::Degraded);
        store.unhealthy("disk is full");
        assert_eq!(health.status(), Status::Unhealthy);
        store.healthy();
        cache.healthy();
        assert_eq!(health.status(), Status::Healthy);
    }

    #[test]
    fn every_condition_must_be_ready() {
        let health = Health::default();
        let (restore, topics) = (health.readiness("restore"), health.readiness("topics"));
        assert_eq!(health.not_ready(), ["restore", "topics"]);
        restore.set(true);
        assert_eq!(health.not_ready(), ["topics"]);
        topics.set(true);
        assert_eq!(health.not_ready(), Vec::<String>::new());
        restore.set(false);
        assert_eq!(health.not_ready(), ["restore"]);
    }

    #[test]
    fn a_silent_loop_is_found_and_a_beat_clears_it() {
        let health = Health::default();
        let started = Instant::now();
        let poll = health.progress("poll", Duration::from_secs(30));
        assert_eq!(health.silent(started + Duration::from_secs(29)), Vec::new());
        let silent = health.silent(started + Duration::from_secs(90));
        assert_eq!(silent.len(), 1);
        assert_eq!(silent[0].0, "poll");
        assert!(silent[0].1.ends_with("at most 30 s expected"), "{silent:?}");

        let stuck = health.progress("stuck", Duration::ZERO);
        while health.status() != Status::Unhealthy {
            std::hint::spin_loop();
        }
        stuck.end();
        poll.beat();
        assert_eq!(health.status(), Status::Healthy);
    }
}
