//! `ttf archive days|verify|restore`, `ttf retention plan|apply|status`: the object archive and what goes when.

pub mod args;
pub mod retention;

use std::{fmt::Write, process::ExitCode, sync::Arc};

use anyhow::Context;
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde::Serialize;
use service_kit::{Kit, config::Secret};
use sink_archiver::{
    database::{self, Database},
    metrics::Metrics,
    objects::{
        days,
        restore::{Restorer, Window},
        store::Store,
        tally::{self, Tally},
        verify::{DayReport, Verifier},
        writer::CutWriter,
    },
};
use stream_runtime::log::{Log, LogConfig};
use telemetry_schemas::EventTime;

use self::args::{ArchiveAction, DaysArgs, RestoreArgs, VerifyArgs};
use crate::{
    audit::{self, Act},
    cli::ConfigArgs,
    config::{self, Config},
    output,
};

/// Something is wrong with what was looked at.
const WRONG: u8 = 1;

pub async fn run(action: ArchiveAction) -> anyhow::Result<ExitCode> {
    match action {
        ArchiveAction::Days(args) => list(args).await,
        ArchiveAction::Verify(args) => verify(args).await,
        ArchiveAction::Restore(args) => restore(args).await,
    }
}

/// What these commands work on.
struct Stores {
    config: Config,
    database: Arc<dyn Database>,
    store: Store,
}

impl Stores {
    async fn open(args: &ConfigArgs) -> anyhow::Result<Self> {
        let config = config::load(args)?;
        let database = database::open(&config.archive.database)?;
        database.open_ledger(config.archive.erasure_key.as_ref().map(Secret::expose)).await?;
        let store = Store::open(&config.archive.s3)?;
        Ok(Self { config, database, store })
    }

    fn writer(&self) -> anyhow::Result<CutWriter> {
        let codec = config::codec(&self.config)?;
        let metrics = Metrics::new(&Kit::new("ttf"));
        Ok(CutWriter::new(self.store.clone(), Arc::clone(&self.database), codec, metrics))
    }

    async fn log(&self, name: &'static str) -> anyhow::Result<Arc<dyn Log>> {
        let config = self.config.log.clone();
        let is_embedded = matches!(config, LogConfig::Embedded(_));
        let log = tokio::task::spawn_blocking(move || stream_runtime::log::open(&config, name)).await?;
        match log {
            Err(error) if is_embedded => {
                Err(error).context("an embedded log is one process's alone: stop that process first")
            }
            log => Ok(log?),
        }
    }
}

async fn list(args: DaysArgs) -> anyhow::Result<ExitCode> {
    let stores = Stores::open(&args.config).await?;
    let mut table = table(&["day", "revision", "objects", "rows", "bytes", "verified"]);
    let mut all = Vec::new();
    for date in days::closed(&stores.store).await? {
        let Some(manifest) = days::newest(&stores.store, &date).await? else { continue };
        let mark = days::verified(&stores.store, &date, manifest.revision).await?;
        let verified_at = mark.map(|mark| mark.verified_at);
        table.add_row([
            manifest.date.clone(),
            manifest.revision.to_string(),
            manifest.objects.len().to_string(),
            manifest.rows().to_string(),
            manifest.bytes().to_string(),
            verified_at.map_or("no".to_owned(), EventTime::to_rfc3339),
        ]);
        all.push(serde_json::json!({
            "date": manifest.date, "revision": manifest.revision, "objects": manifest.objects.len(),
            "rows": manifest.rows(), "bytes": manifest.bytes(), "totals": manifest.totals,
            "verified_at": verified_at.map(EventTime::to_rfc3339),
        }));
    }
    if args.json {
        output::line(serde_json::to_string_pretty(&all)?)?;
    } else {
        output::line(table)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn verify(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let stores = Stores::open(&args.config).await?;
    let log = if args.without_topics { None } else { Some(stores.log("ttf-archive-verify").await?) };
    let verifier = Verifier::new(stores.store.clone(), stores.writer()?, log);
    let dates = match &args.date {
        Some(date) => vec![date.clone()],
        None => days::closed(&stores.store).await?,
    };
    let mut reports: Vec<Verified> = Vec::new();
    for date in dates {
        let report = verifier.verify(&date).await?;
        let tallies = if args.with_database { Some(tallies(&stores, &date).await?) } else { None };
        let verified = Verified { report, tallies };
        if !args.json {
            output::line(verified.describe())?;
        }
        reports.push(verified);
    }
    if args.json {
        output::line(serde_json::to_string_pretty(&reports)?)?;
    } else if reports.is_empty() {
        output::line("no day is closed yet")?;
    }
    let are_right = reports.iter().all(Verified::is_right);
    Ok(if are_right { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

/// What came of verifying a day.
#[derive(Serialize)]
struct Verified {
    #[serde(flatten)]
    report: DayReport,
    /// The day's rows against those of the database; where that was asked for.
    #[serde(rename = "database", skip_serializing_if = "Option::is_none")]
    tallies: Option<Vec<Tally>>,
}

impl Verified {
    fn is_right(&self) -> bool {
        self.report.is_right() && self.tallies.iter().flatten().all(Tally::is_even)
    }

    fn describe(&self) -> String {
        let mut text = describe(&self.report);
        for tally in self.tallies.iter().flatten() {
            let verdict = if tally.is_even() { "even" } else { "NOT EVEN" };
            let _ = write!(
                text,
                "\n    {verdict}  {} of {}: {} rows archived, {} of them to be in the database, {} there",
                tally.dataset, tally.tenant, tally.archived, tally.expected, tally.in_database
            );
        }
        text
    }
}

async fn tallies(stores: &Stores, date: &str) -> anyhow::Result<Vec<Tally>> {
    let Some(manifest) = days::newest(&stores.store, date).await? else { return Ok(Vec::new()) };
    let now = EventTime(service_kit::clock::now_ms());
    Ok(tally::of_day(&stores.store, &*stores.database, &stores.config.retention, &manifest, now).await?)
}

fn describe(report: &DayReport) -> String {
    let verdict = if report.is_right() { "right" } else { "WRONG" };
    let mut text = format!(
        "{}  {verdict}: {} objects, {} rows, {} bytes; {} rows are what the topics hold, {} are older than they keep",
        report.date, report.objects, report.rows, report.bytes, report.rows_compared, report.rows_beyond_topic
    );
    if report.rows_of_erased > 0 {
        let _ = write!(text, ", {} are of people erased since", report.rows_of_erased);
    }
    for finding in &report.findings {
        let fault = serde_json::to_value(finding.fault).unwrap_or_default();
        let fault = fault.as_str().unwrap_or_default();
        let _ = write!(text, "\n    {fault}  {}: {}", finding.place, finding.detail);
    }
    text
}

async fn restore(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(args.from < args.to, "--from {} is not before --to {}", args.from, args.to);
    let stores = Stores::open(&args.config).await?;
    let latest = latest_silent(&stores.config, EventTime(service_kit::clock::now_ms()));
    anyhow::ensure!(
        args.to <= latest,
        "--to {} is too late: a deadline of what was received after {latest} might still be notified; for younger events \
         there is `ttf replay`",
        args.to
    );
    let window = Window { from: args.from, to: args.to, tenant: args.tenant.clone() };
    let codec = config::codec(&stores.config)?;
    let log = if args.dry_run { None } else { Some(stores.log("ttf-archive-restore").await?) };
    let publisher = log.as_ref().map(|log| log.publisher()).transpose()?;
    let restorer = Restorer::new(stores.store.clone(), Arc::clone(&stores.database), codec.clone(), publisher);
    let restored = restorer
        .restore(&window, &mut |sofar| tracing::info!(objects = sofar.objects, events = sofar.events, "restoring"))
        .await?;
    if let Some(log) = log {
        let act = Act {
            action: "archive_restore",
            target: args.tenant.clone().map_or("all tenants".to_owned(), |tenant| format!("tenant {tenant}")),
            details: vec![
                ("from", args.from.to_rfc3339()),
                ("to", args.to.to_rfc3339()),
                ("events", restored.events.to_string()),
            ],
        };
        tokio::task::spawn_blocking(move || audit::write(&*log, &codec, &audit::operator(), vec![act])).await??;
    }
    if args.json {
        output::line(serde_json::to_string_pretty(&restored)?)?;
    } else {
        let did = if args.dry_run { "would be put back" } else { "put back, marked as replayed" };
        output::line(format_args!(
            "{} events of {} objects {did}; {} are of people nobody knows any more",
            restored.events, restored.objects, restored.forgotten
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What was received before this instant can page nobody any more: all its deadlines were due longer ago than
/// notifications may be late.
fn latest_silent(config: &Config, now: EventTime) -> EventTime {
    let silence = config.journeys.iter().map(|journey| {
        let deadline = journey.deadlines.iter().map(|deadline| deadline.after.millis()).max().unwrap_or(0);
        deadline + journey.max_alert_lateness.millis() + journey.grace.millis()
    });
    EventTime(now.0 - silence.max().unwrap_or(0))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header(header.to_vec());
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_page_nobody_is_put_back() {
        let config = crate::config::load(&ConfigArgs::default()).expect("the defaults are valid");
        let now = EventTime(1_795_392_000_000);
        // Three hours to the last deadline, a day of lateness, five seconds of grace.
        assert_eq!(latest_silent(&config, now), EventTime(now.0 - (27 * 3_600 + 5) * 1_000));
    }
}
