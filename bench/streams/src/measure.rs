//! CPU and memory of a process while its group works through a topic.
//!
//! Progress is what the group has committed: nothing else counts as done. The part before `--warm-up` is left out.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use serde::Serialize;

use crate::{
    clients::{self, Span, TIMEOUT},
    process::{self, Usage},
};

/// How often progress is asked for. Short against the measured time, so that it need not be interpolated.
const INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The process
    #[arg(long)]
    pid: u32,
    /// Its consumer group
    #[arg(long)]
    group: String,
    /// The topic it reads
    #[arg(long, default_value = telemetry_schemas::topics::EVENTS)]
    topic: String,
    /// Records that are not measured: as many as it takes to be warm
    #[arg(long, default_value_t = 0)]
    warm_up: i64,
    /// Seconds without any progress after which it is taken to be stuck
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

#[derive(Debug, Serialize)]
pub struct Measured {
    records: i64,
    wall_seconds: f64,
    cpu_seconds: f64,
    records_per_second: f64,
    records_per_cpu_second: f64,
    rss_peak_bytes: u64,
    rss_bytes: u64,
    /// Of the whole run, warm-up and start included.
    cpu_seconds_from_start: f64,
    /// Records per CPU second of each quarter of the measured records: whether it was warm.
    by_quarter: Vec<f64>,
}

struct Sample {
    at: Instant,
    committed: i64,
    usage: Usage,
}

pub fn run(brokers: &str, args: &Args) -> anyhow::Result<Measured> {
    let client = clients::asking_for_group(brokers, &args.group)?;
    let spans = clients::spans(&client, &args.topic)?;
    let total: i64 = spans.iter().map(|span| span.high - span.low).sum();
    if args.warm_up >= total {
        bail!("the topic holds {total} records, fewer than the {} of the warm-up", args.warm_up);
    }
    let first = wait(&client, args, &spans, args.warm_up.max(1))?;
    let quarter = (total - first.committed) / 4;
    let mut quarters = Vec::new();
    for number in 1..4 {
        quarters.push(wait(&client, args, &spans, first.committed + number * quarter)?);
    }
    let last = wait(&client, args, &spans, total)?;
    let marks: Vec<&Sample> = std::iter::once(&first).chain(&quarters).chain([&last]).collect();
    let by_quarter = marks
        .windows(2)
        .map(|ends| {
            (ends[1].committed - ends[0].committed) as f64 / (ends[1].usage.cpu_seconds - ends[0].usage.cpu_seconds)
        })
        .collect();
    let records = last.committed - first.committed;
    let wall_seconds = (last.at - first.at).as_secs_f64();
    let cpu_seconds = last.usage.cpu_seconds - first.usage.cpu_seconds;
    Ok(Measured {
        records,
        wall_seconds,
        cpu_seconds,
        records_per_second: records as f64 / wall_seconds,
        records_per_cpu_second: records as f64 / cpu_seconds,
        rss_peak_bytes: last.usage.rss_peak_bytes,
        rss_bytes: last.usage.rss_bytes,
        cpu_seconds_from_start: last.usage.cpu_seconds,
        by_quarter,
    })
}

/// The first sample with at least so many records committed.
fn wait(client: &BaseConsumer, args: &Args, spans: &[Span], records: i64) -> anyhow::Result<Sample> {
    let (mut seen, mut since) = (-1, Instant::now());
    loop {
        let usage = process::usage(args.pid)?;
        let committed = committed(client, &args.topic, spans)?;
        let at = Instant::now();
        if committed >= records {
            return Ok(Sample { at, committed, usage });
        }
        if committed > seen {
            (seen, since) = (committed, at);
        } else if since.elapsed() > Duration::from_secs(args.patience) {
            bail!("{committed} records are committed and no more for {} s", args.patience);
        }
        thread::sleep(INTERVAL);
    }
}

/// Records of the topic that lie before the committed offsets.
fn committed(client: &BaseConsumer, topic: &str, spans: &[Span]) -> anyhow::Result<i64> {
    let mut list = TopicPartitionList::new();
    for span in spans {
        list.add_partition(topic, span.partition);
    }
    let found = client.committed_offsets(list, TIMEOUT).context("cannot ask for committed offsets")?;
    Ok(spans
        .iter()
        .map(|span| match found.find_partition(topic, span.partition).map(|element| element.offset()) {
            Some(Offset::Offset(next)) => next.min(span.high) - span.low,
            _ => 0,
        })
        .sum())
}
