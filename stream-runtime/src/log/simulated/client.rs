//! The log as one client process sees it.

use std::{sync::Arc, time::Duration};

use super::{Call, OnCall, SimulatedBroker, subscription::SimulatedSubscription, transactor::SimulatedTransactor};
use crate::log::{
    Cleanup, ClusterId, Committed, Delivery, Isolation, Log, LogError, NewRecord, Position, Publisher, Reader,
    RecordRef, SubscribeOptions, Subscription, TopicInfo, TopicOutcome, TopicPartition, TopicSpec, Transactor,
};

/// See the [module](super).
#[derive(Clone)]
pub struct SimulatedLog {
    pub(super) broker: SimulatedBroker,
    pub(super) client: u32,
    pub(super) on_call: OnCall,
}

impl SimulatedLog {
    /// True when a reader of this client waits for something that others must do first.
    pub fn is_reader_blocked(&self) -> bool {
        self.broker.is_reader_blocked(self.client)
    }

    /// What the group has committed, once nothing is open that would change it.
    pub(super) fn committed_by(&self, group: &str, of: &[TopicPartition]) -> Vec<Committed> {
        (self.on_call)(Call::Transaction);
        self.broker.change(|broker| {
            broker.settle_offsets(group, of);
            let group = broker.groups.entry(group.to_owned()).or_default();
            of.iter()
                .map(|at| {
                    let known = group.committed.get(at);
                    Committed {
                        at: at.clone(),
                        next: known.map(|(next, _)| *next),
                        metadata: known.map(|(_, metadata)| metadata.clone()).unwrap_or_default(),
                    }
                })
                .collect()
        })
    }
}

impl Log for SimulatedLog {
    fn publisher(&self) -> Result<Arc<dyn Publisher>, LogError> {
        Ok(Arc::new(SimulatedPublisher(self.broker.clone())))
    }

    fn transactor(&self, transactional_id: &str) -> Result<Box<dyn Transactor>, LogError> {
        Ok(Box::new(SimulatedTransactor::new(self.clone(), transactional_id)))
    }

    fn subscribe(&self, options: SubscribeOptions) -> Result<Box<dyn Subscription>, LogError> {
        Ok(Box::new(SimulatedSubscription::join(self.clone(), options)?))
    }

    fn reader(&self, isolation: Isolation) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(SimulatedReader { log: self.clone(), isolation, reads: Vec::new() }))
    }

    fn end_offset(&self, at: &TopicPartition, isolation: Isolation, _timeout: Duration) -> Result<i64, LogError> {
        Ok(self.broker.lock().partition(at)?.end(isolation))
    }

    fn start_offset(&self, at: &TopicPartition, _timeout: Duration) -> Result<i64, LogError> {
        self.broker.lock().partition(at).map(|_| 0)
    }

    fn offset_for_time(&self, at: &TopicPartition, timestamp_ms: i64, _timeout: Duration) -> Result<i64, LogError> {
        let broker = self.broker.lock();
        let partition = broker.partition(at)?;
        let (records, end) = partition.read(0, Isolation::ReadUncommitted, usize::MAX);
        Ok(records.iter().find(|record| record.timestamp_ms >= timestamp_ms).map_or(end, |record| record.offset))
    }

    fn topics(&self, names: Option<&[&str]>, _timeout: Duration) -> Result<Vec<TopicInfo>, LogError> {
        let broker = self.broker.lock();
        let wanted = broker.topics().filter(|topic| names.is_none_or(|names| names.contains(&&*topic.name)));
        Ok(wanted
            .map(|topic| TopicInfo { name: topic.name.to_string(), partitions: topic.partitions.len() as i32 })
            .collect())
    }

    fn create_topics(&self, specs: &[TopicSpec], _timeout: Duration) -> Result<Vec<(String, TopicOutcome)>, LogError> {
        let mut broker = self.broker.lock();
        let create = |spec: &TopicSpec| {
            let outcome = match broker.create(&spec.name, spec.partitions, spec.cleanup) {
                None => TopicOutcome::Created,
                Some(actual) if actual == spec.partitions => TopicOutcome::Exists,
                Some(actual) => TopicOutcome::PartitionsDiffer { actual },
            };
            (spec.name.clone(), outcome)
        };
        Ok(specs.iter().map(create).collect())
    }

    fn committed(&self, group: &str, of: &[TopicPartition], _timeout: Duration) -> Result<Vec<Committed>, LogError> {
        Ok(self.committed_by(group, of))
    }

    fn cluster_id(&self, _timeout: Duration) -> Result<ClusterId, LogError> {
        Ok("simulated".to_owned())
    }

    fn topic_id(&self, topic: &str, _timeout: Duration) -> Result<String, LogError> {
        self.broker.lock().topic(topic).map(|topic| topic.name.to_string())
    }

    fn retention(&self, _topic: &str, _timeout: Duration) -> Result<Option<Duration>, LogError> {
        Ok(None)
    }
}

struct SimulatedPublisher(SimulatedBroker);

impl Publisher for SimulatedPublisher {
    fn publish(&self, record: NewRecord) -> Result<Delivery, LogError> {
        self.0.lock().topic(&record.topic)?;
        self.0.append(record);
        Ok(Box::pin(std::future::ready(Ok((-1, -1)))))
    }

    fn flush(&self, _timeout: Duration) -> Result<(), LogError> {
        Ok(())
    }
}

/// Where a position lies.
pub(super) fn resolve(log: &SimulatedLog, at: &TopicPartition, position: Position) -> Result<i64, LogError> {
    let broker = log.broker.lock();
    let partition = broker.partition(at)?;
    Ok(match position {
        Position::Beginning => 0,
        Position::End => partition.end(Isolation::ReadCommitted),
        Position::Offset(offset) => offset,
    })
}

struct SimulatedReader {
    log: SimulatedLog,
    isolation: Isolation,
    /// Place, next offset, and whether anything was read.
    reads: Vec<(TopicPartition, i64, bool)>,
}

impl SimulatedReader {
    /// Reads what is there.
    fn read(&mut self, max: usize) -> Result<Vec<crate::log::Record>, LogError> {
        let mut broker = self.log.broker.lock();
        let mut records = Vec::new();
        let mut moved = false;
        for (at, position, known) in &mut self.reads {
            let gated = broker.topic(&at.topic)?.cleanup == Cleanup::Compact;
            let gate = if gated { broker.gates.get(&self.log.client).copied() } else { None };
            if gate == Some(0) {
                continue;
            }
            let room = gate.unwrap_or(usize::MAX).min(max - records.len());
            let partition = broker.partition(at)?;
            let end = partition.end(Isolation::ReadUncommitted);
            if *position > end {
                return Err(LogError::OffsetOutOfRange { at: at.clone(), offset: *position, start: 0, end });
            }
            let (found, next) = partition.read(*position, self.isolation, room);
            moved |= next != *position || !*known;
            (*position, *known) = (next, true);
            if let Some(left) = broker.gates.get_mut(&self.log.client).filter(|_| gated) {
                *left -= found.len();
            }
            records.extend(found);
        }
        if moved {
            broker.forget_reader(self.log.client);
        } else {
            broker.found_nothing(self.log.client);
        }
        Ok(records)
    }
}

impl Drop for SimulatedReader {
    fn drop(&mut self) {
        self.log.broker.lock().forget_reader(self.log.client);
    }
}

impl Reader for SimulatedReader {
    fn assign(&mut self, from: &[(TopicPartition, Position)]) -> Result<(), LogError> {
        self.reads = from
            .iter()
            .map(|(at, position)| Ok((at.clone(), resolve(&self.log, at, *position)?, false)))
            .collect::<Result<_, LogError>>()?;
        Ok(())
    }

    fn poll(
        &mut self,
        max: usize,
        _timeout: Duration,
        visit: &mut dyn FnMut(&RecordRef<'_>),
    ) -> Result<usize, LogError> {
        // Nothing changes by itself: whoever runs the simulation lets it read again when there may be something.
        let records = self.read(max)?;
        for record in &records {
            visit(&record.as_ref());
        }
        Ok(records.len())
    }

    fn position(&self, at: &TopicPartition) -> Option<i64> {
        self.reads.iter().find(|(of, _, known)| of == at && *known).map(|(_, position, _)| *position)
    }
}
