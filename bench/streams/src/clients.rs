//! Kafka clients, set up for speed.

use std::time::Duration;

use anyhow::Context;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::DeliveryResult,
    producer::{ProducerContext, ThreadedProducer},
};

/// For one answer of the brokers.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps count of what was not delivered.
#[derive(Debug, Default)]
pub struct Undelivered(std::sync::atomic::AtomicU64);

impl rdkafka::ClientContext for Undelivered {}

impl ProducerContext for Undelivered {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        if report.is_err() {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl Undelivered {
    pub fn count(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A producer with the gateway's settings; `linger_ms` decides how full its batches become.
pub fn producer(brokers: &str, linger_ms: u32) -> anyhow::Result<ThreadedProducer<Undelivered>> {
    producer_config(brokers, linger_ms).create_with_context(Undelivered::default()).context("cannot make a producer")
}

/// See [`producer`].
pub fn producer_config(brokers: &str, linger_ms: u32) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .set("compression.codec", "lz4")
        .set("linger.ms", linger_ms.to_string())
        .set("queue.buffering.max.messages", "500000")
        .set("queue.buffering.max.kbytes", "262144");
    config
}

/// A reader outside any group.
pub fn reader(brokers: &str, isolation: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "ttf-bench-reader")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "false")
        .set("auto.offset.reset", "error")
        .set("queued.max.messages.kbytes", "65536")
        .set("queued.min.messages", "100000")
        .set("fetch.message.max.bytes", "1048576")
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.wait.max.ms", "10");
    config
}

/// A client that asks what a group has committed, without joining it.
pub fn asking_for_group(brokers: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        // Offsets of an open transaction are not waited for.
        .set("isolation.level", "read_uncommitted")
        .create()
        .context("cannot make a consumer")
}

/// Oldest offset and end of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub partition: i32,
    pub low: i64,
    pub high: i64,
}

/// What each partition of a topic holds.
pub fn spans(client: &BaseConsumer, topic: &str) -> anyhow::Result<Vec<Span>> {
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT).context("no answer from the brokers")?;
    let found = metadata.topics().first().filter(|found| found.error().is_none() && !found.partitions().is_empty());
    let found = found.with_context(|| format!("there is no topic {topic}"))?;
    found
        .partitions()
        .iter()
        .map(|partition| {
            let (low, high) = client.fetch_watermarks(topic, partition.id(), TIMEOUT)?;
            Ok(Span { partition: partition.id(), low, high })
        })
        .collect()
}

/// Reads every partition from a place of its own.
pub fn assign(
    client: &BaseConsumer,
    topic: &str,
    spans: &[Span],
    from: impl Fn(&Span) -> Offset,
) -> anyhow::Result<()> {
    let mut list = TopicPartitionList::new();
    for span in spans {
        list.add_partition_offset(topic, span.partition, from(span))?;
    }
    client.assign(&list).context("cannot assign partitions")
}
