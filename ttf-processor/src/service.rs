//! The processor as a service of a process.

use std::sync::Arc;

use anyhow::Context as _;
use service_kit::{Kit, config::MetricsConfig};
use sha2::{Digest, Sha256};
use stream_runtime::{
    keyed::{self, KeyedOptions},
    log::Log,
};
use telemetry_schemas::{Codec, topics};

use crate::{
    codec::JourneyCodec,
    config::{self, ProcessorConfig},
    figures::Figures,
    journey::{DefinitionErrors, JourneyDefinition, Journeys},
    processor::JourneyProcessor,
};

/// Name of the application and of its consumer group.
pub const GROUP: &str = "ttf-processor";

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
/// When the journeys are not sound or the runtime cannot start.
pub async fn run(
    config: ProcessorConfig,
    journeys: Vec<JourneyDefinition>,
    labels: MetricsConfig,
    log: Arc<dyn Log>,
    codec: Codec,
    kit: &Kit,
) -> anyhow::Result<()> {
    let fingerprint = fingerprint(&journeys)?;
    let journeys = Arc::new(Journeys::new(&journeys)?);
    let figures = Figures::new(kit.metrics(), journeys.clone(), labels).context("cannot register metrics")?;
    let mut options = KeyedOptions::new(
        GROUP,
        GROUP,
        vec![topics::EVENTS.to_owned(), topics::ERASURES.to_owned()],
        topics::TTF_STATE,
        "ttf_processor",
        &config.runtime,
    );
    options.ordinal = config::ordinal(&config.runtime.ordinal, std::env::var("HOSTNAME").ok().as_deref());
    options.timer_fingerprint = fingerprint;
    let processor = Arc::new(JourneyProcessor::new(journeys, figures));
    let codec = Arc::new(JourneyCodec::new(codec));
    let kit = kit.clone();
    tokio::task::spawn_blocking(move || keyed::run(options, log, processor, codec, &kit)).await?
}

/// Changes with the definitions, which the timers depend on.
fn fingerprint(journeys: &[JourneyDefinition]) -> anyhow::Result<String> {
    Ok(hex::encode(&Sha256::digest(serde_json::to_vec(journeys)?)[..8]))
}
