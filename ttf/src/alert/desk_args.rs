//! Arguments of the commands that look at alerts and act on them; the words are amtool's.

use clap::{Args, Subcommand};

use crate::cli::{ConfigArgs, GatewayArgs};

/// Where to ask, and how to answer.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only what matches all of these, such as `level=critical` or `segment_plan=~"pro|team"`
    #[arg(value_name = "MATCHER")]
    pub matchers: Vec<String>,
    /// Also what is over
    #[arg(long)]
    pub over: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct OneArgs {
    /// The id, or its beginning
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Who does it and why.
#[derive(Debug, Args)]
pub struct SignedArgs {
    /// Who does it [default: $USER]
    #[arg(long, short)]
    pub author: Option<String>,
    /// Why
    #[arg(long, short)]
    pub comment: Option<String>,
}

#[derive(Debug, Args)]
pub struct AckArgs {
    #[command(flatten)]
    pub one: OneArgs,
    #[command(flatten)]
    pub signed: SignedArgs,
}

#[derive(Debug, Args)]
pub struct AssignArgs {
    #[command(flatten)]
    pub one: OneArgs,
    /// Who shall have it
    #[arg(value_name = "WHO")]
    pub assignee: String,
    #[command(flatten)]
    pub signed: SignedArgs,
}

#[derive(Debug, Args)]
pub struct SilenceArgs {
    /// The id of one group, or matchers that all have to match
    #[arg(value_name = "ID|MATCHER", required = true)]
    pub what: Vec<String>,
    /// How long
    #[arg(long, short, default_value = "1h", value_name = "DURATION", conflicts_with = "end")]
    pub duration: String,
    /// When it begins (RFC 3339); else at once
    #[arg(long, value_name = "TIME")]
    pub start: Option<String>,
    /// When it ends (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub end: Option<String>,
    #[command(flatten)]
    pub signed: SignedArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct SilencesArgs {
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Args)]
pub struct RoutesArgs {
    #[command(subcommand)]
    pub action: RoutesAction,
}

#[derive(Debug, Subcommand)]
pub enum RoutesAction {
    /// Show where an alert with these labels would go, by this configuration
    Test(RoutesTestArgs),
}

#[derive(Debug, Args)]
pub struct RoutesTestArgs {
    /// The alert's labels, such as `level=critical,segment_plan=pro`
    #[arg(long, required = true, value_delimiter = ',', value_name = "LABEL=VALUE")]
    pub labels: Vec<String>,
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
}
