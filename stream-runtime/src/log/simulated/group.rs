//! A consumer group: eager rebalances, static members, and deaths that nobody notices until they are told.

use std::{collections::BTreeMap, sync::Arc};

use crate::log::{Polled, TopicPartition, TransactionError, Verdict};

/// Proof of membership in one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    pub group: String,
    pub member: u64,
    pub generation: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Holds nothing and waits for the next generation.
    Waiting,
    Holding,
    /// Holds its share until it releases it.
    Releasing,
    /// Was expelled and has not noticed.
    Expelled,
    /// Was expelled, was told, and has not answered.
    Told,
    /// Another member has its instance id.
    Replaced,
}

struct Member {
    client: u32,
    instance: Option<String>,
    topics: Vec<(Arc<str>, i32)>,
    status: Status,
    holds: Vec<TopicPartition>,
    notice: Option<Polled>,
}

#[derive(Default)]
pub(super) struct Group {
    generation: u64,
    last_member: u64,
    members: BTreeMap<u64, Member>,
    pub committed: BTreeMap<TopicPartition, (i64, String)>,
}

impl Group {
    /// Adds a member. One with the instance id of another takes its place, and its share without a rebalance.
    pub fn join(&mut self, client: u32, instance: Option<String>, topics: Vec<(Arc<str>, i32)>) -> u64 {
        self.last_member += 1;
        let id = self.last_member;
        let mut member = Member { client, instance, topics, status: Status::Waiting, holds: Vec::new(), notice: None };
        let mut inherited = false;
        for old in self.members.values_mut() {
            let same = old.instance.is_some() && old.instance == member.instance;
            if !same || old.status == Status::Replaced {
                continue;
            }
            if old.status == Status::Holding {
                member.holds = std::mem::take(&mut old.holds);
                member.notice = Some(Polled::Assigned(member.holds.clone()));
                member.status = Status::Holding;
                inherited = true;
            }
            old.status = Status::Replaced;
            old.notice = None;
        }
        self.members.insert(id, member);
        if !inherited {
            self.rebalance();
        }
        id
    }

    /// Takes the client's members out of the group.
    pub fn expel(&mut self, client: u32) {
        let mut expelled = false;
        for member in self.members.values_mut().filter(|member| member.client == client) {
            if matches!(member.status, Status::Waiting | Status::Holding | Status::Releasing) {
                member.status = Status::Expelled;
                member.notice = None;
                expelled = true;
            }
        }
        if expelled {
            self.rebalance();
        }
    }

    /// What the member has to know, once.
    pub fn poll(&mut self, id: u64) -> Result<Option<Polled>, String> {
        let Some(member) = self.members.get_mut(&id) else { return Ok(None) };
        match member.status {
            Status::Replaced => Err("another member has this instance id".to_owned()),
            Status::Expelled => {
                member.status = Status::Told;
                Ok(Some(Polled::Lost(std::mem::take(&mut member.holds))))
            }
            _ => Ok(member.notice.take()),
        }
    }

    /// True while records may be handed out.
    pub fn may_read(&self, id: u64) -> bool {
        // Whoever has not noticed that it was expelled reads on.
        self.members
            .get(&id)
            .is_some_and(|member| matches!(member.status, Status::Holding | Status::Releasing | Status::Expelled))
    }

    /// The member has given up what it was asked for.
    pub fn release(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        match member.status {
            Status::Releasing => {
                member.status = Status::Waiting;
                member.holds.clear();
                self.assign_when_all_wait();
            }
            Status::Told => {
                member.status = Status::Waiting;
                self.rebalance();
            }
            _ => {}
        }
    }

    fn rebalance(&mut self) {
        for member in self.members.values_mut().filter(|member| member.status == Status::Holding) {
            if matches!(member.notice, Some(Polled::Assigned(_))) {
                // It does not know of its share yet.
                member.notice = None;
                member.holds.clear();
                member.status = Status::Waiting;
            } else {
                member.status = Status::Releasing;
                member.notice = Some(Polled::Revoked(member.holds.clone()));
            }
        }
        self.assign_when_all_wait();
    }

    fn assign_when_all_wait(&mut self) {
        if self.members.values().any(|member| matches!(member.status, Status::Holding | Status::Releasing)) {
            return;
        }
        let mut waiting: Vec<(Option<String>, u64)> = self
            .members
            .iter()
            .filter(|(_, member)| member.status == Status::Waiting)
            .map(|(id, member)| (member.instance.clone(), *id))
            .collect();
        if waiting.is_empty() {
            return;
        }
        waiting.sort_unstable();
        self.generation += 1;
        let count = waiting.len() as i32;
        for (rank, (_, id)) in (0..).zip(&waiting) {
            let Some(member) = self.members.get_mut(id) else { continue };
            let mut share = Vec::new();
            for (topic, partitions) in &member.topics {
                // The range assignor: the first ones get one more when it does not come out even.
                let (each, rest) = (partitions / count, partitions % count);
                let first = rank * each + rank.min(rest);
                let size = each + i32::from(rank < rest);
                share.extend((first..first + size).map(|number| TopicPartition::new(topic.clone(), number)));
            }
            member.status = Status::Holding;
            member.holds.clone_from(&share);
            member.notice = Some(Polled::Assigned(share));
        }
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether whoever shows this proof may commit.
    pub fn check(&self, proof: &Proof) -> Result<(), TransactionError> {
        let stale = || TransactionError::new(Verdict::Stale, "the group has moved on");
        let member = self.members.get(&proof.member).ok_or_else(stale)?;
        match member.status {
            Status::Replaced => Err(TransactionError::new(Verdict::Replaced, "another member has this instance id")),
            Status::Holding | Status::Releasing if proof.generation == self.generation => Ok(()),
            _ => Err(stale()),
        }
    }

    /// Whether the member was expelled, as far as it could tell.
    pub fn is_expelled(&self, id: u64) -> bool {
        self.members.get(&id).is_none_or(|member| matches!(member.status, Status::Expelled | Status::Told))
    }
}
