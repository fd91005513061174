//! The complete cuts of a partition, one after the other.

use stream_runtime::{log::TopicPartition, sink::SinkError};

use crate::objects::{
    names::offset_of,
    store::Store,
    writer::{Manifest, read_cut},
};

/// Walks the cuts of one partition. Each begins where the one before it ended, so there can be no gap.
#[derive(Debug)]
pub struct Chain<'a> {
    store: &'a Store,
    at: TopicPartition,
    next: i64,
}

/// A complete cut: offsets `start..end` and its objects.
pub type CompleteCut = Manifest;

impl<'a> Chain<'a> {
    pub fn from(store: &'a Store, at: TopicPartition, start: i64) -> Self {
        Self { store, at, next: start }
    }

    /// From the first cut there is; `None` when the partition was never archived.
    ///
    /// # Errors
    /// When the store does not answer, or a manifest is damaged.
    pub async fn from_first(store: &'a Store, at: TopicPartition) -> Result<Option<Self>, SinkError> {
        let complete = store.list(&store.names.complete_folder(&at)).await?;
        let Some(end) = complete.iter().filter_map(offset_of).min() else { return Ok(None) };
        let Some(first) = super::read_json::<Manifest>(store, &store.names.complete(&at, end)).await? else {
            return Ok(None);
        };
        Ok(Some(Self::from(store, at, first.start)))
    }

    /// Where the next cut begins: everything before is complete.
    pub fn position(&self) -> i64 {
        self.next
    }

    /// The next complete cut; `None` where there is none (yet).
    ///
    /// # Errors
    /// When the store does not answer, or a manifest is damaged.
    pub async fn next(&mut self) -> Result<Option<CompleteCut>, SinkError> {
        let Some(end) = read_cut(self.store, &self.at, self.next).await? else { return Ok(None) };
        let path = self.store.names.complete(&self.at, end);
        let Some(cut) = super::read_json::<Manifest>(self.store, &path).await? else { return Ok(None) };
        if cut.start != self.next || cut.end != end {
            return Err(SinkError::Fatal(format!("archive object {path} is damaged: it is of another cut")));
        }
        self.next = end;
        Ok(Some(cut))
    }
}
