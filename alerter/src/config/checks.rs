//! What is alerted on besides deadlines: cohorts, the application, the pipeline itself.

use serde::{Deserialize, Serialize};
use service_kit::config::HumanDuration;

/// Each part is off while it is `null`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChecksConfig {
    /// How often everything is looked at.
    pub interval: HumanDuration,
    pub cohorts: Option<CohortChecks>,
    pub application: Option<ApplicationChecks>,
    pub pipeline: Option<PipelineChecks>,
}

/// A cohort does worse than the same cohort did before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CohortChecks {
    /// The window that is judged, such as `24h`.
    pub window: String,
    /// The window it is held against, such as `7d`; it contains the other, which is taken out of it.
    pub baseline: String,
    /// Fewer signups than this in either window are not judged.
    pub minimum_volume: i64,
    /// Chance of a false alarm in one look at all cohorts together.
    pub significance: f64,
    /// A share is not told that fell by less than this, however sure it is.
    pub minimum_drop: f64,
    /// A stage is slow when its median is so many times the baseline's.
    pub slow_factor: f64,
    /// So long it has to be worse before it is told, and better before it is over.
    #[serde(rename = "for")]
    pub hold: HumanDuration,
}

/// The product's own errors and response times, by its `error` and `performance` events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationChecks {
    pub window: HumanDuration,
    /// Fewer operations in a window are not judged.
    pub minimum_volume: u64,
    /// Share of operations that failed.
    pub error_rate: f64,
    /// 95th percentile of an operation's duration.
    pub response_time: HumanDuration,
    #[serde(rename = "for")]
    pub hold: HumanDuration,
}

/// Whether events come in, are taken, and are worked off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineChecks {
    /// Nothing came in for so long, where it had come in for as long without such a pause. `None`: not judged.
    pub ingestion_stopped: Option<HumanDuration>,
    /// Share of what came in that was rejected, within `window`.
    pub rejected_share: f64,
    pub window: HumanDuration,
    /// Fewer records in a window are not judged.
    pub minimum_volume: i64,
    /// A consumer is so far behind.
    pub lag: HumanDuration,
    /// What a consumer has not read will be deleted within this time.
    pub headroom: HumanDuration,
    #[serde(rename = "for")]
    pub hold: HumanDuration,
}

impl ChecksConfig {
    /// What the types cannot say.
    pub(super) fn check(&self, wrong: &mut Vec<String>) {
        let mut expect = |holds: bool, key: &str, message: &str| {
            if !holds {
                wrong.push(format!("alerter.checks.{key}: {message}"));
            }
        };
        let share = |value: f64| value > 0.0 && value < 1.0;
        expect(self.interval.millis() > 0, "interval", "must be longer than zero");
        if let Some(cohorts) = &self.cohorts {
            expect(cohorts.window != cohorts.baseline, "cohorts.baseline", "must be another window than `window`");
            expect(cohorts.minimum_volume >= 5, "cohorts.minimum_volume", "must be at least 5");
            expect(share(cohorts.significance), "cohorts.significance", "must lie between 0 and 1");
            expect((0.0..1.0).contains(&cohorts.minimum_drop), "cohorts.minimum_drop", "must lie between 0 and 1");
            expect(cohorts.slow_factor > 1.0, "cohorts.slow_factor", "must be greater than 1");
        }
        if let Some(application) = &self.application {
            expect(application.window.millis() > 0, "application.window", "must be longer than zero");
            expect(share(application.error_rate), "application.error_rate", "must lie between 0 and 1");
        }
        if let Some(pipeline) = &self.pipeline {
            expect(pipeline.window.millis() > 0, "pipeline.window", "must be longer than zero");
            expect(share(pipeline.rejected_share), "pipeline.rejected_share", "must lie between 0 and 1");
        }
    }
}
