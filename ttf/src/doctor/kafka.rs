//! Kafka: who answers, how topics are kept, what we may do there, and whether anything is about to be lost unread.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use service_kit::clock::now_ms;
use stream_runtime::log::{
    Isolation, Log, LogError, Position, TopicPartition, TopicSpec,
    config::KafkaConfig,
    kafka::{Cluster, KafkaLog},
};

use super::{
    needs::{Group, Needs},
    report::{Check, Part},
    topics,
};

/// A setting brokers have since 3.7, the oldest release that is supported.
const SINCE_3_7: &str = "group.coordinator.rebalance.protocols";
/// Offsets of a group that is empty for longer are forgotten.
const OFFSETS_MINUTES: i64 = 7 * 24 * 60;
/// What the transactions of this program may take.
const TRANSACTION_MS: i64 = 10_000;
/// As the alert on it.
const HEADROOM_MS: i64 = 6 * 3_600_000;

/// Looks at everything. Blocks.
pub fn look(config: &KafkaConfig, specs: &[TopicSpec], needs: &[Needs], timeout: Duration) -> Vec<Check> {
    let mut part = Part::new("kafka");
    let log = match KafkaLog::open(config, "ttf-doctor") {
        Ok(log) => log,
        Err(error) => {
            part.wrong("settings", error.to_string(), "correct `log.properties`");
            return part.checks;
        }
    };
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    let cluster = match log.cluster(&names, timeout) {
        Ok(cluster) => cluster,
        Err(error) => {
            part.wrong("reachable", error.to_string(), unreachable(config, &error));
            return part.checks;
        }
    };
    part.ok("reachable", format!("{} brokers: {}", cluster.brokers.len(), cluster.brokers.join(", ")));
    look_at_protocol(&mut part, config);
    let replication = specs.iter().map(|spec| spec.replication_factor).max().unwrap_or(1);
    if cluster.brokers.len() < replication as usize {
        part.wrong(
            "brokers",
            format!("{} answer, `topics.replication_factor` is {replication}", cluster.brokers.len()),
            "start the others, or set `topics.replication_factor` and `topics.min_insync_replicas` to what there is",
        );
    }
    look_at_broker(&mut part, log.broker_settings(timeout));
    let usable = look_at_topics(&mut part, &log, &cluster, specs, timeout);
    look_at_rights(&mut part, &log, needs, &usable, timeout);
    for group in needs.iter().flat_map(|needs| &needs.groups) {
        look_at_group(&mut part, &log, group, specs, &usable, timeout);
    }
    part.checks
}

fn unreachable(config: &KafkaConfig, error: &LogError) -> String {
    let text = error.to_string().to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // The name of the protocol stands in front of every address.
    let is_unanswered = (text.contains("connect to") && text.contains("failed")) || text.contains("resolve");
    if is_unanswered {
        return nobody_there(config);
    }
    if says(&["apiversion", "receive failed", "security.protocol"]) {
        return "compare `security.protocol` with what this port of the brokers speaks".to_owned();
    }
    if says(&["certificate verify failed", "unable to get local issuer", "self-signed", "self signed"]) {
        "name the authority of the brokers' certificates by `log.properties.\"ssl.ca.location\"`".to_owned()
    } else if says(&["certificate required", "bad certificate", "certificate_required"]) {
        "the brokers want a certificate of ours: `ssl.certificate.location` and `ssl.key.location`".to_owned()
    } else if says(&["authentication", "sasl", "credentials"]) {
        "compare `sasl.mechanism`, `sasl.username` and `sasl.password` with the user on the brokers".to_owned()
    } else if says(&["ssl", "disconnected", "handshake"]) {
        "compare `security.protocol` with what this port of the brokers speaks".to_owned()
    } else {
        nobody_there(config)
    }
}

fn nobody_there(config: &KafkaConfig) -> String {
    format!("is `log.brokers` ({}) right, do the brokers run, does the network let us through?", config.brokers)
}

fn look_at_protocol(part: &mut Part, config: &KafkaConfig) {
    let protocol = config.properties.get("security.protocol").map_or("plaintext".to_owned(), |it| it.to_lowercase());
    match protocol.as_str() {
        "sasl_plaintext" => part.warning(
            "protocol",
            "sasl_plaintext: what is sent, passwords of mechanism PLAIN included, can be read on the way",
            "use SASL_SSL, unless the network is your own",
        ),
        other => part.ok("protocol", other),
    }
}

fn look_at_broker(part: &mut Part, settings: Result<BTreeMap<String, String>, LogError>) {
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => {
            part.skipped("version", format!("{error}; the user may not read a broker's settings, which it need not"));
            return;
        }
    };
    if settings.contains_key(SINCE_3_7) {
        part.ok("version", "3.7 or later");
    } else {
        part.warning(
            "version",
            "older than Kafka 3.7, or another server with its protocol",
            "use Apache Kafka 3.7 or later: nothing older is tried",
        );
    }
    let number = |name: &str| settings.get(name).and_then(|text| text.parse::<i64>().ok());
    if let Some(ms) = number("transaction.max.timeout.ms").filter(|ms| *ms < TRANSACTION_MS) {
        part.wrong(
            "transactions",
            format!("transaction.max.timeout.ms={ms}: transactions of {TRANSACTION_MS} ms are refused"),
            "raise it on the brokers, or lower `log.properties.\"transaction.timeout.ms\"`",
        );
    }
    if let Some(minutes) = number("offsets.retention.minutes").filter(|minutes| *minutes < OFFSETS_MINUTES) {
        part.warning(
            "offsets",
            format!("offsets.retention.minutes={minutes}: a group that rests longer forgets where it was"),
            format!("set it to {OFFSETS_MINUTES} or more on the brokers"),
        );
    }
}

/// Returns the topics that can be used.
fn look_at_topics(
    part: &mut Part,
    log: &KafkaLog,
    cluster: &Cluster,
    specs: &[TopicSpec],
    timeout: Duration,
) -> BTreeSet<String> {
    let (hidden, rest): (Vec<&TopicSpec>, Vec<&TopicSpec>) =
        specs.iter().partition(|spec| cluster.hidden.contains(&spec.name));
    if !hidden.is_empty() {
        let names: Vec<_> = hidden.iter().map(|spec| spec.name.as_str()).collect();
        part.wrong("topics", format!("may not be described: {}", names.join(", ")), "grant Describe on `telemetry.*`");
    }
    let (there, missing): (Vec<&TopicSpec>, Vec<&TopicSpec>) =
        rest.into_iter().partition(|spec| cluster.topics.contains_key(&spec.name));
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|spec| spec.name.as_str()).collect();
        part.wrong("topics", format!("missing: {}", names.join(", ")), "`ttf topics apply`");
    }
    let names: Vec<_> = there.iter().map(|spec| spec.name.as_str()).collect();
    let settings = match log.topic_settings(&names, timeout) {
        Ok(settings) => settings,
        Err(error) => {
            part.skipped("topic settings", error.to_string());
            Vec::new()
        }
    };
    let mut sound = 0;
    for (index, spec) in there.iter().enumerate() {
        let replicas = &cluster.topics[&spec.name];
        let mut fine = true;
        let mut min_insync = 1;
        match settings.get(index) {
            Some(Ok(found)) => {
                min_insync = found.get("min.insync.replicas").and_then(|text| text.parse().ok()).unwrap_or(1);
                fine &= topics::look_at_settings(part, spec, found, replicas.replicas);
            }
            Some(Err(error)) => part.skipped(&spec.name, error.to_string()),
            None => {}
        }
        fine &= topics::look_at_replicas(part, spec, replicas, min_insync.min(replicas.replicas));
        sound += usize::from(fine);
    }
    if sound == specs.len() {
        part.ok("topics", format!("all {sound} as they should be"));
    }
    there.iter().filter(|spec| cluster.topics[&spec.name].leaderless == 0).map(|spec| spec.name.clone()).collect()
}

fn look_at_rights(part: &mut Part, log: &KafkaLog, needs: &[Needs], usable: &BTreeSet<String>, timeout: Duration) {
    let reads: BTreeSet<&str> = needs.iter().flat_map(|needs| needs.reads.iter().copied()).collect();
    let mut refused = Vec::new();
    for topic in reads.iter().filter(|topic| usable.contains(**topic)) {
        if let Err(error) = read_nothing(log, topic, timeout) {
            refused.push(format!("{topic} ({error})"));
        }
    }
    if refused.is_empty() {
        part.ok("may read", format!("{} topics", reads.len()));
    } else {
        part.wrong("may read", format!("not: {}", refused.join(", ")), "grant Read and Describe on them");
    }
    for needs in needs {
        let role = format!("{:?}", needs.role).to_lowercase();
        look_at_writing(part, log, needs, &role, usable, timeout);
        if let Some(id) = needs.transactional_id {
            let check = format!("transactions as {role}");
            match log.try_transaction(id, timeout) {
                Ok(()) => part.ok(&check, "one was opened and rolled back"),
                Err(error) => part.wrong(
                    &check,
                    error.to_string(),
                    format!(
                        "grant Write and Describe on transactional ids that begin like `{id}`, or look at the brokers"
                    ),
                ),
            }
        }
        for group in &needs.watches {
            // Any topic will do: the right is the group's.
            let Some(topic) = usable.first() else { break };
            if let Err(error) = log.committed(group, &[TopicPartition::new(topic.as_str(), 0)], timeout) {
                let check = format!("group {group} as {role}");
                part.wrong(&check, error.to_string(), "grant Describe on the group, and on the topics it reads");
            }
        }
    }
}

fn look_at_writing(
    part: &mut Part,
    log: &KafkaLog,
    needs: &Needs,
    role: &str,
    usable: &BTreeSet<String>,
    timeout: Duration,
) {
    let check = format!("may write as {role}");
    let topics: Vec<_> = needs.writes.iter().copied().filter(|topic| usable.contains(*topic)).collect();
    let failed: Vec<_> = match log.try_writing(&topics, timeout) {
        Ok(outcomes) => outcomes.into_iter().filter_map(Result::err).map(|error| error.to_string()).collect(),
        Err(error) => vec![error.to_string()],
    };
    if failed.is_empty() {
        part.ok(&check, format!("{} topics", topics.len()));
    } else {
        part.wrong(&check, failed.join("; "), "grant Write and Describe on them");
    }
}

/// Reads where nothing is yet: enough to be refused.
fn read_nothing(log: &KafkaLog, topic: &str, timeout: Duration) -> Result<(), LogError> {
    let at = TopicPartition::new(topic, 0);
    let mut reader = log.reader(Isolation::ReadUncommitted)?;
    reader.assign(&[(at.clone(), Position::End)])?;
    let deadline = Instant::now() + timeout;
    while reader.position(&at).is_none() {
        if Instant::now() >= deadline {
            return Err(LogError::Unavailable("no answer".to_owned()));
        }
        reader.poll(1, Duration::from_millis(50), &mut |_| {})?;
    }
    Ok(())
}

fn look_at_group(
    part: &mut Part,
    log: &KafkaLog,
    group: &Group,
    specs: &[TopicSpec],
    usable: &BTreeSet<String>,
    timeout: Duration,
) {
    let check = format!("group {}", group.name);
    let specs: Vec<_> =
        specs.iter().filter(|spec| group.topics.contains(&spec.name.as_str()) && usable.contains(&spec.name)).collect();
    match standing(log, group, &specs, timeout) {
        // librdkafka waits for a coordinator it may not ask until the time is over.
        Err(error) => part.wrong(
            &check,
            error.to_string(),
            "grant Read and Describe on the group and its topics; if they are granted, look at `__consumer_offsets`",
        ),
        Ok(Standing { began: false, .. }) => part.skipped(&check, "never read anything"),
        Ok(Standing { lost, .. }) if lost > 0 => part.wrong(
            &check,
            format!("{lost} records were deleted before they were read"),
            "keep topics for longer (retention.ms), and see to it that the group runs: docs/runbooks/TtfRetentionHeadroomLow.md",
        ),
        Ok(Standing { lag, headroom_ms, .. }) => match headroom_ms.filter(|ms| *ms < HEADROOM_MS) {
            Some(ms) => part.wrong(
                &check,
                format!("{lag} records wait, and the oldest is deleted in {}", topics::days(ms.max(0))),
                "raise the topic's retention.ms first, then find out why it is behind: docs/runbooks/TtfRetentionHeadroomLow.md",
            ),
            None => part.ok(
                &check,
                match headroom_ms {
                    Some(ms) => format!("{lag} records wait; the oldest is kept for another {}", topics::days(ms)),
                    None => format!("{lag} records wait"),
                },
            ),
        },
    }
}

/// Where a group is.
struct Standing {
    /// It has committed something.
    began: bool,
    lag: i64,
    lost: i64,
    /// Until the oldest record that waits is deleted; `None` when none waits, or age deletes nothing.
    headroom_ms: Option<i64>,
}

fn standing(log: &KafkaLog, group: &Group, specs: &[&TopicSpec], timeout: Duration) -> Result<Standing, LogError> {
    let places: Vec<TopicPartition> = specs
        .iter()
        .flat_map(|spec| (0..spec.partitions).map(|partition| TopicPartition::new(spec.name.as_str(), partition)))
        .collect();
    let mut standing = Standing { began: false, lag: 0, lost: 0, headroom_ms: None };
    let mut waiting = Vec::new();
    for committed in log.committed(&group.name, &places, timeout)? {
        let Some(next) = committed.next else { continue };
        standing.began = true;
        let start = log.start_offset(&committed.at, timeout)?;
        let end = log.end_offset(&committed.at, Isolation::ReadCommitted, timeout)?;
        standing.lost += (start - next).max(0);
        standing.lag += (end - next.max(start)).max(0);
        if end > next {
            waiting.push((committed.at, Position::Offset(next.max(start))));
        }
    }
    for (at, since_ms) in fronts(log, waiting, timeout)? {
        if let Some(kept) = log.retention(&at.topic, timeout)? {
            let left = kept.as_millis() as i64 - (now_ms() - since_ms);
            standing.headroom_ms = Some(standing.headroom_ms.map_or(left, |least| least.min(left)));
        }
    }
    Ok(standing)
}

/// The time of the first record at each of these places.
fn fronts(
    log: &KafkaLog,
    from: Vec<(TopicPartition, Position)>,
    timeout: Duration,
) -> Result<BTreeMap<TopicPartition, i64>, LogError> {
    let mut found = BTreeMap::new();
    if from.is_empty() {
        return Ok(found);
    }
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&from)?;
    let deadline = Instant::now() + timeout;
    while found.len() < from.len() && Instant::now() < deadline {
        reader.poll(100, Duration::from_millis(100), &mut |record| {
            found.entry(TopicPartition::new(record.topic, record.partition)).or_insert(record.timestamp_ms);
        })?;
        // Behind the last record there may be markers alone.
        if from.iter().all(|(at, _)| found.contains_key(at) || reader.position(at).is_some()) {
            break;
        }
    }
    Ok(found)
}
