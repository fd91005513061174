//! The log on Apache Kafka, through librdkafka (`rdkafka`). The invariants and the traps are in `DESIGN.md`.

mod close;
mod context;
mod coordinator;
mod error;
mod inspect;
mod lifeline;
mod membership;
mod places;
mod progress;
mod publisher;
mod queries;
mod reader;
mod rebalance;
mod record;
mod settings;
mod subscription;
mod topic_reader;
mod topics;
mod transactor;
mod verdict;

use std::{sync::Arc, time::Duration};

pub use self::{
    inspect::{BrokerSettings, Cluster, Replicas},
    membership::GroupMember,
};
use self::{
    publisher::KafkaPublisher, queries::Queries, reader::KafkaReader, settings::Settings,
    subscription::KafkaSubscription, transactor::KafkaTransactor,
};
use super::{
    ClusterId, Committed, Isolation, Log, LogError, Publisher, Reader, SubscribeOptions, Subscription, TopicInfo,
    TopicOutcome, TopicPartition, TopicSpec, Transactor, config::KafkaConfig,
};

/// A Kafka cluster.
pub struct KafkaLog {
    settings: Settings,
    queries: Arc<Queries>,
}

impl KafkaLog {
    /// Checks the configuration. Nothing is connected yet: a cluster that is away shows in the first call, as
    /// [`LogError::Unavailable`] within that call's time-out.
    ///
    /// # Errors
    /// [`LogError::Invalid`] names the property that is unknown, has a value librdkafka does not take, or may not
    /// be set because the guarantees of the log rest on it.
    pub fn open(config: &KafkaConfig, client_id: &str) -> Result<Self, LogError> {
        let settings = Settings::new(config, client_id)?;
        let queries = Arc::new(Queries::new(settings.clone()));
        Ok(Self { settings, queries })
    }

    /// Who is in a group and which partitions they have, as its coordinator knows it; empty when there is nobody.
    pub fn group_members(&self, group: &str, timeout: Duration) -> Result<Vec<GroupMember>, LogError> {
        self.queries.group_members(group, timeout)
    }
}

impl Log for KafkaLog {
    fn publisher(&self) -> Result<Arc<dyn Publisher>, LogError> {
        Ok(Arc::new(KafkaPublisher::new(&self.settings)?))
    }

    fn transactor(&self, transactional_id: &str) -> Result<Box<dyn Transactor>, LogError> {
        Ok(Box::new(KafkaTransactor::new(&self.settings, transactional_id)?))
    }

    fn subscribe(&self, options: SubscribeOptions) -> Result<Box<dyn Subscription>, LogError> {
        Ok(Box::new(KafkaSubscription::new(&self.settings, self.queries.clone(), &options)?))
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(KafkaReader::new(self.settings.clone(), self.queries.clone(), isolation)))
    }

    fn end_offset(&self, at: &TopicPartition, isolation: Isolation, timeout: Duration) -> Result<i64, LogError> {
        self.queries.watermarks(at, isolation, timeout).map(|(_, end)| end)
    }

    fn start_offset(&self, at: &TopicPartition, timeout: Duration) -> Result<i64, LogError> {
        self.queries.watermarks(at, Isolation::ReadUncommitted, timeout).map(|(start, _)| start)
    }

    fn offset_for_time(&self, at: &TopicPartition, timestamp_ms: i64, timeout: Duration) -> Result<i64, LogError> {
        self.queries.offset_for_time(at, timestamp_ms, timeout)
    }

    fn topics(&self, names: Option<&[&str]>, timeout: Duration) -> Result<Vec<TopicInfo>, LogError> {
        self.queries.topics(names, timeout)
    }

    fn create_topics(&self, specs: &[TopicSpec], timeout: Duration) -> Result<Vec<(String, TopicOutcome)>, LogError> {
        topics::create(&self.settings, &self.queries, specs, timeout)
    }

    fn committed(&self, group: &str, of: &[TopicPartition], timeout: Duration) -> Result<Vec<Committed>, LogError> {
        self.queries.committed(group, of, timeout)
    }

    fn cluster_id(&self, timeout: Duration) -> Result<ClusterId, LogError> {
        self.queries.cluster_id(timeout)
    }

    /// The name: rdkafka does not tell the broker's topic ids. A store made for a topic that was deleted and
    /// made anew is recognised by its position, which is out of range then, or by the cluster's id.
    fn topic_id(&self, topic: &str, timeout: Duration) -> Result<String, LogError> {
        match self.queries.topics(Some(&[topic]), timeout)?.pop() {
            Some(info) => Ok(info.name),
            None => Err(LogError::UnknownTopic(topic.to_owned())),
        }
    }

    fn retention(&self, topic: &str, timeout: Duration) -> Result<Option<Duration>, LogError> {
        topics::retention(&self.settings, topic, timeout)
    }
}
