//! How far a consumer is behind: the same figures for every kind of runner.
//!
//! A member of a group only tells where it stands. What that means is found out by a thread of its own
//! ([`LagMeter::measure`]), so that a log that answers slowly keeps no member from polling.

mod measure;
mod waiting;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntGauge, IntGaugeVec};
use service_kit::Metrics;

use self::waiting::{Behind, Front};
use crate::log::TopicPartition;

/// How often a member tells where it stands.
const TELL_INTERVAL: Duration = Duration::from_millis(500);

/// What the members of one group in this process are behind.
pub(crate) struct LagMeter {
    group: String,
    lag: IntGaugeVec,
    oldest: GaugeVec,
    headroom: GaugeVec,
    /// The sum over all partitions, where somebody wants it.
    total: Option<IntGauge>,
    next_member: AtomicU64,
    places: Mutex<HashMap<TopicPartition, Place>>,
    /// There are places since the last round that nothing is known of.
    is_new: AtomicBool,
}

/// Where a partition stands.
#[derive(Debug, Clone)]
struct Place {
    /// Which member has it: a member that gives it up late takes nothing from the one that has it now.
    member: u64,
    /// Every visible record before it is processed; `None`: every one that was there is still to come.
    next: Option<i64>,
    /// The latest time of a record that is processed.
    last_record_ms: Option<i64>,
    measured: Option<Measured>,
}

/// What the last round found out about a place.
#[derive(Debug, Clone)]
struct Measured {
    next: i64,
    end: i64,
    front: Option<Front>,
    behind: Behind,
}

impl LagMeter {
    pub fn new(metrics: &Metrics, group: &str) -> Arc<Self> {
        Self::with_total(metrics, group, None)
    }

    /// A meter that keeps the sum of its partitions' lags in `total`.
    pub fn with_total(metrics: &Metrics, group: &str, total: Option<IntGauge>) -> Arc<Self> {
        let lag = metrics.gauge_vec(
            "ttf_consumer_lag_records",
            "Records in the partition that the group has not processed yet.",
            &["group", "topic", "partition"],
        );
        let oldest = metrics.float_gauge_vec(
            "ttf_consumer_oldest_unprocessed_seconds",
            "Age of the oldest record of the partition the group has not processed yet, at most; 0 when there is none.",
            &["group", "topic", "partition"],
        );
        let headroom = metrics.float_gauge_vec(
            "ttf_retention_headroom_seconds",
            "Time until retention deletes the oldest record the group has not processed yet; the whole retention \
             when there is none.",
            &["group", "topic"],
        );
        Arc::new(Self {
            group: group.to_owned(),
            lag,
            oldest,
            headroom,
            total,
            next_member: AtomicU64::new(0),
            places: Mutex::default(),
            is_new: AtomicBool::new(false),
        })
    }

    /// The meter's side of a new member.
    pub fn member(self: &Arc<Self>) -> LagMember {
        let id = self.next_member.fetch_add(1, Ordering::Relaxed);
        LagMember { meter: self.clone(), id, told: None }
    }

    /// Takes in what a round has found out, but for places that have moved on to somebody else meanwhile, and shows
    /// how everything stands.
    fn publish(&self, found: Vec<(TopicPartition, u64, Measured)>, retention_ms: &HashMap<Arc<str>, i64>, now_ms: i64) {
        let mut places = self.places.lock();
        for (at, member, measured) in found {
            if let Some(place) = places.get_mut(&at).filter(|place| place.member == member) {
                place.measured = Some(measured);
            }
        }
        let mut oldest_ms: BTreeMap<&Arc<str>, i64> = BTreeMap::new();
        for (at, place) in &*places {
            let Some(measured) = &place.measured else { continue };
            let age_ms = measured.behind.age_ms(now_ms);
            oldest_ms.entry(&at.topic).and_modify(|oldest| *oldest = age_ms.max(*oldest)).or_insert(age_ms);
            let partition = at.partition.to_string();
            let labels = [self.group.as_str(), &*at.topic, &partition];
            self.lag.with_label_values(&labels).set(measured.behind.records);
            self.oldest.with_label_values(&labels).set(seconds(age_ms));
        }
        for (topic, oldest_ms) in oldest_ms {
            if let Some(retention_ms) = retention_ms.get(topic) {
                self.headroom.with_label_values(&[&self.group, &**topic]).set(seconds(retention_ms - oldest_ms));
            }
        }
        self.sum_up(&places);
    }

    fn sum_up(&self, places: &HashMap<TopicPartition, Place>) {
        if let Some(total) = &self.total {
            let measured = places.values().filter_map(|place| place.measured.as_ref());
            total.set(measured.map(|measured| measured.behind.records).sum());
        }
    }

    fn release(&self, member: u64) {
        let mut places = self.places.lock();
        let given_up: Vec<TopicPartition> =
            places.iter().filter(|(_, place)| place.member == member).map(|(at, _)| at.clone()).collect();
        for at in given_up {
            places.remove(&at);
            // There is no series before the first round.
            let partition = at.partition.to_string();
            let labels = [self.group.as_str(), &*at.topic, &partition];
            let _ = self.lag.remove_label_values(&labels);
            let _ = self.oldest.remove_label_values(&labels);
            if places.keys().all(|other| other.topic != at.topic) {
                let _ = self.headroom.remove_label_values(&[&self.group, &*at.topic]);
            }
        }
        self.sum_up(&places);
    }
}

/// A member of the group, as the meter knows it. Gives up its partitions when dropped.
pub(crate) struct LagMember {
    meter: Arc<LagMeter>,
    id: u64,
    told: Option<Instant>,
}

impl LagMember {
    /// Whether it is time to tell where the partitions stand; the next time is a while later.
    pub fn is_due(&mut self) -> bool {
        let due = self.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL);
        if due {
            self.told = Some(Instant::now());
        }
        due
    }

    /// Every visible record of `at` before `next` is processed, the latest of them from `last_record_ms`. `None`: the
    /// partition is read from its oldest record, and nothing of it is processed yet.
    pub fn tell(&self, at: &TopicPartition, next: Option<i64>, last_record_ms: Option<i64>) {
        let mut places = self.meter.places.lock();
        match places.get_mut(at) {
            Some(place) if place.member == self.id => {
                place.next = next;
                place.last_record_ms = last_record_ms;
            }
            _ => {
                places.insert(at.clone(), Place { member: self.id, next, last_record_ms, measured: None });
                self.meter.is_new.store(true, Ordering::Release);
            }
        }
    }

    /// The member has no partitions any more.
    pub fn clear(&mut self) {
        self.meter.release(self.id);
        self.told = None;
    }
}

impl Drop for LagMember {
    fn drop(&mut self) {
        self.clear();
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1_000.0
}

#[cfg(test)]
mod tests;
