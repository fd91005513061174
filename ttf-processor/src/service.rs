//! The processor as a service of a process.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use service_kit::{Kit, config::MetricsConfig};
use sha2::{Digest, Sha256};
use stream_runtime::{
    keyed::{self, KeyedOptions},
    log::{Log, LogError},
};
use telemetry_schemas::{Codec, EventTime, topics};

use crate::{
    codec::JourneyCodec,
    config::{self, ProcessorConfig},
    figures::Figures,
    in_force::{self, OnChange},
    journey::{DefinitionErrors, JourneyDefinition, Journeys},
    processor::JourneyProcessor,
};

/// Name of the application and of its consumer group.
pub const GROUP: &str = "ttf-processor";

/// Between two looks at a log that is away.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether these journeys can be run.
///
/// # Errors
/// Everything that is wrong with them, each with the path to it.
pub fn check(journeys: &[JourneyDefinition]) -> Result<(), DefinitionErrors> {
    Journeys::new(journeys).map(drop)
}

/// Starts the processor on threads of the kit and returns; the process then waits in [`Kit::join`].
///
/// # Errors
/// [`DefinitionErrors`] when the journeys are not sound, or not what they were when they were loaded before; others
/// when the log does not answer or the runtime cannot start.
pub async fn run(
    config: ProcessorConfig,
    journeys: Vec<JourneyDefinition>,
    on_change: OnChange,
    labels: MetricsConfig,
    log: Arc<dyn Log>,
    codec: Codec,
    kit: &Kit,
) -> anyhow::Result<()> {
    let fingerprint = fingerprint(&journeys)?;
    let plan = Arc::new(Journeys::new(&journeys)?);
    let memory = log.clone();
    let now = EventTime(service_kit::clock::now_ms());
    let known = kit.health().readiness("journeys");
    known.set(false);
    let shutdown = kit.shutdown();
    let settled = tokio::task::spawn_blocking(move || {
        loop {
            match in_force::settle(&*memory, &journeys, on_change, now) {
                // Not written yet, or not known to be: what is written again says the same.
                Err(error) if is_away(&error) && !shutdown.is_cancelled() => {
                    tracing::warn!(error = format!("{error:#}"), "waiting for the log");
                    std::thread::sleep(PAUSE);
                }
                settled => break settled,
            }
        }
    });
    let unloaded = settled.await??;
    known.set(true);
    let figures = Figures::new(kit.metrics(), plan.clone(), labels).context("cannot register metrics")?;
    let figures = figures.watching(&unloaded);
    let mut options = KeyedOptions::new(
        GROUP,
        GROUP,
        vec![topics::EVENTS.to_owned(), topics::ERASURES.to_owned()],
        topics::TTF_STATE,
        "ttf_processor",
        &config.runtime,
    );
    options.ordinal = config::ordinal(&config.runtime.ordinal, std::env::var("HOSTNAME").ok().as_deref());
    // After an outage an event must not be counted before the erasure it followed.
    options.first_inputs = vec![topics::ERASURES.to_owned()];
    options.timer_fingerprint = fingerprint;
    let processor = Arc::new(JourneyProcessor::new(plan, figures));
    let codec = Arc::new(JourneyCodec::new(codec));
    let kit = kit.clone();
    tokio::task::spawn_blocking(move || keyed::run(options, log, processor, codec, &kit)).await?
}

/// True when all that went wrong is that the log is away.
fn is_away(error: &anyhow::Error) -> bool {
    error.downcast_ref::<LogError>().is_some_and(LogError::is_retriable)
}

/// Changes with the definitions, which the timers depend on.
fn fingerprint(journeys: &[JourneyDefinition]) -> anyhow::Result<String> {
    Ok(hex::encode(&Sha256::digest(serde_json::to_vec(journeys)?)[..8]))
}
