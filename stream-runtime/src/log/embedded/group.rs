//! Consumer groups within the process: who reads which partitions, decided anew whenever the members change.
//!
//! The protocol is Kafka's eager one: everyone gives everything up, then everyone gets a share. A share is a
//! range of partition numbers, the same numbers of every topic. No I/O here and no clock: time is a parameter.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::signal::Signal;
use crate::log::{LogError, Polled, TopicPartition, TransactionError, Verdict};

/// How long a member may take to give its partitions up before they are taken from it.
const RELEASE_WITHIN: Duration = Duration::from_secs(60);

/// Proof of membership in one generation of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    pub group: Arc<str>,
    pub member: u64,
    pub generation: u64,
}

/// Why a member is no longer what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The group has moved on, or the member has left it.
    Stale,
    /// Another subscription with the same instance id took its place.
    Replaced,
}

impl From<Refusal> for TransactionError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Stale => Self::new(Verdict::Stale, "the group has moved on to another generation"),
            Refusal::Replaced => Self::new(Verdict::Replaced, "another subscription has this instance id"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Holds nothing and waits for the next generation.
    Waiting,
    /// Holds its share.
    Holding,
    /// Holds its share until it releases it, or until then.
    Releasing { until: Instant },
    /// Was too slow to release; gets nothing until it answers.
    Lost,
}

struct Member {
    instance: Option<String>,
    /// Name and partition count of each topic.
    topics: Vec<(Arc<str>, i32)>,
    signal: Arc<Signal>,
    status: Status,
    holds: Vec<TopicPartition>,
    notice: Option<Polled>,
}

impl Member {
    fn tell(&mut self, notice: Polled) {
        self.notice = Some(notice);
        self.signal.raise();
    }
}

#[derive(Default)]
struct Group {
    generation: u64,
    members: BTreeMap<u64, Member>,
    /// Members whose instance id was taken over.
    replaced: BTreeSet<u64>,
}

impl Group {
    /// Asks everyone to give up what they hold.
    fn rebalance(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            if member.status != Status::Holding {
                continue;
            }
            if matches!(member.notice, Some(Polled::Assigned(_))) {
                // It does not know of its share yet: nothing to finish.
                member.notice = None;
                member.holds.clear();
                member.status = Status::Waiting;
            } else {
                member.status = Status::Releasing { until: now + RELEASE_WITHIN };
                let held = member.holds.clone();
                member.tell(Polled::Revoked(held));
            }
        }
        self.assign_when_all_wait();
    }

    /// Takes the partitions of members that did not release them in time.
    fn expire(&mut self, now: Instant) {
        let mut expired = false;
        for member in self.members.values_mut() {
            if let Status::Releasing { until } = member.status
                && until <= now
            {
                member.status = Status::Lost;
                let lost = std::mem::take(&mut member.holds);
                member.tell(Polled::Lost(lost));
                expired = true;
            }
        }
        if expired {
            self.assign_when_all_wait();
        }
    }

    fn assign_when_all_wait(&mut self) {
        let still_held =
            self.members.values().any(|member| matches!(member.status, Status::Holding | Status::Releasing { .. }));
        let mut waiting: Vec<(Option<&str>, u64)> = self
            .members
            .iter()
            .filter(|(_, member)| member.status == Status::Waiting)
            .map(|(id, member)| (member.instance.as_deref(), *id))
            .collect();
        if still_held || waiting.is_empty() {
            return;
        }
        waiting.sort_unstable();
        let order: Vec<u64> = waiting.into_iter().map(|(_, id)| id).collect();
        self.generation += 1;
        let shares = shares(&order, &self.members);
        for (id, share) in order.iter().zip(shares) {
            if let Some(member) = self.members.get_mut(id) {
                member.status = Status::Holding;
                member.holds.clone_from(&share);
                member.tell(Polled::Assigned(share));
            }
        }
    }
}

/// Divides the partition numbers of each topic among the members that subscribe to it, in ranges; the first ones
/// get one more when it does not come out even.
fn shares(order: &[u64], members: &BTreeMap<u64, Member>) -> Vec<Vec<TopicPartition>> {
    let subscribers = |topic: &str| -> Vec<usize> {
        (0..order.len())
            .filter(|index| members[&order[*index]].topics.iter().any(|(name, _)| &**name == topic))
            .collect()
    };
    let topics: BTreeMap<Arc<str>, i32> = order.iter().flat_map(|id| members[id].topics.iter().cloned()).collect();
    let mut shares = vec![Vec::new(); order.len()];
    for (topic, partitions) in topics {
        let subscribers = subscribers(&topic);
        let count = subscribers.len() as i32;
        let mut next = 0;
        for (rank, index) in subscribers.into_iter().enumerate() {
            let size = partitions / count + i32::from((rank as i32) < partitions % count);
            shares[index].extend((next..next + size).map(|number| TopicPartition::new(topic.clone(), number)));
            next += size;
        }
    }
    shares
}

/// All groups of a log.
#[derive(Default)]
pub(super) struct Coordinator {
    groups: Mutex<(u64, HashMap<Arc<str>, Group>)>,
}

impl Coordinator {
    /// Adds a member; the group rebalances. A member with the same instance id is replaced.
    pub fn join(
        &self,
        group: &Arc<str>,
        instance: Option<String>,
        topics: Vec<(Arc<str>, i32)>,
        signal: &Arc<Signal>,
        now: Instant,
    ) -> u64 {
        let mut groups = self.groups.lock();
        let (last_member, groups) = &mut *groups;
        *last_member += 1;
        let id = *last_member;
        let group = groups.entry(group.clone()).or_default();
        let predecessor = group
            .members
            .iter()
            .find(|(_, member)| instance.is_some() && member.instance == instance)
            .map(|(predecessor, _)| *predecessor);
        if let Some(predecessor) = predecessor {
            if let Some(member) = group.members.remove(&predecessor) {
                member.signal.raise();
            }
            group.replaced.insert(predecessor);
        }
        let member = Member {
            instance,
            topics,
            signal: signal.clone(),
            status: Status::Waiting,
            holds: Vec::new(),
            notice: None,
        };
        group.members.insert(id, member);
        group.rebalance(now);
        id
    }

    /// What the member has to know, once.
    pub fn poll(&self, group: &str, member: u64, now: Instant) -> Result<Option<(Polled, u64)>, LogError> {
        let mut groups = self.groups.lock();
        let Some(group) = groups.1.get_mut(group) else {
            return Ok(None);
        };
        if group.replaced.contains(&member) {
            return Err(LogError::Replaced("another subscription has this instance id".to_owned()));
        }
        group.expire(now);
        let generation = group.generation;
        let notice = group.members.get_mut(&member).and_then(|member| member.notice.take());
        Ok(notice.map(|notice| (notice, generation)))
    }

    /// The member has given up what it was asked for.
    pub fn release(&self, group: &str, member: u64, now: Instant) {
        let mut groups = self.groups.lock();
        let Some(group) = groups.1.get_mut(group) else {
            return;
        };
        let Some(released) = group.members.get_mut(&member) else {
            return;
        };
        match released.status {
            Status::Releasing { .. } => {
                released.status = Status::Waiting;
                released.holds.clear();
                released.notice = None;
                group.assign_when_all_wait();
            }
            Status::Lost => {
                released.status = Status::Waiting;
                released.notice = None;
                group.rebalance(now);
            }
            Status::Waiting | Status::Holding => {}
        }
    }

    /// Removes a member; what it held goes to the others.
    pub fn leave(&self, group: &str, member: u64, now: Instant) {
        let mut groups = self.groups.lock();
        let Some(group) = groups.1.get_mut(group) else {
            return;
        };
        group.replaced.remove(&member);
        if group.members.remove(&member).is_some() {
            group.rebalance(now);
        }
    }

    /// Whether whoever shows this proof still holds what it was assigned.
    pub fn check(&self, proof: &Proof) -> Result<(), Refusal> {
        let groups = self.groups.lock();
        let Some(group) = groups.1.get(&proof.group) else {
            return Err(Refusal::Stale);
        };
        if group.replaced.contains(&proof.member) {
            return Err(Refusal::Replaced);
        }
        match group.members.get(&proof.member).map(|member| member.status) {
            Some(Status::Holding | Status::Releasing { .. }) if group.generation == proof.generation => Ok(()),
            _ => Err(Refusal::Stale),
        }
    }

    /// Whether the partitions were taken away without a release.
    pub fn has_lost(&self, proof: &Proof) -> bool {
        let groups = self.groups.lock();
        groups
            .1
            .get(&proof.group)
            .is_none_or(|group| group.members.get(&proof.member).is_none_or(|member| member.status == Status::Lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "g";

    struct Bench {
        coordinator: Coordinator,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { coordinator: Coordinator::default(), now: Instant::now() }
        }

        fn join(&self, instance: Option<&str>) -> u64 {
            let topics = vec![("a".into(), 3), ("b".into(), 3)];
            self.coordinator.join(
                &GROUP.into(),
                instance.map(str::to_owned),
                topics,
                &Arc::new(Signal::default()),
                self.now,
            )
        }

        fn poll(&self, member: u64) -> Option<Polled> {
            self.coordinator.poll(GROUP, member, self.now).unwrap().map(|(notice, _)| notice)
        }

        fn proof(&self, member: u64) -> Proof {
            let generation = self.coordinator.groups.lock().1[GROUP].generation;
            Proof { group: GROUP.into(), member, generation }
        }
    }

    fn parts(list: &[(&str, i32)]) -> Vec<TopicPartition> {
        list.iter().map(|(topic, number)| TopicPartition::new(*topic, *number)).collect()
    }

    #[test]
    fn a_single_member_gets_everything() {
        let bench = Bench::new();
        let one = bench.join(None);
        let all = parts(&[("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2)]);
        assert_eq!(bench.poll(one), Some(Polled::Assigned(all)));
        assert_eq!(bench.poll(one), None);
    }

    #[test]
    fn a_second_member_waits_until_the_first_has_released() {
        let bench = Bench::new();
        let one = bench.join(None);
        bench.poll(one);
        let proof = bench.proof(one);
        let two = bench.join(None);
        assert_eq!(bench.poll(two), None);
        assert!(matches!(bench.poll(one), Some(Polled::Revoked(held)) if held.len() == 6));
        assert_eq!(bench.coordinator.check(&proof), Ok(()), "it may still commit what it has done");
        bench.coordinator.release(GROUP, one, bench.now);
        assert_eq!(bench.coordinator.check(&proof), Err(Refusal::Stale));
        let first = parts(&[("a", 0), ("a", 1), ("b", 0), ("b", 1)]);
        let second = parts(&[("a", 2), ("b", 2)]);
        assert_eq!(bench.poll(one), Some(Polled::Assigned(first)));
        assert_eq!(bench.poll(two), Some(Polled::Assigned(second)));
        assert_eq!(bench.coordinator.check(&bench.proof(two)), Ok(()));
    }

    #[test]
    fn the_others_take_over_when_a_member_leaves() {
        let bench = Bench::new();
        let one = bench.join(None);
        let two = bench.join(None);
        bench.poll(one);
        bench.poll(two);
        bench.coordinator.leave(GROUP, one, bench.now);
        assert!(matches!(bench.poll(two), Some(Polled::Revoked(_))));
        bench.coordinator.release(GROUP, two, bench.now);
        assert!(matches!(bench.poll(two), Some(Polled::Assigned(held)) if held.len() == 6));
    }

    #[test]
    fn a_share_nobody_heard_of_is_withdrawn_silently() {
        let bench = Bench::new();
        let one = bench.join(None);
        let two = bench.join(None);
        assert!(matches!(bench.poll(one), Some(Polled::Assigned(held)) if held.len() == 4));
        assert!(matches!(bench.poll(two), Some(Polled::Assigned(held)) if held.len() == 2));
    }

    #[test]
    fn who_does_not_release_in_time_loses_its_partitions_and_may_come_back() {
        let mut bench = Bench::new();
        let one = bench.join(None);
        bench.poll(one);
        let proof = bench.proof(one);
        let two = bench.join(None);
        bench.poll(one);
        bench.now += RELEASE_WITHIN;
        assert!(matches!(bench.poll(two), Some(Polled::Assigned(held)) if held.len() == 6));
        assert_eq!(bench.coordinator.check(&proof), Err(Refusal::Stale));
        assert!(bench.coordinator.has_lost(&proof), "it can be asked before the event is polled");
        assert!(matches!(bench.poll(one), Some(Polled::Lost(held)) if held.len() == 6));
        bench.coordinator.release(GROUP, one, bench.now);
        assert!(matches!(bench.poll(two), Some(Polled::Revoked(_))));
        bench.coordinator.release(GROUP, two, bench.now);
        assert!(matches!(bench.poll(one), Some(Polled::Assigned(held)) if held.len() == 4));
    }

    #[test]
    fn the_same_instance_id_replaces_the_older_member() {
        let bench = Bench::new();
        let old = bench.join(Some("app-0"));
        bench.poll(old);
        let proof = bench.proof(old);
        let new = bench.join(Some("app-0"));
        assert!(matches!(bench.coordinator.poll(GROUP, old, bench.now), Err(LogError::Replaced(_))));
        assert_eq!(bench.coordinator.check(&proof), Err(Refusal::Replaced));
        assert!(matches!(bench.poll(new), Some(Polled::Assigned(held)) if held.len() == 6));
    }

    #[test]
    fn more_members_than_partitions_leaves_some_without() {
        let bench = Bench::new();
        let members: Vec<u64> = (0..4).map(|_| bench.join(None)).collect();
        let sizes: Vec<usize> = members
            .iter()
            .map(|member| match bench.poll(*member) {
                Some(Polled::Assigned(held)) => held.len(),
                other => panic!("not assigned: {other:?}"),
            })
            .collect();
        assert_eq!(sizes, [2, 2, 2, 0]);
    }
}
