//! What is alerted on besides deadlines: [`cohort`]s, the [`application`], the [`pipeline`] itself.
//!
//! Every alerter looks at everything and tells what changed: a group takes the same word from two alerters once. What is
//! found waits in [`watch`] until it has held for a while, and then goes the way of a breach: to the groups it is routed to.

pub mod application;
pub mod cohort;
mod gather;
pub mod pipeline;
pub mod statistics;
pub mod watch;

use std::{sync::Arc, time::Duration};

use service_kit::Kit;
use stream_runtime::log::{Log, LogError, NewRecord, Publisher};
use telemetry_schemas::{EventTime, Millis, topics};

use self::{
    application::Application,
    gather::Gather,
    pipeline::Pipeline,
    watch::{Watch, Word},
};
use crate::{
    config::ChecksConfig,
    route::{Routes, all_labels},
    wire::Wire,
};

const TIMEOUT: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(100);

/// Starts to look on a thread of its own, where anything is to be looked at.
///
/// # Errors
/// When the log gives no publisher.
pub fn start(
    config: ChecksConfig,
    log: Arc<dyn Log>,
    wire: Wire,
    routes: Arc<Routes>,
    kit: &Kit,
) -> Result<(), LogError> {
    if config.cohorts.is_none() && config.application.is_none() && config.pipeline.is_none() {
        return Ok(());
    }
    let shutdown = kit.shutdown();
    let mut checks = Checks {
        publisher: log.publisher()?,
        gather: Gather::new(log, wire.clone()),
        config,
        wire,
        routes,
        application: Application::default(),
        pipeline: Pipeline::default(),
        watches: Watches::default(),
    };
    kit.spawn_thread("alerter checks", move || {
        while !shutdown.is_cancelled() {
            let started = std::time::Instant::now();
            if let Err(error) = checks.look() {
                tracing::warn!(%error, "the checks could not look; they try again");
            }
            while !shutdown.is_cancelled() && started.elapsed() < checks.config.interval.as_std() {
                std::thread::sleep(STEP);
            }
        }
        Ok(())
    });
    Ok(())
}

#[derive(Default)]
struct Watches {
    cohorts: Watch,
    application: Watch,
    pipeline: Watch,
}

struct Checks {
    config: ChecksConfig,
    gather: Gather,
    wire: Wire,
    routes: Arc<Routes>,
    publisher: Arc<dyn Publisher>,
    application: Application,
    pipeline: Pipeline,
    watches: Watches,
}

impl Checks {
    fn look(&mut self) -> Result<(), LogError> {
        let now = EventTime(service_kit::clock::now_ms());
        let mut words = Vec::new();
        if let Some(cohorts) = &self.config.cohorts {
            let findings = cohort::judge(&self.gather.cohorts()?, cohorts);
            words.extend(self.watches.cohorts.observe(findings, Millis(cohorts.hold.millis()), now));
        }
        if let Some(application) = &self.config.application {
            let from = now.plus(Millis(-application.window.millis()));
            self.gather.events(from, &mut self.application)?;
            let findings = self.application.judge(now, application);
            words.extend(self.watches.application.observe(findings, Millis(application.hold.millis()), now));
        }
        if let Some(pipeline) = &self.config.pipeline {
            let sample = self.gather.sample(now, Millis(pipeline.headroom.millis()))?;
            let findings = self.pipeline.look(sample, pipeline);
            words.extend(self.watches.pipeline.observe(findings, Millis(pipeline.hold.millis()), now));
        }
        self.tell(&words)
    }

    fn tell(&self, words: &[Word]) -> Result<(), LogError> {
        for Word { alert, is_news } in words {
            if *is_news {
                let status = alert.status.as_str();
                tracing::info!(alert = alert.breach_id, status, "a check has changed its mind");
            }
            let value = self.wire.encode(alert);
            let keys: Vec<String> = if self.routes.need_memory() {
                vec![self.routes.memory_key(alert)]
            } else {
                self.routes.route(&all_labels(alert)).into_iter().map(|routed| routed.group_key).collect()
            };
            for key in keys {
                let record = NewRecord::new(topics::ALERT_GROUPS, key, value.clone());
                futures::executor::block_on(self.publisher.publish(record)?)?;
            }
        }
        if words.is_empty() { Ok(()) } else { self.publisher.flush(TIMEOUT) }
    }
}
