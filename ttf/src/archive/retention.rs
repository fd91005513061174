//! `ttf retention plan|apply|status`.

use std::process::ExitCode;

use sink_archiver::{
    database::Duty,
    retention::{Report, Retention},
};
use telemetry_schemas::EventTime;

use super::{
    Stores, WRONG,
    args::{RetentionAction, RetentionOptions},
    table,
};
use crate::{
    audit::{self, Act},
    config, output,
};

pub async fn run(action: RetentionAction) -> anyhow::Result<ExitCode> {
    match action {
        RetentionAction::Plan(options) => plan(options).await,
        RetentionAction::Apply(options) => apply(options).await,
        RetentionAction::Status(options) => status(options).await,
    }
}

async fn open(options: &RetentionOptions) -> anyhow::Result<(Stores, Retention)> {
    let stores = Stores::open(&options.config).await?;
    let (retention, lock) = (stores.config.retention.clone(), stores.config.archive.s3.object_lock());
    let retention = Retention::new(retention, lock, stores.database.clone(), stores.store.clone());
    Ok((stores, retention))
}

fn now() -> EventTime {
    EventTime(service_kit::clock::now_ms())
}

async fn plan(options: RetentionOptions) -> anyhow::Result<ExitCode> {
    let (_, retention) = open(&options).await?;
    show(&retention.plan(now()).await?, &options)?;
    Ok(ExitCode::SUCCESS)
}

async fn apply(options: RetentionOptions) -> anyhow::Result<ExitCode> {
    let (stores, retention) = open(&options).await?;
    let Some(_held) = stores.database.take_duty(Duty::Retention).await? else {
        anyhow::bail!("an archiver is at it: retention is enforced by one process at a time");
    };
    let report = retention.apply(now()).await?;
    let deleted: u64 = report.lines.iter().filter_map(|line| line.deleted).sum();
    let log = stores.log("ttf-retention").await?;
    let codec = config::codec(&stores.config)?;
    let act = Act {
        action: "retention_apply",
        target: "retention".to_owned(),
        details: vec![("deleted", deleted.to_string())],
    };
    tokio::task::spawn_blocking(move || audit::write(&*log, &codec, &audit::operator(), vec![act])).await??;
    show(&report, &options)?;
    Ok(if is_right(&report) { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

async fn status(options: RetentionOptions) -> anyhow::Result<ExitCode> {
    let (_, retention) = open(&options).await?;
    let report = retention.plan(now()).await?;
    show(&report, &options)?;
    Ok(if is_right(&report) { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

fn is_right(report: &Report) -> bool {
    report.lifecycle.as_ref().is_none_or(sink_archiver::retention::Lifecycle::is_right)
}

fn show(report: &Report, options: &RetentionOptions) -> anyhow::Result<()> {
    if options.json {
        return output::line(serde_json::to_string_pretty(report)?);
    }
    let mut lines = table(&["data", "tenant", "kept", "goes when before", "due", "waits for the archive", "deleted"]);
    for line in &report.lines {
        lines.add_row([
            line.what.clone(),
            line.tenant.clone().unwrap_or_else(|| "the others".to_owned()),
            format!("{} d", line.keep_days),
            line.before.to_rfc3339(),
            line.due.to_string(),
            line.waiting.to_string(),
            line.deleted.map_or("–".to_owned(), |deleted| deleted.to_string()),
        ]);
    }
    output::line(lines)?;
    output::line(match report.verified_until {
        Some(until) => format!("everything received before {until} is archived and verified"),
        None => "nothing is archived and verified yet: nothing goes from the database".to_owned(),
    })?;
    if let Some(lifecycle) = &report.lifecycle {
        let state =
            if lifecycle.is_right() { "as they should be" } else { "NOT as they should be: `ttf retention apply`" };
        output::line(format_args!("the bucket's rules are {state}"))?;
        for rule in &lifecycle.wanted {
            let there = if lifecycle.there.contains(rule) { "is there" } else { "is missing" };
            output::line(format_args!("    {}  {} days  {there}", rule.prefix, rule.expire_after_days))?;
        }
    }
    Ok(())
}
