//! The cohort evaluator: every minute, for every journey, stage, window of signups and segment value, how many started,
//! reached, completed and were within target, the Kaplan–Meier median and p90, the efficiency score and the open
//! breaches, on `telemetry.ttf.cohorts.v1`.
//!
//! It works on what the database has. Of the processes that share one, one at a time has the duty, by a lock in the
//! database; the others stand by. [`curve`] and [`evaluate`] are pure.

pub mod curve;
pub mod evaluate;
pub mod published;
pub mod rows;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use prometheus::{Histogram, IntCounterVec, IntGauge};
use service_kit::Kit;
use stream_runtime::log::{Log, Publisher};
use telemetry_schemas::{Codec, time::EventTime};
use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::{
    config::CohortsConfig,
    database::{Database, Duty, Held},
};
use evaluate::{Plan, Window, evaluate};
use rows::{Signups, Targets};

/// Why a round published nothing. The next one tries again.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Database(#[from] crate::database::DatabaseError),
    #[error(transparent)]
    Log(#[from] stream_runtime::log::LogError),
    #[error("a cohort cannot be written: {0}")]
    Encode(#[from] telemetry_schemas::codec::EncodeError),
    #[error("the evaluation ended early: {0}")]
    Ended(#[from] tokio::task::JoinError),
}

/// Starts the evaluator on the kit.
///
/// # Errors
/// When the log gives no publisher.
pub fn start(
    config: &CohortsConfig,
    targets: Targets,
    database: Arc<dyn Database>,
    log: Arc<dyn Log>,
    codec: Codec,
    kit: &Kit,
) -> anyhow::Result<()> {
    let interval = config.interval.as_std();
    let evaluator = Evaluator {
        plan: Plan {
            windows: config
                .windows
                .iter()
                .map(|window| Window::of(telemetry_schemas::Millis(window.millis())))
                .collect(),
            segment_values: config.segment_values,
        },
        targets,
        database,
        publisher: log.publisher()?,
        log,
        codec,
        figures: Figures::new(kit),
        duty: None,
    };
    let shutdown = kit.shutdown();
    kit.spawn("cohort evaluator", async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = evaluator.run(interval) => {}
        }
        Ok(())
    });
    Ok(())
}

struct Evaluator {
    plan: Plan,
    targets: Targets,
    database: Arc<dyn Database>,
    log: Arc<dyn Log>,
    publisher: Arc<dyn Publisher>,
    codec: Codec,
    figures: Figures,
    duty: Option<OnDuty>,
}

/// What only the process on duty has.
struct OnDuty {
    held: Box<dyn Held>,
    /// Keys of the cohorts the topic shows.
    shown: BTreeSet<Vec<u8>>,
}

impl Evaluator {
    async fn run(mut self, interval: Duration) {
        let mut ticks = interval_at(Instant::now(), interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let timer = self.figures.duration.start_timer();
            match self.round(EventTime(service_kit::clock::now_ms())).await {
                Ok(Some(cohorts)) => {
                    timer.observe_duration();
                    self.figures.rounds.with_label_values(&["published"]).inc();
                    self.figures.cohorts.set(cohorts as i64);
                }
                Ok(None) => {
                    timer.stop_and_discard();
                    self.figures.rounds.with_label_values(&["standby"]).inc();
                    self.figures.cohorts.set(0);
                }
                Err(error) => {
                    timer.stop_and_discard();
                    // Whoever can do it may have the duty; what the topic shows is not known any more.
                    self.duty = None;
                    self.figures.rounds.with_label_values(&["failed"]).inc();
                    self.figures.cohorts.set(0);
                    tracing::warn!(%error, "the cohorts were not evaluated");
                }
            }
        }
    }

    /// The number of cohorts published; `None` while another process has the duty.
    async fn round(&mut self, now: EventTime) -> Result<Option<usize>, RoundError> {
        let on_duty = match self.duty.take() {
            Some(duty) if duty.held.is_held().await => Some(duty),
            _ => self.take_duty().await?,
        };
        let Some(mut on_duty) = on_duty else { return Ok(None) };
        let signups = Signups { since: EventTime(now.0.saturating_sub(self.plan.longest().0)), until: now };
        let rows = self.database.cohort_rows(signups, &self.targets).await?;
        let (plan, codec) = (self.plan.clone(), self.codec.clone());
        let (records, on_duty, cohorts) = spawn_blocking(move || {
            let cohorts = evaluate(&rows, &plan, now);
            let (records, shown) = published::records(&codec, &cohorts, &on_duty.shown)?;
            on_duty.shown = shown;
            Ok::<_, RoundError>((records, on_duty, cohorts.len()))
        })
        .await??;
        // Reading may have taken long: who has lost the duty meanwhile must not overwrite newer figures.
        if !on_duty.held.is_held().await {
            return Ok(None);
        }
        published::publish(&*self.publisher, records).await?;
        self.duty = Some(on_duty);
        Ok(Some(cohorts))
    }

    async fn take_duty(&self) -> Result<Option<OnDuty>, RoundError> {
        let Some(held) = self.database.take_duty(Duty::Cohorts).await? else { return Ok(None) };
        let log = Arc::clone(&self.log);
        let shown = spawn_blocking(move || published::read(&*log)).await??;
        tracing::info!(shown = shown.len(), "this process evaluates the cohorts");
        Ok(Some(OnDuty { held, shown }))
    }
}

struct Figures {
    rounds: IntCounterVec,
    duration: Histogram,
    cohorts: IntGauge,
}

impl Figures {
    fn new(kit: &Kit) -> Self {
        let metrics = kit.metrics();
        Self {
            rounds: metrics.counter_vec(
                "ttf_cohort_evaluations_total",
                "Rounds of the cohort evaluator: published, standby (another process has the duty) or failed.",
                &["outcome"],
            ),
            duration: metrics.histogram(
                "ttf_cohort_evaluation_seconds",
                "Time of a round that published, from reading the database to the last acknowledgement.",
                &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0],
            ),
            cohorts: metrics.gauge("ttf_cohorts_published", "Cohorts of the last round; 0 where another has the duty."),
        }
    }
}
