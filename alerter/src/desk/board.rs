//! Reads what the alerter keeps: groups and silences from its changelog, and what receivers have heard.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use stream_runtime::log::{Isolation, LogError, Position, TopicPartition};
use telemetry_schemas::{alert::AlertState, topics};

use super::{Desk, DeskError, TIMEOUT};
use crate::{
    delivery::receipts::{self, Read, Receipt},
    group::processor::Kind,
};

const POLL: Duration = Duration::from_millis(200);
/// A changelog of a million states is read in seconds.
const PATIENCE: Duration = Duration::from_secs(60);

impl Desk {
    /// Every group and silence of a tenant, by key; `None`: of all. Blocks.
    ///
    /// # Errors
    /// When the log does not answer.
    pub fn read(&self, tenant: Option<&str>) -> Result<BTreeMap<String, AlertState>, DeskError> {
        let mut kept: BTreeMap<String, bytes::Bytes> = BTreeMap::new();
        self.scan(topics::ALERT_STATE, |key, value| {
            let Ok(key) = std::str::from_utf8(key) else { return };
            match value {
                Some(value) => {
                    kept.insert(key.to_owned(), bytes::Bytes::copy_from_slice(value));
                }
                None => {
                    kept.remove(key);
                }
            }
        })?;
        let is_shown = |key: &str| matches!(Kind::of(key), Kind::Group | Kind::Silence) && !key.starts_with('\0');
        let mut states = BTreeMap::new();
        for (key, value) in kept.into_iter().filter(|(key, _)| is_shown(key)) {
            match self.codec.decode::<AlertState>(&value) {
                Ok(state) if belongs(&state, tenant) => {
                    states.insert(key, state);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "an alert's state cannot be read"),
            }
        }
        Ok(states)
    }

    /// What each receiver has heard of a group, by name. Blocks.
    ///
    /// # Errors
    /// When the log does not answer.
    pub fn receipts(&self, group_key: &str) -> Result<BTreeMap<String, Receipt>, DeskError> {
        let mut found = BTreeMap::new();
        self.scan(topics::ALERT_DELIVERIES, |key, value| {
            let Some((receiver, _)) = receipts::of(key).filter(|(_, group)| *group == group_key) else { return };
            match value.map(receipts::read) {
                Some(Read::Receipt(receipt)) => {
                    found.insert(receiver.to_owned(), receipt);
                }
                _ => {
                    found.remove(receiver);
                }
            }
        })?;
        Ok(found)
    }

    /// Reads a compacted topic to its end.
    fn scan(&self, topic: &str, mut keep: impl FnMut(&[u8], Option<&[u8]>)) -> Result<(), DeskError> {
        let found = self.log.topics(Some(&[topic]), TIMEOUT)?;
        let partitions = found.first().map_or(0, |topic| topic.partitions);
        let mut ends = BTreeMap::new();
        for partition in 0..partitions {
            let at = TopicPartition::new(topic, partition);
            let end = self.log.end_offset(&at, Isolation::ReadCommitted, TIMEOUT)?;
            if end > self.log.start_offset(&at, TIMEOUT)? {
                ends.insert(at, end);
            }
        }
        if ends.is_empty() {
            return Ok(());
        }
        let mut reader = self.log.reader(Isolation::ReadCommitted)?;
        let from: Vec<_> = ends.keys().map(|at| (at.clone(), Position::Beginning)).collect();
        reader.assign(&from)?;
        let deadline = Instant::now() + PATIENCE;
        while !ends.is_empty() {
            if Instant::now() > deadline {
                return Err(LogError::Unavailable(format!("reading {topic}")).into());
            }
            reader.poll(1_000, POLL, &mut |record| keep(record.key.unwrap_or_default(), record.value))?;
            ends.retain(|at, end| reader.position(at).is_none_or(|position| position < *end));
        }
        Ok(())
    }

    /// The group of this id: its key, the hash at the key's end, or the beginning of that hash. Blocks.
    ///
    /// # Errors
    /// When there is none, or there are several.
    pub fn find(&self, tenant: Option<&str>, id: &str) -> Result<AlertState, DeskError> {
        let states = self.read(tenant)?;
        let groups = states.into_iter().filter(|(key, _)| Kind::of(key) == Kind::Group);
        let mut found: Vec<_> = groups.filter(|(key, _)| is_named(key, id)).map(|(_, state)| state).collect();
        match (found.len(), found.pop()) {
            (1, Some(state)) => Ok(state),
            (0, _) => Err(DeskError::Unknown(format!(
                "there is no alert `{id}`; what is over is shown for alerter.keep_history"
            ))),
            (several, _) => {
                Err(DeskError::Invalid(format!("`{id}` is the beginning of {several} alerts; give more of it")))
            }
        }
    }
}

/// Names shorter than this are no names.
const SHORTEST_ID: usize = 4;

fn is_named(key: &str, id: &str) -> bool {
    let hash = key.rsplit(':').next().unwrap_or_default();
    key == id || (id.len() >= SHORTEST_ID && hash.starts_with(id))
}

/// Silences made over HTTP carry a matcher on their tenant; groups their label.
fn belongs(state: &AlertState, tenant: Option<&str>) -> bool {
    let Some(tenant) = tenant else { return true };
    let of_tenant = super::orders::tenant_matcher(tenant);
    state.labels.get("tenant").is_some_and(|label| label == tenant) || state.silence_matchers.contains(&of_tenant)
}
