//! What any consumer on rdkafka spends at least: reading and decoding the same events, and nothing else.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rdkafka::{Message, Offset, consumer::BaseConsumer};
use serde::{Deserialize, Serialize};
use telemetry_schemas::{Codec, Event, EventTime, EventType, topics};

use crate::{clients, process};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Decode every field into values of its own, instead of borrowing what a journey needs
    #[arg(long)]
    owned: bool,
}

#[derive(Debug, Serialize)]
pub struct Floor {
    records: u64,
    wall_seconds: f64,
    cpu_seconds: f64,
    records_per_second: f64,
    records_per_cpu_second: f64,
}

/// What journeys need to know of an event, borrowed from its bytes.
#[derive(Deserialize)]
struct Seen<'a> {
    event_id: &'a str,
    event_name: &'a str,
    event_type: EventType,
    timestamp: EventTime,
    received_at: EventTime,
    user_id: Option<&'a str>,
    journey_id: Option<&'a str>,
    properties: &'a str,
    #[serde(borrow)]
    context: SeenContext<'a>,
}

#[derive(Deserialize)]
struct SeenContext<'a> {
    release: Option<&'a str>,
    #[serde(borrow)]
    segments: BTreeMap<&'a str, &'a str>,
    #[serde(borrow)]
    experiments: BTreeMap<&'a str, &'a str>,
}

pub fn run(brokers: &str, args: &Args) -> anyhow::Result<Floor> {
    let codec = Codec::without_registry();
    let consumer: BaseConsumer = clients::reader(brokers, "read_committed").create()?;
    let spans = clients::spans(&consumer, topics::EVENTS)?;
    let total: i64 = spans.iter().map(|span| span.high - span.low).sum();
    if total == 0 {
        bail!("there are no events");
    }
    clients::assign(&consumer, topics::EVENTS, &spans, |_| Offset::Beginning)?;
    let used = || process::usage(std::process::id()).map(|usage| usage.cpu_seconds);
    let (began, cpu) = (Instant::now(), used()?);
    let (mut records, mut bytes) = (0, 0);
    while records < total {
        let message = consumer.poll(Duration::from_secs(30)).context("no more events come")??;
        let value = message.payload().context("an event without a value")?;
        bytes += if args.owned { size(&codec.decode::<Event>(value)?) } else { seen(&codec, value)? };
        records += 1;
    }
    // What was decoded was looked at, so that the compiler cannot leave it out.
    if bytes == 0 {
        bail!("the events are empty");
    }
    let (wall_seconds, cpu_seconds) = (began.elapsed().as_secs_f64(), used()? - cpu);
    Ok(Floor {
        records: records as u64,
        wall_seconds,
        cpu_seconds,
        records_per_second: records as f64 / wall_seconds,
        records_per_cpu_second: records as f64 / cpu_seconds,
    })
}

fn size(event: &Event) -> usize {
    event.event_id.len() + event.event_name.len() + event.properties.len() + event.context.segments.len()
}

fn seen(codec: &Codec, value: &[u8]) -> anyhow::Result<usize> {
    let event: Seen<'_> = codec.decode_view::<Event, Seen<'_>>(value)?;
    let strings = [event.event_id, event.event_name, event.properties].map(str::len).iter().sum::<usize>();
    let optional = [event.user_id, event.journey_id, event.context.release].map(|text| text.map_or(0, str::len));
    let maps = event.context.segments.len() + event.context.experiments.len();
    let times = usize::from(event.timestamp <= event.received_at) + usize::from(event.event_type == EventType::Track);
    Ok(strings + optional.iter().sum::<usize>() + maps + times)
}
