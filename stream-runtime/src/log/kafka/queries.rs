//! Questions to the cluster: watermarks, times, topics, committed offsets, identities.

use std::{
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
    metadata::Metadata,
};

use super::{
    close::close,
    context::{log_error_event, log_line},
    coordinator,
    error::{classify, classify_code},
    lifeline::Lifeline,
    membership::GroupMember,
    settings::Settings,
};
use crate::log::{ClusterId, Committed, Isolation, LogError, Position, TopicInfo, TopicPartition};

/// How long finding the end of a partition may take where the caller sets no limit.
const PIN_PATIENCE: Duration = Duration::from_secs(10);

/// How long a new look at a topic's leaders may take after a question that failed.
const METADATA_PATIENCE: Duration = Duration::from_secs(1);

type Client = BaseConsumer<Asking>;

struct Asking {
    lifeline: Lifeline,
}

impl ClientContext for Asking {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.lifeline.look(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error_event(&error, reason);
    }
}

impl ConsumerContext for Asking {}

fn make(config: &ClientConfig) -> KafkaResult<Client> {
    config.create_with_context(Asking { lifeline: Lifeline::of(config) })
}

/// The clients that ask, made when first needed. There are two: librdkafka answers with the high watermark or
/// the last stable offset depending on the isolation level of the client.
pub(super) struct Queries {
    settings: Settings,
    committed: Mutex<Option<Arc<Client>>>,
    uncommitted: Mutex<Option<Arc<Client>>>,
}

impl Queries {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, committed: Mutex::new(None), uncommitted: Mutex::new(None) }
    }

    /// The oldest offset kept and the end as this isolation sees it.
    pub(super) fn watermarks(
        &self,
        at: &TopicPartition,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<(i64, i64), LogError> {
        let client = self.client(isolation)?;
        client.fetch_watermarks(&at.topic, at.partition, timeout).map_err(|error| {
            // A leader that has died is asked until the metadata is old, a quarter of an hour: ask who leads now.
            let looked = client.fetch_metadata(Some(&at.topic), timeout.min(METADATA_PATIENCE));
            let doing = format!("reading the watermarks of {at}");
            match classify(&error, &doing, Some(&at.topic)) {
                // A broker that has just come to lead it may not have heard of it yet.
                LogError::UnknownTopic(_) if !looked.as_ref().is_ok_and(|told| is_gone(told, &at.topic)) => {
                    LogError::Unavailable(format!("{doing}: {error}"))
                }
                other => other,
            }
        })
    }

    /// Pins [`Position::End`] to where the end is now. librdkafka would look it up when it is connected, and skip
    /// what was written until then.
    pub(super) fn pin(
        &self,
        from: &[(TopicPartition, Position)],
        isolation: Isolation,
    ) -> Result<Vec<(TopicPartition, Position)>, LogError> {
        from.iter()
            .map(|(at, position)| match position {
                Position::End => {
                    let (_, end) = self.watermarks(at, isolation, PIN_PATIENCE)?;
                    Ok((at.clone(), Position::Offset(end)))
                }
                other => Ok((at.clone(), *other)),
            })
            .collect()
    }

    pub(super) fn offset_for_time(
        &self,
        at: &TopicPartition,
        timestamp_ms: i64,
        timeout: Duration,
    ) -> Result<i64, LogError> {
        // Taken first: a record that comes in between is at or after it.
        let (_, end) = self.watermarks(at, Isolation::ReadCommitted, timeout)?;
        let doing = format!("looking up a time in {at}");
        let failed = |error| classify(&error, &doing, Some(&at.topic));
        let mut asked = TopicPartitionList::new();
        // librdkafka takes the time where the offset stands.
        asked.add_partition(&at.topic, at.partition).set_offset(Offset::Offset(timestamp_ms.max(0))).map_err(failed)?;
        let found = self.client(Isolation::ReadCommitted)?.offsets_for_times(asked, timeout).map_err(failed)?;
        let elements = found.elements();
        let element = elements.first().ok_or_else(|| LogError::Unavailable(format!("{doing}: no answer")))?;
        element.error().map_err(failed)?;
        match element.offset() {
            Offset::Offset(offset) => Ok(offset),
            _ => Ok(end),
        }
    }

    pub(super) fn topics(&self, names: Option<&[&str]>, timeout: Duration) -> Result<Vec<TopicInfo>, LogError> {
        let described = self.described(timeout)?;
        let wanted = |name: &str| names.is_none_or(|names| names.contains(&name));
        Ok(described.into_iter().filter(|topic| wanted(&topic.info.name)).map(|topic| topic.info).collect())
    }

    /// Every topic, and whether all of its partitions have a leader.
    pub(super) fn described(&self, timeout: Duration) -> Result<Vec<Described>, LogError> {
        let metadata = self
            .client(Isolation::ReadUncommitted)?
            .fetch_metadata(None, timeout)
            .map_err(|error| classify(&error, &format!("listing topics of {}", self.settings.brokers()), None))?;
        let mut described = Vec::new();
        for topic in metadata.topics() {
            // Not there, or on its way: rdkafka has no list of partitions to look at then.
            if topic.error().is_some() {
                continue;
            }
            let partitions = topic.partitions();
            described.push(Described {
                info: TopicInfo { name: topic.name().to_owned(), partitions: partitions.len() as i32 },
                led: partitions.iter().all(|partition| partition.leader() >= 0),
            });
        }
        Ok(described)
    }

    /// The ids of the brokers there are.
    pub(super) fn brokers(&self, timeout: Duration) -> Result<Vec<i32>, LogError> {
        let metadata = self
            .client(Isolation::ReadUncommitted)?
            .fetch_metadata(None, timeout)
            .map_err(|error| classify(&error, &format!("listing brokers of {}", self.settings.brokers()), None))?;
        Ok(metadata.brokers().iter().map(rdkafka::metadata::MetadataBroker::id).collect())
    }

    pub(super) fn committed(
        &self,
        group: &str,
        of: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Committed>, LogError> {
        let doing = format!("reading the committed offsets of group `{group}`");
        let client = make(&self.settings.asking_for_group(group)).map_err(|error| classify(&error, &doing, None))?;
        let answer = coordinator::committed(&client, of, &doing, timeout);
        close(client, Duration::from_secs(2));
        answer
    }

    pub(super) fn group_members(&self, group: &str, timeout: Duration) -> Result<Vec<GroupMember>, LogError> {
        let groups = self
            .client(Isolation::ReadUncommitted)?
            .fetch_group_list(Some(group), timeout)
            .map_err(|error| classify(&error, &format!("asking who is in group `{group}`"), None))?;
        let members =
            groups.groups().iter().filter(|info| info.name() == group).flat_map(rdkafka::groups::GroupInfo::members);
        Ok(members.map(|info| GroupMember::new(info.id(), info.client_host(), info.assignment())).collect())
    }

    pub(super) fn cluster_id(&self, timeout: Duration) -> Result<ClusterId, LogError> {
        self.client(Isolation::ReadUncommitted)?.client().fetch_cluster_id(timeout).ok_or_else(|| {
            classify_code(
                rdkafka::error::RDKafkaErrorCode::OperationTimedOut,
                &format!("reading the cluster's id from {}", self.settings.brokers()),
                None,
            )
        })
    }

    fn client(&self, isolation: Isolation) -> Result<Arc<Client>, LogError> {
        let slot = match isolation {
            Isolation::ReadCommitted => &self.committed,
            Isolation::ReadUncommitted => &self.uncommitted,
        };
        let mut slot = slot.lock();
        if let Some(client) = slot.as_ref() {
            return Ok(client.clone());
        }
        let client =
            make(&self.settings.asking(isolation)).map_err(|error| classify(&error, "making a Kafka client", None))?;
        let client = Arc::new(client);
        keep_polled(Arc::downgrade(&client))?;
        *slot = Some(client.clone());
        Ok(client)
    }
}

/// True when the cluster does not have the topic.
fn is_gone(told: &Metadata, topic: &str) -> bool {
    told.topics().iter().all(|known| known.name() != topic || known.error().is_some())
}

/// A topic as the cluster describes it.
pub(super) struct Described {
    pub(super) info: TopicInfo,
    /// All of its partitions have a leader: it can be written.
    pub(super) led: bool,
}

/// Takes librdkafka's log lines and errors off the client's queue, which would grow without bound, for as long
/// as somebody has the client.
fn keep_polled(client: Weak<Client>) -> Result<(), LogError> {
    thread::Builder::new()
        .name("kafka-queries".into())
        .spawn(move || {
            while let Some(client) = client.upgrade() {
                // Nothing is assigned, so that nothing but events can come; those are logged on the way.
                drop(client.poll(Duration::from_millis(250)));
                client.context().lifeline.mend(client.client());
            }
        })
        .map(drop)
        .map_err(|error| LogError::Fatal(format!("cannot start a thread: {error}")))
}
