//! The catalogue of topics: names, clean-up, retention, what they carry.

use crate::{message::MessageType, time::Millis};

pub const EVENTS_RAW: &str = "telemetry.events.raw.v1";
pub const EVENTS: &str = "telemetry.events.v1";
pub const EVENTS_REJECTED: &str = "telemetry.events.rejected.v1";
pub const TTF_STATE: &str = "telemetry.ttf.state.v1";
pub const TTF_RECORDS: &str = "telemetry.ttf.records.v1";
pub const TTF_BREACHES: &str = "telemetry.ttf.breaches.v1";
/// The definitions of journeys that processors have loaded, one record for each version.
pub const TTF_JOURNEYS: &str = "telemetry.ttf.journeys.v1";
pub const TTF_COHORTS: &str = "telemetry.ttf.cohorts.v1";
pub const AUDIT: &str = "telemetry.audit.v1";
pub const ALERT_GROUPS: &str = "telemetry.alerts.groups.v1";
pub const ALERT_STATE: &str = "telemetry.alerts.state.v1";
pub const ALERT_NOTIFICATIONS: &str = "telemetry.alerts.notifications.v1";
pub const ALERT_COMMANDS: &str = "telemetry.alerts.commands.v1";
pub const ALERT_DELIVERIES: &str = "telemetry.alerts.deliveries.v1";
pub const ERASURES: &str = "telemetry.privacy.erasures.v1";

/// Header of a record on [`EVENTS`]: the event's name, UTF-8.
pub const HEADER_EVENT_NAME: &str = "event_name";
/// Header of a record on [`EVENTS`]: the event's type as in JSON, UTF-8.
pub const HEADER_EVENT_TYPE: &str = "event_type";
/// Header of a directly produced record that names its tenant, where config allows it.
pub const HEADER_TENANT: &str = "tenant";

/// What a record's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// A JSON event or a CloudEvent; a journey's definition; what a receiver was told.
    Json,
    Avro(MessageType),
}

/// How old records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// After this long.
    Delete(Millis),
    /// When a newer record with the same key, or a tombstone, is there.
    Compact,
}

/// Topics of one group have equal partition counts, because one task reads the same-numbered partition of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioning {
    /// Keyed by person, read together by the processor. The count never changes: another count would send
    /// a person to another task.
    People,
    /// Keyed by alert group, read together by the alerter. The count never changes, for the same reason.
    AlertGroups,
    /// On its own; partitions may be added.
    Free,
}

/// One entry of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    pub name: &'static str,
    pub value: Value,
    pub cleanup: Cleanup,
    pub partitioning: Partitioning,
}

impl Topic {
    /// True when its partition count equals that of [`EVENTS`] and never changes.
    pub const fn is_tied_to_events(&self) -> bool {
        matches!(self.partitioning, Partitioning::People)
    }

    /// True when its partition count may not change once it exists.
    pub const fn has_fixed_partitions(&self) -> bool {
        !matches!(self.partitioning, Partitioning::Free)
    }

    pub const fn is_compacted(&self) -> bool {
        matches!(self.cleanup, Cleanup::Compact)
    }

    /// `None` for a compacted topic.
    pub const fn retention(&self) -> Option<Millis> {
        match self.cleanup {
            Cleanup::Delete(retention) => Some(retention),
            Cleanup::Compact => None,
        }
    }

    /// The message it carries; `None` when it carries JSON.
    pub const fn message(&self) -> Option<MessageType> {
        match self.value {
            Value::Avro(message) => Some(message),
            Value::Json => None,
        }
    }

    /// Its settings under Kafka's names.
    pub fn kafka_config(&self) -> Vec<(&'static str, String)> {
        match self.cleanup {
            Cleanup::Delete(retention) => {
                vec![("cleanup.policy", "delete".to_owned()), ("retention.ms", retention.0.to_string())]
            }
            Cleanup::Compact => vec![("cleanup.policy", "compact".to_owned())],
        }
    }
}

const fn days(days: i64) -> Cleanup {
    Cleanup::Delete(Millis(days * 86_400_000))
}

const fn topic(name: &'static str, value: Value, cleanup: Cleanup, partitioning: Partitioning) -> Topic {
    Topic { name, value, cleanup, partitioning }
}

/// Every topic.
pub const CATALOGUE: &[Topic] = &[
    topic(EVENTS_RAW, Value::Json, days(3), Partitioning::Free),
    topic(EVENTS, Value::Avro(MessageType::Event), days(7), Partitioning::People),
    topic(EVENTS_REJECTED, Value::Avro(MessageType::RejectedEvent), days(30), Partitioning::Free),
    topic(TTF_STATE, Value::Avro(MessageType::JourneyState), Cleanup::Compact, Partitioning::People),
    topic(TTF_RECORDS, Value::Avro(MessageType::TtfRecord), days(30), Partitioning::Free),
    topic(TTF_BREACHES, Value::Avro(MessageType::TtfBreach), days(30), Partitioning::Free),
    topic(TTF_JOURNEYS, Value::Json, Cleanup::Compact, Partitioning::Free),
    topic(TTF_COHORTS, Value::Avro(MessageType::CohortSummary), Cleanup::Compact, Partitioning::Free),
    // Seven years of 365.25 days, rounded up.
    topic(AUDIT, Value::Avro(MessageType::AuditEntry), days(2_557), Partitioning::Free),
    topic(ALERT_GROUPS, Value::Avro(MessageType::TtfBreach), days(1), Partitioning::AlertGroups),
    topic(ALERT_STATE, Value::Avro(MessageType::AlertState), Cleanup::Compact, Partitioning::AlertGroups),
    topic(ALERT_NOTIFICATIONS, Value::Avro(MessageType::Notification), days(30), Partitioning::Free),
    topic(ALERT_COMMANDS, Value::Avro(MessageType::AlertCommand), days(7), Partitioning::AlertGroups),
    topic(ALERT_DELIVERIES, Value::Json, Cleanup::Compact, Partitioning::Free),
    topic(ERASURES, Value::Avro(MessageType::Erasure), days(30), Partitioning::People),
];

/// The entry of this name.
pub fn find(name: &str) -> Option<&'static Topic> {
    CATALOGUE.iter().find(|topic| topic.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_versioned() {
        let mut names: Vec<_> = CATALOGUE.iter().map(|topic| topic.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 15);
        assert!(names.iter().all(|name| name.starts_with("telemetry.") && name.split('.').next_back() == Some("v1")));
    }

    #[test]
    fn every_message_is_carried_by_the_topic_it_is_bound_to() {
        for &message in MessageType::ALL {
            let topic = find(message.topic()).expect("in the catalogue");
            assert_eq!(topic.message(), Some(message), "{}", topic.name);
        }
    }

    #[test]
    fn what_one_task_reads_together_has_equal_partitions() {
        for name in [EVENTS, ERASURES, TTF_STATE] {
            assert!(find(name).is_some_and(Topic::is_tied_to_events), "{name}");
        }
        for name in [ALERT_GROUPS, ALERT_COMMANDS, ALERT_STATE] {
            assert_eq!(find(name).map(|topic| topic.partitioning), Some(Partitioning::AlertGroups), "{name}");
        }
        assert!(find(TTF_RECORDS).is_some_and(|topic| !topic.has_fixed_partitions()));
    }

    #[test]
    fn kafka_settings_say_clean_up_and_retention() {
        assert_eq!(
            find(EVENTS).expect("there").kafka_config(),
            [("cleanup.policy", "delete".to_owned()), ("retention.ms", "604800000".to_owned())]
        );
        assert_eq!(find(TTF_STATE).expect("there").kafka_config(), [("cleanup.policy", "compact".to_owned())]);
    }
}
