//! What `ttf top` has to say, worked out from what processes and the group told. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    group::Group,
    page::{Page, quantile},
};

/// Time to deletion below which a topic is a problem, in seconds.
const SHORT_HEADROOM: f64 = 6.0 * 3600.0;
/// An input that has waited longer than this for its commit is a problem, in seconds; commits come several times a
/// second.
const LONG_TRANSACTION: f64 = 10.0;

/// One look at everything.
#[derive(Debug, Default, Serialize)]
pub struct View {
    /// When, RFC 3339.
    pub at: String,
    /// What somebody should look at, in words.
    pub problems: Vec<String>,
    pub processes: Vec<Process>,
    pub partitions: Vec<Partition>,
    pub consumers: Vec<Consumer>,
    pub journeys: Option<Journeys>,
    /// Addresses that did not answer, and why.
    pub silent: BTreeMap<String, String>,
}

/// A process that runs a processor.
#[derive(Debug, Default, Serialize)]
pub struct Process {
    pub url: String,
    pub workers: BTreeSet<String>,
    pub partitions: usize,
    /// `None` until two looks, or after a restart between them.
    pub records_in_per_second: Option<f64>,
    pub records_out_per_second: Option<f64>,
    /// Of the commits of the last half minute; where there was none, of all since the process began.
    pub commit_p50_ms: Option<f64>,
    pub commit_p99_ms: Option<f64>,
    /// Transactions that did not end in a commit since the process began, by class.
    pub aborts: BTreeMap<String, u64>,
    pub rebalances: u64,
    pub open_transaction_seconds: f64,
    pub restore_remaining_records: u64,
    pub restored_per_second: Option<f64>,
    pub state_bytes: Option<u64>,
    /// Open journeys whose version this process has not loaded.
    pub resting_journeys: u64,
}

/// A partition of the processor's inputs.
#[derive(Debug, Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "a partition is known by its number")]
pub struct Partition {
    pub partition: i32,
    /// The worker; `None` when nobody is known to have it.
    pub owner: Option<String>,
    /// Where the owner runs: the address that was asked, or the host the group knows.
    pub process: Option<String>,
    pub lag_records: Option<i64>,
    pub oldest_unprocessed_seconds: Option<f64>,
    pub restore_remaining_records: u64,
    pub state_bytes: Option<u64>,
    pub state_entries: Option<u64>,
}

/// A group's standing on one topic, over the processes that answered.
#[derive(Debug, Serialize)]
pub struct Consumer {
    pub group: String,
    pub topic: String,
    pub partitions: usize,
    pub lag_records: i64,
    pub oldest_unprocessed_seconds: f64,
    /// Until retention deletes the oldest record that waits.
    pub retention_headroom_seconds: Option<f64>,
}

#[derive(Debug, Default, Serialize)]
pub struct Journeys {
    pub in_progress: u64,
    pub breaches_open: BTreeMap<String, u64>,
}

/// What one address said now and before.
pub struct Told<'a> {
    pub url: &'a str,
    pub now: &'a Page,
    /// The page before, and how many seconds ago that was.
    pub before: Option<(&'a Page, f64)>,
    /// The page of about half a minute ago.
    pub earlier: Option<&'a Page>,
}

/// The prefix of the processor's own figures, and its group.
const PREFIX: &str = "ttf_processor";
pub const GROUP: &str = ttf_processor::GROUP;

/// Makes one view of it all. `silent`: addresses that did not answer.
pub fn view(at: String, told: &[Told<'_>], group: Option<&Group>, silent: BTreeMap<String, String>) -> View {
    let mut view = View { at, silent, ..View::default() };
    let mut partitions = BTreeMap::new();
    let mut known_workers = BTreeSet::new();
    let mut consumers = BTreeMap::new();
    let mut count = 0;
    for told in told {
        let process = process(told);
        // The gateway's port and the admin port of one process tell the same.
        let repeated = if process.workers.is_empty() {
            is_repeated(told, &consumers)
        } else {
            process.workers.iter().any(|worker| known_workers.contains(worker))
        };
        if repeated {
            continue;
        }
        known_workers.extend(process.workers.iter().cloned());
        count = count.max(told.now.sum(&name("partitions")).unwrap_or(0.0) as i32);
        take_partitions(told, &mut partitions, &mut view.problems);
        take_consumers(told, &mut consumers);
        take_journeys(told, &mut view.journeys);
        if !process.workers.is_empty() {
            view.processes.push(process);
        }
    }
    if let Some(group) = group {
        count = count.max(group.partitions.keys().max().map_or(0, |last| last + 1));
        take_group(group, &mut partitions);
    }
    for partition in 0..count {
        partitions.entry(partition).or_insert_with(|| Partition { partition, ..Partition::default() });
    }
    view.partitions = partitions.into_values().collect();
    view.consumers = consumers.into_iter().map(consumer).collect();
    view.find_problems(group.is_some());
    view
}

fn name(rest: &str) -> String {
    format!("{PREFIX}_{rest}")
}

fn process(told: &Told<'_>) -> Process {
    let now = told.now;
    let rate = |name: &str| {
        let (before, seconds) = told.before?;
        let grown = now.sum(name)? - before.sum(name)?;
        // A counter that fell is that of a new process.
        (grown >= 0.0 && seconds > 0.0).then_some(grown / seconds)
    };
    let commits = name("commit_duration_seconds");
    let commit_ms = |q| {
        let now = now.buckets(&commits);
        let earlier = told.earlier.map(|page| page.buckets(&commits)).unwrap_or_default();
        quantile(&earlier, &now, q).or_else(|| quantile(&[], &now, q)).map(|seconds| seconds * 1_000.0)
    };
    let journal = now.sum(&name("state_journal_bytes"));
    Process {
        url: told.url.to_owned(),
        workers: now.named(&name("open_transaction_age_seconds")).map(|s| s.label("worker").to_owned()).collect(),
        partitions: now.named(&name("partition_owned")).count(),
        records_in_per_second: rate(&name("records_in_total")),
        records_out_per_second: rate(&name("records_out_total")),
        commit_p50_ms: commit_ms(0.5),
        commit_p99_ms: commit_ms(0.99),
        aborts: now.by_label(&name("aborts_total"), "class").into_iter().map(|(class, n)| (class, n as u64)).collect(),
        rebalances: now.sum(&name("rebalances_total")).unwrap_or(0.0) as u64,
        open_transaction_seconds: now
            .named(&name("open_transaction_age_seconds"))
            .map(|sample| sample.value)
            .fold(0.0, f64::max),
        restore_remaining_records: now.sum(&name("restore_remaining_records")).unwrap_or(0.0) as u64,
        restored_per_second: rate(&name("restored_records_total")),
        state_bytes: now
            .sum(&name("state_bytes"))
            .map(|bytes| bytes + journal.unwrap_or(0.0))
            .map(|bytes| bytes as u64),
        resting_journeys: now.sum("ttf_journeys_resting").unwrap_or(0.0) as u64,
    }
}

/// Whether another address has told of the same group, topic and partition as this one: then they are one process.
fn is_repeated(told: &Told<'_>, consumers: &BTreeMap<(String, String), Consumers>) -> bool {
    let mut lags = told.now.named("ttf_consumer_lag_records").peekable();
    lags.peek().is_some()
        && lags.all(|sample| {
            consumers
                .get(&(sample.label("group").to_owned(), sample.label("topic").to_owned()))
                .is_some_and(|known| known.seen.contains(sample.label("partition")))
        })
}

fn take_partitions(told: &Told<'_>, partitions: &mut BTreeMap<i32, Partition>, problems: &mut Vec<String>) {
    let now = told.now;
    let figure = |of: &str, partition: &str| {
        now.named(of).filter(|s| s.label("partition") == partition).map(|s| s.value).reduce(|sum, value| sum + value)
    };
    let of_group = |of: &str, partition: &str, fold: fn(f64, f64) -> f64| {
        now.named(of)
            .filter(|s| s.label("group") == GROUP && s.label("partition") == partition)
            .map(|s| s.value)
            .reduce(fold)
    };
    for sample in now.named(&name("partition_owned")) {
        let (label, worker) = (sample.label("partition"), sample.label("worker"));
        let Ok(partition) = label.parse::<i32>() else { continue };
        let entry = Partition {
            partition,
            owner: Some(worker.to_owned()),
            process: Some(told.url.to_owned()),
            lag_records: of_group("ttf_consumer_lag_records", label, |a, b| a + b).map(|lag| lag as i64),
            oldest_unprocessed_seconds: of_group("ttf_consumer_oldest_unprocessed_seconds", label, f64::max),
            restore_remaining_records: figure(&name("restore_remaining_records"), label).unwrap_or(0.0) as u64,
            state_bytes: figure(&name("state_bytes"), label).map(|bytes| bytes as u64),
            state_entries: figure(&name("state_entries"), label).map(|entries| entries as u64),
        };
        if let Some(other) = partitions.insert(partition, entry) {
            problems.push(format!(
                "partition {partition} is claimed by `{}` and by `{worker}`; one of them is about to find out that it \
                 lost it",
                other.owner.unwrap_or_default()
            ));
        }
    }
}

/// A consumer and the partitions it was told of.
#[derive(Default)]
struct Consumers {
    seen: BTreeSet<String>,
    lag_records: i64,
    oldest_seconds: f64,
    headroom_seconds: Option<f64>,
}

fn take_consumers(told: &Told<'_>, consumers: &mut BTreeMap<(String, String), Consumers>) {
    for (metric, is_lag) in [("ttf_consumer_lag_records", true), ("ttf_consumer_oldest_unprocessed_seconds", false)] {
        for sample in told.now.named(metric) {
            let key = (sample.label("group").to_owned(), sample.label("topic").to_owned());
            let consumer = consumers.entry(key).or_default();
            if is_lag {
                consumer.seen.insert(sample.label("partition").to_owned());
                consumer.lag_records += sample.value as i64;
            } else {
                consumer.oldest_seconds = consumer.oldest_seconds.max(sample.value);
            }
        }
    }
    for sample in told.now.named("ttf_retention_headroom_seconds") {
        let key = (sample.label("group").to_owned(), sample.label("topic").to_owned());
        let headroom = &mut consumers.entry(key).or_default().headroom_seconds;
        *headroom = Some(headroom.map_or(sample.value, |known| known.min(sample.value)));
    }
}

fn consumer(((group, topic), known): ((String, String), Consumers)) -> Consumer {
    Consumer {
        group,
        topic,
        partitions: known.seen.len(),
        lag_records: known.lag_records,
        oldest_unprocessed_seconds: known.oldest_seconds,
        retention_headroom_seconds: known.headroom_seconds,
    }
}

fn take_journeys(told: &Told<'_>, journeys: &mut Option<Journeys>) {
    let Some(in_progress) = told.now.sum("ttf_journeys_in_progress") else { return };
    let journeys = journeys.get_or_insert_default();
    journeys.in_progress += in_progress as u64;
    for (level, open) in told.now.by_label("ttf_breaches_open", "level") {
        *journeys.breaches_open.entry(level).or_default() += open as u64;
    }
}

/// What the group says of partitions none of the processes asked has.
fn take_group(group: &Group, partitions: &mut BTreeMap<i32, Partition>) {
    for (partition, standing) in &group.partitions {
        let entry = partitions.entry(*partition).or_insert_with(|| Partition {
            partition: *partition,
            owner: standing.owner.clone(),
            process: standing.host.clone(),
            ..Partition::default()
        });
        if entry.lag_records.is_none() {
            entry.lag_records = standing.lag_records;
            entry.oldest_unprocessed_seconds = standing.oldest_unprocessed_seconds;
        }
    }
}

impl View {
    fn find_problems(&mut self, group_asked: bool) {
        let mut problems = Vec::new();
        let unowned: Vec<String> =
            self.partitions.iter().filter(|it| it.owner.is_none()).map(|it| it.partition.to_string()).collect();
        if !unowned.is_empty() {
            let among = if group_asked { "in the group" } else { "among the processes asked" };
            let (partitions, have) = if unowned.len() == 1 { ("partition", "has") } else { ("partitions", "have") };
            problems.push(format!("{partitions} {} {have} no owner {among}", unowned.join(", ")));
        }
        for process in &self.processes {
            if process.open_transaction_seconds > LONG_TRANSACTION {
                problems.push(format!(
                    "{} has not committed for {:.0} s although it has something to commit",
                    process.url, process.open_transaction_seconds
                ));
            }
            if process.resting_journeys > 0 {
                problems.push(format!(
                    "{} holds {} journeys whose version is not in its configuration; they rest: `ttf journeys show`",
                    process.url, process.resting_journeys
                ));
            }
        }
        for consumer in &self.consumers {
            let waits = consumer.lag_records > 0;
            if let Some(headroom) = consumer.retention_headroom_seconds.filter(|left| waits && *left < SHORT_HEADROOM) {
                problems.push(format!(
                    "{} loses unprocessed records of {} in {} h unless it catches up",
                    consumer.group,
                    consumer.topic,
                    (headroom / 3600.0).max(0.0).floor()
                ));
            }
        }
        problems.extend(self.silent.iter().map(|(url, why)| format!("{url} does not answer: {why}")));
        self.problems.extend(problems);
    }

    /// Records that wait, over all partitions; `None` when of none it is known.
    pub fn lag_records(&self) -> Option<i64> {
        self.partitions.iter().filter_map(|partition| partition.lag_records).reduce(|sum, lag| sum + lag)
    }

    pub fn oldest_unprocessed_seconds(&self) -> Option<f64> {
        self.partitions.iter().filter_map(|partition| partition.oldest_unprocessed_seconds).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests;
