//! `ttf topics plan|apply`, and the check every role makes at its start.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use stream_runtime::log::{Cleanup, Log, LogConfig, TopicInfo, TopicOutcome, TopicSpec};
use telemetry_schemas::topics::{self, Topic};

use crate::{
    audit::{self, Act},
    cli::ConfigArgs,
    config::{self, Config},
    exit, output,
};

/// For one answer of the brokers.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The catalogue as this configuration wants it.
pub fn specs(config: &Config) -> Vec<TopicSpec> {
    topics::CATALOGUE.iter().map(|topic| spec(topic, config)).collect()
}

fn spec(topic: &Topic, config: &Config) -> TopicSpec {
    let mut settings = BTreeMap::new();
    settings.insert("min.insync.replicas".to_owned(), config.topics.min_insync_replicas.to_string());
    TopicSpec {
        name: topic.name.to_owned(),
        partitions: config.topics.partitions,
        replication_factor: config.topics.replication_factor,
        cleanup: if topic.is_compacted() { Cleanup::Compact } else { Cleanup::Delete },
        retention: topic.retention().map(|retention| Duration::from_millis(retention.0.unsigned_abs())),
        settings,
    }
}

pub async fn plan(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    with_log(args, |config, log| {
        let wanted = specs(config);
        let there = there(log, &wanted)?;
        let mut table = table(&["topic", "partitions", "cleanup", "retention", "plan"]);
        let mut differs = false;
        for spec in &wanted {
            let plan = match there.iter().find(|info| info.name == spec.name) {
                None => "create".to_owned(),
                Some(info) if info.partitions == spec.partitions => "is there".to_owned(),
                Some(info) => {
                    differs = true;
                    format!("has {} partitions", info.partitions)
                }
            };
            table.add_row([
                spec.name.clone(),
                spec.partitions.to_string(),
                format!("{:?}", spec.cleanup).to_lowercase(),
                spec.retention.map_or("for ever".to_owned(), days),
                plan,
            ]);
        }
        output::line(&table)?;
        if differs {
            anstream::eprintln!("{GROWTH}");
        }
        Ok(if differs { ExitCode::from(exit::FAILURE) } else { ExitCode::SUCCESS })
    })
    .await
}

pub async fn apply(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    with_log(args, |config, log| {
        let mut table = table(&["topic", "outcome"]);
        let mut differs = false;
        let mut acts = Vec::new();
        for (name, outcome) in log.create_topics(&specs(config), TIMEOUT)? {
            let outcome = match outcome {
                TopicOutcome::Created => {
                    let details = vec![("partitions", config.topics.partitions.to_string())];
                    acts.push(Act { action: "topics_apply", target: format!("topic {name}"), details });
                    "created".to_owned()
                }
                TopicOutcome::Exists => "is there".to_owned(),
                TopicOutcome::PartitionsDiffer { actual } => {
                    differs = true;
                    format!("refused: it has {actual} partitions, not {}", config.topics.partitions)
                }
            };
            table.add_row([name, outcome]);
        }
        output::line(&table)?;
        if differs {
            anstream::eprintln!("{GROWTH}");
        }
        if !acts.is_empty() {
            let codec = config::codec(config)?;
            audit::write(&**log, &codec, &audit::operator(), acts)
                .context("the topics are there, but not the audit entries")?;
        }
        Ok(if differs { ExitCode::from(exit::FAILURE) } else { ExitCode::SUCCESS })
    })
    .await
}

const GROWTH: &str = "ttf: partition counts never change: a user would move to another task and lose their journey.\n\
     Set `topics.partitions` to what is there, or move to new topics by replaying the archive.";

/// Makes sure the topics are there before a role starts: the embedded log gets them made, Kafka's must have been
/// made by `ttf topics apply`. Blocks.
pub fn ensure(config: &Config, log: &Arc<dyn Log>) -> anyhow::Result<()> {
    let wanted = specs(config);
    if matches!(config.log, LogConfig::Embedded(_)) {
        for (name, outcome) in log.create_topics(&wanted, TIMEOUT)? {
            if let TopicOutcome::PartitionsDiffer { actual } = outcome {
                bail!("topic {name} has {actual} partitions, `topics.partitions` says {}", config.topics.partitions);
            }
        }
        return Ok(());
    }
    let there = there(log, &wanted)?;
    let missing: Vec<_> = wanted
        .iter()
        .map(|spec| spec.name.as_str())
        .filter(|name| there.iter().all(|info| info.name != *name))
        .collect();
    if !missing.is_empty() {
        bail!("topics are missing: {}; create them with `ttf topics apply`", missing.join(", "));
    }
    for info in &there {
        if info.partitions != config.topics.partitions {
            bail!(
                "topic {} has {} partitions, `topics.partitions` says {}",
                info.name,
                info.partitions,
                config.topics.partitions
            );
        }
    }
    Ok(())
}

fn there(log: &Arc<dyn Log>, wanted: &[TopicSpec]) -> anyhow::Result<Vec<TopicInfo>> {
    let names: Vec<_> = wanted.iter().map(|spec| spec.name.as_str()).collect();
    Ok(log.topics(Some(&names), TIMEOUT)?)
}

async fn with_log<F>(args: ConfigArgs, act: F) -> anyhow::Result<ExitCode>
where
    F: FnOnce(&Config, &Arc<dyn Log>) -> anyhow::Result<ExitCode> + Send + 'static,
{
    let config = config::load(&args)?;
    tokio::task::spawn_blocking(move || {
        let log = stream_runtime::log::open(&config.log, "ttf-topics")?;
        act(&config, &log)
    })
    .await?
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header);
    table
}

fn days(retention: Duration) -> String {
    format!("{} d", retention.as_secs() / 86_400)
}
