//! What waits for one receiver. Pure: the time comes in as an argument.
//!
//! Notifications of one group are delivered in order; of different groups, each on its own, so that one that is
//! refused for hours holds up no other.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use stream_runtime::log::{NextOffset, TopicPartition};
use telemetry_schemas::{BreachStatus, alert::Notification};

use super::progress::Progress;

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// A receiver that fails for longer is left alone as a whole ([`super::gate`]).
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long after the `attempts`-th failure the next try is made; `jitter` between 0 and 1.
pub fn backoff(attempts: u32, jitter: f64) -> Duration {
    let doubled = SHORTEST_PAUSE.saturating_mul(1_u32 << attempts.saturating_sub(1).min(16));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

/// A place in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub at: TopicPartition,
    pub offset: i64,
}

/// A notification that is to be tried now.
#[derive(Debug, Clone)]
pub struct Job {
    pub place: Place,
    pub notification: Arc<Notification>,
    /// Tries before this one.
    pub attempts: u32,
    /// Whether the receiver may have it already.
    pub perhaps_taken: bool,
}

struct Pending {
    notification: Arc<Notification>,
    attempts: u32,
    /// Whether the receiver may have it already.
    perhaps_taken: bool,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not before this.
    Waiting(Instant),
    Tried,
}

#[derive(Default)]
struct Partition {
    pending: BTreeMap<i64, Pending>,
    /// Behind `next`, settled out of turn: in an earlier life or in this one.
    progress: Progress,
    /// The offset behind the last record read.
    read_to: i64,
    changed: bool,
}

impl Partition {
    /// Moves `next` over what is settled.
    fn advance(&mut self) {
        let next = self.pending.keys().next().copied().unwrap_or(self.read_to).max(self.progress.next);
        self.progress.next = next;
        self.progress.settled = self.progress.settled.split_off(&next);
        self.changed = true;
    }
}

/// See the [module](self).
#[derive(Default)]
pub struct Queue {
    partitions: BTreeMap<TopicPartition, Partition>,
}

impl Queue {
    /// Begins with these partitions, where they were left.
    pub fn assign(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, Progress)>) {
        *self = Self::default();
        for (at, progress) in partitions {
            // Whoever reads the outbox commits where it begins, without what was settled out of turn: said again at once.
            let changed = !progress.settled.is_empty();
            let partition = Partition { read_to: progress.next, progress, changed, ..Partition::default() };
            self.partitions.insert(at, partition);
        }
    }

    /// Notes that a record was read; true when it is still to be settled.
    pub fn read(&mut self, place: &Place) -> bool {
        let Some(partition) = self.partitions.get_mut(&place.at) else { return false };
        partition.read_to = partition.read_to.max(place.offset + 1);
        let is_settled = place.offset < partition.progress.next || partition.progress.settled.contains(&place.offset);
        if is_settled && partition.pending.is_empty() {
            partition.advance();
        }
        !is_settled
    }

    /// Adds a notification that is to be delivered from now on.
    pub fn push(&mut self, place: Place, notification: Notification, perhaps_taken: bool, now: Instant) {
        let Some(partition) = self.partitions.get_mut(&place.at) else { return };
        let pending =
            Pending { notification: Arc::new(notification), attempts: 0, perhaps_taken, stage: Stage::Waiting(now) };
        partition.pending.insert(place.offset, pending);
    }

    /// Notes that nothing more is to be done about a record that was read.
    pub fn settle(&mut self, place: &Place) {
        let Some(partition) = self.partitions.get_mut(&place.at) else { return };
        partition.pending.remove(&place.offset);
        partition.progress.settled.insert(place.offset);
        partition.advance();
    }

    /// Notes that a try failed and the next may be made at `at`.
    pub fn retry(&mut self, place: &Place, perhaps_taken: bool, at: Instant) {
        let pending = self.partitions.get_mut(&place.at).and_then(|partition| partition.pending.get_mut(&place.offset));
        if let Some(pending) = pending {
            pending.attempts += 1;
            pending.perhaps_taken |= perhaps_taken;
            pending.stage = Stage::Waiting(at);
        }
    }

    /// Lets everything that waits for its next try be tried now.
    pub fn hurry(&mut self, now: Instant) {
        for pending in self.partitions.values_mut().flat_map(|partition| partition.pending.values_mut()) {
            if let Stage::Waiting(at) = pending.stage {
                pending.stage = Stage::Waiting(at.min(now));
            }
        }
    }

    /// What need not be told of a group that nobody was told of yet, and whose end waits already: everything up to and
    /// with that end. None of it when the receiver may have any of it, or takes it right now.
    pub fn needless(&self, at: &TopicPartition, group: &str) -> Vec<(Place, Arc<Notification>)> {
        let Some(partition) = self.partitions.get(at) else { return Vec::new() };
        let mut places = Vec::new();
        let mut to_the_end = 0;
        for (offset, pending) in &partition.pending {
            if pending.notification.group_key != group {
                continue;
            }
            if pending.perhaps_taken || pending.stage == Stage::Tried {
                break;
            }
            places.push((Place { at: at.clone(), offset: *offset }, pending.notification.clone()));
            if pending.notification.status == BreachStatus::Resolved {
                to_the_end = places.len();
            }
        }
        places.truncate(to_the_end);
        // An end alone is told: who was told of the beginning may not be known here.
        if places.len() < 2 { Vec::new() } else { places }
    }

    /// Whether everything before this offset is settled.
    pub fn is_settled(&self, partition: i32, offset: i64) -> bool {
        let of = self.partitions.iter().find(|(at, _)| at.partition == partition);
        of.is_some_and(|(_, partition)| offset < partition.progress.next)
    }

    /// What is to be tried now, at most `limit`; from here on it counts as tried.
    pub fn start(&mut self, now: Instant, limit: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        for (at, partition) in &mut self.partitions {
            let mut groups = HashSet::new();
            for (offset, pending) in &mut partition.pending {
                if jobs.len() >= limit {
                    return jobs;
                }
                let is_first = groups.insert(pending.notification.group_key.clone());
                let is_due = matches!(pending.stage, Stage::Waiting(at) if now >= at);
                if is_first && is_due {
                    pending.stage = Stage::Tried;
                    jobs.push(Job {
                        place: Place { at: at.clone(), offset: *offset },
                        notification: pending.notification.clone(),
                        attempts: pending.attempts,
                        perhaps_taken: pending.perhaps_taken,
                    });
                }
            }
        }
        jobs
    }

    /// When [`Queue::start`] has something next, if nothing else happens.
    pub fn next_start(&self) -> Option<Instant> {
        let mut earliest: Option<Instant> = None;
        for partition in self.partitions.values() {
            let mut groups = HashSet::new();
            // What waits behind another of its group is not due, whatever the clock says.
            let firsts = partition.pending.values().filter(|pending| groups.insert(&pending.notification.group_key));
            for pending in firsts {
                let Stage::Waiting(since) = pending.stage else { continue };
                earliest = Some(earliest.map_or(since, |known| known.min(since)));
            }
        }
        earliest
    }

    /// Notifications that are not settled.
    pub fn len(&self) -> usize {
        self.partitions.values().map(|partition| partition.pending.len()).sum()
    }

    /// What changed since the last call, to be committed.
    pub fn take_progress(&mut self) -> Vec<NextOffset> {
        let mut offsets = Vec::new();
        for (at, partition) in &mut self.partitions {
            if std::mem::take(&mut partition.changed) {
                offsets.push(NextOffset {
                    at: at.clone(),
                    next: partition.progress.next,
                    metadata: partition.progress.metadata(),
                });
            }
        }
        offsets
    }
}

#[cfg(test)]
mod tests {
    use telemetry_schemas::{BreachLevel, BreachStatus, EventTime};

    use super::*;

    fn at() -> TopicPartition {
        TopicPartition::new("outbox", 0)
    }

    fn place(offset: i64) -> Place {
        Place { at: at(), offset }
    }

    fn notification(group: &str) -> Notification {
        Notification {
            notification_id: String::new(),
            group_key: group.to_owned(),
            tenant: String::new(),
            journey: String::new(),
            receiver: "r".to_owned(),
            level: BreachLevel::Warning,
            status: BreachStatus::Firing,
            reason: String::new(),
            labels: BTreeMap::new(),
            alerts: Vec::new(),
            created_at: EventTime(0),
            acknowledged_by: None,
            assigned_to: None,
            left_out: 0,
        }
    }

    fn queue(groups: &[(i64, &str)], now: Instant) -> Queue {
        let mut queue = Queue::default();
        queue.assign([(at(), Progress { next: 10, settled: [12].into() })]);
        for (offset, group) in groups {
            assert!(queue.read(&place(*offset)));
            queue.push(place(*offset), notification(group), false, now);
        }
        queue
    }

    fn started(queue: &mut Queue, now: Instant) -> Vec<i64> {
        queue.start(now, 10).iter().map(|job| job.place.offset).collect()
    }

    fn committed(queue: &mut Queue) -> (i64, String) {
        let offsets = queue.take_progress();
        assert_eq!(offsets.len(), 1, "{offsets:?}");
        (offsets[0].next, offsets[0].metadata.clone())
    }

    #[test]
    fn a_group_is_told_in_order_and_others_do_not_wait_for_it() {
        let now = Instant::now();
        let mut queue = queue(&[(10, "a"), (11, "a"), (13, "b")], now);
        assert_eq!(started(&mut queue, now), [10, 13]);
        assert_eq!(started(&mut queue, now), [] as [i64; 0], "both are being tried");
        queue.settle(&place(13));
        assert_eq!(committed(&mut queue), (10, "settled:12-13".to_owned()));
        let later = now + Duration::from_secs(1);
        queue.retry(&place(10), false, later);
        assert_eq!(started(&mut queue, now), [] as [i64; 0], "11 waits for 10");
        assert_eq!(queue.next_start(), Some(later), "11 is due by the clock, but held back by its group");
        assert_eq!(started(&mut queue, later), [10]);
        queue.settle(&place(10));
        assert_eq!(committed(&mut queue), (11, "settled:12-13".to_owned()));
        assert_eq!(started(&mut queue, later), [11]);
        queue.settle(&place(11));
        assert_eq!(committed(&mut queue), (14, String::new()));
        assert_eq!(queue.len(), 0);
        assert!(queue.take_progress().is_empty(), "nothing has changed since");
    }

    #[test]
    fn what_was_settled_before_a_restart_is_not_tried_again() {
        let now = Instant::now();
        let mut queue = queue(&[], now);
        assert!(!queue.read(&place(9)), "before the committed offset");
        assert!(queue.read(&place(11)));
        assert!(!queue.read(&place(12)), "settled out of turn");
        queue.push(place(11), notification("a"), false, now);
        queue.settle(&place(11));
        assert_eq!(committed(&mut queue), (13, String::new()));
    }

    #[test]
    fn what_was_settled_out_of_turn_is_committed_again_after_a_restart() {
        let mut queue = queue(&[], Instant::now());
        assert_eq!(committed(&mut queue), (10, "settled:12".to_owned()));
    }

    #[test]
    fn what_waits_is_tried_at_once_when_it_has_become_possible() {
        let now = Instant::now();
        let mut queue = queue(&[(10, "a")], now);
        assert_eq!(started(&mut queue, now), [10]);
        queue.retry(&place(10), false, now + Duration::from_secs(60));
        assert_eq!(started(&mut queue, now), [] as [i64; 0]);
        queue.hurry(now);
        assert_eq!(started(&mut queue, now), [10]);
    }

    #[test]
    fn an_alarm_nobody_has_is_not_told_once_its_end_waits() {
        let now = Instant::now();
        let over = |group| Notification { status: BreachStatus::Resolved, ..notification(group) };
        let needless =
            |queue: &Queue| -> Vec<i64> { queue.needless(&at(), "a").iter().map(|(place, _)| place.offset).collect() };
        let mut queue = queue(&[(10, "a"), (11, "b"), (13, "a")], now);
        assert!(needless(&queue).is_empty(), "it is not over");
        assert!(queue.read(&place(14)));
        queue.push(place(14), over("a"), false, now);
        assert!(queue.read(&place(15)));
        queue.push(place(15), notification("a"), false, now);
        assert_eq!(needless(&queue), [10, 13, 14], "and what begins anew is told");
        assert_eq!(started(&mut queue, now), [10, 11]);
        assert!(needless(&queue).is_empty(), "it may be taken right now");
        queue.retry(&place(10), false, now);
        assert_eq!(needless(&queue), [10, 13, 14]);
        queue.retry(&place(10), true, now);
        assert!(needless(&queue).is_empty(), "it may have been taken");
    }

    #[test]
    fn no_more_are_tried_at_once_than_allowed() {
        let now = Instant::now();
        let mut queue = queue(&[(10, "a"), (11, "b"), (13, "c")], now);
        assert_eq!(queue.start(now, 2).len(), 2);
        assert_eq!(queue.start(now, 0).len(), 0);
        assert_eq!(queue.start(now, 1)[0].place.offset, 13);
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_are_spread() {
        assert_eq!(backoff(1, 1.0), SHORTEST_PAUSE);
        assert_eq!(backoff(1, 0.0), SHORTEST_PAUSE / 2);
        assert_eq!(backoff(4, 1.0), SHORTEST_PAUSE * 8);
        assert_eq!(backoff(1_000, 1.0), LONGEST_PAUSE);
    }
}
