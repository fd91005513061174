//! Where to read on: at the end of the last complete cut. The store itself is the truth; the group's committed
//! offset only says where to look first.

use stream_runtime::{log::TopicPartition, sink::SinkError};

use super::{names::offset_of, store::Store, writer::CutWriter};

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
async fn last_known(
    store: &Store,
    at: &TopicPartition,
    committed: Option<i64>,
) -> Result<Option<i64>, SinkError> {
    if let Some(end) = committed
        && store.exists(&store.names.complete(at, end)).await?
    {
        return Ok(Some(end));
    }
    let complete = store.list(&store.names.complete_folder(at)).await?;
    Ok(complete.iter().filter_map(offset_of).max())
}
