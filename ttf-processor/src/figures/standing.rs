//! Gauges that say how the states of this process stand, by the partition the states are in: a partition that
//! goes away takes its share with it.

use std::collections::HashMap;

use parking_lot::Mutex;
use prometheus::IntGauge;

/// Which of the gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

#[derive(Debug, Default)]
pub struct Standing {
    gauges: Vec<IntGauge>,
    /// Partition → its share of each gauge.
    shares: Mutex<HashMap<i32, Vec<i64>>>,
}

impl Standing {
    pub fn place(&mut self, gauge: IntGauge) -> Place {
        self.gauges.push(gauge);
        Place(self.gauges.len() - 1)
    }

    pub fn add(&self, partition: i32, place: Place, change: i64) {
        let mut shares = self.shares.lock();
        shares.entry(partition).or_insert_with(|| vec![0; self.gauges.len()])[place.0] += change;
        self.gauges[place.0].add(change);
    }

    pub fn close(&self, partition: i32) {
        let share = self.shares.lock().remove(&partition);
        for (gauge, share) in self.gauges.iter().zip(share.into_iter().flatten()) {
            gauge.sub(share);
        }
    }
}
