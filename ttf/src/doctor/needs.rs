//! What each role needs: topics, groups, transactional ids, stores.

use clap::ValueEnum;
use telemetry_schemas::topics::{
    ALERT_COMMANDS, ALERT_GROUPS, ALERT_NOTIFICATIONS, ALERT_STATE, AUDIT, ERASURES, EVENTS, EVENTS_RAW,
    EVENTS_REJECTED, TTF_BREACHES, TTF_COHORTS, TTF_JOURNEYS, TTF_RECORDS, TTF_STATE,
};

use crate::config::Config;

/// A role whose needs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    Gateway,
    Processor,
    Archiver,
    Alerter,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Gateway, Self::Processor, Self::Archiver, Self::Alerter];
}

/// A consumer group and what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub topics: Vec<&'static str>,
}

/// What a role needs of Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    pub role: Role,
    pub reads: Vec<&'static str>,
    /// Written in transactions, or where the right to write is the same.
    pub writes: Vec<&'static str>,
    pub groups: Vec<Group>,
    /// `None`: this role has no transactions, so that nothing can be tried without a trace.
    pub transactional_id: Option<&'static str>,
}

impl Needs {
    pub fn of(role: Role, config: &Config) -> Self {
        let group = |name: &str, topics: &[&'static str]| Group { name: name.to_owned(), topics: topics.to_vec() };
        match role {
            Role::Gateway => {
                let ingress = &config.gateway.kafka_ingress;
                let groups = if ingress.enabled { vec![group(&ingress.group, &[EVENTS_RAW])] } else { Vec::new() };
                let reads = if ingress.enabled { vec![EVENTS_RAW, TTF_COHORTS] } else { vec![TTF_COHORTS] };
                Self {
                    role,
                    reads,
                    writes: vec![EVENTS, EVENTS_REJECTED, AUDIT],
                    groups,
                    transactional_id: ingress.enabled.then_some("gateway-ingress-doctor"),
                }
            }
            Role::Processor => Self {
                role,
                reads: vec![EVENTS, ERASURES, TTF_STATE, TTF_JOURNEYS],
                writes: vec![TTF_STATE, TTF_RECORDS, TTF_BREACHES, EVENTS_REJECTED],
                groups: vec![group(ttf_processor::GROUP, &[EVENTS, ERASURES])],
                transactional_id: Some("ttf-processor-doctor"),
            },
            Role::Archiver => Self {
                role,
                reads: vec![EVENTS, TTF_RECORDS, TTF_BREACHES, ERASURES],
                writes: vec![EVENTS_REJECTED],
                groups: vec![
                    group(sink_archiver::EVENTS_GROUP, &[EVENTS]),
                    group(sink_archiver::JOURNEYS_GROUP, &[TTF_RECORDS, TTF_BREACHES, ERASURES]),
                    group(sink_archiver::OBJECTS_GROUP, &[EVENTS, TTF_RECORDS, TTF_BREACHES]),
                ],
                transactional_id: None,
            },
            Role::Alerter => Self {
                role,
                reads: vec![TTF_BREACHES, ALERT_GROUPS, ALERT_COMMANDS, ALERT_STATE],
                writes: vec![ALERT_GROUPS, ALERT_STATE, ALERT_NOTIFICATIONS, EVENTS_REJECTED],
                groups: vec![
                    group(alerter::ROUTER_GROUP, &[TTF_BREACHES]),
                    group(alerter::GROUP, &[ALERT_GROUPS, ALERT_COMMANDS]),
                ],
                transactional_id: Some("ttf-alerter-doctor"),
            },
        }
    }
}
