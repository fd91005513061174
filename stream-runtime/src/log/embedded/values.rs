//! How records, partition states and group offsets are written as bytes.
//!
//! A record: version (1), CRC-32 of the key and all that follows (4), flags (1), timestamp (8), time of
//! appending (8), then key (length and bytes), headers (count, then name and value with lengths), value (the
//! rest). Numbers are little-endian.

use bytes::Bytes;

use crate::log::{Headers, NewRecord};

const VERSION: u8 = 1;
const HAS_KEY: u8 = 1;
const HAS_VALUE: u8 = 2;
const CHECKED_FROM: usize = 5;
const FIXED: usize = 22;

/// What is stored is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Damaged(&'static str);

/// A stored record, borrowed.
pub(super) struct StoredRecord<'a> {
    pub timestamp_ms: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: StoredHeaders<'a>,
}

/// The times of a stored record, without a look at the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub timestamp_ms: i64,
    /// When the log took it: what its age is counted from.
    pub appended_ms: i64,
}

pub(super) struct StoredHeaders<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl Headers for StoredHeaders<'_> {
    fn len(&self) -> usize {
        self.count
    }

    fn at(&self, index: usize) -> (&str, &[u8]) {
        assert!(index < self.count, "no header {index} of {}", self.count);
        let mut bytes = self.bytes;
        for _ in 0..index {
            next_header(&mut bytes).expect("headers are read once when the record is decoded");
        }
        next_header(&mut bytes).expect("headers are read once when the record is decoded")
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        let mut bytes = self.bytes;
        let mut found = None;
        for _ in 0..self.count {
            let (header, value) = next_header(&mut bytes)?;
            if header == name {
                found = Some(value);
            }
        }
        found
    }
}

fn next_header<'a>(bytes: &mut &'a [u8]) -> Option<(&'a str, &'a [u8])> {
    let name = std::str::from_utf8(take_sized(bytes)?).ok()?;
    Some((name, take_sized(bytes)?))
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(count)?;
    *bytes = tail;
    Some(head)
}

fn take_number(bytes: &mut &[u8]) -> Option<usize> {
    let (head, tail) = bytes.split_first_chunk::<4>()?;
    *bytes = tail;
    Some(u32::from_le_bytes(*head) as usize)
}

fn take_long(bytes: &mut &[u8]) -> Option<i64> {
    let (head, tail) = bytes.split_first_chunk::<8>()?;
    *bytes = tail;
    Some(i64::from_le_bytes(*head))
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_number(bytes)?;
    take(bytes, length)
}

fn put_sized(into: &mut Vec<u8>, bytes: &[u8]) {
    into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    into.extend_from_slice(bytes);
}

fn checksum(at: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(at);
    hasher.update(body);
    hasher.finalize()
}

/// The bytes of a record that stands under the key `at`.
pub(super) fn encode_record(at: &[u8], record: &NewRecord, times: Times) -> Bytes {
    let mut out = Vec::with_capacity(FIXED + 8 + record.size() + 8 * record.headers.len());
    let flags = if record.key.is_some() { HAS_KEY } else { 0 } | if record.value.is_some() { HAS_VALUE } else { 0 };
    out.push(VERSION);
    out.extend_from_slice(&[0; 4]);
    out.push(flags);
    out.extend_from_slice(&times.timestamp_ms.to_le_bytes());
    out.extend_from_slice(&times.appended_ms.to_le_bytes());
    if let Some(key) = &record.key {
        put_sized(&mut out, key);
    }
    out.extend_from_slice(&(record.headers.len() as u32).to_le_bytes());
    for (name, value) in &record.headers {
        put_sized(&mut out, name.as_bytes());
        put_sized(&mut out, value);
    }
    if let Some(value) = &record.value {
        out.extend_from_slice(value);
    }
    let crc = checksum(at, &out[CHECKED_FROM..]);
    out[1..CHECKED_FROM].copy_from_slice(&crc.to_le_bytes());
    out.into()
}

/// Reads the bytes that stand under the key `at`, after checking that they are the ones that were written there.
pub(super) fn decode_record<'a>(at: &[u8], bytes: &'a [u8]) -> Result<StoredRecord<'a>, Damaged> {
    check(at, bytes)?;
    parse(&bytes[CHECKED_FROM..]).ok_or(Damaged("a record ends early"))
}

fn check(at: &[u8], bytes: &[u8]) -> Result<(), Damaged> {
    if bytes.len() < FIXED {
        return Err(Damaged("a record ends early"));
    }
    if bytes[0] != VERSION {
        return Err(Damaged("a record of an unknown version"));
    }
    if checksum(at, &bytes[CHECKED_FROM..]).to_le_bytes() != bytes[1..CHECKED_FROM] {
        return Err(Damaged("a record with a wrong checksum"));
    }
    Ok(())
}

fn parse(mut rest: &[u8]) -> Option<StoredRecord<'_>> {
    let flags = take(&mut rest, 1)?[0];
    let timestamp_ms = take_long(&mut rest)?;
    take_long(&mut rest)?;
    let key = if flags & HAS_KEY == 0 { None } else { Some(take_sized(&mut rest)?) };
    let count = take_number(&mut rest)?;
    let from_headers = rest;
    for _ in 0..count {
        next_header(&mut rest)?;
    }
    let headers = StoredHeaders { count, bytes: &from_headers[..from_headers.len() - rest.len()] };
    let value = (flags & HAS_VALUE != 0).then_some(rest);
    Some(StoredRecord { timestamp_ms, key, value, headers })
}

/// The times of a record; its content is not checked.
pub(super) fn record_times(bytes: &[u8]) -> Result<Times, Damaged> {
    let early = Damaged("a record ends early");
    let mut rest = bytes.get(CHECKED_FROM + 1..).ok_or(early)?;
    let timestamp_ms = take_long(&mut rest).ok_or(early)?;
    let appended_ms = take_long(&mut rest).ok_or(early)?;
    Ok(Times { timestamp_ms, appended_ms })
}

/// The part of a partition that is not in its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PartitionState {
    /// The oldest offset kept.
    pub start: i64,
    /// The offset the next record gets.
    pub end: i64,
    /// Bytes of the records kept.
    pub bytes: u64,
}

pub(super) fn encode_partition(state: PartitionState) -> Bytes {
    let mut body = Vec::with_capacity(24);
    body.extend_from_slice(&state.start.to_le_bytes());
    body.extend_from_slice(&state.end.to_le_bytes());
    body.extend_from_slice(&state.bytes.to_le_bytes());
    seal(body)
}

pub(super) fn decode_partition(bytes: &[u8]) -> Result<PartitionState, Damaged> {
    let mut rest = open(bytes)?;
    let mut number = || take_long(&mut rest).ok_or(Damaged("a partition's state ends early"));
    Ok(PartitionState { start: number()?, end: number()?, bytes: number()? as u64 })
}

pub(super) fn encode_offset(next: i64, metadata: &str) -> Bytes {
    let mut body = Vec::with_capacity(8 + metadata.len());
    body.extend_from_slice(&next.to_le_bytes());
    body.extend_from_slice(metadata.as_bytes());
    seal(body)
}

pub(super) fn decode_offset(bytes: &[u8]) -> Result<(i64, String), Damaged> {
    let mut rest = open(bytes)?;
    let next = take_long(&mut rest).ok_or(Damaged("a committed offset ends early"))?;
    let metadata = std::str::from_utf8(rest).map_err(|_| Damaged("metadata of an offset is not text"))?;
    Ok((next, metadata.to_owned()))
}

/// What the index knows of the latest record of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Latest {
    pub offset: i64,
    pub tombstone: bool,
}

pub(super) fn encode_latest(latest: Latest) -> Bytes {
    let mut out = latest.offset.to_le_bytes().to_vec();
    out.push(u8::from(latest.tombstone));
    out.into()
}

pub(super) fn decode_latest(bytes: &[u8]) -> Result<Latest, Damaged> {
    let mut rest = bytes;
    let damaged = Damaged("an index entry has a wrong length");
    let offset = take_long(&mut rest).ok_or(damaged)?;
    match rest {
        [tombstone] => Ok(Latest { offset, tombstone: *tombstone != 0 }),
        _ => Err(damaged),
    }
}

/// The note on a tombstone: when it was appended, and the key it deleted.
pub(super) fn encode_tombstone(appended_ms: i64, key: &[u8]) -> Bytes {
    [appended_ms.to_le_bytes().as_slice(), key].concat().into()
}

pub(super) fn decode_tombstone(bytes: &[u8]) -> Result<(i64, &[u8]), Damaged> {
    let mut rest = bytes;
    let appended_ms = take_long(&mut rest).ok_or(Damaged("a tombstone's note ends early"))?;
    Ok((appended_ms, rest))
}

/// Version and checksum before a small body.
fn seal(body: Vec<u8>) -> Bytes {
    let mut out = Vec::with_capacity(CHECKED_FROM + body.len());
    out.push(VERSION);
    out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    out.extend_from_slice(&body);
    out.into()
}

fn open(bytes: &[u8]) -> Result<&[u8], Damaged> {
    match bytes.split_at_checked(CHECKED_FROM) {
        Some((head, body)) if head[0] == VERSION && head[1..] == crc32fast::hash(body).to_le_bytes() => Ok(body),
        Some(([VERSION, ..], _)) => Err(Damaged("an entry with a wrong checksum")),
        _ => Err(Damaged("an entry of an unknown version")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> NewRecord {
        NewRecord::new("t", "the key", "the value").with_header("a", "1").with_header("b", "").with_header("a", "2")
    }

    #[test]
    fn headers_are_read_in_order_and_the_last_of_a_name_wins() {
        let times = Times { timestamp_ms: -5, appended_ms: 7 };
        let bytes = encode_record(b"at", &record(), times);
        let read = decode_record(b"at", &bytes).unwrap();
        assert_eq!(read.timestamp_ms, -5);
        assert_eq!(read.key, Some(b"the key".as_slice()));
        assert_eq!(read.value, Some(b"the value".as_slice()));
        let headers: Vec<_> = (0..read.headers.len()).map(|index| read.headers.at(index)).collect();
        assert_eq!(headers, [("a", b"1".as_slice()), ("b", b"".as_slice()), ("a", b"2".as_slice())]);
        assert_eq!(read.headers.get("a"), Some(b"2".as_slice()));
        assert_eq!(read.headers.get("c"), None);
        assert_eq!(record_times(&bytes).unwrap(), times);
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let bytes = encode_record(b"at", &record(), Times { timestamp_ms: 1, appended_ms: 2 });
        for index in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[index] ^= 0x40;
            assert!(decode_record(b"at", &changed).is_err(), "byte {index}");
        }
        for length in 0..bytes.len() {
            assert!(decode_record(b"at", &bytes[..length]).is_err(), "length {length}");
        }
        assert!(decode_record(b"elsewhere", &bytes).is_err());
    }

    #[test]
    fn small_entries_come_back_and_notice_damage() {
        let state = PartitionState { start: 3, end: 9, bytes: 1 << 40 };
        assert_eq!(decode_partition(&encode_partition(state)), Ok(state));
        assert_eq!(decode_offset(&encode_offset(5, "stream time 7")), Ok((5, "stream time 7".to_owned())));
        let latest = Latest { offset: 4, tombstone: true };
        assert_eq!(decode_latest(&encode_latest(latest)), Ok(latest));
        assert_eq!(decode_tombstone(&encode_tombstone(8, b"k")), Ok((8, b"k".as_slice())));
        let mut damaged = encode_offset(5, "text").to_vec();
        damaged[6] ^= 1;
        assert!(decode_offset(&damaged).is_err());
        assert!(decode_partition(b"").is_err());
    }

    proptest! {
        #[test]
        fn every_record_comes_back(
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
            headers in proptest::collection::vec((".{0,8}", proptest::collection::vec(any::<u8>(), 0..20)), 0..4),
            timestamp_ms in any::<i64>(),
            appended_ms in any::<i64>(),
        ) {
            let record = NewRecord {
                topic: "t".into(),
                partition: None,
                key: key.clone().map(Into::into),
                value: value.clone().map(Into::into),
                headers: headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect(),
                timestamp_ms: None,
            };
            let bytes = encode_record(b"at", &record, Times { timestamp_ms, appended_ms });
            let read = decode_record(b"at", &bytes).unwrap();
            prop_assert_eq!(read.timestamp_ms, timestamp_ms);
            prop_assert_eq!(read.key, key.as_deref());
            prop_assert_eq!(read.value, value.as_deref());
            prop_assert_eq!(read.headers.len(), headers.len());
            for (index, (name, value)) in headers.iter().enumerate() {
                prop_assert_eq!(read.headers.at(index), (name.as_str(), value.as_slice()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode_record(b"at", &bytes);
            let _ = parse(&bytes);
            let _ = record_times(&bytes);
            let _ = decode_partition(&bytes);
            let _ = decode_offset(&bytes);
            let _ = decode_latest(&bytes);
            let _ = decode_tombstone(&bytes);
        }
    }
}
