//! Closes the days that are over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use fail::fail_point;
use futures::{FutureExt, StreamExt, TryStreamExt};
use jiff::civil::Date;
use stream_runtime::{
    log::{Log, TopicPartition},
    sink::SinkError,
};
use telemetry_schemas::{
    time::EventTime,
    topics::{EVENTS, TTF_BREACHES, TTF_RECORDS},
};

use super::{Chain, DayManifest, DayObject, Stretch, newest, totals};
use crate::objects::{
    names::{ObjectName, date_of},
    store::{Put, Store},
    topic,
};

const TOPICS: [&str; 3] = [EVENTS, TTF_RECORDS, TTF_BREACHES];
const DAY_MS: i64 = 86_400_000;
/// Partitions that are walked at once.
const CONCURRENT_WALKS: usize = 8;

/// Closes days in order.
pub struct DayCloser {
    store: Store,
    log: Arc<dyn Log>,
}

/// Why the next day is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    /// Nothing was ever archived.
    Empty,
    /// It is not over yet.
    Today(String),
    /// Records of it are not in complete objects yet.
    Behind(String, TopicPartition),
}

/// What was found in one partition.
struct Walk {
    stretch: Stretch,
    /// By day.
    objects: BTreeMap<String, Vec<DayObject>>,
}

impl DayCloser {
    pub fn new(store: Store, log: Arc<dyn Log>) -> Self {
        Self { store, log }
    }

    /// Closes every day that can be closed at this instant; tells which manifests were written and why it went no
    /// further.
    ///
    /// # Errors
    /// When the store or the log does not answer, or an object of ours is damaged.
    pub async fn close_due(&self, now: EventTime) -> Result<(Vec<DayManifest>, Open), SinkError> {
        let mut written = Vec::new();
        let today = date_of(now);
        let (mut date, mut starts) = match self.last_closed().await? {
            Some(last) => (following(&last.date)?, starts_after(&last)),
            None => match self.first_day().await? {
                Some(first) => first,
                None => return Ok((written, Open::Empty)),
            },
        };
        loop {
            if date >= today {
                return Ok((written, Open::Today(date)));
            }
            self.find_new_partitions(&mut starts).await?;
            let walks = self.walk(&date, &starts).await?;
            // A day without anything has no manifest; the next one that has closes it as well.
            let days = walks.iter().flat_map(|walk| walk.objects.keys());
            match days.filter(|day| **day >= date).min() {
                Some(day) if *day == date => {}
                Some(day) => {
                    date = day.clone();
                    continue;
                }
                None => return Ok((written, Open::Today(today))),
            }
            if let Some(behind) = self.behind(&date, &walks).await? {
                return Ok((written, Open::Behind(date, behind)));
            }
            // What came for earlier days first: the day's own manifest says that this was looked through.
            let earlier: BTreeSet<&String> = walks.iter().flat_map(|walk| walk.objects.keys()).collect();
            for other in earlier.into_iter().filter(|other| **other < date) {
                written.extend(self.revise(other, &walks, now).await?);
            }
            fail_point!("archiver::days::before_manifest", |_| Err(SinkError::Unavailable(
                "fail point archiver::days::before_manifest".to_owned()
            )));
            let manifest = self.put(&date, 0, now, &walks, objects_of(&walks, &date)).await?;
            starts = starts_after(&manifest);
            written.push(manifest);
            date = following(&date)?;
        }
    }

    async fn last_closed(&self) -> Result<Option<DayManifest>, SinkError> {
        let closed = super::closed(&self.store).await?;
        // A later revision of a day says nothing new about where the next one begins.
        match closed.last() {
            Some(date) => super::read_json(&self.store, &self.store.names.day(date, 0)).await,
            None => Ok(None),
        }
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>, SinkError> {
        topic::partitions(&self.log, &TOPICS).await
    }

    /// The day of the oldest object, and where each partition begins.
    async fn first_day(&self) -> Result<Option<(String, BTreeMap<TopicPartition, i64>)>, SinkError> {
        let mut starts = BTreeMap::new();
        let mut first: Option<String> = None;
        for at in self.partitions().await? {
            let Some(mut chain) = Chain::from_first(&self.store, at.clone()).await? else { continue };
            starts.insert(at, chain.position());
            while let Some(cut) = chain.next().await? {
                let oldest = cut.objects.iter().filter_map(|o| Some(ObjectName::parse(&o.path)?.date)).min();
                first = [first, oldest.clone()].into_iter().flatten().min();
                if oldest.is_some() {
                    break;
                }
            }
        }
        Ok(first.map(|date| (date, starts)))
    }

    async fn find_new_partitions(&self, starts: &mut BTreeMap<TopicPartition, i64>) -> Result<(), SinkError> {
        for at in self.partitions().await? {
            if starts.contains_key(&at) {
                continue;
            }
            if let Some(chain) = Chain::from_first(&self.store, at.clone()).await? {
                starts.insert(at, chain.position());
            }
        }
        Ok(())
    }

    async fn walk(&self, date: &str, starts: &BTreeMap<TopicPartition, i64>) -> Result<Vec<Walk>, SinkError> {
        let walks = starts.iter().map(|(at, start)| self.walk_one(date, at.clone(), *start).boxed());
        futures::stream::iter(walks.collect::<Vec<_>>()).buffered(CONCURRENT_WALKS).try_collect().await
    }

    async fn walk_one(&self, date: &str, at: TopicPartition, from: i64) -> Result<Walk, SinkError> {
        let mut chain = Chain::from(&self.store, at.clone(), from);
        let mut objects: BTreeMap<String, Vec<DayObject>> = BTreeMap::new();
        let mut next = None;
        while let Some(cut) = chain.next().await? {
            let mut is_later = !cut.objects.is_empty();
            for entry in cut.objects {
                let Some(name) = ObjectName::parse(&entry.path) else { continue };
                if name.date.as_str() > date {
                    next.get_or_insert(cut.start);
                } else {
                    is_later = false;
                }
                objects.entry(name.date).or_default().push(DayObject {
                    path: entry.path,
                    rows: entry.rows,
                    bytes: entry.bytes,
                    sha256: entry.sha256,
                    start: cut.start,
                    end: cut.end,
                });
            }
            // What still comes for this day after a cut without it is found with the days that follow.
            if is_later {
                break;
            }
        }
        let to = chain.position();
        let stretch =
            Stretch { topic: at.topic.to_string(), partition: at.partition, from, to, next: next.unwrap_or(to) };
        Ok(Walk { stretch, objects })
    }

    /// A partition with records of the day (or before) that are in no complete cut.
    async fn behind(&self, date: &str, walks: &[Walk]) -> Result<Option<TopicPartition>, SinkError> {
        let midnight = midnight_after(date)?;
        let reached: BTreeMap<TopicPartition, i64> =
            walks.iter().map(|walk| (walk.stretch.at(), walk.stretch.to)).collect();
        for at in self.partitions().await? {
            let reached = reached.get(&at).copied();
            if topic::has_records_between(&self.log, &at, reached, midnight).await? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Adds to a closed day what its manifest does not name yet.
    async fn revise(&self, date: &str, walks: &[Walk], now: EventTime) -> Result<Option<DayManifest>, SinkError> {
        let found = objects_of(walks, date);
        let Some(known) = newest(&self.store, date).await? else {
            // From before the first day that was closed: it gets a manifest of its own.
            return self.put(date, 0, now, walks, found).await.map(Some);
        };
        let named: BTreeSet<&str> = known.objects.iter().map(|object| object.path.as_str()).collect();
        let new: Vec<DayObject> = found.into_iter().filter(|object| !named.contains(object.path.as_str())).collect();
        if new.is_empty() {
            return Ok(None);
        }
        let mut objects = known.objects;
        objects.extend(new);
        self.put(date, known.revision + 1, now, walks, objects).await.map(Some)
    }

    async fn put(
        &self,
        date: &str,
        revision: u32,
        now: EventTime,
        walks: &[Walk],
        mut objects: Vec<DayObject>,
    ) -> Result<DayManifest, SinkError> {
        objects.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = DayManifest {
            date: date.to_owned(),
            revision,
            closed_at: now,
            totals: totals(&objects),
            partitions: walks.iter().map(|walk| walk.stretch.clone()).collect(),
            objects,
        };
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| SinkError::Fatal(format!("cannot write a day's manifest: {error}")))?;
        let path = self.store.names.day(date, revision);
        match self.store.create(&path, Bytes::from(text)).await? {
            Put::Written => Ok(manifest),
            // Somebody was first: theirs counts.
            Put::Present => super::read_json(&self.store, &path)
                .await?
                .ok_or_else(|| SinkError::Unavailable(format!("archive object {path} was there and is gone"))),
        }
    }
}

fn objects_of(walks: &[Walk], date: &str) -> Vec<DayObject> {
    walks.iter().filter_map(|walk| walk.objects.get(date)).flatten().cloned().collect()
}

fn starts_after(manifest: &DayManifest) -> BTreeMap<TopicPartition, i64> {
    manifest.partitions.iter().map(|stretch| (stretch.at(), stretch.next)).collect()
}

fn day(date: &str) -> Result<Date, SinkError> {
    date.parse().map_err(|_| SinkError::Fatal(format!("`{date}` is not a day")))
}

fn following(date: &str) -> Result<String, SinkError> {
    day(date)?.tomorrow().map(|date| date.to_string()).map_err(|error| SinkError::Fatal(error.to_string()))
}

/// The instant a day ends.
pub(super) fn midnight_after(date: &str) -> Result<i64, SinkError> {
    let midnight = day(date)?.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| SinkError::Fatal(error.to_string()))?;
    Ok(midnight.timestamp().as_millisecond() + DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_follow_each_other_and_end_at_midnight_utc() {
        assert_eq!(following("2024-02-28").expect("a day"), "2024-02-29");
        assert_eq!(following("2026-12-31").expect("a day"), "2027-01-01");
        assert_eq!(midnight_after("1970-01-01").expect("a day"), DAY_MS);
        assert!(following("tomorrow").is_err());
    }
}
