//! The due time that goes with a changelog record, so that a restore need not decode the state.

use bytes::Bytes;

use crate::log::{NewRecord, RecordRef};

/// Name of the header.
const HEADER: &str = "due";
/// Stands for "no timer".
const NEVER: i64 = i64::MIN;

/// What a changelog record tells about its state's timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// When it is due, if ever.
    Due(Option<i64>),
    /// Nothing, or it was worked out with something else: the state must be asked.
    Nothing,
}

/// Writes and reads the header: the due time and a hash of what it was worked out with, big-endian.
#[derive(Debug, Clone, Copy)]
pub struct DueHeader {
    fingerprint: u64,
}

impl DueHeader {
    /// For due times that depend on this besides the state.
    pub fn new(timer_fingerprint: &str) -> Self {
        Self { fingerprint: fnv1a(timer_fingerprint.as_bytes()) }
    }

    pub fn add(self, record: &mut NewRecord, due_ms: Option<i64>) {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&due_ms.unwrap_or(NEVER).to_be_bytes());
        value[8..].copy_from_slice(&self.fingerprint.to_be_bytes());
        record.headers.push((HEADER.to_owned(), Bytes::copy_from_slice(&value)));
    }

    pub fn read(self, record: &RecordRef<'_>) -> Told {
        let Some((due, fingerprint)) = record.header(HEADER).and_then(|value| value.split_first_chunk()) else {
            return Told::Nothing;
        };
        if fingerprint != self.fingerprint.to_be_bytes() {
            return Told::Nothing;
        }
        let due = i64::from_be_bytes(*due);
        Told::Due((due != NEVER).then_some(due))
    }
}

/// FNV-1a, 64 bits (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>): the same in every build.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Record;

    fn written(with: &str, due_ms: Option<i64>) -> Record {
        let mut record = NewRecord::new("state", "key", "value");
        DueHeader::new(with).add(&mut record, due_ms);
        Record {
            topic: record.topic,
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }

    #[test]
    fn a_due_time_is_believed_when_it_was_worked_out_alike() {
        for due_ms in [None, Some(0), Some(-7), Some(1_700_000_000_000)] {
            let record = written("targets 1", due_ms);
            assert_eq!(DueHeader::new("targets 1").read(&record.as_ref()), Told::Due(due_ms));
            assert_eq!(DueHeader::new("targets 2").read(&record.as_ref()), Told::Nothing);
        }
    }

    #[test]
    fn a_header_of_another_form_says_nothing() {
        let mut record = written("a", Some(1));
        record.headers[0].1 = Bytes::from_static(b"short");
        assert_eq!(DueHeader::new("a").read(&record.as_ref()), Told::Nothing);
        record.headers.clear();
        assert_eq!(DueHeader::new("a").read(&record.as_ref()), Told::Nothing);
    }

    #[test]
    fn the_hash_is_that_of_its_definition() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
