//! The thread that asks the log.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use service_kit::{Kit, clock::now_ms};

use super::{
    LagMeter, Measured, Place,
    waiting::{Behind, Front, Known},
};
use crate::log::{Isolation, Log, LogError, Position, Reader, TopicPartition};

/// From one measurement of a partition to the next.
const INTERVAL: Duration = Duration::from_secs(2);
/// Bound of one question to the log.
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a look at partitions that stand still may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a topic's retention is taken as known.
const RETENTION_INTERVAL: Duration = Duration::from_secs(300);
/// How fast the thread notices a shutdown.
const WAKE: Duration = Duration::from_millis(100);

impl LagMeter {
    /// Measures on a thread of the kit until shutdown.
    pub fn measure(self: &Arc<Self>, log: Arc<dyn Log>, kit: &Kit, name: &str) {
        let meter = self.clone();
        let shutdown = kit.shutdown();
        kit.spawn_thread(format!("{name}-lag"), move || {
            let mut rounds = Rounds::new(log);
            let mut due = Instant::now();
            while !shutdown.is_cancelled() {
                // Partitions that are new are measured at once.
                if meter.is_new.swap(false, Ordering::AcqRel) || Instant::now() >= due {
                    rounds.round(&meter, now_ms());
                    due = Instant::now() + INTERVAL;
                }
                std::thread::sleep(WAKE);
            }
            Ok(())
        });
    }

    fn snapshot(&self) -> Vec<(TopicPartition, Place)> {
        self.places.lock().iter().map(|(at, place)| (at.clone(), place.clone())).collect()
    }
}

/// What is remembered from one round to the next.
pub(super) struct Rounds {
    log: Arc<dyn Log>,
    /// Looks at partitions that stand still; made when first needed.
    reader: Option<Box<dyn Reader>>,
    retention: HashMap<Arc<str>, (Instant, Option<i64>)>,
}

/// What lies between what is processed and the end of a partition.
struct Span {
    next: i64,
    end: i64,
}

impl Rounds {
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { log, reader: None, retention: HashMap::new() }
    }

    pub fn round(&mut self, meter: &LagMeter, now_ms: i64) {
        let places = meter.snapshot();
        let found = self.find(places, now_ms).unwrap_or_else(|error| {
            // What is known stays, and what waits gets older.
            tracing::debug!(%error, "the lag cannot be measured");
            Vec::new()
        });
        self.refresh_retention(meter);
        meter.publish(found, &self.known_retention(), now_ms);
    }

    fn find(
        &mut self,
        places: Vec<(TopicPartition, Place)>,
        now_ms: i64,
    ) -> Result<Vec<(TopicPartition, u64, Measured)>, LogError> {
        let mut spans = Vec::with_capacity(places.len());
        for (at, place) in &places {
            let end = self.log.end_offset(at, Isolation::ReadUncommitted, QUERY_TIMEOUT)?;
            let next = match place.next {
                Some(next) => next,
                None => self.log.start_offset(at, QUERY_TIMEOUT)?,
            };
            spans.push(Span { next, end });
        }
        let fronts = self.fronts(&places, &spans);
        let measure = |((at, place), Span { next, end }): ((TopicPartition, Place), Span)| {
            let front = fronts.get(&at).copied();
            let caught_up_ms = place.measured.and_then(|measured| measured.behind.caught_up_ms);
            let last_record_ms = place.last_record_ms;
            let behind = Behind::of(Known { next, end, front, last_record_ms, caught_up_ms, now_ms });
            (at, place.member, Measured { next, end, front, behind })
        };
        Ok(places.into_iter().zip(spans).map(measure).collect())
    }

    /// What stands first in the partitions that have not moved since the last round although their end lies further:
    /// a record that waits, or only markers.
    fn fronts(&mut self, places: &[(TopicPartition, Place)], spans: &[Span]) -> HashMap<TopicPartition, Front> {
        let mut fronts = HashMap::new();
        let mut unknown = Vec::new();
        for ((at, place), Span { next, end }) in places.iter().zip(spans) {
            let Some(measured) = place.measured.as_ref().filter(|measured| measured.next == *next) else {
                continue;
            };
            match measured.front {
                _ if end <= next => {}
                Some(front @ Front::Record { .. }) => drop(fronts.insert(at.clone(), front)),
                Some(Front::Nothing) if measured.end == *end => drop(fronts.insert(at.clone(), Front::Nothing)),
                _ => unknown.push((at.clone(), *next, *end)),
            }
        }
        if !unknown.is_empty()
            && let Err(error) = self.look(&unknown, &mut fronts)
        {
            tracing::debug!(%error, "could not look at what waits");
            self.reader = None;
        }
        fronts
    }

    fn look(
        &mut self,
        at: &[(TopicPartition, i64, i64)],
        fronts: &mut HashMap<TopicPartition, Front>,
    ) -> Result<(), LogError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(self.log.reader(Isolation::ReadCommitted)?),
        };
        let from: Vec<_> = at.iter().map(|(at, next, _)| (at.clone(), Position::Offset(*next))).collect();
        reader.assign(&from)?;
        let deadline = Instant::now() + LOOK_TIMEOUT;
        let mut open: Vec<&(TopicPartition, i64, i64)> = at.iter().collect();
        while !open.is_empty() {
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            reader.poll(100, wait.min(WAKE), &mut |record| {
                let seen = open.iter().find(|(at, ..)| at.partition == record.partition && *at.topic == *record.topic);
                if let Some((at, ..)) = seen {
                    let front = Front::Record { offset: record.offset, timestamp_ms: record.timestamp_ms };
                    fronts.entry(at.clone()).or_insert(front);
                }
            })?;
            open.retain(|(at, _, end)| {
                if fronts.contains_key(at) {
                    return false;
                }
                let nothing = reader.position(at).is_some_and(|position| position >= *end);
                if nothing {
                    fronts.insert(at.clone(), Front::Nothing);
                }
                !nothing
            });
        }
        reader.assign(&[])
    }

    fn refresh_retention(&mut self, meter: &LagMeter) {
        let topics: Vec<Arc<str>> = meter.places.lock().keys().map(|at| at.topic.clone()).collect();
        for topic in topics {
            if self.retention.get(&topic).is_some_and(|(asked, _)| asked.elapsed() < RETENTION_INTERVAL) {
                continue;
            }
            let known = self.retention.get(&topic).and_then(|(_, known)| *known);
            let retention = match self.log.retention(&topic, QUERY_TIMEOUT) {
                Ok(retention) => retention.map(|kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX)),
                Err(error) => {
                    tracing::warn!(%topic, %error, "the topic's retention is not known; its headroom is not shown");
                    known
                }
            };
            self.retention.insert(topic, (Instant::now(), retention));
        }
    }

    fn known_retention(&self) -> HashMap<Arc<str>, i64> {
        self.retention.iter().filter_map(|(topic, (_, kept))| Some((topic.clone(), (*kept)?))).collect()
    }
}
