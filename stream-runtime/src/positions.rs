//! Our own numbers for where each input partition stands. A consumer's `position()` never takes their place: it is
//! unknown after an assignment, and a transaction without valid offsets fences nobody.

use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::{
    log::{Log, LogError, NextOffset, Position, RecordRef, Subscription, TopicPartition},
    transaction::while_unavailable,
};

/// Our place in one input partition.
#[derive(Debug, Clone)]
pub(crate) struct InputPosition {
    pub at: TopicPartition,
    /// Everything before it is dealt with, committed or in the open transaction.
    pub next: i64,
    /// Everything before it is committed.
    pub committed: i64,
    /// The latest record time seen.
    pub stream_time_ms: Option<i64>,
    /// The group had not committed anything for it.
    pub is_first: bool,
}

impl InputPosition {
    /// True for a record that was not dealt with before.
    pub fn expects(&self, record: &RecordRef<'_>) -> bool {
        record.offset >= self.next
    }

    pub fn advance(&mut self, record: &RecordRef<'_>) {
        self.next = record.offset + 1;
        self.stream_time_ms = self.stream_time_ms.max(Some(record.timestamp_ms));
    }

    pub fn is_changed(&self) -> bool {
        self.next != self.committed
    }

    pub fn next_offset(&self) -> NextOffset {
        NextOffset {
            at: self.at.clone(),
            next: self.next,
            metadata: self.stream_time_ms.map_or_else(String::new, |time| time.to_string()),
        }
    }

    /// Where to read on from.
    pub fn place(&self) -> (TopicPartition, Position) {
        (self.at.clone(), Position::Offset(self.next))
    }

    /// Up to where it was read: our own number, or further where only transaction markers follow.
    pub fn reached(&self, subscription: &dyn Subscription) -> i64 {
        self.next.max(subscription.position(&self.at).unwrap_or(i64::MIN))
    }
}

/// How long the log may take to answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// One call.
    pub call: Duration,
    /// All tries of it.
    pub retry: Duration,
}

/// What the group has committed, as a number for every partition; where nothing was committed, the oldest record.
pub(crate) fn committed_positions(
    log: &dyn Log,
    subscription: &mut dyn Subscription,
    group: &str,
    partitions: &[TopicPartition],
    patience: Patience,
) -> anyhow::Result<Vec<InputPosition>> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let committed = while_unavailable(patience.retry, || subscription.committed(partitions, patience.call))
        .with_context(|| format!("cannot ask what group `{group}` has committed"))?;
    let mut positions = Vec::with_capacity(committed.len());
    for known in committed {
        let ask = || -> Result<i64, LogError> { log.start_offset(&known.at, patience.call) };
        let oldest =
            while_unavailable(patience.retry, ask).with_context(|| format!("cannot ask where {} starts", known.at))?;
        let next = known.next.unwrap_or(oldest);
        if next < oldest {
            bail!(
                "records {next}..{oldest} of {} were deleted before they were processed; reset the offsets of group \
                 `{group}` to go on without them",
                known.at
            );
        }
        positions.push(InputPosition {
            at: known.at,
            next,
            committed: next,
            stream_time_ms: known.metadata.parse().ok(),
            is_first: known.next.is_none(),
        });
    }
    Ok(positions)
}
