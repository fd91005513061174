//! The cohort figures on `/metrics`: the latest summary of each cohort on `telemetry.ttf.cohorts.v1`, so that any replica
//! tells the state of onboarding. Read from the beginning at every start; the topic is compacted.

use std::{collections::HashMap, sync::Arc, time::Duration};

use prometheus::GaugeVec;
use service_kit::{
    CancellationToken, Kit, Metrics,
    config::{MetricsConfig, TenantsConfig},
};
use stream_runtime::log::{Isolation, Log, LogError, Position, Reader, RecordRef, TopicPartition};
use telemetry_schemas::{Codec, cohort::CohortSummary, topics};

const TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_secs(1);

/// `segment` of a cohort of everyone.
const EVERYONE: &str = "all";

const LABELS: [&str; 5] = ["tenant", "journey", "stage", "window", "segment"];

/// Starts to read on a thread of its own. A topic that is not there, or a log that is away, is waited for.
pub fn start(log: Arc<dyn Log>, codec: Codec, labels: MetricsConfig, tenants: Arc<TenantsConfig>, kit: &Kit) {
    let figures = Figures::new(kit.metrics(), labels, tenants);
    let shutdown = kit.shutdown();
    kit.spawn_thread("gateway cohorts", move || {
        let mut cohorts = Cohorts { codec, figures, shown: HashMap::new() };
        while !shutdown.is_cancelled() {
            match cohorts.follow(&*log, &shutdown) {
                Ok(()) => {}
                Err(error) => tracing::debug!(%error, "the cohorts are not read"),
            }
            wait(&shutdown, PAUSE);
        }
        Ok(())
    });
}

fn wait(shutdown: &CancellationToken, time: Duration) {
    const STEP: Duration = Duration::from_millis(100);
    let until = std::time::Instant::now() + time;
    while !shutdown.is_cancelled() && std::time::Instant::now() < until {
        std::thread::sleep(STEP);
    }
}

struct Cohorts {
    codec: Codec,
    figures: Figures,
    /// The labels each record's key stands for, to take its series away when the record is deleted.
    shown: HashMap<Vec<u8>, [String; 5]>,
}

impl Cohorts {
    /// Reads until the end of the process or an error.
    fn follow(&mut self, log: &dyn Log, shutdown: &CancellationToken) -> Result<(), LogError> {
        let found = log.topics(Some(&[topics::TTF_COHORTS]), TIMEOUT)?;
        let Some(topic) = found.first() else { return Ok(()) };
        let all: Vec<_> = (0..topic.partitions)
            .map(|partition| (TopicPartition::new(topics::TTF_COHORTS, partition), Position::Beginning))
            .collect();
        let mut reader: Box<dyn Reader> = log.reader(Isolation::ReadCommitted)?;
        reader.assign(&all)?;
        while !shutdown.is_cancelled() {
            match reader.poll(1_000, POLL, &mut |record| self.take(record)) {
                Ok(_) => {}
                Err(error) if error.is_retriable() => wait(shutdown, PAUSE),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &RecordRef<'_>) {
        let key = record.key.unwrap_or_default().to_vec();
        let Some(value) = record.value else {
            if let Some(labels) = self.shown.remove(&key) {
                self.figures.forget(&labels);
            }
            return;
        };
        match self.codec.decode::<CohortSummary>(value) {
            Ok(cohort) => {
                if let Some(labels) = self.figures.show(&cohort) {
                    self.shown.insert(key, labels);
                }
            }
            Err(error) => tracing::warn!(offset = record.offset, %error, "a cohort is not readable"),
        }
    }
}

/// The gauges.
struct Figures {
    started: GaugeVec,
    reached: GaugeVec,
    completed: GaugeVec,
    within_target: GaugeVec,
    median: GaugeVec,
    p90: GaugeVec,
    breaches_open: GaugeVec,
    evaluated: GaugeVec,
    score: GaugeVec,
    labels: MetricsConfig,
    tenants: Arc<TenantsConfig>,
}

impl Figures {
    fn new(metrics: &Metrics, labels: MetricsConfig, tenants: Arc<TenantsConfig>) -> Self {
        let gauge = |name: &str, help: &str| metrics.float_gauge_vec(name, help, &LABELS);
        Self {
            started: gauge("ttf_cohort_started", "Signups in the window."),
            reached: gauge("ttf_cohort_reached", "Of those, who reached the stage's start."),
            completed: gauge("ttf_cohort_completed", "Of those, who completed the stage."),
            within_target: gauge("ttf_cohort_within_target", "Of those, who did so within target."),
            median: gauge(
                "ttf_cohort_median_seconds",
                "Kaplan-Meier median of the stage; absent when the curve does not reach it.",
            ),
            p90: gauge(
                "ttf_cohort_p90_seconds",
                "Kaplan-Meier 90th percentile of the stage; absent when the curve does not reach it.",
            ),
            breaches_open: gauge("ttf_cohort_breaches_open", "Breaches of the cohort that are firing."),
            evaluated: gauge("ttf_cohort_evaluated_timestamp_seconds", "When the cohort was evaluated."),
            score: gauge("ttf_efficiency_score", "Efficiency score of the cohort, 0 to 100."),
            labels,
            tenants,
        }
    }

    /// Shows a cohort and returns its labels; `None` for one that has no series of its own: a tenant or a segment's value
    /// that is not configured, of which there may be any number.
    fn show(&self, cohort: &CohortSummary) -> Option<[String; 5]> {
        self.tenants.get(&cohort.tenant)?;
        let segment = match (&cohort.segment_name, &cohort.segment_value) {
            (None, _) => EVERYONE,
            (Some(name), Some(value)) if self.labels.segment_by.as_ref() == Some(name) => {
                self.labels.segment_values.iter().find(|listed| *listed == value)?
            }
            _ => return None,
        };
        let labels = [&*cohort.tenant, &cohort.journey, &cohort.stage, &cohort.window, segment];
        let counts = [
            (&self.started, cohort.started),
            (&self.reached, cohort.reached),
            (&self.completed, cohort.completed),
            (&self.within_target, cohort.within_target),
            (&self.breaches_open, cohort.breaches_open),
        ];
        for (gauge, count) in counts {
            gauge.with_label_values(&labels).set(count as f64);
        }
        self.evaluated.with_label_values(&labels).set(cohort.evaluated_at.0 as f64 / 1_000.0);
        let seconds = |millis: Option<telemetry_schemas::Millis>| millis.map(|millis| millis.0 as f64 / 1_000.0);
        for (gauge, value) in [
            (&self.median, seconds(cohort.median_ms)),
            (&self.p90, seconds(cohort.p90_ms)),
            (&self.score, cohort.efficiency_score),
        ] {
            match value {
                Some(value) => gauge.with_label_values(&labels).set(value),
                // Not there is not 0.
                None => drop(gauge.remove_label_values(&labels)),
            }
        }
        Some(labels.map(str::to_owned))
    }

    fn forget(&self, labels: &[String; 5]) {
        let labels = labels.each_ref().map(String::as_str);
        let all = [
            &self.started,
            &self.reached,
            &self.completed,
            &self.within_target,
            &self.median,
            &self.p90,
            &self.breaches_open,
            &self.evaluated,
            &self.score,
        ];
        for gauge in all {
            let _ = gauge.remove_label_values(&labels);
        }
    }
}
