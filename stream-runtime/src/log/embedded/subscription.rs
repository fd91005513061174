//! A member of a group.

use std::{
    sync::{Arc, mpsc::sync_channel},
    time::{Duration, Instant},
};

use super::{
    EmbeddedLog,
    cursor::Cursor,
    group::Proof,
    signal::Signal,
    writer::{Request, Transaction, closed},
};
use crate::log::{
    Committed, GroupMetadata, LogError, NextOffset, Polled, Position, RecordRef, SubscribeOptions, Subscription,
    TopicPartition, Verdict,
};

pub(super) struct EmbeddedSubscription {
    log: EmbeddedLog,
    group: Arc<str>,
    member: u64,
    signal: Arc<Signal>,
    cursor: Cursor,
    /// Of the last assignment.
    proof: Option<Proof>,
}

impl EmbeddedSubscription {
    pub fn join(log: EmbeddedLog, options: SubscribeOptions) -> Result<Self, LogError> {
        let mut topics = Vec::with_capacity(options.topics.len());
        for name in &options.topics {
            let topic = log.catalog().get(name)?;
            topics.push((topic.name.clone(), topic.partition_count()));
        }
        let group: Arc<str> = options.group.into();
        let signal = Arc::new(Signal::default());
        let member = log.coordinator().join(&group, options.instance_id, topics, &signal, Instant::now());
        Ok(Self { cursor: log.cursor(&signal), log, group, member, signal, proof: None })
    }
}

impl Drop for EmbeddedSubscription {
    fn drop(&mut self) {
        self.log.coordinator().leave(&self.group, self.member, Instant::now());
    }
}

impl Subscription for EmbeddedSubscription {
    fn poll(
        &mut self,
        max: usize,
        timeout: Duration,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<Polled, LogError> {
        let deadline = Instant::now() + timeout;
        loop {
            self.signal.lower();
            if let Some((notice, generation)) = self.log.coordinator().poll(&self.group, self.member, Instant::now())? {
                // Nothing is read between an event and its answer.
                self.cursor.clear();
                if matches!(notice, Polled::Assigned(_)) {
                    self.proof = Some(Proof { group: self.group.clone(), member: self.member, generation });
                }
                return Ok(notice);
            }
            let visited = self.cursor.visit(max, visit)?;
            if visited > 0 || !self.signal.wait_until(deadline) {
                return Ok(Polled::Records(visited));
            }
        }
    }

    fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        self.cursor.assign(from)
    }

    fn release(&mut self) -> Result<(), LogError> {
        self.cursor.clear();
        self.log.coordinator().release(&self.group, self.member, Instant::now());
        Ok(())
    }

    fn seek(&mut self, to: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        self.cursor.seek(to)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.cursor.set_paused(partitions, true)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.cursor.set_paused(partitions, false)
    }

    fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.cursor.position(at)
    }

    fn committed(&mut self, of: &[TopicPartition], timeout: Duration) -> Result<Vec<Committed>, LogError> {
        self.log.committed_by(&self.group, of, timeout)
    }

    fn commit(&mut self, offsets: &[NextOffset]) -> Result<(), LogError> {
        let Some(proof) = self.proof.clone() else {
            return Err(LogError::Unavailable("nothing was assigned yet".to_owned()));
        };
        let offsets = self.log.place_offsets(&proof.group, offsets)?;
        let transaction = Transaction { turn: None, proof: Some(proof), records: Vec::new(), offsets };
        let (reply, answer) = sync_channel(1);
        self.log.queue().push(Request::Commit { transaction, reply })?;
        match answer.recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(match refused.verdict {
                Verdict::Stale => LogError::Unavailable(refused.message),
                Verdict::Replaced => LogError::Replaced(refused.message),
                _ => LogError::Fatal(refused.message),
            }),
            Err(_) => Err(closed()),
        }
    }

    fn group(&self) -> Result<GroupMetadata, LogError> {
        match &self.proof {
            Some(proof) => Ok(GroupMetadata(Arc::new(proof.clone()))),
            None => Err(LogError::Unavailable("nothing was assigned yet".to_owned())),
        }
    }

    fn assignment_lost(&self) -> bool {
        match &self.proof {
            Some(proof) => self.log.coordinator().has_lost(proof),
            None => false,
        }
    }
}
