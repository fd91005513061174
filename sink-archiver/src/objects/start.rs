//! Where to read on: at the end of the last complete cut. The store itself is the truth; the group's committed
//! offset only says where to look first.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use stream_runtime::{
    log::{Log, LogError, TopicPartition},
    sink::SinkError,
};

use super::{names::offset_of, store::Store, writer::CutWriter};

const COMMITTED_TIMEOUT: Duration = Duration::from_secs(10);

/// Tells what a group has committed. Blocks.
pub trait CommittedOffsets: Send + Sync + 'static {
    /// The committed next offsets, in the order of `partitions`.
    fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError>;
}

/// The offsets of a group on a log.
pub struct GroupOffsets {
    log: Arc<dyn Log>,
    group: String,
}

impl GroupOffsets {
    pub fn new(log: Arc<dyn Log>, group: impl Into<String>) -> Self {
        Self { log, group: group.into() }
    }
}

impl CommittedOffsets for GroupOffsets {
    fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let committed = self.log.committed(&self.group, partitions, COMMITTED_TIMEOUT)?;
        let by_place: BTreeMap<_, _> = committed.into_iter().map(|committed| (committed.at, committed.next)).collect();
        Ok(partitions.iter().map(|at| by_place.get(at).copied().flatten()).collect())
    }
}

/// The offset after the last complete cut of a partition; `None` when nothing was archived yet.
pub async fn find(
    store: &Store,
    writer: &CutWriter,
    at: &TopicPartition,
    committed: Option<i64>,
) -> Result<Option<i64>, SinkError> {
    let Some(mut end) = last_known(store, at, committed).await? else { return Ok(None) };
    // The commit comes after the cut is complete, so there may be more complete cuts behind it.
    while let Some(next) = writer.recorded_end(at, end).await? {
        if !store.exists(&store.names.complete(at, next)).await? {
            break;
        }
        end = next;
    }
    Ok(Some(end))
}

/// The end of some complete cut: the committed one when the store knows it (a bucket may have been changed or
/// restored), else the last of them all.
async fn last_known(store: &Store, at: &TopicPartition, committed: Option<i64>) -> Result<Option<i64>, SinkError> {
    if let Some(end) = committed
        && store.exists(&store.names.complete(at, end)).await?
    {
        return Ok(Some(end));
    }
    let complete = store.list(&store.names.complete_folder(at)).await?;
    Ok(complete.iter().filter_map(offset_of).max())
}
