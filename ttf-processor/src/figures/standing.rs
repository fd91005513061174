//! Gauges that say how the states of this process stand, by the partition the states are in: a partition that
//! goes away takes its share with it, and one whose states are still being counted adds nothing yet.

use std::collections::HashMap;

use parking_lot::Mutex;
use prometheus::IntGauge;

/// Which of the gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

#[derive(Debug, Default)]
pub struct Standing {
    gauges: Vec<IntGauge>,
    shares: Mutex<HashMap<i32, Share>>,
}

/// What a partition adds to each gauge.
#[derive(Debug)]
struct Share {
    counts: Vec<i64>,
    /// Until every stored state is counted, the changes alone would be a wrong number, even one below zero.
    is_shown: bool,
}

impl Standing {
    pub fn place(&mut self, gauge: IntGauge) -> Place {
        self.gauges.push(gauge);
        Place(self.gauges.len() - 1)
    }

    pub fn add(&self, partition: i32, place: Place, change: i64) {
        let mut shares = self.shares.lock();
        let share = shares.entry(partition).or_insert_with(|| self.no_share());
        share.counts[place.0] += change;
        if share.is_shown {
            self.gauges[place.0].add(change);
        }
    }

    /// Everything that stands in the partition has been added.
    pub fn complete(&self, partition: i32) {
        let mut shares = self.shares.lock();
        let share = shares.entry(partition).or_insert_with(|| self.no_share());
        if !std::mem::replace(&mut share.is_shown, true) {
            for (gauge, count) in self.gauges.iter().zip(&share.counts) {
                gauge.add(*count);
            }
        }
    }

    pub fn close(&self, partition: i32) {
        let Some(share) = self.shares.lock().remove(&partition).filter(|share| share.is_shown) else { return };
        for (gauge, count) in self.gauges.iter().zip(share.counts) {
            gauge.sub(count);
        }
    }

    fn no_share(&self) -> Share {
        Share { counts: vec![0; self.gauges.len()], is_shown: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_shown_when_it_is_counted_whole_and_takes_its_share_when_it_goes() {
        let gauge = IntGauge::new("open", "Open.").unwrap();
        let mut standing = Standing::default();
        let place = standing.place(gauge.clone());
        standing.complete(1);
        standing.add(1, place, 5);
        standing.add(0, place, -1);
        assert_eq!(gauge.get(), 5, "partition 0 is still being counted");
        standing.add(0, place, 3);
        standing.complete(0);
        standing.complete(0);
        assert_eq!(gauge.get(), 7);
        standing.add(0, place, 1);
        standing.close(1);
        assert_eq!(gauge.get(), 3);
        standing.add(1, place, 9);
        standing.close(1);
        standing.close(0);
        assert_eq!(gauge.get(), 0);
    }
}
