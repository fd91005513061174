//! What each role needs: topics, groups, transactional ids, stores.

use clap::ValueEnum;
use telemetry_schemas::topics::{
    ALERT_COMMANDS, ALERT_DELIVERIES, ALERT_GROUPS, ALERT_NOTIFICATIONS, ALERT_STATE, AUDIT, ERASURES, EVENTS,
    EVENTS_RAW, EVENTS_REJECTED, TTF_BREACHES, TTF_COHORTS, TTF_JOURNEYS, TTF_RECORDS, TTF_STATE,
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
    pub writes: Vec<&'static str>,
    pub groups: Vec<Group>,
    /// Groups of other roles, whose places it looks at.
    pub watches: Vec<&'static str>,
    /// One that begins like those of the role; `None`: it has no transactions.
    pub transactional_id: Option<&'static str>,
}

impl Needs {
    pub fn of(role: Role, config: &Config) -> Self {
        let group = |name: &str, topics: &[&'static str]| Group { name: name.to_owned(), topics: topics.to_vec() };
        match role {
            Role::Gateway => {
                let ingress = &config.gateway.kafka_ingress;
                let groups = if ingress.enabled { vec![group(&ingress.group, &[EVENTS_RAW])] } else { Vec::new() };
                let mut reads = vec![TTF_COHORTS, ALERT_STATE, ALERT_DELIVERIES];
                reads.extend(ingress.enabled.then_some(EVENTS_RAW));
                Self {
                    role,
                    reads,
                    writes: vec![EVENTS, EVENTS_REJECTED, ERASURES, ALERT_COMMANDS, AUDIT],
                    groups,
                    watches: Vec::new(),
                    transactional_id: ingress.enabled.then_some("gateway-ingress-doctor"),
                }
            }
            Role::Processor => Self {
                role,
                reads: vec![EVENTS, ERASURES, TTF_STATE, TTF_JOURNEYS],
                writes: vec![TTF_STATE, TTF_RECORDS, TTF_BREACHES, TTF_JOURNEYS, EVENTS_REJECTED, AUDIT],
                groups: vec![group(ttf_processor::GROUP, &[EVENTS, ERASURES])],
                watches: Vec::new(),
                transactional_id: Some("ttf-processor-doctor"),
            },
            Role::Archiver => Self {
                role,
                reads: vec![EVENTS, TTF_RECORDS, TTF_BREACHES, TTF_COHORTS, ERASURES],
                writes: vec![TTF_COHORTS, EVENTS_REJECTED, AUDIT],
                groups: vec![
                    group(sink_archiver::EVENTS_GROUP, &[EVENTS]),
                    group(sink_archiver::JOURNEYS_GROUP, &[TTF_RECORDS, TTF_BREACHES, ERASURES]),
                    group(sink_archiver::OBJECTS_GROUP, &[EVENTS, TTF_RECORDS, TTF_BREACHES]),
                ],
                watches: vec![ttf_processor::GROUP],
                transactional_id: None,
            },
            Role::Alerter => Self {
                role,
                reads: [
                    &[TTF_BREACHES, TTF_COHORTS, ALERT_GROUPS, ALERT_COMMANDS, ALERT_STATE][..],
                    &[ALERT_NOTIFICATIONS, ALERT_DELIVERIES],
                    if config.alerter.checks.application.is_some() { &[EVENTS] } else { &[] },
                ]
                .concat(),
                writes: vec![ALERT_GROUPS, ALERT_STATE, ALERT_NOTIFICATIONS, ALERT_DELIVERIES, EVENTS_REJECTED],
                groups: vec![
                    group(alerter::ROUTER_GROUP, &[TTF_BREACHES]),
                    group(alerter::GROUP, &[ALERT_GROUPS, ALERT_COMMANDS]),
                ],
                watches: vec![
                    ttf_processor::GROUP,
                    sink_archiver::EVENTS_GROUP,
                    sink_archiver::JOURNEYS_GROUP,
                    sink_archiver::OBJECTS_GROUP,
                ],
                transactional_id: Some("ttf-alerter-doctor"),
            },
        }
    }
}
