//! Prometheus figures of what this process has committed.
//!
//! Counters and histograms grow only with committed transactions: an aborted one, which is done over, counts once.
//! Gauges say how the states this process holds stand; they start from what is stored, so that the sum over all
//! processes is right after a restart and while partitions move. What is stored is counted while the partition is
//! already being processed; its gauges show nothing of it until that is done. A process that is killed between a commit and
//! its next scrape takes what it counted since the last scrape with it, as with any Prometheus counter.

mod standing;
mod versions;

use std::{collections::HashMap, sync::Arc};

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter};
use service_kit::{Metrics, config::MetricsConfig};
use telemetry_schemas::{
    BreachLevel, BreachReason, JourneyStatus, Millis,
    state::{AttemptState, JourneyState},
};

use self::{
    standing::{Place, Standing},
    versions::Versions,
};
use crate::journey::{
    Journeys, Version,
    changes::VersionId,
    deadlines::{self, Outcome},
    plan::Journey,
    snapshot,
};

/// Bucket bounds, in parts of the target.
const BUCKETS: [f64; 6] = [0.25, 0.5, 1.0, 1.25, 2.0, 3.0];

/// The processor's figures.
pub struct Figures {
    journeys: Arc<Journeys>,
    labels: MetricsConfig,
    by_journey: HashMap<String, JourneyFigures>,
    versions: Versions,
    standing: Standing,
    refused: IntCounter,
}

struct JourneyFigures {
    started: IntCounter,
    completed: IntCounter,
    total: Histogram,
    stages: HashMap<String, StageFigures>,
    levels: HashMap<BreachLevel, LevelFigures>,
}

struct StageFigures {
    duration: HistogramVec,
    within_target: IntCounter,
    in_progress: Place,
}

struct LevelFigures {
    missed: IntCounter,
    open: Place,
}

impl Figures {
    /// # Errors
    /// When another part of the process has figures of the same names.
    pub fn new(metrics: &Metrics, journeys: Arc<Journeys>, labels: MetricsConfig) -> Result<Self, prometheus::Error> {
        let mut standing = Standing::default();
        let mut by_journey = HashMap::new();
        for journey in journeys.iter() {
            by_journey.insert(journey.id.clone(), JourneyFigures::new(metrics, journey, &mut standing)?);
        }
        let versions = Versions::new(metrics, &journeys, &mut standing);
        let refused = metrics.counter(
            "ttf_attempts_refused_total",
            "Events not taken because their user has too many attempts already.",
        );
        Ok(Self { journeys, labels, by_journey, versions, standing, refused })
    }

    /// Counts journeys of these versions, which are not loaded, by themselves.
    pub fn watching(mut self, unloaded: &[VersionId]) -> Self {
        self.versions.watch(unloaded, &mut self.standing);
        self
    }

    /// An event was not taken because of [`crate::journey::apply::MAX_ATTEMPTS`].
    pub fn attempt_refused(&self) {
        self.refused.inc();
    }

    /// A state that was there when its partition was opened.
    pub fn stored(&self, partition: i32, user: &JourneyState) {
        for attempt in &user.attempts {
            self.stand(partition, attempt, 1);
        }
    }

    /// Every state that was there when the partition was opened has been told.
    pub fn complete(&self, partition: i32) {
        self.standing.complete(partition);
    }

    /// The partition's states are no longer this process's.
    pub fn closed(&self, partition: i32) {
        self.standing.close(partition);
    }

    /// A state was `before` and is now `after`.
    pub fn committed(&self, partition: i32, before: Option<&JourneyState>, after: Option<&JourneyState>) {
        if before == after {
            return;
        }
        let same_generation = before.zip(after).is_some_and(|(before, after)| before.generation == after.generation);
        let before = before.map_or(&[][..], |user| &user.attempts);
        for attempt in before {
            self.stand(partition, attempt, -1);
        }
        let Some(after) = after else { return };
        for attempt in &after.attempts {
            self.stand(partition, attempt, 1);
            let known = before
                .iter()
                .find(|known| same_generation && known.attempt == attempt.attempt && known.journey == attempt.journey);
            if known != Some(attempt) {
                self.count(known, after, attempt);
            }
        }
    }

    /// How the attempt stands goes into the gauges, or out of them.
    fn stand(&self, partition: i32, attempt: &AttemptState, change: i64) {
        self.versions.stand(&self.journeys, &self.standing, partition, attempt, change);
        let Some(figures) = self.by_journey.get(attempt.journey.as_str()) else { return };
        for judged in attempt.deadlines.iter().filter(|judged| judged.firing) {
            if let Some(level) = figures.levels.get(&judged.level) {
                self.standing.add(partition, level.open, change);
            }
        }
        let Some(version) = started(&self.journeys, attempt) else { return };
        if snapshot::status(version, attempt) == JourneyStatus::InProgress
            && let Some(stage) = snapshot::current_stage(version, attempt)
            && let Some(stage) = figures.stages.get(&version.stages[stage].id)
        {
            self.standing.add(partition, stage.in_progress, change);
        }
    }

    fn count(&self, known: Option<&AttemptState>, user: &JourneyState, attempt: &AttemptState) {
        let Some(version) = started(&self.journeys, attempt) else { return };
        let Some(figures) = self.by_journey.get(attempt.journey.as_str()) else { return };
        let known = known.and_then(|known| Some((started(&self.journeys, known)?, known)));
        if known.is_none() {
            figures.started.inc();
        }
        figures.count_breaches(known, version, attempt);
        if known.is_some_and(|(_, known)| known.milestones == attempt.milestones) {
            return;
        }
        let stages = snapshot::stages(version, attempt);
        let stages_before = known.map(|(version, known)| snapshot::stages(version, known)).unwrap_or_default();
        let segment = self.labels.segment_label(|name| snapshot::segment(version, user, attempt, name));
        for stage in &stages {
            let counted = stages_before.iter().any(|known| known.id == stage.id && known.duration_ms.is_some());
            let (Some(duration), Some(figures)) =
                (stage.duration_ms.filter(|_| !counted), figures.stages.get(&stage.id))
            else {
                continue;
            };
            figures.duration.with_label_values(&[segment]).observe(seconds(duration));
            if stage.met == Some(true) {
                figures.within_target.inc();
            }
        }
        let was_completed = known.is_some_and(|(version, known)| snapshot::success_at(version, known).is_some());
        if let Some(total) = snapshot::total(version, attempt).filter(|_| !was_completed) {
            figures.completed.inc();
            figures.total.observe(seconds(total));
        }
    }
}

impl JourneyFigures {
    /// All series are there from the start, so that their first increase shows.
    fn new(metrics: &Metrics, journey: &Journey, standing: &mut Standing) -> prometheus::Result<Self> {
        let id = journey.id.as_str();
        let targets = metrics.float_gauge_vec(
            "ttf_stage_target_seconds",
            "Target of a stage, `total` for the whole journey.",
            &["journey", "stage"],
        );
        let mut stages = HashMap::new();
        // From the newest version back: a stage that several versions have shows its newest target.
        for stage in journey.versions.iter().rev().flat_map(|version| &version.stages) {
            if !stages.contains_key(&stage.id) {
                targets.with_label_values(&[id, &stage.id]).set(seconds(stage.target));
                stages.insert(stage.id.clone(), StageFigures::new(metrics, id, &stage.id, stage.target, standing)?);
            }
        }
        let target = journey.versions[journey.versions.len() - 1].target;
        targets.with_label_values(&[id, "total"]).set(seconds(target));
        let total = Histogram::with_opts(
            HistogramOpts::new("ttf_total_seconds", "Time from signup to success; only completed journeys are in it.")
                .const_label("journey", id)
                .buckets(around(target)),
        )?;
        metrics.register(Box::new(total.clone()))?;
        let started =
            metrics.counter_vec("ttf_journeys_started_total", "Journeys whose signup is known.", &["journey"]);
        let completed = metrics.counter_vec("ttf_journeys_completed_total", "Journeys that succeeded.", &["journey"]);
        let levels = journey.versions.iter().flat_map(|version| &version.deadlines);
        Ok(Self {
            started: started.with_label_values(&[id]),
            completed: completed.with_label_values(&[id]),
            total,
            stages,
            levels: levels
                .map(|deadline| (deadline.level, LevelFigures::new(metrics, id, deadline.level, standing)))
                .collect(),
        })
    }

    fn count_breaches(&self, known: Option<(&Version, &AttemptState)>, version: &Version, attempt: &AttemptState) {
        for (level, figures) in &self.levels {
            let was_judged =
                known.is_some_and(|(_, known)| known.deadlines.iter().any(|judged| judged.level == *level));
            let missed = deadlines::breach(version, attempt, *level)
                .is_some_and(|breach| breach.outcome != Outcome::Resolved(BreachReason::Revised));
            if missed && !was_judged {
                figures.missed.inc();
            }
        }
    }
}

impl StageFigures {
    fn new(
        metrics: &Metrics,
        journey: &str,
        stage: &str,
        target: Millis,
        standing: &mut Standing,
    ) -> prometheus::Result<Self> {
        // Buckets lie around the stage's own target, so each stage is a collector of its own within one family.
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "ttf_stage_duration_seconds",
                "How long a stage took; only journeys that completed the stage are in it.",
            )
            .const_label("journey", journey)
            .const_label("stage", stage)
            .buckets(around(target)),
            &["segment"],
        )?;
        metrics.register(Box::new(duration.clone()))?;
        let within_target = metrics.counter_vec(
            "ttf_stage_within_target_total",
            "Stages done within their target.",
            &["journey", "stage"],
        );
        let in_progress = metrics.gauge_vec(
            "ttf_journeys_in_progress",
            "Journeys on their way, by the stage they are in; without abandoned ones.",
            &["journey", "stage"],
        );
        Ok(Self {
            duration,
            within_target: within_target.with_label_values(&[journey, stage]),
            in_progress: standing.place(in_progress.with_label_values(&[journey, stage])),
        })
    }
}

impl LevelFigures {
    fn new(metrics: &Metrics, journey: &str, level: BreachLevel, standing: &mut Standing) -> Self {
        let labels = &[journey, level.as_str()];
        let missed = metrics.counter_vec("ttf_breaches_total", "Deadlines missed.", &["journey", "level"]);
        let open = metrics.gauge_vec(
            "ttf_breaches_open",
            "Deadlines missed by journeys that have not succeeded yet.",
            &["journey", "level"],
        );
        Self { missed: missed.with_label_values(labels), open: standing.place(open.with_label_values(labels)) }
    }
}

/// The definition of an attempt whose signup is known.
fn started<'a>(journeys: &'a Journeys, attempt: &AttemptState) -> Option<&'a Version> {
    let version = journeys.version(&attempt.journey, attempt.journey_version)?;
    attempt.milestones.contains_key(version.start()).then_some(version)
}

fn around(target: Millis) -> Vec<f64> {
    BUCKETS.iter().map(|part| part * seconds(target)).collect()
}

fn seconds(duration: Millis) -> f64 {
    duration.0 as f64 / 1_000.0
}
