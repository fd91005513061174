//! Feeds the object store. Per partition: records gather, a cut is found, recorded, written, complete; only then
//! its offset moves. What is not complete when partitions go away is read again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use fail::fail_point;
use stream_runtime::{
    log::{NextOffset, Position, Record, TopicPartition},
    sink::{Sink, SinkError},
};
use tokio::time::Instant;

use super::{
    cut::{Buffer, CutReason, Rotation},
    names::Cut,
    start::{self, CommittedOffsets},
    store::Store,
    writer::CutWriter,
};
use crate::{config::RotationConfig, decode::without_headers, metrics::Metrics};

/// The object store as a sink.
pub struct ObjectSink {
    store: Store,
    writer: CutWriter,
    offsets: Arc<dyn CommittedOffsets>,
    rotation: Rotation,
    /// Bytes that all partitions may hold together.
    memory: usize,
    metrics: Metrics,
    lanes: BTreeMap<TopicPartition, Lane>,
    /// Complete, but not handed to the caller yet.
    complete: Vec<NextOffset>,
}

/// One partition.
#[derive(Default)]
struct Lane {
    buffer: Buffer,
    /// Where the current cut starts; `None` until the first record of a partition that was never archived.
    start: Option<i64>,
    /// Records before this offset were taken in already (a batch may come again).
    next: i64,
    /// The recorded end of the cut that starts at `start`.
    recorded: Recorded,
    /// When the oldest record of the buffer came in.
    since: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    #[default]
    Unknown,
    Nothing,
    End(i64),
}

impl Recorded {
    fn end(self) -> Option<i64> {
        match self {
            Self::End(end) => Some(end),
            Self::Unknown | Self::Nothing => None,
        }
    }
}

impl Lane {
    fn take(&mut self, record: &Record) {
        if record.offset < self.next {
            return;
        }
        self.next = record.offset + 1;
        self.start.get_or_insert(record.offset);
        self.since.get_or_insert_with(Instant::now);
        self.buffer.push(without_headers(record));
    }

    fn restart_at(&mut self, start: i64) {
        self.buffer.drop_until(start);
        self.start = Some(start);
        self.recorded = Recorded::Unknown;
        self.since = (!self.buffer.is_empty()).then(Instant::now);
    }

    fn is_quiet(&self, interval: Duration) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= interval)
    }
}

impl ObjectSink {
    pub fn new(
        store: Store,
        writer: CutWriter,
        offsets: Arc<dyn CommittedOffsets>,
        rotation: &RotationConfig,
        metrics: Metrics,
    ) -> Self {
        Self {
            store,
            writer,
            offsets,
            rotation: rotation.into(),
            memory: rotation.memory.as_usize(),
            metrics,
            lanes: BTreeMap::new(),
            complete: Vec::new(),
        }
    }

    async fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, SinkError> {
        let offsets = Arc::clone(&self.offsets);
        let partitions = partitions.to_vec();
        tokio::task::spawn_blocking(move || offsets.committed(&partitions))
            .await
            .map_err(|error| SinkError::Fatal(format!("asking for offsets ended early: {error}")))?
            .map_err(|error| SinkError::Unavailable(error.to_string()))
    }

    /// Makes every cut of a partition that its records ask for.
    async fn cut_where_due(&mut self, at: &TopicPartition) -> Result<(), SinkError> {
        loop {
            let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
            let (Some(start), false) = (lane.start, lane.buffer.is_empty()) else { return Ok(()) };
            if lane.recorded == Recorded::Unknown {
                let found = self.writer.recorded_end(at, start).await?;
                lane.recorded = found.map_or(Recorded::Nothing, Recorded::End);
            }
            let Some((end, reason)) = lane.buffer.find_cut(&self.rotation, lane.recorded.end()) else {
                return Ok(());
            };
            self.cut(at, end, reason).await?;
        }
    }

    /// Cuts a partition after everything it holds.
    async fn cut_here(&mut self, at: &TopicPartition, reason: CutReason) -> Result<(), SinkError> {
        self.cut_where_due(at).await?;
        let Some(lane) = self.lanes.get(at) else { return Ok(()) };
        match (lane.buffer.end(), lane.recorded) {
            // A recorded end further on waits for its records.
            (Some(end), Recorded::Nothing) => self.cut(at, end, reason).await,
            _ => Ok(()),
        }
    }

    /// Records a cut, then writes it, unless another end was recorded first and is still to come.
    async fn cut(&mut self, at: &TopicPartition, end: i64, reason: CutReason) -> Result<(), SinkError> {
        let Some(lane) = self.lanes.get_mut(at) else { return Ok(()) };
        let Some(start) = lane.start else { return Ok(()) };
        let wanted = Cut { at: at.clone(), start, end };
        let end = match lane.recorded {
            Recorded::End(end) => end,
            _ => self.writer.record(&wanted).await?,
        };
        lane.recorded = Recorded::End(end);
        if end != wanted.end {
            return Ok(());
        }
        fail_point!("archiver::objects::after_cut", |_| Err(SinkError::Unavailable(
            "fail point archiver::objects::after_cut".to_owned()
        )));
        let records = lane.buffer.until(end);
        let count = records.len();
        self.writer.write(&wanted, records).await?;
        fail_point!("archiver::objects::before_offsets", |_| Err(SinkError::Unavailable(
            "fail point archiver::objects::before_offsets".to_owned()
        )));
        lane.restart_at(end);
        self.complete.push(NextOffset { at: at.clone(), next: end, metadata: String::new() });
        self.metrics.cuts.with_label_values(&[&*at.topic, reason.as_str()]).inc();
        tracing::debug!(partition = %at, start, end, count, reason = reason.as_str(), "archive cut is complete");
        Ok(())
    }

    /// Closes the largest buffers until what is held is within its bound.
    async fn stay_within_memory(&mut self) -> Result<(), SinkError> {
        let held: usize = self.lanes.values().map(|lane| lane.buffer.bytes()).sum();
        if held <= self.memory {
            return Ok(());
        }
        let largest = self.lanes.iter().max_by_key(|(_, lane)| lane.buffer.bytes()).map(|(at, _)| at.clone());
        match largest {
            Some(at) => self.cut_here(&at, CutReason::Memory).await,
            None => Ok(()),
        }
    }

    fn show_buffered(&self) {
        let mut by_topic: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, lane) in &self.lanes {
            *by_topic.entry(&at.topic).or_default() += lane.buffer.len();
        }
        for (topic, records) in by_topic {
            self.metrics.buffered.with_label_values(&[topic]).set(records as i64);
        }
    }
}

#[async_trait]
impl Sink for ObjectSink {
    async fn assigned(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Position)>, SinkError> {
        let committed = self.committed(partitions).await?;
        let mut positions = Vec::with_capacity(partitions.len());
        for (at, committed) in partitions.iter().zip(committed) {
            let start = start::find(&self.store, &self.writer, at, committed).await?;
            let lane = Lane { start, next: start.unwrap_or_default(), ..Lane::default() };
            self.lanes.insert(at.clone(), lane);
            positions.push((at.clone(), start.map_or(Position::Beginning, Position::Offset)));
        }
        Ok(positions)
    }

    async fn revoked(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.lanes.remove(at);
        }
        self.complete.retain(|offset| !partitions.contains(&offset.at));
        self.show_buffered();
    }

    async fn write(&mut self, batch: &[Record]) -> Result<Vec<NextOffset>, SinkError> {
        let mut touched: Vec<TopicPartition> = Vec::new();
        for record in batch {
            let at = record.at();
            let Some(lane) = self.lanes.get_mut(&at) else {
                return Err(SinkError::Moved(format!("{at} is not assigned to this process")));
            };
            lane.take(record);
            if touched.last() != Some(&at) {
                touched.push(at);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for at in &touched {
            self.cut_where_due(at).await?;
        }
        self.stay_within_memory().await?;
        self.show_buffered();
        Ok(std::mem::take(&mut self.complete))
    }

    async fn tick(&mut self) -> Result<Vec<NextOffset>, SinkError> {
        let interval = Duration::from_millis(self.rotation.interval_ms.unsigned_abs());
        let quiet: Vec<TopicPartition> =
            self.lanes.iter().filter(|(_, lane)| lane.is_quiet(interval)).map(|(at, _)| at.clone()).collect();
        for at in &quiet {
            self.cut_here(at, CutReason::Quiet).await?;
        }
        self.show_buffered();
        Ok(std::mem::take(&mut self.complete))
    }
}
