//! Where the processor stands.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use stream_runtime::log::{Isolation, TopicPartition};
use telemetry_schemas::{EventTime, topics};

use super::{
    gather::Sources,
    window::{self, CALL, patiently},
};

/// Where the processor stands in every partition. Asking takes a while, so that partitions share an answer.
pub struct Standing {
    asked: Instant,
    /// Before anything was asked.
    pub as_of: EventTime,
    /// What the group has committed; a partition for which it never has is not there.
    pub committed: BTreeMap<TopicPartition, i64>,
    /// By partition.
    pub changelog_ends: BTreeMap<i32, i64>,
}

/// An answer is shared for so long: who is written later, next to a running processor, cannot be judged.
const SHARED: Duration = Duration::from_secs(10);

impl Standing {
    pub fn ask(sources: &Sources) -> anyhow::Result<Self> {
        let (asked, as_of) = (Instant::now(), EventTime(service_kit::clock::now_ms()));
        let mut changelog_ends = BTreeMap::new();
        for partition in 0..sources.partitions {
            changelog_ends.insert(partition, changelog_end(sources, partition)?);
        }
        let inputs: Vec<TopicPartition> = [topics::EVENTS, topics::ERASURES]
            .iter()
            .flat_map(|topic| (0..sources.partitions).map(|partition| TopicPartition::new(*topic, partition)))
            .collect();
        let committed = window::committed(&*sources.log, &inputs)?;
        let committed = committed.into_iter().filter_map(|known| Some((known.at, known.next?))).collect();
        Ok(Self { asked, as_of, committed, changelog_ends })
    }

    pub fn is_fresh(&self) -> bool {
        self.asked.elapsed() < SHARED
    }
}

/// Where the changelog ends, with what is still being written.
pub fn changelog_end(sources: &Sources, partition: i32) -> anyhow::Result<i64> {
    let at = TopicPartition::new(topics::TTF_STATE, partition);
    Ok(patiently(|| sources.log.end_offset(&at, Isolation::ReadUncommitted, CALL))?)
}
