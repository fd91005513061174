//! Where a partition is cut into objects. Pure: decided by facts of the records, so that a replay decides alike.

use std::collections::VecDeque;

use stream_runtime::log::Record;

use crate::config::RotationConfig;

/// When to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    pub records: usize,
    pub bytes: usize,
    pub interval_ms: i64,
}

impl From<&RotationConfig> for Rotation {
    fn from(config: &RotationConfig) -> Self {
        Self {
            records: config.records.max(1),
            bytes: config.bytes.as_usize().max(1),
            interval_ms: config.interval.millis().max(1),
        }
    }
}

/// What closed a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutReason {
    /// A predecessor (or another process) recorded where this stretch ends.
    Recorded,
    Records,
    Bytes,
    /// The next record is too much later than the first.
    Interval,
    /// By the clock: the topic is quiet.
    Quiet,
    /// The process holds too much.
    Memory,
}

impl CutReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Records => "records",
            Self::Bytes => "bytes",
            Self::Interval => "interval",
            Self::Quiet => "quiet",
            Self::Memory => "memory",
        }
    }
}

/// The records of one partition since its last cut.
#[derive(Debug, Default)]
pub struct Buffer {
    records: VecDeque<Record>,
    bytes: usize,
    /// Where the search for the cut has come to.
    scanned: Scanned,
}

#[derive(Debug, Default, Clone, Copy)]
struct Scanned {
    records: usize,
    bytes: usize,
}

impl Buffer {
    pub fn push(&mut self, record: Record) {
        self.bytes += size(&record);
        self.records.push_back(record);
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Uncompressed, as in the topic.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn first_offset(&self) -> Option<i64> {
        self.records.front().map(|record| record.offset)
    }

    /// The offset after the last record.
    pub fn end(&self) -> Option<i64> {
        self.records.back().map(|record| record.offset + 1)
    }

    /// Where the records say to cut, if they do already. With a recorded end that end counts alone, and only
    /// once everything before it is here.
    pub fn find_cut(&mut self, rotation: &Rotation, recorded_end: Option<i64>) -> Option<(i64, CutReason)> {
        if let Some(end) = recorded_end {
            return self.end().filter(|have| *have >= end).map(|_| (end, CutReason::Recorded));
        }
        let first_at = self.records.front()?.timestamp_ms;
        while let Some(record) = self.records.get(self.scanned.records) {
            let later = record.timestamp_ms.saturating_sub(first_at);
            if self.scanned.records > 0 && later >= rotation.interval_ms {
                return Some((record.offset, CutReason::Interval));
            }
            let scanned = Scanned { records: self.scanned.records + 1, bytes: self.scanned.bytes + size(record) };
            if scanned.records >= rotation.records {
                return Some((record.offset + 1, CutReason::Records));
            }
            if scanned.bytes >= rotation.bytes {
                return Some((record.offset + 1, CutReason::Bytes));
            }
            // Not past a record that cuts: whoever could not record the cut asks again, and it is to be the same.
            self.scanned = scanned;
        }
        None
    }

    /// The records before `end`, cheap copies.
    pub fn until(&self, end: i64) -> Vec<Record> {
        self.records.iter().take_while(|record| record.offset < end).cloned().collect()
    }

    /// Drops the records before `end`; the search for the next cut starts anew.
    pub fn drop_until(&mut self, end: i64) {
        while self.records.front().is_some_and(|record| record.offset < end) {
            if let Some(record) = self.records.pop_front() {
                self.bytes -= size(&record);
            }
        }
        self.scanned = Scanned::default();
    }
}

fn size(record: &Record) -> usize {
    record.key.as_ref().map_or(0, bytes::Bytes::len) + record.value.as_ref().map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn record(offset: i64, timestamp_ms: i64, bytes: usize) -> Record {
        Record {
            topic: "t".into(),
            partition: 0,
            offset,
            timestamp_ms,
            key: None,
            value: Some(Bytes::from(vec![0; bytes])),
            headers: Vec::new(),
        }
    }

    const ROTATION: Rotation = Rotation { records: 10, bytes: 1_000, interval_ms: 60_000 };

    fn cut_of(records: impl IntoIterator<Item = Record>) -> Option<(i64, CutReason)> {
        let mut buffer = Buffer::default();
        records.into_iter().for_each(|record| buffer.push(record));
        buffer.find_cut(&ROTATION, None)
    }

    #[test]
    fn too_few_records_are_not_cut() {
        assert_eq!(cut_of((0..9).map(|n| record(n, n, 10))), None);
    }

    #[test]
    fn the_count_the_bytes_and_the_interval_cut() {
        assert_eq!(cut_of((0..30).map(|n| record(n, n, 10))), Some((10, CutReason::Records)));
        assert_eq!(cut_of((0..9).map(|n| record(n * 2, n, 250))), Some((7, CutReason::Bytes)));
        let late = [record(3, 0, 1), record(5, 59_999, 1), record(9, 60_000, 1)];
        assert_eq!(cut_of(late), Some((9, CutReason::Interval)));
    }

    #[test]
    fn a_cut_that_could_not_be_recorded_stays_where_it_is() {
        let mut buffer = Buffer::default();
        (0..30).for_each(|n| buffer.push(record(n, n, 10)));
        for _ in 0..3 {
            assert_eq!(buffer.find_cut(&ROTATION, None), Some((10, CutReason::Records)));
        }
        let bytes = Rotation { bytes: 55, ..ROTATION };
        let mut buffer = Buffer::default();
        (0..30).for_each(|n| buffer.push(record(n, n, 10)));
        for _ in 0..3 {
            assert_eq!(buffer.find_cut(&bytes, None), Some((6, CutReason::Bytes)));
        }
    }

    #[test]
    fn one_record_is_never_too_old_for_itself() {
        assert_eq!(cut_of([record(3, i64::MIN, 1)]), None);
    }

    #[test]
    fn a_recorded_end_counts_alone_and_waits_for_its_records() {
        let mut buffer = Buffer::default();
        (0..30).for_each(|n| buffer.push(record(n, n, 10)));
        assert_eq!(buffer.find_cut(&ROTATION, Some(25)), Some((25, CutReason::Recorded)));
        assert_eq!(buffer.find_cut(&ROTATION, Some(31)), None);
        assert_eq!(buffer.until(25).len(), 25);
        buffer.drop_until(25);
        assert_eq!((buffer.len(), buffer.bytes(), buffer.first_offset()), (5, 50, Some(25)));
    }

    proptest! {
        /// However the records come in, they are cut at the same places.
        #[test]
        fn batching_does_not_move_a_cut(
            records in proptest::collection::vec((1_i64..4, 0_i64..30_000, 1_usize..400), 1..200),
            batches in proptest::collection::vec(1_usize..20, 1..200),
        ) {
            let mut offset = 0;
            let mut at = 0;
            let records: Vec<Record> = records.into_iter().map(|(gap, later, bytes)| {
                offset += gap;
                at += later;
                record(offset, at, bytes)
            }).collect();
            let cuts = |batches: &mut dyn Iterator<Item = usize>| {
                let mut buffer = Buffer::default();
                let mut cuts = Vec::new();
                let mut rest = records.iter();
                for batch in batches {
                    rest.by_ref().take(batch).cloned().for_each(|record| buffer.push(record));
                    while let Some((end, reason)) = buffer.find_cut(&ROTATION, None) {
                        cuts.push((end, reason));
                        buffer.drop_until(end);
                    }
                }
                cuts
            };
            let at_once = cuts(&mut std::iter::once(records.len()));
            let in_batches = cuts(&mut batches.into_iter().chain(std::iter::repeat_n(1, records.len())));
            prop_assert_eq!(at_once, in_batches);
        }
    }
}
