//! What Kafka knows of the processor's group, whether or not a processor runs.

use std::{collections::BTreeMap, time::Duration};

use stream_runtime::log::{Isolation, Log, LogConfig, LogError, TopicPartition, kafka::KafkaLog};
use telemetry_schemas::topics;

use super::view::GROUP;

/// For one answer of the brokers.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What the processor reads.
const INPUTS: [&str; 2] = [topics::EVENTS, topics::ERASURES];

/// The group's standing.
#[derive(Debug, Default)]
pub struct Group {
    pub partitions: BTreeMap<i32, Standing>,
}

/// How the group stands on one partition number of its inputs.
#[derive(Debug, Default)]
pub struct Standing {
    pub owner: Option<String>,
    pub host: Option<String>,
    pub lag_records: Option<i64>,
    pub oldest_unprocessed_seconds: Option<f64>,
}

/// Asks Kafka; `None` where the log is not Kafka.
pub struct GroupWatch(Option<KafkaLog>);

impl GroupWatch {
    pub fn new(config: &LogConfig) -> Result<Self, LogError> {
        match config {
            LogConfig::Kafka(kafka) => KafkaLog::open(kafka, "ttf-top").map(|log| Self(Some(log))),
            LogConfig::Embedded(_) => Ok(Self(None)),
        }
    }

    pub fn is_kafka(&self) -> bool {
        self.0.is_some()
    }

    /// Blocks.
    pub fn look(&self, now_ms: i64) -> Result<Option<Group>, LogError> {
        let Some(log) = &self.0 else { return Ok(None) };
        let mut group = Group::default();
        for info in log.topics(Some(&INPUTS), TIMEOUT)? {
            let partitions: Vec<_> = (0..info.partitions).map(|n| TopicPartition::new(info.name.as_str(), n)).collect();
            for committed in log.committed(GROUP, &partitions, TIMEOUT)? {
                let at = &committed.at;
                let end = log.end_offset(at, Isolation::ReadUncommitted, TIMEOUT)?;
                let next = match committed.next {
                    Some(next) => next,
                    None => log.start_offset(at, TIMEOUT)?,
                };
                // The processor commits the time of the last record with its offset.
                group.add(at.partition, (end - next).max(0), committed.metadata.parse().ok(), now_ms);
            }
        }
        for member in log.group_members(GROUP, TIMEOUT)? {
            for at in &member.partitions {
                let standing = group.partitions.entry(at.partition).or_default();
                standing.owner = Some(member.id.clone());
                standing.host = Some(member.host.clone());
            }
        }
        Ok(Some(group))
    }
}

impl Group {
    fn add(&mut self, partition: i32, lag: i64, last_record_ms: Option<i64>, now_ms: i64) {
        let standing = self.partitions.entry(partition).or_default();
        *standing.lag_records.get_or_insert(0) += lag;
        if lag > 0
            && let Some(last_record_ms) = last_record_ms
        {
            let age = (now_ms - last_record_ms).max(0) as f64 / 1_000.0;
            let oldest = standing.oldest_unprocessed_seconds.get_or_insert(0.0);
            *oldest = oldest.max(age);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_adds_up_over_the_inputs_and_age_counts_only_where_something_waits() {
        let mut group = Group::default();
        group.add(0, 5, Some(4_000), 10_000);
        group.add(0, 0, Some(1_000), 10_000);
        group.add(1, 0, None, 10_000);
        let shown = |n: i32| (group.partitions[&n].lag_records, group.partitions[&n].oldest_unprocessed_seconds);
        assert_eq!(shown(0), (Some(5), Some(6.0)));
        assert_eq!(shown(1), (Some(0), None));
    }
}
