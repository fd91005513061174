//! Prometheus figures of what this process has committed.
//!
//! Counters and histograms grow only with committed transactions: an aborted one, which is done over, counts once.
//! Gauges say how the states this process holds stand; they start from what is stored, so that the sum over all
//! processes is right after a restart and while partitions move. A process that is killed between a commit and
//! its next scrape takes what it counted since the last scrape with it, as with any Prometheus counter.

use std::{collections::HashMap, sync::Arc};

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec};
use service_kit::{Metrics, config::MetricsConfig};
use telemetry_schemas::{
    BreachLevel, BreachReason, JourneyStatus, Millis,
    state::{AttemptState, JourneyState},
};

use crate::journey::{
    Journeys, Version,
    deadlines::{self, Outcome},
    snapshot,
};

/// Bucket bounds, in parts of the target.
const BUCKETS: [f64; 6] = [0.25, 0.5, 1.0, 1.25, 2.0, 3.0];

/// The processor's figures.
pub struct Figures {
    journeys: Arc<Journeys>,
    labels: MetricsConfig,
    started: IntCounterVec,
    completed: IntCounterVec,
    in_progress: IntGaugeVec,
    within_target: IntCounterVec,
    breaches: IntCounterVec,
    breaches_open: IntGaugeVec,
    refused: IntCounter,
    /// By journey and stage; each has buckets of its own.
    durations: HashMap<(String, String), HistogramVec>,
    /// By journey.
    totals: HashMap<String, Histogram>,
}

impl Figures {
    /// # Errors
    /// When another part of the process has figures of the same names.
    pub fn new(metrics: &Metrics, journeys: Arc<Journeys>, labels: MetricsConfig) -> Result<Self, prometheus::Error> {
        let mut figures = Self {
            labels,
            started: metrics.counter_vec("ttf_journeys_started_total", "Journeys whose signup is known.", &["journey"]),
            completed: metrics.counter_vec("ttf_journeys_completed_total", "Journeys that succeeded.", &["journey"]),
            in_progress: metrics.gauge_vec(
                "ttf_journeys_in_progress",
                "Journeys on their way, by the stage they are in; without abandoned ones.",
                &["journey", "stage"],
            ),
            within_target: metrics.counter_vec(
                "ttf_stage_within_target_total",
                "Stages done within their target.",
                &["journey", "stage"],
            ),
            breaches: metrics.counter_vec("ttf_breaches_total", "Deadlines missed.", &["journey", "level"]),
            breaches_open: metrics.gauge_vec(
                "ttf_breaches_open",
                "Deadlines missed by journeys that have not succeeded yet.",
                &["journey", "level"],
            ),
            refused: metrics.counter(
                "ttf_attempts_refused_total",
                "Events not taken because their user has too many attempts already.",
            ),
            durations: HashMap::new(),
            totals: HashMap::new(),
            journeys: journeys.clone(),
        };
        let targets = metrics.float_gauge_vec(
            "ttf_stage_target_seconds",
            "Target of a stage, `total` for the whole journey.",
            &["journey", "stage"],
        );
        for journey in journeys.iter() {
            // Later versions overwrite earlier ones: the newest target shows.
            for version in &journey.versions {
                for stage in &version.stages {
                    targets.with_label_values(&[journey.id.as_str(), &stage.id]).set(seconds(stage.target));
                }
                targets.with_label_values(&[journey.id.as_str(), "total"]).set(seconds(version.target));
            }
            figures.add_histograms(metrics, &journey.id, &journey.versions)?;
            figures.start_at_zero(&journey.id, &journey.versions);
        }
        Ok(figures)
    }

    /// An event was not taken because of [`crate::journey::apply::MAX_ATTEMPTS`].
    pub fn attempt_refused(&self) {
        self.refused.inc();
    }

    /// A state was `before` and is now `after`; `committed` says that this happened just now, and not that it
    /// came to this process or leaves it.
    pub fn observe(&self, committed: bool, before: Option<&JourneyState>, after: Option<&JourneyState>) {
        let before_attempts = before.map_or(&[][..], |user| &user.attempts);
        let after_attempts = after.map_or(&[][..], |user| &user.attempts);
        for attempt in before_attempts {
            self.add_standing(attempt, -1);
        }
        for attempt in after_attempts {
            self.add_standing(attempt, 1);
        }
        let (true, Some(after)) = (committed, after) else { return };
        let same_generation = before.is_some_and(|before| before.generation == after.generation);
        for attempt in after_attempts {
            let known = before_attempts.iter().find(|known| {
                same_generation && known.attempt == attempt.attempt && known.journey == attempt.journey
            });
            if known != Some(attempt) {
                self.count(known, after, attempt);
            }
        }
    }

    /// How the attempt stands goes into the gauges, or out of them.
    fn add_standing(&self, attempt: &AttemptState, change: i64) {
        let journey = attempt.journey.as_str();
        for judged in attempt.deadlines.iter().filter(|judged| judged.firing) {
            self.breaches_open.with_label_values(&[journey, judged.level.as_str()]).add(change);
        }
        let Some(version) = started(&self.journeys, attempt) else { return };
        if snapshot::status(version, attempt) == JourneyStatus::InProgress
            && let Some(stage) = snapshot::current_stage(version, attempt)
        {
            self.in_progress.with_label_values(&[journey, &version.stages[stage].id]).add(change);
        }
    }

    fn count(&self, known: Option<&AttemptState>, user: &JourneyState, attempt: &AttemptState) {
        let Some(version) = started(&self.journeys, attempt) else { return };
        let journey = attempt.journey.as_str();
        let known = known.and_then(|known| Some((started(&self.journeys, known)?, known)));
        if known.is_none() {
            self.started.with_label_values(&[journey]).inc();
        }
        self.count_breaches(known, version, attempt);
        if known.is_some_and(|(_, known)| known.milestones == attempt.milestones) {
            return;
        }
        let Some(now) = snapshot::snapshot(version, user, attempt) else { return };
        let stages_before = known.map(|(version, known)| snapshot::stages(version, known)).unwrap_or_default();
        let segment = self.labels.segment_label(|name| now.segments.get(name).map(String::as_str));
        for stage in &now.stages {
            let known = stages_before.iter().any(|known| known.id == stage.id && known.duration_ms.is_some());
            let Some(duration) = stage.duration_ms.filter(|_| !known) else { continue };
            if let Some(histogram) = self.durations.get(&(attempt.journey.clone(), stage.id.clone())) {
                histogram.with_label_values(&[segment]).observe(seconds(duration));
            }
            if stage.met == Some(true) {
                self.within_target.with_label_values(&[journey, &stage.id]).inc();
            }
        }
        let was_completed =
            known.is_some_and(|(version, known)| snapshot::success_at(version, known).is_some());
        if let Some(total) = now.total_ms.filter(|_| !was_completed) {
            self.completed.with_label_values(&[journey]).inc();
            if let Some(histogram) = self.totals.get(journey) {
                histogram.observe(seconds(total));
            }
        }
    }

    fn count_breaches(&self, known: Option<(&Version, &AttemptState)>, version: &Version, attempt: &AttemptState) {
        for level in BreachLevel::ALL {
            let was_judged = known.is_some_and(|(_, known)| known.deadlines.iter().any(|judged| judged.level == level));
            let missed = deadlines::breach(version, attempt, level)
                .is_some_and(|breach| breach.outcome != Outcome::Resolved(BreachReason::Revised));
            if missed && !was_judged {
                self.breaches.with_label_values(&[attempt.journey.as_str(), level.as_str()]).inc();
            }
        }
    }

    /// Each stage has buckets around its own target, so each is a collector of its own within one family.
    fn add_histograms(&mut self, metrics: &Metrics, journey: &str, versions: &[Version]) -> prometheus::Result<()> {
        let mut targets: HashMap<&str, Millis> = HashMap::new();
        for stage in versions.iter().flat_map(|version| &version.stages) {
            targets.insert(&stage.id, stage.target);
        }
        for (stage, target) in targets {
            let options = HistogramOpts::new(
                "ttf_stage_duration_seconds",
                "How long a stage took; only journeys that completed the stage are in it.",
            )
            .const_label("journey", journey)
            .const_label("stage", stage)
            .buckets(around(target));
            let histogram = HistogramVec::new(options, &["segment"])?;
            metrics.register(Box::new(histogram.clone()))?;
            self.durations.insert((journey.to_owned(), stage.to_owned()), histogram);
        }
        if let Some(newest) = versions.last() {
            let options = HistogramOpts::new(
                "ttf_total_seconds",
                "Time from signup to success; only completed journeys are in it.",
            )
            .const_label("journey", journey)
            .buckets(around(newest.target));
            let histogram = Histogram::with_opts(options)?;
            metrics.register(Box::new(histogram.clone()))?;
            self.totals.insert(journey.to_owned(), histogram);
        }
        Ok(())
    }

    /// A series that is there from the start shows its first increase.
    fn start_at_zero(&self, journey: &str, versions: &[Version]) {
        self.started.with_label_values(&[journey]);
        self.completed.with_label_values(&[journey]);
        for version in versions {
            for stage in &version.stages {
                self.in_progress.with_label_values(&[journey, &stage.id]);
                self.within_target.with_label_values(&[journey, &stage.id]);
            }
            for deadline in &version.deadlines {
                self.breaches.with_label_values(&[journey, deadline.level.as_str()]);
                self.breaches_open.with_label_values(&[journey, deadline.level.as_str()]);
            }
        }
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
