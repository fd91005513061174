//! The command line of `ttf archive` and `ttf retention`.

use clap::{Args, Subcommand};
use telemetry_schemas::EventTime;

use crate::cli::ConfigArgs;

#[derive(Debug, Args)]
pub struct ArchiveArgs {
    #[command(subcommand)]
    pub action: ArchiveAction,
}

#[derive(Debug, Subcommand)]
pub enum ArchiveAction {
    /// List the days that are closed: objects, rows, bytes, whether verified
    Days(DaysArgs),
    /// Prove that days are complete, unchanged and what the topics hold (exit code 1 when one is not)
    Verify(VerifyArgs),
    /// Put archived events back through the pipe, marked as replayed; nobody is notified of them
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub struct DaysArgs {
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The UTC day, as 2026-11-23 [default: every closed day]
    #[arg(value_name = "DAY")]
    pub date: Option<String>,
    /// Do not hold the objects against the topics
    #[arg(long)]
    pub without_topics: bool,
    /// Count every day against the database, too: is everything in both?
    #[arg(long)]
    pub with_database: bool,
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Events received from this instant on (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub from: EventTime,
    /// … and before this one
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub to: EventTime,
    /// Only of this tenant
    #[arg(long, value_name = "TENANT")]
    pub tenant: Option<String>,
    /// Only count
    #[arg(long)]
    pub dry_run: bool,
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct RetentionArgs {
    #[command(subcommand)]
    pub action: RetentionAction,
}

#[derive(Debug, Subcommand)]
pub enum RetentionAction {
    /// Show what would go now, and what waits because it is not archived and verified
    Plan(RetentionOptions),
    /// Delete what is due, and write the bucket's lifecycle rules; what the archiver does by itself
    Apply(RetentionOptions),
    /// Show how far the archive is verified, and whether the bucket has its rules (exit code 1 when not)
    Status(RetentionOptions),
}

#[derive(Debug, Args)]
pub struct RetentionOptions {
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
}

fn instant(text: &str) -> Result<EventTime, String> {
    EventTime::parse(text).map_err(|error| error.to_string())
}
