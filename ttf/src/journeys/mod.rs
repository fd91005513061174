//! `ttf journeys`: whether definitions are sound and may be loaded, and what is in force.

mod show;

use std::process::ExitCode;

use anyhow::Context;
use service_kit::{
    clock::now_ms,
    config::{ConfigError, Places},
};
use telemetry_schemas::EventTime;
use ttf_processor::{
    JourneyDefinition, in_force,
    journey::{DefinitionErrors, changes::Changes},
};

use crate::{
    cli::{ConfigArgs, JourneysCheckArgs, JourneysShowArgs},
    config, output,
    top::{Ask, asked},
};

/// `ttf journeys check`
pub async fn check(args: JourneysCheckArgs) -> anyhow::Result<ExitCode> {
    let (journeys, places) = config::load_journeys(&args.config)?;
    if args.in_force {
        hold_against_what_is_in_force(&args.config, &journeys, &places).await?;
    }
    for journey in &journeys {
        output::line(summary(journey))?;
    }
    let versions = if journeys.len() == 1 { "1 version".to_owned() } else { format!("{} versions", journeys.len()) };
    output::line(format_args!("{versions}: valid"))?;
    Ok(ExitCode::SUCCESS)
}

fn summary(journey: &JourneyDefinition) -> String {
    let from = journey.effective_from.map_or("the beginning".to_owned(), |from| from.to_string());
    let deadlines: Vec<String> = journey.deadlines.iter().map(|deadline| deadline.after.to_string()).collect();
    format!(
        "{} version {}: signups from {from} on; {} stages from {} to {}, target {}, deadlines {}",
        journey.id,
        journey.version,
        journey.stages.len(),
        journey.milestones.first().map_or("", |milestone| &milestone.id),
        journey.milestones.last().map_or("", |milestone| &milestone.id),
        journey.total.target,
        if deadlines.is_empty() { "none".to_owned() } else { deadlines.join(", ") },
    )
}

/// Says what a start with these definitions would change, and fails where it would be refused.
async fn hold_against_what_is_in_force(
    args: &ConfigArgs,
    journeys: &[JourneyDefinition],
    places: &Places,
) -> anyhow::Result<()> {
    let log = config::load(args)?.log;
    let remembered = tokio::task::spawn_blocking(move || {
        let log = stream_runtime::log::open(&log, "ttf-journeys")?;
        in_force::recall(&*log)
    })
    .await?
    .context("what is in force is not known")?;
    let changes = Changes::between(&remembered, journeys, EventTime(now_ms()));
    if !changes.refused.is_empty() {
        return Err(ConfigError { problems: config::located(&DefinitionErrors(changes.refused), places) }.into());
    }
    let name = |index: usize| format!("{} version {}", journeys[index].id, journeys[index].version);
    for index in changes.new {
        output::line(format_args!("new: {}", name(index)))?;
    }
    for (index, what) in changes.corrected {
        output::line(format_args!("changed in place: {}: {}", name(index), what.join("; ")))?;
    }
    for id in changes.unloaded {
        output::line(format_args!(
            "not in this configuration: {} version {}; `ttf journeys show` tells whether journeys still need it",
            id.journey, id.version
        ))?;
    }
    Ok(())
}

/// `ttf journeys show`
pub async fn show(args: JourneysShowArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    let variable = std::env::var("TELEMETRY_URL").ok().filter(|url| !url.is_empty());
    let addresses = asked(&args.url, variable, config.gateway.listen, config.service.admin_listen);
    let (pages, silent) = Ask::new()?.all(&addresses).await;
    let mut shown = show::shown(&config.journeys, &pages, EventTime(now_ms()));
    if !args.url.is_empty() {
        shown.problems.extend(silent.iter().map(|(url, why)| format!("{url} does not answer: {why}")));
    }
    if args.json {
        output::line(serde_json::to_string(&shown)?)?;
    } else {
        output::line(show::render(&shown))?;
    }
    Ok(ExitCode::SUCCESS)
}
