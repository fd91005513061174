//! From publishing an event until its record, committed, is in a reader's hands, at a steady rate.
//!
//! A record names the event that caused it, so each one tells how long that event was on its way. Events that change
//! nothing cause no record; they are there for the load. The reader reads committed records only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rdkafka::{Message, Offset};
use serde::{Deserialize, Serialize};
use telemetry_schemas::{Codec, TtfRecord, topics};

use crate::{
    clients,
    cohort::Kind,
    generate::{self, CohortArgs, EventWriter},
    process::{self, Usage},
};

/// What comes later than this after the last event is lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Upper bounds of the histogram, in milliseconds; the last one is without bound.
const BOUNDS: [f64; 12] = [5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0];

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    cohort: CohortArgs,
    /// Events a second
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Seconds that are not measured
    #[arg(long, default_value_t = 10)]
    warm_up: u64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Where the program writes its records
    #[arg(long, default_value = topics::TTF_RECORDS)]
    records: String,
    /// The program, for its CPU time
    #[arg(long)]
    pid: u32,
}

#[derive(Debug, Serialize)]
pub struct Latency {
    events: u64,
    /// Events that caused a record.
    timed: usize,
    /// Milestones whose record did not name them: another one of the user was later, or came in the same transaction.
    untimed: usize,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// (upper bound in ms, how many up to it that are above the one before)
    histogram: Vec<(Option<f64>, usize)>,
    /// How far the publisher fell behind its schedule at most.
    publisher_late_ms: f64,
    cpu_seconds: f64,
    /// 1.0 is one core in full use.
    cores: f64,
    rss_bytes: u64,
}

/// The events on their way: id → when it was handed to the producer.
#[derive(Default)]
struct OnTheWay(Mutex<HashMap<String, Instant>>);

impl OnTheWay {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct Cause<'a> {
    cause_event_id: Option<&'a str>,
}

pub fn run(brokers: &str, args: &Args) -> anyhow::Result<Latency> {
    let producer = clients::producer(brokers, 2)?;
    let on_the_way = Arc::new(OnTheWay::default());
    let (stop, stopped) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    let reader = thread::spawn({
        let (brokers, topic, on_the_way) = (brokers.to_owned(), args.records.clone(), on_the_way.clone());
        move || read(&brokers, &topic, &on_the_way, &ready, &stopped)
    });
    // A reader that cannot start says why when it is joined.
    let _ = is_ready.recv();

    let (warm_up, total) = (args.warm_up * args.rate, (args.warm_up + args.seconds) * args.rate);
    let mut writer = EventWriter::new(&args.cohort.prefix);
    let mut arrivals = args.cohort.cohort()?.arrivals();
    let began = Instant::now();
    let mut late = Duration::ZERO;
    let mut at_start: Option<(Instant, Usage)> = None;
    let mut milestones = 0;
    for number in 0..total {
        let due = began + Duration::from_nanos(number * 1_000_000_000 / args.rate);
        let now = Instant::now();
        if due > now {
            thread::sleep(due - now);
        }
        let measured = number >= warm_up;
        if measured && at_start.is_none() {
            at_start = Some((Instant::now(), process::usage(args.pid)?));
        }
        let arrival = arrivals.next().context("the cohort has too few events: give it more users")?;
        let record = writer.write(arrival)?;
        let sent = Instant::now();
        record.send(&producer)?;
        if measured {
            late = late.max(sent.saturating_duration_since(due));
            if matches!(arrival.kind, Kind::Milestone(_)) {
                milestones += 1;
                // An event that arrives again causes nothing.
                on_the_way.lock().entry(writer.event_id().to_owned()).or_insert(sent);
            }
        }
    }
    let Some((measured_from, before)) = at_start else { bail!("nothing was measured") };
    let wall = measured_from.elapsed();
    let after = process::usage(args.pid)?;
    generate::finish(&producer)?;
    thread::sleep(Duration::from_secs(1));
    let deadline = Instant::now() + PATIENCE;
    while !on_the_way.lock().is_empty() && Instant::now() < deadline && !reader.is_finished() {
        thread::sleep(Duration::from_millis(100));
    }
    // The reader may have ended by itself, with an error.
    let _ = stop.send(());
    let Ok(read) = reader.join() else { bail!("the reader panicked") };
    let mut millis = read?;
    if millis.len() * 2 < milestones {
        bail!("{} of {milestones} milestones caused a record that was read", millis.len());
    }
    millis.sort_unstable_by(f64::total_cmp);
    let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
    Ok(Latency {
        events: args.seconds * args.rate,
        timed: millis.len(),
        untimed: milestones.saturating_sub(millis.len()),
        p50_ms: quantile(&millis, 0.5),
        p90_ms: quantile(&millis, 0.9),
        p99_ms: quantile(&millis, 0.99),
        p999_ms: quantile(&millis, 0.999),
        max_ms: quantile(&millis, 1.0),
        histogram: histogram(&millis),
        publisher_late_ms: late.as_secs_f64() * 1_000.0,
        cpu_seconds,
        cores: cpu_seconds / wall.as_secs_f64(),
        rss_bytes: after.rss_bytes,
    })
}

/// How long each event was on its way, in milliseconds.
fn read(
    brokers: &str,
    topic: &str,
    on_the_way: &OnTheWay,
    ready: &mpsc::Sender<()>,
    stopped: &mpsc::Receiver<()>,
) -> anyhow::Result<Vec<f64>> {
    let codec = Codec::without_registry();
    let consumer = clients::reader(brokers, "read_committed").create()?;
    let spans = clients::spans(&consumer, topic)?;
    clients::assign(&consumer, topic, &spans, |span| Offset::Offset(span.high))?;
    let _ = ready.send(());
    let mut millis = Vec::new();
    while stopped.try_recv().is_err() {
        let Some(message) = consumer.poll(Duration::from_millis(20)) else { continue };
        let message = message?;
        let cause = codec.decode_view::<TtfRecord, Cause<'_>>(message.payload().unwrap_or_default())?;
        let sent = cause.cause_event_id.and_then(|id| on_the_way.lock().remove(id));
        millis.extend(sent.map(|sent| sent.elapsed().as_secs_f64() * 1_000.0));
    }
    Ok(millis)
}

/// The value that the share `q` of all does not exceed.
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

fn histogram(sorted: &[f64]) -> Vec<(Option<f64>, usize)> {
    let mut below = 0;
    let bounds = BOUNDS.into_iter().map(Some).chain([None]);
    bounds
        .map(|bound| {
            let up_to = bound.map_or(sorted.len(), |bound| sorted.partition_point(|value| *value <= bound));
            let count = up_to - below;
            below = up_to;
            (bound, count)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        let whole = |values: &[f64], q| quantile(values, q).round() as i64;
        assert_eq!([0.5, 0.99, 1.0].map(|q| whole(&values, q)), [50, 99, 100]);
        assert_eq!(whole(&[7.0], 0.5), 7);
    }

    #[test]
    fn every_value_is_in_one_bucket() {
        let counts = histogram(&[1.0, 5.0, 5.1, 499.0, 501.0]);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<usize>(), 5);
        assert_eq!(counts[0], (Some(5.0), 2));
        assert_eq!(counts[12], (None, 1));
    }
}
