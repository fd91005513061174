//! Keeps the table of mutes as the changelog of the groups says. Every alerter reads all of it: a silence concerns groups
//! of all partitions.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::RwLock;
use service_kit::{CancellationToken, Kit};
use stream_runtime::log::{Isolation, Log, LogError, Position, RecordRef, TopicPartition};
use telemetry_schemas::{alert::AlertState, topics};
use tokio::sync::oneshot;

use super::Mutes;
use crate::{route::SILENCE_PREFIX, wire::Wire};

const TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_secs(1);
const RECORDS: usize = 1_000;

/// The table, shared with whoever decides.
pub type SharedMutes = Arc<RwLock<Mutes>>;

/// Starts to follow on a thread of its own. The receiver hears when everything was read that was there at the start:
/// before that, nothing may be decided.
pub fn start(log: Arc<dyn Log>, wire: Wire, mutes: SharedMutes, kit: &Kit) -> oneshot::Receiver<()> {
    let (told, ready) = oneshot::channel();
    let shutdown = kit.shutdown();
    kit.spawn_thread("alerter silences", move || {
        let mut follower = Follower { wire, mutes, told: Some(told) };
        while !shutdown.is_cancelled() {
            if let Err(error) = follower.follow(&*log, &shutdown) {
                tracing::warn!(%error, "silences are not read; those that are known stay in force");
            }
            wait(&shutdown);
        }
        Ok(())
    });
    ready
}

fn wait(shutdown: &CancellationToken) {
    let until = std::time::Instant::now() + PAUSE;
    while !shutdown.is_cancelled() && std::time::Instant::now() < until {
        std::thread::sleep(POLL);
    }
}

struct Follower {
    wire: Wire,
    mutes: SharedMutes,
    told: Option<oneshot::Sender<()>>,
}

impl Follower {
    fn follow(&mut self, log: &dyn Log, shutdown: &CancellationToken) -> Result<(), LogError> {
        let found = log.topics(Some(&[topics::ALERT_STATE]), TIMEOUT)?;
        let Some(topic) = found.first() else { return Ok(()) };
        let all: Vec<_> =
            (0..topic.partitions).map(|partition| TopicPartition::new(topics::ALERT_STATE, partition)).collect();
        let mut ends = HashMap::new();
        for at in &all {
            let end = log.end_offset(at, Isolation::ReadCommitted, TIMEOUT)?;
            if end > log.start_offset(at, TIMEOUT)? {
                ends.insert(at.clone(), end);
            }
        }
        let mut reader = log.reader(Isolation::ReadCommitted)?;
        let from: Vec<_> = all.iter().map(|at| (at.clone(), Position::Beginning)).collect();
        reader.assign(&from)?;
        while !shutdown.is_cancelled() {
            match reader.poll(RECORDS, POLL, &mut |record| self.take(record)) {
                Ok(_) => {}
                Err(error) if error.is_retriable() => wait(shutdown),
                Err(error) => return Err(error),
            }
            ends.retain(|at, end| reader.position(at).is_none_or(|position| position < *end));
            if ends.is_empty()
                && let Some(told) = self.told.take()
            {
                // Whoever waited may have ended.
                let _ = told.send(());
            }
        }
        Ok(())
    }

    fn take(&self, record: &RecordRef<'_>) {
        let Some(key) = record.key.and_then(|key| std::str::from_utf8(key).ok()) else { return };
        if !key.starts_with(SILENCE_PREFIX) && !self.mutes.read().needs_groups() {
            return;
        }
        match record.value.map(|value| self.wire.decode::<AlertState>(value)).transpose() {
            Ok(state) => self.mutes.write().observe(key, state.as_ref()),
            Err(error) => tracing::warn!(offset = record.offset, %error, "a state cannot be read; it silences nothing"),
        }
    }
}
