//! A look at a cluster from outside, for whoever wants to know why it cannot be used: brokers, replicas, settings, rights.
//!
//! Makes clients of its own and asks in small steps, so that what librdkafka says about a connection (a refused password,
//! a certificate nobody vouches for) comes back with the answer instead of a bare time-out.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rdkafka::{
    ClientContext,
    admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier},
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode as Code},
    metadata::Metadata,
    producer::{FutureProducer, FutureRecord, Producer, future_producer::DeliveryFuture},
};

use super::{
    KafkaLog,
    context::{LogLines, log_line},
    error::classify,
};
use crate::log::{Isolation, LogError};

/// One step of waiting for the first answer.
const STEP: Duration = Duration::from_millis(500);

/// Settings as a broker has them, by name.
pub type BrokerSettings = BTreeMap<String, String>;

/// A cluster as its brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `host:port`, in the order of their ids.
    pub brokers: Vec<String>,
    pub topics: BTreeMap<String, Replicas>,
    /// Topics this user may not describe.
    pub hidden: Vec<String>,
}

/// How a topic's partitions are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replicas {
    pub partitions: usize,
    /// Of the partition that has fewest.
    pub replicas: usize,
    /// Of the partition that has fewest.
    pub in_sync: usize,
    /// Partitions with a replica that is not in sync.
    pub under_replicated: usize,
    /// Partitions nobody leads.
    pub leaderless: usize,
}

impl KafkaLog {
    /// Who is there, and how topics are kept.
    ///
    /// # Errors
    /// [`LogError::Fatal`] with the broker's or librdkafka's words when the connection was refused (password, certificate,
    /// rights); [`LogError::Unavailable`] when nobody answered.
    pub fn cluster(&self, names: &[&str], timeout: Duration) -> Result<Cluster, LogError> {
        let reasons = Reasons::default();
        let client: BaseConsumer<Reasons> = self
            .settings
            .asking(Isolation::ReadUncommitted)
            .create_with_context(reasons.clone())
            .map_err(|error| classify(&error, "making a Kafka client", None))?;
        let metadata = first_answer(&client, &reasons, self.settings.brokers(), timeout)?;
        let mut brokers: Vec<_> = metadata.brokers().iter().collect();
        brokers.sort_by_key(|broker| broker.id());
        let brokers = brokers.iter().map(|broker| format!("{}:{}", broker.host(), broker.port())).collect();
        let mut topics = BTreeMap::new();
        for topic in metadata.topics().iter().filter(|topic| topic.error().is_none()) {
            topics.insert(topic.name().to_owned(), replicas(topic.partitions()));
        }
        // A list of all topics leaves out what one may not see; asked for by name, it says so.
        let mut hidden = Vec::new();
        for name in names.iter().filter(|name| !topics.contains_key(**name)) {
            let told = client
                .fetch_metadata(Some(name), timeout)
                .map_err(|error| classify(&error, &format!("describing topic `{name}`"), None))?;
            let refused = told.topics().iter().filter_map(rdkafka::metadata::MetadataTopic::error);
            if refused.map(Code::from).any(|code| code == Code::TopicAuthorizationFailed) {
                hidden.push((*name).to_owned());
            }
        }
        Ok(Cluster { brokers, topics, hidden })
    }

    /// The settings of topics as the broker has them now, in the same order.
    pub fn topic_settings(
        &self,
        topics: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Result<BrokerSettings, LogError>>, LogError> {
        let asked: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        self.settings_of(&asked, "reading the settings of topics", timeout)
    }

    /// The settings of one broker.
    pub fn broker_settings(&self, timeout: Duration) -> Result<BrokerSettings, LogError> {
        let doing = "reading the settings of a broker";
        let metadata = self.queries.brokers(timeout)?;
        let Some(id) = metadata.first() else {
            return Err(LogError::Unavailable(format!("{doing}: there is none")));
        };
        let mut told = self.settings_of(&[ResourceSpecifier::Broker(*id)], doing, timeout)?;
        told.pop().unwrap_or_else(|| Err(LogError::Unavailable(format!("{doing}: it does not tell"))))
    }

    fn settings_of(
        &self,
        asked: &[ResourceSpecifier<'_>],
        doing: &str,
        timeout: Duration,
    ) -> Result<Vec<Result<BrokerSettings, LogError>>, LogError> {
        let admin: AdminClient<LogLines> =
            self.settings.admin().create_with_context(LogLines).map_err(|error| classify(&error, doing, None))?;
        let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
        let told = futures::executor::block_on(admin.describe_configs(asked, &options))
            .map_err(|error| classify(&error, doing, None))?;
        Ok(told
            .into_iter()
            .map(|one| one.map(values).map_err(|code| super::error::classify_code(code, doing, None)))
            .collect())
    }

    /// Opens a transaction and rolls it back, with nothing in it.
    ///
    /// # Errors
    /// When there is no transaction to be had: the right on the transactional id is missing, or no coordinator answers.
    pub fn try_transaction(&self, transactional_id: &str, timeout: Duration) -> Result<(), LogError> {
        let doing = format!("opening a transaction as `{transactional_id}`");
        let failed = |error: KafkaError| classify(&error, &doing, None);
        let producer: FutureProducer<Reasons> =
            self.settings.transactor(transactional_id).create_with_context(Reasons::default()).map_err(failed)?;
        producer.init_transactions(timeout).map_err(failed)?;
        producer.begin_transaction().map_err(failed)?;
        producer.abort_transaction(timeout).map_err(failed)
    }

    /// Whether these topics may be written, one answer each. Nothing is: what is sent asks for a number of
    /// acknowledgements there is not, which Kafka refuses after it has looked at the rights and before it appends
    /// (`KafkaApis.handleProduceRequest`, `ReplicaManager.appendRecords`).
    ///
    /// # Errors
    /// When no producer can be made.
    pub fn try_writing(&self, topics: &[&str], timeout: Duration) -> Result<Vec<Result<(), LogError>>, LogError> {
        let producer: FutureProducer<Reasons> = self
            .settings
            .refused(timeout)
            .create_with_context(Reasons::default())
            .map_err(|error| classify(&error, "making a producer", None))?;
        let sent: Vec<_> = topics
            .iter()
            .map(|topic| {
                let record: FutureRecord<'_, str, [u8]> =
                    FutureRecord::to(topic).partition(0).key("ttf-doctor").payload(b"");
                (*topic, producer.send_result(record).map_err(|(error, _)| error))
            })
            .collect();
        // Everything has an outcome when the flush is over: records are given up before it is.
        let _ = producer.flush(timeout * 2);
        let outcome = |(topic, sent): (&str, Result<DeliveryFuture, KafkaError>)| {
            let doing = format!("writing to `{topic}`");
            let delivered = match sent {
                Ok(delivery) => match futures::executor::block_on(delivery) {
                    Ok(delivered) => delivered.map(drop).map_err(|(error, _)| error),
                    Err(_) => return Err(LogError::Unavailable(format!("{doing}: no answer"))),
                },
                Err(error) => Err(error),
            };
            match delivered {
                Err(error) if error.rdkafka_error_code() == Some(Code::InvalidRequiredAcks) => Ok(()),
                Err(error) => Err(classify(&error, &doing, Some(topic))),
                Ok(()) => Ok(()),
            }
        };
        Ok(sent.into_iter().map(outcome).collect())
    }
}

fn values(told: ConfigResource) -> BrokerSettings {
    told.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
}

fn replicas(partitions: &[rdkafka::metadata::MetadataPartition]) -> Replicas {
    Replicas {
        partitions: partitions.len(),
        replicas: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or_default(),
        in_sync: partitions.iter().map(|partition| partition.isr().len()).min().unwrap_or_default(),
        under_replicated: partitions.iter().filter(|one| one.isr().len() < one.replicas().len()).count(),
        leaderless: partitions.iter().filter(|one| one.leader() < 0).count(),
    }
}

/// Asks until somebody answers, or it is clear that nobody will let us in.
fn first_answer(
    client: &BaseConsumer<Reasons>,
    reasons: &Reasons,
    brokers: &str,
    timeout: Duration,
) -> Result<Metadata, LogError> {
    let doing = format!("asking {brokers}");
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match client.fetch_metadata(None, STEP.min(left.max(Duration::from_millis(1)))) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => {
                // Serves the events in which the reasons are.
                drop(client.poll(Duration::ZERO));
                if let Some(refusal) = reasons.refusal() {
                    return Err(LogError::Fatal(format!("{doing}: {refusal}")));
                }
                if left.is_zero() {
                    return Err(match reasons.last() {
                        Some(reason) => LogError::Unavailable(format!("{doing}: {reason}")),
                        None => classify(&error, &doing, None),
                    });
                }
            }
        }
    }
}

/// Keeps what librdkafka says about connections.
#[derive(Clone, Default)]
struct Reasons(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    refusal: Option<String>,
    last: Option<String>,
}

impl Reasons {
    fn refusal(&self) -> Option<String> {
        self.0.lock().refusal.clone()
    }

    fn last(&self) -> Option<String> {
        self.0.lock().last.clone()
    }
}

impl ClientContext for Reasons {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // What breaks before a connection stands is told by a line alone.
        if facility == "FAIL" {
            self.0.lock().last = Some(line.to_owned());
        }
        log_line(level, facility, line);
    }

    fn stats_raw(&self, _: &[u8]) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let mut heard = self.0.lock();
        match error.rdkafka_error_code() {
            Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL) => {
                heard.refusal = Some(reason.to_owned());
            }
            Some(Code::AllBrokersDown) => {}
            _ => heard.last = Some(reason.to_owned()),
        }
    }
}

impl ConsumerContext for Reasons {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_password_is_kept_apart_from_a_connection_that_broke() {
        let reasons = Reasons::default();
        reasons.error(KafkaError::Global(Code::BrokerTransportFailure), "connection refused");
        reasons.error(KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        assert_eq!((reasons.refusal(), reasons.last().as_deref()), (None, Some("connection refused")));
        reasons.error(KafkaError::Global(Code::Authentication), "invalid credentials");
        assert_eq!(reasons.refusal().as_deref(), Some("invalid credentials"));
    }
}
