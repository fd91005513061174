//! Journeys by the version of their definition: which versions are loaded, and which are still needed.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

use prometheus::IntGaugeVec;
use service_kit::Metrics;
use telemetry_schemas::{EventTime, JourneyStatus, state::AttemptState};

use super::standing::{Place, Standing};
use crate::journey::{Journeys, changes::VersionId, snapshot};

/// The label of versions nobody remembers.
const UNKNOWN: &str = "unknown";

pub struct Versions {
    /// By journey, then version: looked up for every change of a state, without making a key.
    open: HashMap<String, Vec<(i32, Place)>>,
    resting: HashMap<String, Vec<(i32, Resting)>>,
    resting_unknown: Resting,
    gauge: IntGaugeVec,
}

/// Journeys that nothing is worked out for, because their version is not loaded.
struct Resting {
    place: Place,
    is_told: AtomicBool,
}

impl Versions {
    pub fn new(metrics: &Metrics, journeys: &Journeys, standing: &mut Standing) -> Self {
        let effective_from = metrics.float_gauge_vec(
            "ttf_journey_effective_from_timestamp_seconds",
            "Since when signups belong to this version, as this process has it loaded; 0 for all before the next one.",
            &["journey", "version"],
        );
        let gauge = metrics.gauge_vec(
            "ttf_journeys_open",
            "Journeys in progress by the version they are judged by; a version must stay loaded while it has some.",
            &["journey", "version"],
        );
        let mut open: HashMap<String, Vec<(i32, Place)>> = HashMap::new();
        for journey in journeys.iter() {
            for (index, version) in journey.versions.iter().enumerate() {
                let labels = [journey.id.as_str(), &version.version.to_string()];
                let from = if index == 0 { EventTime(0) } else { version.effective_from };
                effective_from.with_label_values(&labels).set(from.0 as f64 / 1_000.0);
                let place = standing.place(gauge.with_label_values(&labels));
                open.entry(journey.id.clone()).or_default().push((version.version, place));
            }
        }
        let gauge = metrics.gauge_vec(
            "ttf_journeys_resting",
            "Journeys of versions that are not loaded: nothing is worked out for them until the version is back.",
            &["journey", "version"],
        );
        let resting_unknown = Resting::new(standing, &gauge, UNKNOWN, UNKNOWN);
        Self { open, resting: HashMap::new(), resting_unknown, gauge }
    }

    /// Counts journeys of these versions, which are not loaded, by themselves.
    pub fn watch(&mut self, unloaded: &[VersionId], standing: &mut Standing) {
        for id in unloaded {
            let resting = Resting::new(standing, &self.gauge, &id.journey, &id.version.to_string());
            self.resting.entry(id.journey.clone()).or_default().push((id.version, resting));
        }
    }

    /// The attempt is there, or no more.
    pub fn stand(&self, journeys: &Journeys, standing: &Standing, partition: i32, attempt: &AttemptState, change: i64) {
        // The signup is not known yet: no version is its own.
        if attempt.journey_version == 0 {
            return;
        }
        if let Some(version) = journeys.version(&attempt.journey, attempt.journey_version) {
            let is_open = attempt.milestones.contains_key(version.start())
                && snapshot::status(version, attempt) == JourneyStatus::InProgress;
            if let (true, Some(place)) = (is_open, of_version(&self.open, attempt)) {
                standing.add(partition, *place, change);
            }
            return;
        }
        let resting = of_version(&self.resting, attempt).unwrap_or(&self.resting_unknown);
        standing.add(partition, resting.place, change);
        if !resting.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                journey = attempt.journey.as_str(),
                version = attempt.journey_version,
                "there are journeys of a version that is not loaded; they rest until it is configured again \
                 (`ttf_journeys_resting` counts them)"
            );
        }
    }
}

impl Resting {
    fn new(standing: &mut Standing, gauge: &IntGaugeVec, journey: &str, version: &str) -> Self {
        let place = standing.place(gauge.with_label_values(&[journey, version]));
        Self { place, is_told: AtomicBool::new(false) }
    }
}

fn of_version<'a, T>(by_journey: &'a HashMap<String, Vec<(i32, T)>>, attempt: &AttemptState) -> Option<&'a T> {
    let versions = by_journey.get(attempt.journey.as_str())?;
    versions.iter().find(|(version, _)| *version == attempt.journey_version).map(|(_, found)| found)
}
