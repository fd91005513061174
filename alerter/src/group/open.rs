//! How many groups are open, by level: what this process has committed or found stored.

use std::collections::HashMap;

use parking_lot::Mutex;
use prometheus::IntGaugeVec;
use telemetry_schemas::{BreachLevel, alert::AlertState};

use super::{decide, state::Group};

/// Counts by partition, so that a partition that goes away takes its groups along.
pub struct OpenGroups {
    gauge: IntGaugeVec,
    by_partition: Mutex<HashMap<(i32, &'static str), i64>>,
}

impl OpenGroups {
    pub fn new(gauge: IntGaugeVec) -> Self {
        for level in BreachLevel::ALL {
            gauge.with_label_values(&[level.as_str()]).set(0);
        }
        Self { gauge, by_partition: Mutex::default() }
    }

    pub fn changed(&self, partition: i32, before: Option<&Group>, after: Option<&Group>) {
        let (before, after) = (before.map(|group| level(&group.kept)), after.map(|group| level(&group.kept)));
        if before == after {
            return;
        }
        let mut by_partition = self.by_partition.lock();
        for (level, change) in before.map(|level| (level, -1)).into_iter().chain(after.map(|level| (level, 1))) {
            *by_partition.entry((partition, level)).or_default() += change;
            self.gauge.with_label_values(&[level]).add(change);
        }
    }

    pub fn closed(&self, partition: i32) {
        self.by_partition.lock().retain(|(of, level), count| {
            if *of == partition {
                self.gauge.with_label_values(&[level]).sub(*count);
            }
            *of != partition
        });
    }
}

/// The group's level: the highest that is firing, or what was told last.
fn level(group: &AlertState) -> &'static str {
    let told = group.notified.first().map(|told| told.level);
    decide::firing_level(group).or(told).unwrap_or(BreachLevel::Unknown).as_str()
}
