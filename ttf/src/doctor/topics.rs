//! A topic as it is, held against what it should be.

use std::collections::BTreeMap;

use stream_runtime::log::{Cleanup, TopicSpec, kafka::Replicas};

use super::report::Part;

/// What a record may weigh at the producers.
const RECORD_BYTES: i64 = 1_000_000;
const DAY_MS: i64 = 86_400_000;

/// How partitions are kept: replicas, and who leads.
pub fn look_at_replicas(part: &mut Part, spec: &TopicSpec, found: &Replicas, min_insync: usize) -> bool {
    let check = spec.name.as_str();
    if found.partitions != spec.partitions as usize {
        part.wrong(
            check,
            format!("{} partitions, `topics.partitions` says {}", found.partitions, spec.partitions),
            "set `topics.partitions` to what is there: the count never changes, or users move away from their state",
        );
        return false;
    }
    if found.leaderless > 0 {
        part.wrong(
            check,
            format!("{} partitions have no leader", found.leaderless),
            "start the brokers that have their replicas; until then nothing is read from or written to them",
        );
        return false;
    }
    if found.in_sync < min_insync {
        part.wrong(
            check,
            format!("{} replicas in sync, writes want {min_insync}", found.in_sync),
            "start the brokers that are away; until then the gateway answers 503",
        );
        return false;
    }
    if found.under_replicated > 0 {
        part.warning(
            check,
            format!("{} partitions have a replica that is not in sync", found.under_replicated),
            "look at the brokers: one is away or slow, and one more may stop writes",
        );
        return false;
    }
    if found.replicas < spec.replication_factor as usize {
        part.warning(
            check,
            format!("{} replicas, `topics.replication_factor` says {}", found.replicas, spec.replication_factor),
            "add replicas (kafka-reassign-partitions.sh), or set the factor to what is meant",
        );
        return false;
    }
    true
}

/// The settings brokers have for it.
pub fn look_at_settings(part: &mut Part, spec: &TopicSpec, found: &BTreeMap<String, String>, replicas: usize) -> bool {
    let check = spec.name.as_str();
    let value = |name: &str| found.get(name).map_or("", String::as_str);
    let alter = |setting: &str| {
        format!("kafka-configs.sh --alter --entity-type topics --entity-name {} --add-config {setting}", spec.name)
    };
    let mut fine = true;
    let policy = value("cleanup.policy");
    let wanted = match spec.cleanup {
        Cleanup::Compact => "compact",
        Cleanup::Delete => "delete",
    };
    if policy != wanted {
        fine = false;
        let harm = match spec.cleanup {
            Cleanup::Compact => "state would be deleted by age",
            Cleanup::Delete => "records with one key would be dropped but for the last",
        };
        part.wrong(check, format!("cleanup.policy={policy}: {harm}"), alter(&format!("cleanup.policy={wanted}")));
    }
    if let (Cleanup::Delete, Some(retention)) = (spec.cleanup, spec.retention)
        && let Ok(kept_ms) = value("retention.ms").parse::<i64>()
        && kept_ms >= 0
        && kept_ms < retention.as_millis() as i64
    {
        fine = false;
        let wanted_ms = retention.as_millis() as i64;
        part.warning(
            check,
            format!("records are kept for {}, {} are meant", days(kept_ms), days(wanted_ms)),
            alter(&format!("retention.ms={wanted_ms}")),
        );
    }
    if let Ok(min_insync) = value("min.insync.replicas").parse::<usize>() {
        let wanted = spec.settings.get("min.insync.replicas").map_or("1", String::as_str);
        if min_insync > replicas {
            fine = false;
            part.wrong(
                check,
                format!("min.insync.replicas={min_insync}, and there are {replicas} replicas: nothing can be written"),
                alter(&format!("min.insync.replicas={wanted}")),
            );
        } else if wanted.parse::<usize>().is_ok_and(|wanted| min_insync < wanted) {
            fine = false;
            part.warning(
                check,
                format!("min.insync.replicas={min_insync}, {wanted} is meant: a broker that dies may take answered events with it"),
                alter(&format!("min.insync.replicas={wanted}")),
            );
        }
    }
    if value("max.message.bytes").parse::<i64>().is_ok_and(|bytes| bytes < RECORD_BYTES) {
        fine = false;
        part.warning(
            check,
            format!("max.message.bytes={}: large records will be refused", value("max.message.bytes")),
            alter(&format!("max.message.bytes={}", RECORD_BYTES + 48_588)),
        );
    }
    fine
}

pub fn days(ms: i64) -> String {
    if ms >= 2 * DAY_MS { format!("{} d", ms / DAY_MS) } else { format!("{:.1} h", ms as f64 / 3_600_000.0) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::report::Status, *};

    fn spec(cleanup: Cleanup) -> TopicSpec {
        TopicSpec {
            name: "orders".into(),
            partitions: 12,
            replication_factor: 3,
            cleanup,
            retention: (cleanup == Cleanup::Delete).then(|| Duration::from_secs(7 * 86_400)),
            settings: BTreeMap::from([("min.insync.replicas".into(), "2".into())]),
        }
    }

    const SOUND: Replicas = Replicas { partitions: 12, replicas: 3, in_sync: 3, under_replicated: 0, leaderless: 0 };

    fn replicas(found: Replicas) -> Option<Status> {
        let mut part = Part::new("kafka");
        let fine = look_at_replicas(&mut part, &spec(Cleanup::Delete), &found, 2);
        assert_eq!(fine, part.checks.is_empty());
        part.checks.first().map(|check| check.status)
    }

    #[test]
    fn a_topic_nobody_can_use_is_wrong_and_one_that_may_soon_be_so_is_a_warning() {
        assert_eq!(replicas(SOUND), None);
        assert_eq!(replicas(Replicas { partitions: 6, ..SOUND }), Some(Status::Wrong));
        assert_eq!(replicas(Replicas { leaderless: 1, ..SOUND }), Some(Status::Wrong));
        assert_eq!(replicas(Replicas { in_sync: 1, under_replicated: 1, ..SOUND }), Some(Status::Wrong));
        assert_eq!(replicas(Replicas { in_sync: 2, under_replicated: 1, ..SOUND }), Some(Status::Warning));
        assert_eq!(replicas(Replicas { replicas: 2, in_sync: 2, ..SOUND }), Some(Status::Warning));
    }

    fn settings(cleanup: Cleanup, given: &[(&str, &str)]) -> Vec<(Status, String)> {
        let sound = [("cleanup.policy", "delete"), ("retention.ms", "604800000"), ("min.insync.replicas", "2")];
        let mut found: BTreeMap<String, String> =
            sound.iter().chain(given).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        found.entry("max.message.bytes".into()).or_insert("1048588".into());
        let mut part = Part::new("kafka");
        let fine = look_at_settings(&mut part, &spec(cleanup), &found, 3);
        assert_eq!(fine, part.checks.is_empty());
        part.checks.into_iter().map(|check| (check.status, check.todo.unwrap_or_default())).collect()
    }

    #[test]
    fn settings_that_lose_records_are_told_with_the_command_that_mends_them() {
        assert_eq!(settings(Cleanup::Delete, &[]), []);
        assert_eq!(settings(Cleanup::Compact, &[("cleanup.policy", "compact")]), []);
        assert_eq!(settings(Cleanup::Delete, &[("retention.ms", "-1")]), []);
        for (cleanup, given, status, command) in [
            (Cleanup::Compact, ("cleanup.policy", "delete"), Status::Wrong, "cleanup.policy=compact"),
            (Cleanup::Delete, ("cleanup.policy", "compact,delete"), Status::Wrong, "cleanup.policy=delete"),
            (Cleanup::Delete, ("retention.ms", "3600000"), Status::Warning, "retention.ms=604800000"),
            (Cleanup::Delete, ("min.insync.replicas", "1"), Status::Warning, "min.insync.replicas=2"),
            (Cleanup::Delete, ("min.insync.replicas", "4"), Status::Wrong, "min.insync.replicas=2"),
            (Cleanup::Delete, ("max.message.bytes", "1000"), Status::Warning, "max.message.bytes="),
        ] {
            let found = settings(cleanup, &[given]);
            assert_eq!(found.len(), 1, "{given:?}: {found:?}");
            assert_eq!(found[0].0, status, "{given:?}");
            assert!(found[0].1.contains(command), "{given:?}: {}", found[0].1);
        }
    }
}
