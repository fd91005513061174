//! Retention: which records go, a bounded number at a time.

use std::{ops::ControlFlow, sync::Arc};

use super::{
    super::{
        catalog::{Catalog, Topic},
        keys,
        storage::{Space, Storage},
        values,
    },
    plan::Plan,
    request::Swept,
};
use crate::log::{Cleanup, LogError};

/// Records removed in one batch, so that a sweep never holds up publishing for long.
const STEP: usize = 10_000;
/// How long the deletion of a key stays to be seen by readers that lag behind (Kafka: `delete.retention.ms`).
const TOMBSTONES_FOR_MS: i64 = 24 * 60 * 60 * 1000;

/// Where a sweep stands: the topic and partition to look at next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    topic: u32,
    partition: i32,
}

/// Plans the next step. `None` for the progress: this was the last one.
pub(super) fn plan_step(
    plan: &mut Plan<'_>,
    storage: &dyn Storage,
    catalog: &Catalog,
    from: Progress,
    retention_bytes: u64,
    now_ms: i64,
) -> Result<(Swept, Option<Progress>), LogError> {
    let mut topics = catalog.all();
    topics.sort_by_key(|topic| topic.number);
    let mut swept = Swept::default();
    for topic in topics.iter().filter(|topic| topic.number >= from.topic) {
        let first = if topic.number == from.topic { from.partition } else { 0 };
        for partition in first..topic.partition_count() {
            let room = STEP.saturating_sub(swept.records as usize);
            let went = match topic.cleanup {
                Cleanup::Delete => expire(plan, storage, topic, partition, retention_bytes, now_ms, room)?,
                Cleanup::Compact => forget(plan, storage, topic, partition, now_ms, room)?,
            };
            swept.records += went.records;
            swept.bytes += went.bytes;
            if swept.records as usize >= STEP {
                return Ok((swept, Some(Progress { topic: topic.number, partition })));
            }
        }
    }
    Ok((swept, None))
}

/// The oldest records of a `delete` topic that are too old, or too many.
fn expire(
    plan: &mut Plan<'_>,
    storage: &dyn Storage,
    topic: &Arc<Topic>,
    partition: i32,
    retention_bytes: u64,
    now_ms: i64,
    room: usize,
) -> Result<Swept, LogError> {
    let state = topic.partition(partition)?.state();
    let oldest_kept_ms = match topic.retention_ms() {
        Some(retention) => now_ms.saturating_sub(i64::try_from(retention).unwrap_or(i64::MAX)),
        None => i64::MIN,
    };
    let mut excess = state.bytes.saturating_sub(retention_bytes);
    let mut swept = Swept::default();
    let mut failed = None;
    let from = keys::record(topic.number, partition, state.start);
    let to = keys::record(topic.number, partition, state.end);
    storage.scan(Space::Records, &from, &to, &mut |key, value| {
        let expired = match values::record_times(value) {
            Ok(times) => times.appended_ms < oldest_kept_ms || excess > 0,
            Err(damaged) => {
                failed = Some(LogError::Corrupt(format!("{}[{partition}]: {damaged}", topic.name)));
                return ControlFlow::Break(());
            }
        };
        let Some(offset) = keys::offset_of(key).filter(|_| expired && (swept.records as usize) < room) else {
            return ControlFlow::Break(());
        };
        let bytes = value.len() as u64;
        if let Err(error) = plan.expire(topic, partition, offset, bytes) {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        excess = excess.saturating_sub(bytes);
        swept.records += 1;
        swept.bytes += bytes;
        ControlFlow::Continue(())
    })?;
    failed.map_or(Ok(swept), Err)
}

/// The tombstones of a compacted topic that everybody had time to see.
fn forget(
    plan: &mut Plan<'_>,
    storage: &dyn Storage,
    topic: &Topic,
    partition: i32,
    now_ms: i64,
    room: usize,
) -> Result<Swept, LogError> {
    let mut due = Vec::new();
    let mut failed = None;
    let from = keys::tombstone(topic.number, partition, 0);
    let to = keys::tombstone(topic.number, partition, i64::MAX);
    storage.scan(Space::Index, &from, &to, &mut |note, value| {
        match values::decode_tombstone(value) {
            Ok((appended_ms, _)) if appended_ms > now_ms.saturating_sub(TOMBSTONES_FOR_MS) || due.len() >= room => {
                return ControlFlow::Break(());
            }
            Ok((_, key)) => {
                let offset = note.last_chunk::<8>().map_or(0, |offset| i64::from_be_bytes(*offset));
                due.push((offset, key.to_vec()));
            }
            Err(damaged) => {
                failed = Some(LogError::Corrupt(format!("{}[{partition}]: {damaged}", topic.name)));
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(failed) = failed {
        return Err(failed);
    }
    for (offset, key) in &due {
        plan.forget(topic, partition, *offset, key)?;
    }
    Ok(Swept { records: due.len() as u64, bytes: 0 })
}
