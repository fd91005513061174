//! How many groups are open, by level: what this process has committed or found stored.

use std::collections::HashMap;

use parking_lot::Mutex;
use prometheus::IntGaugeVec;
use telemetry_schemas::{BreachLevel, alert::AlertState};

use super::{
    decide,
    state::{self, Group},
};

/// Counts by partition, so that a partition that goes away takes its groups along, and one whose groups are still being
/// counted adds nothing yet.
pub struct OpenGroups {
    gauge: IntGaugeVec,
    by_partition: Mutex<HashMap<i32, Share>>,
}

/// The groups of one partition.
#[derive(Default)]
struct Share {
    by_level: HashMap<&'static str, i64>,
    /// Until every stored group is counted, the changes alone would be a wrong number.
    is_shown: bool,
}

impl OpenGroups {
    pub fn new(gauge: IntGaugeVec) -> Self {
        for level in BreachLevel::ALL {
            gauge.with_label_values(&[level.as_str()]).set(0);
        }
        Self { gauge, by_partition: Mutex::default() }
    }

    pub fn changed(&self, partition: i32, before: Option<&Group>, after: Option<&Group>) {
        let open =
            |group: Option<&Group>| group.filter(|group| !state::is_over(&group.kept)).map(|group| level(&group.kept));
        let (before, after) = (open(before), open(after));
        if before == after {
            return;
        }
        let mut by_partition = self.by_partition.lock();
        let share = by_partition.entry(partition).or_default();
        for (level, change) in before.map(|level| (level, -1)).into_iter().chain(after.map(|level| (level, 1))) {
            *share.by_level.entry(level).or_default() += change;
            if share.is_shown {
                self.gauge.with_label_values(&[level]).add(change);
            }
        }
    }

    /// Every group that was stored when the partition was opened has been counted.
    pub fn complete(&self, partition: i32) {
        let mut by_partition = self.by_partition.lock();
        let share = by_partition.entry(partition).or_default();
        if !std::mem::replace(&mut share.is_shown, true) {
            for (level, count) in &share.by_level {
                self.gauge.with_label_values(&[level]).add(*count);
            }
        }
    }

    pub fn closed(&self, partition: i32) {
        let Some(share) = self.by_partition.lock().remove(&partition).filter(|share| share.is_shown) else { return };
        for (level, count) in share.by_level {
            self.gauge.with_label_values(&[level]).sub(count);
        }
    }
}

/// The group's level: the highest that is firing, or what was told last.
fn level(group: &AlertState) -> &'static str {
    let told = group.notified.first().map(|told| told.level);
    decide::firing_level(group).or(told).unwrap_or(BreachLevel::Unknown).as_str()
}
