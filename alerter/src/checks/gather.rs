//! Reads what the checks judge.

use std::{collections::HashMap, sync::Arc, time::Duration};

use stream_runtime::log::{Isolation, Log, LogError, Position, Reader, TopicPartition};
use telemetry_schemas::{Event, EventTime, EventType, Millis, cohort::CohortSummary, topics};

use super::{
    application::Application,
    pipeline::{Place, Sample},
};
use crate::wire::Wire;

const TIMEOUT: Duration = Duration::from_secs(10);
/// A look reads at most for so long; what is left is read at the next.
const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);
const RECORDS: usize = 2_000;

/// Who reads what: the groups of the services.
const GROUPS: [(&str, &str); 5] = [
    ("ttf-processor", topics::EVENTS),
    ("ttf-archiver-events", topics::EVENTS),
    ("ttf-archiver-journeys", topics::TTF_RECORDS),
    ("ttf-archiver-objects", topics::EVENTS),
    (crate::service::ROUTER_GROUP, topics::TTF_BREACHES),
];

/// Keeps its places between looks.
pub struct Gather {
    log: Arc<dyn Log>,
    wire: Wire,
    cohorts: Option<Box<dyn Reader>>,
    known: HashMap<Vec<u8>, CohortSummary>,
    events: Option<Box<dyn Reader>>,
}

impl Gather {
    pub fn new(log: Arc<dyn Log>, wire: Wire) -> Self {
        Self { log, wire, cohorts: None, known: HashMap::new(), events: None }
    }

    fn partitions(&self, topic: &'static str) -> Result<Vec<TopicPartition>, LogError> {
        let found = self.log.topics(Some(&[topic]), TIMEOUT)?;
        let partitions = found.first().map_or(0, |topic| topic.partitions);
        Ok((0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect())
    }

    /// The latest summary of each cohort.
    pub fn cohorts(&mut self) -> Result<Vec<CohortSummary>, LogError> {
        if self.cohorts.is_none() {
            let partitions = self.partitions(topics::TTF_COHORTS)?;
            if partitions.is_empty() {
                return Ok(Vec::new());
            }
            let mut reader = self.log.reader(Isolation::ReadCommitted)?;
            let from: Vec<_> = partitions.into_iter().map(|at| (at, Position::Beginning)).collect();
            reader.assign(&from)?;
            self.known.clear();
            self.cohorts = Some(reader);
        }
        let Self { cohorts, known, wire, .. } = self;
        let Some(reader) = cohorts.as_mut() else { return Ok(Vec::new()) };
        let read = drain(&mut **reader, &mut |record| {
            let key = record.key.unwrap_or_default().to_vec();
            match record.value.map(|value| wire.decode::<CohortSummary>(value)) {
                Some(Ok(cohort)) => {
                    known.insert(key, cohort);
                }
                Some(Err(error)) => tracing::warn!(offset = record.offset, %error, "a cohort cannot be read"),
                None => {
                    known.remove(&key);
                }
            }
        });
        if let Err(error) = read {
            self.cohorts = None;
            return Err(error);
        }
        Ok(self.known.values().cloned().collect())
    }

    /// Hands the application's events since the last look over, at the first those since `from`.
    pub fn events(&mut self, from: EventTime, to: &mut Application) -> Result<(), LogError> {
        if self.events.is_none() {
            let mut places = Vec::new();
            for at in self.partitions(topics::EVENTS)? {
                let offset = self.log.offset_for_time(&at, from.0, TIMEOUT)?;
                places.push((at, Position::Offset(offset)));
            }
            if places.is_empty() {
                return Ok(());
            }
            let mut reader = self.log.reader(Isolation::ReadCommitted)?;
            reader.assign(&places)?;
            self.events = Some(reader);
        }
        let Self { events, wire, .. } = self;
        let Some(reader) = events.as_mut() else { return Ok(()) };
        let read = drain(&mut **reader, &mut |record| {
            let event_type = record.headers.get(topics::HEADER_EVENT_TYPE);
            if !matches!(event_type, Some(b"performance" | b"error")) {
                return;
            }
            let Some(Ok(event)) = record.value.map(|value| wire.decode::<Event>(value)) else { return };
            if matches!(event.event_type, EventType::Performance | EventType::Error) {
                to.take(&event.tenant, event.event_type, &event.properties, event.received_at);
            }
        });
        if read.is_err() {
            self.events = None;
        }
        read
    }

    /// How far everything has come.
    pub fn sample(&self, now: EventTime, headroom: Millis) -> Result<Sample, LogError> {
        let sum = |topic: &'static str| -> Result<i64, LogError> {
            self.partitions(topic)?.iter().map(|at| self.log.end_offset(at, Isolation::ReadUncommitted, TIMEOUT)).sum()
        };
        let (events, rejected) = (sum(topics::EVENTS)?, sum(topics::EVENTS_REJECTED)?);
        let mut places = Vec::new();
        for (group, topic) in GROUPS {
            let partitions = self.partitions(topic)?;
            if partitions.is_empty() {
                continue;
            }
            let retention = self.log.retention(topic, TIMEOUT)?;
            for committed in self.log.committed(group, &partitions, TIMEOUT)? {
                // A group that never was reads nothing.
                let Some(next) = committed.next else { continue };
                let end = self.log.end_offset(&committed.at, Isolation::ReadCommitted, TIMEOUT)?;
                let endangered_before = match retention {
                    Some(retention) if next < end => {
                        let kept = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
                        // Where little is kept at all, what has just come is in no danger yet.
                        let limit = now.0.saturating_sub(kept).saturating_add(headroom.0.min(kept / 2));
                        Some(self.log.offset_for_time(&committed.at, limit, TIMEOUT)?)
                    }
                    _ => None,
                };
                let partition = committed.at.partition;
                places.push(Place { group, topic, partition, next, end, endangered_before });
            }
        }
        Ok(Sample { at: now, events, rejected, places })
    }
}

/// Reads what is there.
fn drain(reader: &mut dyn Reader, visit: &mut dyn FnMut(&stream_runtime::log::RecordRef<'_>)) -> Result<(), LogError> {
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        if reader.poll(RECORDS, POLL, visit)? == 0 {
            break;
        }
    }
    Ok(())
}
