//! `ttf alert`: what receivers are sent.

pub mod args;
mod receivers;

use std::process::ExitCode;

use args::AlertAction;

/// Runs one of the commands.
pub async fn run(action: AlertAction) -> anyhow::Result<ExitCode> {
    match action {
        AlertAction::Preview(args) => receivers::preview(&args),
        AlertAction::Test(args) => receivers::test(args).await,
    }
}
