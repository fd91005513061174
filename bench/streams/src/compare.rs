//! Holds what two programs say in the end about the same events against each other.
//!
//! Of each journey the last record counts, of each deadline the last breach. Left out is what depends on when and how
//! often a program spoke: ids, revisions, generations, the times of writing. A deadline that was said to be missed and
//! then not to have been after all is as if nothing had been said.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use anyhow::{Context, bail};
use rdkafka::{Message, Offset, error::KafkaError};
use serde::Serialize;
use serde_json::Value;
use telemetry_schemas::{AvroMessage, BreachReason, Codec, TtfBreach, TtfRecord, topics};

use crate::clients;

/// Differences that are shown.
const SHOWN: usize = 3;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, default_value = topics::TTF_RECORDS)]
    records: String,
    #[arg(long, default_value = topics::TTF_BREACHES)]
    breaches: String,
    #[arg(long)]
    other_records: String,
    #[arg(long)]
    other_breaches: String,
}

#[derive(Debug, Serialize)]
pub struct Compared {
    journeys: usize,
    deadlines: usize,
    records: u64,
    other_records: u64,
    breaches: u64,
    other_breaches: u64,
}

/// What a topic says in the end: (user, attempt, level) → a hash of the content.
struct Said {
    messages: u64,
    last: HashMap<String, u64>,
}

pub fn run(brokers: &str, args: &Args) -> anyhow::Result<Compared> {
    let records = said(brokers, &args.records, record)?;
    let other_records = said(brokers, &args.other_records, record)?;
    let breaches = said(brokers, &args.breaches, breach)?;
    let other_breaches = said(brokers, &args.other_breaches, breach)?;
    let differing = [differences(&records, &other_records), differences(&breaches, &other_breaches)];
    if differing.iter().any(|keys| !keys.is_empty()) {
        for (keys, one, other) in [
            (
                &differing[0],
                contents(brokers, &args.records, &differing[0], record)?,
                contents(brokers, &args.other_records, &differing[0], record)?,
            ),
            (
                &differing[1],
                contents(brokers, &args.breaches, &differing[1], breach)?,
                contents(brokers, &args.other_breaches, &differing[1], breach)?,
            ),
        ] {
            for key in keys.iter().take(SHOWN) {
                eprintln!("{key}\n  {:?}\n  {:?}", one.get(key), other.get(key));
            }
        }
        bail!("{} journeys and {} deadlines differ", differing[0].len(), differing[1].len());
    }
    if records.last.is_empty() {
        bail!("there are no records");
    }
    Ok(Compared {
        journeys: records.last.len(),
        deadlines: breaches.last.len(),
        records: records.messages,
        other_records: other_records.messages,
        breaches: breaches.messages,
        other_breaches: other_breaches.messages,
    })
}

/// A message's key and its content as far as it counts; `None` when it is as if it had not been said.
type Read<T> = fn(T) -> (String, Option<Value>);

fn record(mut record: TtfRecord) -> (String, Option<Value>) {
    record.record_id.clear();
    (record.revision, record.generation, record.emitted_at.0) = (0, 0, 0);
    (format!("{}/{}/{}", record.journey, record.user_id, record.attempt), serde_json::to_value(record).ok())
}

fn breach(breach: TtfBreach) -> (String, Option<Value>) {
    let key = format!("{}/{}/{}/{:?}", breach.journey, breach.user_id, breach.attempt, breach.level);
    let content = serde_json::json!({
        "status": breach.status, "reason": breach.reason, "signup_at": breach.signup_at, "due_at": breach.due_at,
        "threshold_ms": breach.threshold_ms, "late": breach.late, "kind": breach.kind,
    });
    (key, (breach.reason != Some(BreachReason::Revised)).then_some(content))
}

fn said<T: AvroMessage>(brokers: &str, topic: &str, read: Read<T>) -> anyhow::Result<Said> {
    let mut said = Said { messages: 0, last: HashMap::new() };
    each(brokers, topic, |message| {
        said.messages += 1;
        match read(message) {
            (key, Some(content)) => said.last.insert(key, hash(&content)),
            (key, None) => said.last.remove(&key),
        };
    })?;
    Ok(said)
}

fn contents<T: AvroMessage>(
    brokers: &str,
    topic: &str,
    keys: &[String],
    read: Read<T>,
) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    let wanted = &keys[..keys.len().min(SHOWN)];
    each(brokers, topic, |message| {
        let (key, content) = read(message);
        if wanted.contains(&key) {
            found.insert(key, content.unwrap_or_default());
        }
    })?;
    Ok(found)
}

fn differences(one: &Said, other: &Said) -> Vec<String> {
    let mut keys: Vec<String> =
        one.last.iter().filter(|(key, hash)| other.last.get(*key) != Some(hash)).map(|(key, _)| key.clone()).collect();
    keys.extend(other.last.keys().filter(|key| !one.last.contains_key(*key)).cloned());
    keys.sort_unstable();
    keys
}

fn hash(content: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Visits every committed message of a topic.
fn each<T: AvroMessage>(brokers: &str, topic: &str, mut visit: impl FnMut(T)) -> anyhow::Result<()> {
    let codec = Codec::without_registry();
    let consumer = clients::reader(brokers, "read_committed").set("enable.partition.eof", "true").create()?;
    let spans = clients::spans(&consumer, topic)?;
    clients::assign(&consumer, topic, &spans, |_| Offset::Beginning)?;
    let mut open = spans.len();
    while open > 0 {
        match consumer.poll(Duration::from_secs(30)).with_context(|| format!("{topic} does not come to its end"))? {
            Ok(message) => visit(codec.decode::<T>(message.payload().unwrap_or_default())?),
            Err(KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => return Err(error).with_context(|| format!("reading {topic}")),
        }
    }
    Ok(())
}
