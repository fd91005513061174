//! The configuration of every Kafka client this log makes.
//!
//! The user's properties win over our defaults, but not over the settings the guarantees rest on: an attempt
//! to set one of those is refused when the log is opened.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::ClientConfig;

use super::{context::set_log_level, error::bad_property, lifeline::LOOK_INTERVAL_MS};
use crate::log::{Isolation, LogError, SubscribeOptions, config::KafkaConfig};

/// Settings the guarantees rest on, or that have a place of their own in the configuration.
const OURS: [&str; 18] = [
    "acks",
    "auto.commit.enable",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "offset.store.method",
    "partition.assignment.strategy",
    "partitioner",
    "test.mock.num.brokers",
    "transactional.id",
];

/// librdkafka's second names for settings we give a value: the user may write either.
const ALIASES: [(&str, &str); 6] = [
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("request.required.acks", "acks"),
];

/// librdkafka's default for `message.max.bytes`.
const DEFAULT_MESSAGE_LIMIT: usize = 1_000_000;
/// An open transaction holds back every reader of committed records: not for longer than this.
const TRANSACTION_TIMEOUT_MS: u64 = 10_000;
/// What may be read ahead at most.
const MAX_PREFETCH_BYTES: usize = 64 * MIB;
const MIB: usize = 1024 * 1024;
/// What is read ahead, and in which pieces.
struct Fetch {
    /// Bytes read ahead.
    ahead: usize,
    /// Records of a partition that are there before no more are asked for.
    records: &'static str,
    /// Bytes in one fetch, and of one partition in it.
    at_once: usize,
    of_partition: usize,
}

impl Fetch {
    /// For a member, which does a lot with each record. What is fetched at once comes compressed and is unpacked at once:
    /// many megabytes of it leave every cache before they are looked at, and the pages that hold them are new each time.
    fn small(ahead: usize) -> Self {
        let ahead = ahead.clamp(64 * 1024, MAX_PREFETCH_BYTES);
        Self { ahead, records: "5000", at_once: DEFAULT_MESSAGE_LIMIT, of_partition: ahead.min(256 * 1024) }
    }

    /// For a reader, which is through with a piece before the next one can be there.
    fn large() -> Self {
        Self { ahead: 16 * MIB, records: "20000", at_once: 16 * MIB, of_partition: MIB }
    }
}

/// How long a transactional producer keeps a connection that says nothing. When the group's coordinator dies, librdkafka
/// may wait for it in the middle of a commit, past every timeout, until any of its connections changes its state
/// (<https://github.com/confluentinc/librdkafka/issues/5511>, <https://github.com/confluentinc/librdkafka/issues/5456>):
/// then it looks for the new one. In such a commit nothing is said on any connection, so this is about how long that
/// takes; a quiet producer pays for it by connecting anew.
const MAX_IDLE_MS: &str = "4000";

/// What every client is made from.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    brokers: String,
    client_id: String,
    properties: BTreeMap<String, String>,
}

impl Settings {
    /// Checks the user's properties: names, values, and that none of ours is among them.
    pub(super) fn new(config: &KafkaConfig, client_id: &str) -> Result<Self, LogError> {
        if config.brokers.trim().is_empty() {
            return Err(LogError::Invalid("`log.brokers` is empty".into()));
        }
        let mut properties = BTreeMap::new();
        for (key, value) in &config.properties {
            let name = ALIASES.iter().find(|(alias, _)| alias == key).map_or(key.as_str(), |(_, name)| name);
            if OURS.contains(&name) {
                return Err(LogError::Invalid(format!(
                    "kafka property `{key}` cannot be set: the guarantees of the log rest on it, or it has a place of \
                     its own in the configuration"
                )));
            }
            properties.insert(name.to_owned(), value.clone());
        }
        let settings = Self { brokers: config.brokers.clone(), client_id: client_id.to_owned(), properties };
        settings.client(&[], &[]).create_native_config().map_err(|error| match error {
            rdkafka::error::KafkaError::ClientConfig(_, description, key, _) => {
                LogError::Invalid(bad_property(&key, &description))
            }
            other => LogError::Invalid(format!("kafka properties: {other}")),
        })?;
        Ok(settings)
    }

    pub(super) fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The largest record a producer takes, in bytes of key, value and headers.
    pub(super) fn message_limit(&self) -> usize {
        self.properties.get("message.max.bytes").and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_MESSAGE_LIMIT)
    }

    /// How long a record may be on its way in a transaction; also how long a transaction may be open.
    pub(super) fn transaction_timeout_ms(&self) -> u64 {
        self.milliseconds("transaction.timeout.ms").unwrap_or(TRANSACTION_TIMEOUT_MS)
    }

    pub(super) fn publisher(&self) -> ClientConfig {
        let defaults = [("linger.ms", "2"), ("message.timeout.ms", "30000"), ("compression.codec", "lz4")];
        watched(self.client(&[&PRODUCER, &defaults], &PRODUCER_OURS))
    }

    pub(super) fn transactor(&self, transactional_id: &str) -> ClientConfig {
        let transaction_ms = self.transaction_timeout_ms();
        let transaction = transaction_ms.to_string();
        // librdkafka refuses longer ones; zero would mean for ever.
        let bounded =
            |key, limit: u64| self.milliseconds(key).filter(|ms| *ms > 0).map_or(limit, |ms| ms.min(limit)).to_string();
        // A record that is not taken is given up while the coordinator still lets the transaction be rolled back:
        // afterwards the producer is fenced, which looks like another process of the same name.
        let message = bounded("message.timeout.ms", (transaction_ms - transaction_ms / 4).max(1));
        let socket = bounded("socket.timeout.ms", transaction_ms);
        let ours = [
            ("transactional.id", transactional_id),
            ("transaction.timeout.ms", transaction.as_str()),
            ("message.timeout.ms", message.as_str()),
            ("socket.timeout.ms", socket.as_str()),
        ];
        // All records of a transaction are produced at once: batches fill without waiting.
        let defaults = [("linger.ms", "1"), ("compression.codec", "lz4"), ("connections.max.idle.ms", MAX_IDLE_MS)];
        watched(self.client(&[&PRODUCER, &defaults], &[&PRODUCER_OURS[..], &ours].concat()))
    }

    /// A producer whose records every broker refuses that would otherwise take them: two acknowledgements cannot be asked
    /// for.
    pub(super) fn refused(&self, timeout: Duration) -> ClientConfig {
        let patience = timeout.as_millis().to_string();
        let ours = [
            ("acks", "2"),
            ("enable.idempotence", "false"),
            ("linger.ms", "0"),
            ("message.timeout.ms", patience.as_str()),
        ];
        self.client(&[&PRODUCER], &ours)
    }

    /// A member of a group.
    pub(super) fn member(&self, options: &SubscribeOptions) -> ClientConfig {
        let ours = [
            ("group.id", options.group.as_str()),
            ("isolation.level", isolation_level(options.isolation)),
            ("enable.partition.eof", "false"),
        ];
        // A fetch is one at a time per broker: a long wait on quiet partitions would delay new ones.
        let mut config = self.consumer(&Fetch::small(options.prefetch_bytes), "100", &ours);
        if let Some(instance_id) = &options.instance_id {
            config.set("group.instance.id", instance_id);
        }
        config
    }

    /// A reader outside any group. librdkafka wants a group's name all the same; it is never joined.
    pub(super) fn reader(&self, isolation: Isolation) -> ClientConfig {
        let group = format!("{}-reader", self.client_id);
        let ours = [
            ("group.id", group.as_str()),
            ("isolation.level", isolation_level(isolation)),
            // How a reader knows that it has passed the last transaction marker.
            ("enable.partition.eof", "true"),
        ];
        self.consumer(&Fetch::large(), "20", &ours)
    }

    /// A reader that looks at the end of partitions and wants its answer at once.
    pub(super) fn probe(&self, isolation: Isolation) -> ClientConfig {
        let mut config = self.reader(isolation);
        config.set("fetch.wait.max.ms", "1").set("queued.min.messages", "1").set("fetch.message.max.bytes", "65536");
        config
    }

    /// A client that only asks: watermarks, times, metadata.
    pub(super) fn asking(&self, isolation: Isolation) -> ClientConfig {
        watched(self.client(&[], &[("isolation.level", isolation_level(isolation))]))
    }

    /// A client that asks what a group has committed. Waits for the offsets of open transactions.
    pub(super) fn asking_for_group(&self, group: &str) -> ClientConfig {
        self.client(&[], &[&CONSUMER_OURS[..], &[("group.id", group), ("isolation.level", "read_committed")]].concat())
    }

    pub(super) fn admin(&self) -> ClientConfig {
        self.client(&[], &[])
    }

    fn consumer(&self, fetch: &Fetch, fetch_wait_ms: &str, ours: &[(&str, &str)]) -> ClientConfig {
        let kbytes = (fetch.ahead / 1024).to_string();
        let (at_once, partition) = (fetch.at_once.to_string(), fetch.of_partition.to_string());
        let defaults = [
            ("queued.max.messages.kbytes", kbytes.as_str()),
            ("queued.min.messages", fetch.records),
            // The default of a second stalls a fast reader whenever its queue was full once.
            ("fetch.queue.backoff.ms", "5"),
            ("fetch.wait.max.ms", fetch_wait_ms),
            ("fetch.max.bytes", at_once.as_str()),
            ("fetch.message.max.bytes", partition.as_str()),
            ("fetch.error.backoff.ms", "100"),
            ("session.timeout.ms", "45000"),
            // A member learns of a rebalance by its heartbeat.
            ("heartbeat.interval.ms", "1000"),
        ];
        watched(self.client(&[&defaults], &[&CONSUMER_OURS[..], ours].concat()))
    }

    /// Our defaults, the user's properties over them, and over those the settings that are ours.
    fn client(&self, defaults: &[&[(&str, &str)]], ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        set_log_level(&mut config);
        let common = [
            // A broker that comes back is found within a second.
            ("reconnect.backoff.max.ms", "1000"),
            ("socket.keepalive.enable", "true"),
            // How long a topic that is not there may turn out to be just new.
            ("topic.metadata.propagation.max.ms", "5000"),
        ];
        for (key, value) in common.iter().chain(defaults.iter().copied().flatten()) {
            config.set(*key, *value);
        }
        config.extend(self.properties.iter().map(|(key, value)| (key.clone(), value.clone())));
        config.set("bootstrap.servers", &self.brokers).set("client.id", &self.client_id);
        for (key, value) in ours {
            config.set(*key, *value);
        }
        config
    }

    fn milliseconds(&self, key: &str) -> Option<u64> {
        self.properties.get(key).and_then(|text| text.trim().parse().ok())
    }
}

/// A client that lives for long is looked after.
fn watched(mut config: ClientConfig) -> ClientConfig {
    config.set("statistics.interval.ms", LOOK_INTERVAL_MS);
    config
}

/// Defaults of every producer: what waits to be sent is bounded in bytes.
const PRODUCER: [(&str, &str); 2] =
    [("queue.buffering.max.kbytes", "65536"), ("queue.buffering.max.messages", "500000")];

const PRODUCER_OURS: [(&str, &str); 3] =
    [("acks", "all"), ("enable.idempotence", "true"), ("partitioner", "murmur2_random")];

const CONSUMER_OURS: [(&str, &str); 4] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("partition.assignment.strategy", "range"),
];

fn isolation_level(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "read_committed",
        Isolation::ReadUncommitted => "read_uncommitted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(properties: &[(&str, &str)]) -> Result<Settings, LogError> {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::new(&KafkaConfig { brokers: "127.0.0.1:9092".into(), properties }, "test")
    }

    fn message(result: Result<Settings, LogError>) -> String {
        match result {
            Err(LogError::Invalid(text)) => text,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn a_setting_the_guarantees_rest_on_is_refused_by_name_and_by_alias() {
        for key in OURS.iter().copied().chain(["request.required.acks", "metadata.broker.list"]) {
            let text = message(settings(&[(key, "1")]));
            assert!(text.contains(&format!("`{key}`")), "{text}");
        }
    }

    #[test]
    fn the_users_properties_win_over_our_defaults() {
        let settings = settings(&[("queue.buffering.max.ms", "50"), ("session.timeout.ms", "6000")]).expect("valid");
        assert_eq!(settings.publisher().get("linger.ms"), Some("50"));
        assert_eq!(settings.publisher().get("acks"), Some("all"));
        let options = SubscribeOptions {
            group: "g".into(),
            topics: vec!["t".into()],
            instance_id: Some("one".into()),
            prefetch_bytes: 1 << 20,
            isolation: Isolation::ReadCommitted,
        };
        let member = settings.member(&options);
        assert_eq!(member.get("session.timeout.ms"), Some("6000"));
        assert_eq!(member.get("group.instance.id"), Some("one"));
        assert_eq!(member.get("queued.max.messages.kbytes"), Some("1024"));
    }

    #[test]
    fn a_record_in_a_transaction_is_given_up_before_the_transaction_is() {
        let message_timeout = |properties: &[(&str, &str)]| {
            settings(properties).expect("valid").transactor("id").get("message.timeout.ms").map(str::to_owned)
        };
        assert_eq!(message_timeout(&[]).as_deref(), Some("7500"));
        assert_eq!(message_timeout(&[("delivery.timeout.ms", "60000")]).as_deref(), Some("7500"));
        assert_eq!(message_timeout(&[("delivery.timeout.ms", "0")]).as_deref(), Some("7500"));
        assert_eq!(message_timeout(&[("message.timeout.ms", "4000")]).as_deref(), Some("4000"));
    }

    #[test]
    fn a_property_that_does_not_exist_is_named() {
        assert!(message(settings(&[("linger.msx", "5")])).contains("linger.msx"));
    }

    #[test]
    fn every_way_to_prove_who_we_are_is_in_this_build() {
        for (key, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("ssl.endpoint.identification.algorithm", "https"),
        ] {
            assert!(settings(&[(key, value)]).is_ok(), "{key}={value}");
        }
    }
}
