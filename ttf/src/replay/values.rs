//! What lies on the shelves, and how it is written where it does not fit into memory.

use anyhow::Context as _;
use bytes::Bytes;
use stream_runtime::log::NewRecord;
use telemetry_schemas::{Codec, state::JourneyState};

use super::shelf::Shelved;

/// A recomputed state, not judged yet.
#[derive(Debug, Clone)]
pub struct Fresh {
    pub state: JourneyState,
    /// When the first event that counted was received, in milliseconds since the epoch; the last possible instant
    /// when none did.
    pub first_received_ms: i64,
}

/// Bytes as a topic had them.
#[derive(Debug, Clone)]
pub struct Raw {
    pub bytes: Vec<u8>,
    pub written_ms: i64,
}

/// The records that put a user right.
#[derive(Debug, Clone)]
pub struct Records(pub Vec<NewRecord>);

impl Shelved for Fresh {
    fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = self.first_received_ms.to_be_bytes().to_vec();
        bytes.extend(Codec::without_registry().encode(&self.state)?);
        Ok(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
        let (first, state) = number(bytes)?;
        Ok(Self { first_received_ms: first, state: Codec::without_registry().decode(state)? })
    }

    fn weight(&self) -> usize {
        // A fact takes about so much with its name, its event's id and the map around it.
        const FACT: usize = 160;
        let named = self.state.segments.len() + self.state.experiments.len();
        let attempts = self.state.attempts.iter().map(|attempt| {
            let facts = attempt.milestones.len() + attempt.segments.len() + attempt.experiments.len();
            size_of_val(attempt) + facts * FACT
        });
        size_of::<Self>() + named * FACT + attempts.sum::<usize>()
    }
}

impl Shelved for Raw {
    fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = self.written_ms.to_be_bytes().to_vec();
        bytes.extend(&self.bytes);
        Ok(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
        let (written_ms, bytes) = number(bytes)?;
        Ok(Self { written_ms, bytes: bytes.to_vec() })
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

impl Shelved for Records {
    fn to_bytes(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.weight());
        for record in &self.0 {
            part(&mut bytes, Some(record.topic.as_bytes()));
            part(&mut bytes, record.partition.map(i32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
            part(&mut bytes, record.timestamp_ms.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
            part(&mut bytes, record.key.as_deref());
            part(&mut bytes, record.value.as_deref());
            part(&mut bytes, Some(&(record.headers.len() as u64).to_be_bytes()));
            for (name, value) in &record.headers {
                part(&mut bytes, Some(name.as_bytes()));
                part(&mut bytes, Some(value));
            }
        }
        Ok(bytes)
    }

    fn from_bytes(bytes: &[u8]) -> anyhow::Result<Self> {
        let mut rest = Parts(bytes);
        let mut records = Vec::new();
        while !rest.0.is_empty() {
            let topic = std::str::from_utf8(rest.required()?)?.into();
            let partition = rest.next()?.map(<[u8; 4]>::try_from).transpose()?.map(i32::from_be_bytes);
            let timestamp_ms = rest.next()?.map(<[u8; 8]>::try_from).transpose()?.map(i64::from_be_bytes);
            let key = rest.next()?.map(Bytes::copy_from_slice);
            let value = rest.next()?.map(Bytes::copy_from_slice);
            let count = u64::from_be_bytes(rest.required()?.try_into()?);
            let mut headers = Vec::new();
            for _ in 0..count {
                let name = std::str::from_utf8(rest.required()?)?.to_owned();
                headers.push((name, Bytes::copy_from_slice(rest.required()?)));
            }
            records.push(NewRecord { topic, partition, key, value, headers, timestamp_ms });
        }
        Ok(Self(records))
    }

    fn weight(&self) -> usize {
        self.0.iter().map(|record| size_of::<NewRecord>() + record.size()).sum()
    }
}

fn number(bytes: &[u8]) -> anyhow::Result<(i64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>().context("a shelved value is too short")?;
    Ok((i64::from_be_bytes(*number), rest))
}

/// A length and that many bytes; the greatest length stands for nothing.
fn part(bytes: &mut Vec<u8>, part: Option<&[u8]>) {
    bytes.extend(part.map_or(u32::MAX, |part| part.len() as u32).to_be_bytes());
    bytes.extend(part.unwrap_or_default());
}

struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn next(&mut self) -> anyhow::Result<Option<&'a [u8]>> {
        let (length, rest) = self.0.split_first_chunk::<4>().context("a shelved value is too short")?;
        self.0 = rest;
        let length = u32::from_be_bytes(*length);
        if length == u32::MAX {
            return Ok(None);
        }
        let (part, rest) = rest.split_at_checked(length as usize).context("a shelved value is too short")?;
        self.0 = rest;
        Ok(Some(part))
    }

    fn required(&mut self) -> anyhow::Result<&'a [u8]> {
        self.next()?.context("a part of a shelved value is missing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_from_disk_as_they_were() {
        let whole = NewRecord::new("a", "key", "value").with_partition(3).with_timestamp(-7).with_header("due", "9");
        let bare = NewRecord { key: None, value: None, ..NewRecord::new("b", "", "") };
        let empty = NewRecord::new("c", "", "");
        let records = vec![whole, bare, empty];
        let bytes = Records(records.clone()).to_bytes().unwrap();
        assert_eq!(Records::from_bytes(&bytes).unwrap().0, records);
        assert!(Records::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }
}
