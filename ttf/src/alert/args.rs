//! Arguments of `ttf alert`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::desk_args::{AckArgs, AssignArgs, ListArgs, OneArgs, RoutesArgs, SilenceArgs, SilencesArgs};
use crate::cli::ConfigArgs;

#[derive(Debug, Args)]
pub struct AlertArgs {
    #[command(subcommand)]
    pub action: AlertAction,
}

#[derive(Debug, Subcommand)]
pub enum AlertAction {
    /// List what is open
    List(ListArgs),
    /// Show one alert group with its alerts
    Show(OneArgs),
    /// Say why somebody was told of it, or was not
    Why(OneArgs),
    /// Take it: no repeats, no escalation, no more of the same level
    Ack(AckArgs),
    /// Give it to somebody
    Assign(AssignArgs),
    /// Silence one alert group, or all alerts that match
    Silence(SilenceArgs),
    /// Take a silence away, of a group or by its own id
    Unsilence(OneArgs),
    /// List the silences
    Silences(SilencesArgs),
    /// Look at the routing tree
    Routes(RoutesArgs),
    /// Print exactly what a receiver would be sent, without secrets; nothing is sent
    Preview(PreviewArgs),
    /// Send a receiver an alarm that says it is a test, and its end
    Test(TestArgs),
}

#[derive(Debug, Args)]
pub struct PreviewArgs {
    /// The receiver's name in the configuration
    #[arg(long, value_name = "NAME")]
    pub receiver: String,
    /// A breach, a list of breaches of one group, or a notification, as `ttf tail breaches --json` and `ttf tail
    /// notifications --json` print them (`-` for standard input) [default: an example]
    #[arg(long, value_name = "FILE")]
    pub breach: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// The receiver's name in the configuration
    #[arg(long, value_name = "NAME")]
    pub receiver: String,
    #[command(flatten)]
    pub config: ConfigArgs,
}
