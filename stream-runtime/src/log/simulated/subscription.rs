//! A member of a group.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, seq::SliceRandom as _};

use super::{Call, client::SimulatedLog, client::resolve, group::Proof};
use crate::log::{
    Committed, GroupMetadata, Isolation, LogError, NextOffset, Polled, Position, Record, RecordRef, SubscribeOptions,
    Subscription, TopicPartition,
};

/// Records of one partition in one poll at most.
const CHUNK: usize = 8;

struct Read {
    at: TopicPartition,
    position: i64,
    /// Something was read since the partition was assigned or sought.
    known: bool,
    paused: bool,
}

pub(super) struct SimulatedSubscription {
    log: SimulatedLog,
    group: String,
    member: u64,
    isolation: Isolation,
    reads: Vec<Read>,
    /// Of the last assignment.
    proof: Option<Proof>,
}

impl SimulatedSubscription {
    pub fn join(log: SimulatedLog, options: SubscribeOptions) -> Result<Self, LogError> {
        let member = log.broker.change(|broker| {
            let mut topics = Vec::with_capacity(options.topics.len());
            for name in &options.topics {
                let topic = broker.topic(name)?;
                topics.push((topic.name.clone(), topic.partitions.len() as i32));
            }
            let group = broker.groups.entry(options.group.clone()).or_default();
            let member = group.join(log.client, options.instance_id, topics);
            broker.touch("joined");
            Ok(member)
        })?;
        Ok(Self { log, group: options.group, member, isolation: options.isolation, reads: Vec::new(), proof: None })
    }

    fn read_of(&mut self, at: &TopicPartition) -> Result<&mut Read, LogError> {
        self.reads
            .iter_mut()
            .find(|read| read.at == *at)
            .ok_or_else(|| LogError::Invalid(format!("{at} is not assigned")))
    }

    /// Some of what is there, of each partition a run of records, the partitions in any order.
    fn read(&mut self, max: usize) -> Result<Vec<Record>, LogError> {
        let mut broker = self.log.broker.lock();
        let mut order: Vec<usize> = (0..self.reads.len()).filter(|index| !self.reads[*index].paused).collect();
        order.shuffle(&mut broker.random);
        let mut records = Vec::new();
        for index in order {
            let share = broker.random.random_range(0..=CHUNK).min(max - records.len());
            if share == 0 {
                continue;
            }
            let read = &mut self.reads[index];
            if broker.random.random_bool(0.02) {
                // What was read already comes once more.
                read.position = (read.position - 3).max(0);
            }
            let (found, next) = broker.partition(&read.at)?.read(read.position, self.isolation, share);
            if next == read.position && !read.known && found.is_empty() {
                // At the end, and nothing has come: as after a seek in Kafka, the position is not known.
                continue;
            }
            (read.position, read.known) = (next, true);
            records.extend(found);
        }
        Ok(records)
    }
}

impl Subscription for SimulatedSubscription {
    fn poll(
        &mut self,
        max: usize,
        _timeout: Duration,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<Polled, LogError> {
        (self.log.on_call)(Call::Poll);
        let may_read = {
            let mut broker = self.log.broker.lock();
            let group = broker.groups.entry(self.group.clone()).or_default();
            if let Some(notice) = group.poll(self.member).map_err(LogError::Replaced)? {
                if matches!(notice, Polled::Assigned(_)) {
                    let generation = group.generation();
                    self.proof = Some(Proof { group: self.group.clone(), member: self.member, generation });
                }
                broker.touch(format!("{notice:?}"));
                return Ok(notice);
            }
            group.may_read(self.member)
        };
        let records = if may_read { self.read(max)? } else { Vec::new() };
        for record in &records {
            visit(&record.as_ref());
        }
        Ok(Polled::Records(records.len()))
    }

    fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        let mut reads = Vec::with_capacity(from.len());
        for (at, position) in from {
            let position = resolve(&self.log, at, *position)?;
            reads.push(Read { at: at.clone(), position, known: false, paused: false });
        }
        self.reads = reads;
        Ok(())
    }

    fn release(&mut self) -> Result<(), LogError> {
        self.reads.clear();
        self.log.broker.change(|broker| {
            broker.groups.entry(self.group.clone()).or_default().release(self.member);
            broker.touch("released");
        });
        Ok(())
    }

    fn seek(&mut self, to: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        for (at, position) in to {
            let position = resolve(&self.log, at, *position)?;
            let read = self.read_of(at)?;
            (read.position, read.known) = (position, false);
        }
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        partitions.iter().try_for_each(|at| self.read_of(at).map(|read| read.paused = true))
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        partitions.iter().try_for_each(|at| self.read_of(at).map(|read| read.paused = false))
    }

    fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.reads.iter().find(|read| read.at == *at && read.known).map(|read| read.position)
    }

    fn committed(&mut self, of: &[TopicPartition], _timeout: Duration) -> Result<Vec<Committed>, LogError> {
        Ok(self.log.committed_by(&self.group, of))
    }

    fn commit(&mut self, _offsets: &[NextOffset]) -> Result<(), LogError> {
        Err(LogError::Invalid("the simulated log commits offsets in transactions alone".to_owned()))
    }

    fn group(&self) -> Result<GroupMetadata, LogError> {
        match &self.proof {
            Some(proof) => Ok(GroupMetadata(Arc::new(proof.clone()))),
            None => Err(LogError::Unavailable("nothing was assigned yet".to_owned())),
        }
    }

    fn assignment_lost(&self) -> bool {
        let mut broker = self.log.broker.lock();
        let expelled = broker.groups.get(&self.group).is_some_and(|group| group.is_expelled(self.member));
        // The heartbeat that would tell has been answered, or not yet.
        expelled && broker.random.random_bool(0.5)
    }
}
