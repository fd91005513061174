//! The scheduled job: closes and verifies days, then enforces retention. Of the processes that share a database, one at
//! a time does it.

use std::{sync::Arc, time::Duration};

use prometheus::{IntCounterVec, IntGauge};
use service_kit::Kit;
use stream_runtime::{log::Log, sink::SinkError};
use telemetry_schemas::time::EventTime;

use super::Retention;
use crate::{
    database::{Database, Duty, Held},
    objects::{
        days::{self, DayCloser},
        store::Store,
        verify::Verifier,
    },
};

/// What the job works with.
pub struct Job {
    pub database: Arc<dyn Database>,
    pub store: Store,
    pub log: Arc<dyn Log>,
    pub verifier: Verifier,
    pub retention: Retention,
    /// False: days are closed and verified, but nothing is deleted.
    pub enforce: bool,
}

struct Figures {
    days: IntCounterVec,
    verified_until: IntGauge,
    deleted: IntCounterVec,
    runs: IntCounterVec,
}

impl Figures {
    fn new(kit: &Kit) -> Self {
        let metrics = kit.metrics();
        Self {
            days: metrics.counter_vec(
                "ttf_archive_days_total",
                "Days of the archive: closed, verified, or found wrong.",
                &["outcome"],
            ),
            verified_until: metrics.gauge(
                "ttf_archive_verified_until_seconds",
                "Everything received before this instant is archived and verified (seconds since 1970).",
            ),
            deleted: metrics.counter_vec(
                "ttf_retention_deleted_total",
                "Rows and objects deleted because their time is over.",
                &["what"],
            ),
            runs: metrics.counter_vec("ttf_retention_runs_total", "Runs of the retention job.", &["outcome"]),
        }
    }
}

/// Starts the job on the kit.
pub fn start(job: Job, interval: Duration, kit: &Kit) {
    let figures = Figures::new(kit);
    let shutdown = kit.shutdown();
    kit.spawn("retention", async move {
        let mut duty: Option<Box<dyn Held>> = None;
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let work = async {
                if !have_duty(&*job.database, &mut duty).await {
                    return;
                }
                match job.run(&figures, EventTime(jiff::Timestamp::now().as_millisecond())).await {
                    Ok(()) => figures.runs.with_label_values(&["done"]).inc(),
                    Err(error) => {
                        tracing::warn!(%error, "the retention job is tried again later");
                        figures.runs.with_label_values(&["failed"]).inc();
                    }
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = work => {}
            }
        }
    });
}

async fn have_duty(database: &dyn Database, duty: &mut Option<Box<dyn Held>>) -> bool {
    if let Some(held) = duty
        && held.is_held().await
    {
        return true;
    }
    *duty = None;
    match database.take_duty(Duty::Retention).await {
        Ok(taken) => {
            *duty = taken;
            duty.is_some()
        }
        Err(error) => {
            tracing::debug!(%error, "the retention job cannot ask for its lock");
            false
        }
    }
}

impl Job {
    async fn run(&self, figures: &Figures, now: EventTime) -> Result<(), SinkError> {
        let (closed, open) = DayCloser::new(self.store.clone(), Arc::clone(&self.log)).close_due(now).await?;
        tracing::debug!(closed = closed.len(), ?open, "days of the archive");
        figures.days.with_label_values(&["closed"]).inc_by(closed.len() as u64);
        for date in days::closed(&self.store).await? {
            let Some(manifest) = days::newest(&self.store, &date).await? else { continue };
            if days::verified(&self.store, &date, manifest.revision).await?.is_some() {
                continue;
            }
            let report = self.verifier.verify_and_mark(&date, now).await?;
            let outcome = if report.is_right() { "verified" } else { "wrong" };
            figures.days.with_label_values(&[outcome]).inc();
            if !report.is_right() {
                let first = report.findings.first().map(|finding| format!("{:?} {}", finding.fault, finding.place));
                tracing::error!(date, findings = report.findings.len(), first, "a day of the archive is not right");
            }
        }
        if let Some(until) = self.retention.verified_until().await? {
            figures.verified_until.set(until.0 / 1_000);
        }
        if !self.enforce {
            return Ok(());
        }
        let report = self.retention.apply(now).await?;
        for line in report.lines.iter().filter(|line| line.deleted.is_some_and(|deleted| deleted > 0)) {
            let deleted = line.deleted.unwrap_or_default();
            figures.deleted.with_label_values(&[&line.what]).inc_by(deleted);
            tracing::info!(what = line.what, deleted, before = %line.before, "deleted what is past its retention");
        }
        if let Some(lifecycle) = report.lifecycle.filter(|lifecycle| !lifecycle.is_right()) {
            tracing::warn!(
                wanted = lifecycle.wanted.len(),
                there = lifecycle.there.len(),
                "the bucket did not take its lifecycle rules"
            );
        }
        Ok(())
    }
}
