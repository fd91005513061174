//! The sink consumer: feeds topics into stores that keep their own offsets.
//!
//! The consumer's thread keeps polling while a batch is written, so that a slow store pauses reading and never
//! costs the group membership.

use async_trait::async_trait;

use crate::log::{NextOffset, Position, Record, TopicPartition};

/// What a sink says when a write failed.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The store is away, slow or busy: the same batch again, with backoff, while the consumer is paused.
    #[error("sink is not available: {0}")]
    Unavailable(String),
    /// What the store has is not what we thought (another owner, an older copy): ask [`Sink::assigned`] again
    /// and read from there.
    #[error("positions have moved: {0}")]
    Moved(String),
    /// Exit non-zero.
    #[error("{0}")]
    Fatal(String),
}

/// A store that takes records in batches and keeps its own offsets with them.
#[async_trait]
pub trait Sink: Send + 'static {
    /// Called at each assignment: claims the partitions and says where to read on from.
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Position)>, SinkError>;

    /// Called before partitions go away; what is unfinished is dropped (it will be replayed).
    async fn revoked(&mut self, partitions: &[TopicPartition]);

    /// Takes a batch (never empty; in offset order within each partition). Returns the offsets that are now
    /// durable: all of the batch for a database, those of completed objects for an object store. Called again
    /// with the same batch after [`SinkError::Unavailable`].
    async fn write(&mut self, batch: &[Record]) -> Result<Vec<NextOffset>, SinkError>;

    /// Called about once a second, also when nothing comes in: for work by the clock.
    async fn tick(&mut self) -> Result<Vec<NextOffset>, SinkError> {
        Ok(Vec::new())
    }
}
