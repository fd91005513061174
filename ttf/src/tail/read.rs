//! Reads a topic's records as JSON, in offset order within each partition. Blocks.

use std::{ops::ControlFlow, time::Duration};

use serde_json::{Value, json as object};
use stream_runtime::log::{Isolation, Position, RecordRef, TopicPartition};
use telemetry_schemas::{
    Codec, DecodeError, Event, TtfBreach, TtfRecord, alert::Notification, json::to_json, rejected::RejectedEvent,
};

use super::{From, SharedLog};
use crate::cli::Stream;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Visits every committed record of the stream's topic from `from` on; without `follow` up to what was there at
/// the start. Ends when `visit` breaks; it is visited with `None` now and then, so that it can notice that nobody
/// listens any more.
pub fn read(
    log: &SharedLog,
    codec: &Codec,
    stream: Stream,
    from: From,
    follow: bool,
    visit: &mut dyn FnMut(Option<Value>) -> ControlFlow<()>,
) -> anyhow::Result<()> {
    scan(log, stream.topic(), from, follow, &mut |record| visit(record.map(|record| value_of(codec, stream, record))))
}

/// As [`read`], with the records of a topic as they are.
pub fn scan(
    log: &SharedLog,
    topic: &str,
    from: From,
    follow: bool,
    visit: &mut dyn FnMut(Option<&RecordRef<'_>>) -> ControlFlow<()>,
) -> anyhow::Result<()> {
    let Some(info) = log.topics(Some(&[topic]), TIMEOUT)?.into_iter().next() else {
        anyhow::bail!("topic {topic} does not exist; create it with `ttf topics apply`");
    };
    let partitions: Vec<_> = (0..info.partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
    let mut starts = Vec::new();
    let mut ends = Vec::new();
    for at in &partitions {
        let end = log.end_offset(at, Isolation::ReadCommitted, TIMEOUT)?;
        let position = match from {
            From::Beginning => Position::Beginning,
            From::Now => Position::Offset(end),
            From::Time(time) => Position::Offset(log.offset_for_time(at, time.0, TIMEOUT)?),
        };
        let start = match position {
            Position::Offset(offset) => offset,
            _ => log.start_offset(at, TIMEOUT)?,
        };
        starts.push((at.clone(), position));
        if start < end {
            ends.push((at.clone(), end));
        }
    }
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&starts)?;
    let mut broken = false;
    while follow || !ends.is_empty() {
        reader.poll(500, Duration::from_millis(200), &mut |record| {
            broken = broken || visit(Some(record)).is_break();
        })?;
        if broken || visit(None).is_break() {
            break;
        }
        ends.retain(|(at, end)| reader.position(at).is_none_or(|position| position < *end));
    }
    Ok(())
}

fn value_of(codec: &Codec, stream: Stream, record: &RecordRef<'_>) -> Value {
    let bytes = record.value.unwrap_or_default();
    let decoded: Result<Value, DecodeError> = match stream {
        Stream::Events => codec.decode::<Event>(bytes).map(|message| to_json(&message)),
        Stream::Records => codec.decode::<TtfRecord>(bytes).map(|message| to_json(&message)),
        Stream::Breaches => codec.decode::<TtfBreach>(bytes).map(|message| to_json(&message)),
        Stream::Rejected => codec.decode::<RejectedEvent>(bytes).map(|message| to_json(&message)),
        Stream::Notifications => codec.decode::<Notification>(bytes).map(|message| to_json(&message)),
    };
    decoded.unwrap_or_else(|error| {
        object!({
            "undecodable": error.to_string(),
            "topic": record.topic, "partition": record.partition, "offset": record.offset,
        })
    })
}
