//! `ttf doctor`: asks everything this configuration depends on, and says what is wrong and what to do.

mod clock;
mod intent;
mod kafka;
mod machine;
mod needs;
mod report;
mod stores;
mod topics;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use needs::Needs;
pub use needs::Role;
use report::{Check, Part, Report};
use service_kit::config::Secret;
use sink_archiver::config::LiveViewConfig;
use stream_runtime::log::LogConfig;

use crate::{
    cli::DoctorArgs,
    config::{self, Config},
    exit, output,
};

pub async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    let roles = if args.role.is_empty() { Role::ALL.to_vec() } else { args.role };
    let report = Report::new(Box::pin(look(&config, &roles, args.timeout.as_std())).await?);
    if args.json {
        output::line(serde_json::to_string_pretty(&report)?)?;
    } else {
        output::line(report.text())?;
    }
    Ok(if report.healthy { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) })
}

/// Asks all at once: each answer bounds the time alone.
async fn look(config: &Config, roles: &[Role], timeout: Duration) -> anyhow::Result<Vec<Check>> {
    let archive = &config.archive;
    let has = |role| roles.contains(&role);
    // The gateway reads journeys, the archiver writes them.
    let (reads_journeys, archives) = (has(Role::Gateway) || has(Role::Archiver), has(Role::Archiver));
    let live_view = match &archive.live_view {
        LiveViewConfig::Redis(redis) if reads_journeys => Some(redis.url.expose()),
        _ => None,
    };
    let shared = config.gateway.redis.as_ref().map(Secret::expose).filter(|_| has(Role::Gateway));
    let (log, registry, database, objects, shared, live_view) = tokio::join!(
        log(config, roles, timeout),
        maybe(config.schema_registry.url.as_ref().map(|url| stores::registry(url.expose(), timeout))),
        maybe(reads_journeys.then(|| stores::database(&archive.database))),
        maybe(archives.then(|| stores::objects(&archive.s3, timeout))),
        maybe(shared.map(|url| stores::redis("gateway.redis", url, timeout))),
        maybe(live_view.map(|url| stores::redis("archive.live_view", url, timeout))),
    );
    let parts = [
        intent::look(config, roles),
        machine::look(config, roles),
        log?,
        registry,
        database,
        objects,
        shared,
        live_view,
    ];
    Ok(parts.into_iter().flatten().collect())
}

async fn maybe(part: Option<impl Future<Output = Vec<Check>>>) -> Vec<Check> {
    match part {
        Some(part) => part.await,
        None => Vec::new(),
    }
}

async fn log(config: &Config, roles: &[Role], timeout: Duration) -> anyhow::Result<Vec<Check>> {
    match &config.log {
        LogConfig::Embedded(log) => {
            let mut part = Part::new("log");
            part.ok("kind", format!("embedded, {}: one process at a time", log.path.display()));
            Ok(part.checks)
        }
        LogConfig::Kafka(kafka) => {
            let kafka = kafka.clone();
            let specs = crate::topics::specs(config);
            let needs: Vec<Needs> = roles.iter().map(|role| Needs::of(*role, config)).collect();
            tokio::task::spawn_blocking(move || kafka::look(&kafka, &specs, &needs, timeout))
                .await
                .context("the look at Kafka ended early")
        }
    }
}
