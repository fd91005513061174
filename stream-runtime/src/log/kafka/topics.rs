//! Making topics.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    error::RDKafkaErrorCode,
};

use super::{context::LogLines, error::classify, error::is_refusal, queries::Queries, settings::Settings};
use crate::log::{Cleanup, LogError, TopicOutcome, TopicSpec};

/// The broker's settings of a topic.
fn broker_settings(spec: &TopicSpec) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    match spec.cleanup {
        Cleanup::Compact => {
            settings.insert("cleanup.policy".into(), "compact".into());
        }
        Cleanup::Delete => {
            settings.insert("cleanup.policy".into(), "delete".into());
            let retention = spec.retention.map_or("-1".to_owned(), |retention| retention.as_millis().to_string());
            settings.insert("retention.ms".into(), retention);
        }
    }
    settings.extend(spec.settings.clone());
    settings
}

/// Creates what is missing and waits until it can be written.
pub(super) fn create(
    settings: &Settings,
    queries: &Queries,
    specs: &[TopicSpec],
    timeout: Duration,
) -> Result<Vec<(String, TopicOutcome)>, LogError> {
    let deadline = Instant::now() + timeout;
    let there: BTreeMap<String, i32> =
        queries.topics(None, timeout)?.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
    let missing: Vec<&TopicSpec> = specs.iter().filter(|spec| !there.contains_key(&spec.name)).collect();
    let made = if missing.is_empty() { Vec::new() } else { request(settings, &missing, deadline)? };
    let there = wait_until_led(queries, &missing, there, deadline)?;
    specs
        .iter()
        .map(|spec| {
            let outcome = match there.get(&spec.name) {
                Some(actual) if *actual != spec.partitions => TopicOutcome::PartitionsDiffer { actual: *actual },
                Some(_) if made.contains(&spec.name) => TopicOutcome::Created,
                Some(_) => TopicOutcome::Exists,
                None => return Err(LogError::Unavailable(format!("topic `{}` did not appear in time", spec.name))),
            };
            Ok((spec.name.clone(), outcome))
        })
        .collect()
}

/// Asks for the topics; returns those that this call made.
fn request(settings: &Settings, missing: &[&TopicSpec], deadline: Instant) -> Result<Vec<String>, LogError> {
    let failed = |error| classify(&error, "creating topics", None);
    let admin: AdminClient<LogLines> = settings.admin().create_with_context(LogLines).map_err(failed)?;
    let configs: Vec<BTreeMap<String, String>> = missing.iter().map(|spec| broker_settings(spec)).collect();
    let topics: Vec<NewTopic<'_>> = missing
        .iter()
        .zip(&configs)
        .map(|(spec, config)| {
            let topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication_factor));
            config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let remaining = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let options = AdminOptions::new().request_timeout(Some(remaining)).operation_timeout(Some(remaining));
    let results = futures::executor::block_on(admin.create_topics(&topics, &options)).map_err(failed)?;
    let mut made = Vec::new();
    for result in results {
        match result {
            Ok(name) => made.push(name),
            // Somebody else was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(refused(&name, code)),
        }
    }
    Ok(made)
}

fn refused(name: &str, code: RDKafkaErrorCode) -> LogError {
    use RDKafkaErrorCode as Code;
    let text = format!("cannot create topic `{name}`: {code}");
    match code {
        code if is_refusal(code) => LogError::Fatal(text),
        Code::InvalidReplicationFactor
        | Code::InvalidPartitions
        | Code::InvalidConfig
        | Code::InvalidTopic
        | Code::InvalidRequest
        | Code::PolicyViolation
        | Code::InvalidReplicaAssignment => LogError::Invalid(text),
        _ => LogError::Unavailable(text),
    }
}

/// How long the broker keeps records of a topic by age; `None` where age deletes nothing.
pub(super) fn retention(settings: &Settings, topic: &str, timeout: Duration) -> Result<Option<Duration>, LogError> {
    let doing = format!("reading the settings of topic `{topic}`");
    let failed = |error| classify(&error, &doing, Some(topic));
    let admin: AdminClient<LogLines> = settings.admin().create_with_context(LogLines).map_err(failed)?;
    let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let asked = [ResourceSpecifier::Topic(topic)];
    let described = futures::executor::block_on(admin.describe_configs(&asked, &options)).map_err(failed)?;
    let Some(Ok(settings)) = described.into_iter().next() else {
        return Err(LogError::Unavailable(format!("{doing}: the broker does not tell")));
    };
    let value = |name: &str| settings.get(name).and_then(|entry| entry.value.as_deref());
    Ok(kept_by_age(value("cleanup.policy"), value("retention.ms")))
}

fn kept_by_age(cleanup_policy: Option<&str>, retention_ms: Option<&str>) -> Option<Duration> {
    cleanup_policy.filter(|policies| policies.split(',').any(|policy| policy.trim() == "delete"))?;
    // -1 is for ever.
    retention_ms?.parse().ok().map(Duration::from_millis)
}

/// A new topic is known to every broker a little later than to the one that made it.
fn wait_until_led(
    queries: &Queries,
    missing: &[&TopicSpec],
    mut there: BTreeMap<String, i32>,
    deadline: Instant,
) -> Result<BTreeMap<String, i32>, LogError> {
    let mut wanted: Vec<&str> = missing.iter().map(|spec| spec.name.as_str()).collect();
    while !wanted.is_empty() {
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            break;
        }
        for topic in queries.described(remaining)? {
            if topic.led && wanted.contains(&topic.info.name.as_str()) {
                wanted.retain(|name| *name != topic.info.name);
                there.insert(topic.info.name, topic.info.partitions);
            }
        }
        if !wanted.is_empty() {
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(cleanup: Cleanup, retention: Option<Duration>, settings: &[(&str, &str)]) -> TopicSpec {
        TopicSpec {
            cleanup,
            retention,
            settings: settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..TopicSpec::new("orders", 3)
        }
    }

    #[test]
    fn retention_is_in_milliseconds_and_for_ever_when_none() {
        let of = |retention| broker_settings(&spec(Cleanup::Delete, retention, &[]))["retention.ms"].clone();
        assert_eq!(of(Some(Duration::from_secs(60))), "60000");
        assert_eq!(of(None), "-1");
    }

    #[test]
    fn a_compacted_topic_has_no_retention_and_takes_further_settings() {
        let settings = broker_settings(&spec(Cleanup::Compact, None, &[("min.insync.replicas", "2")]));
        assert_eq!(settings["cleanup.policy"], "compact");
        assert_eq!(settings["min.insync.replicas"], "2");
        assert!(!settings.contains_key("retention.ms"));
    }

    #[test]
    fn age_deletes_only_where_the_policy_says_so() {
        assert_eq!(kept_by_age(Some("delete"), Some("60000")), Some(Duration::from_secs(60)));
        assert_eq!(kept_by_age(Some("compact,delete"), Some("60000")), Some(Duration::from_secs(60)));
        assert_eq!(kept_by_age(Some("compact"), Some("60000")), None);
        assert_eq!(kept_by_age(Some("delete"), Some("-1")), None);
        assert_eq!(kept_by_age(None, None), None);
    }
}
