//! `ttf alert`: what is open and why, what to do about it, and what receivers are sent.

pub mod args;
mod desk;
mod desk_args;
mod page;
mod receivers;

use std::process::ExitCode;

use args::AlertAction;
use desk_args::RoutesAction;

/// Runs one of the commands.
pub async fn run(action: AlertAction) -> anyhow::Result<ExitCode> {
    match action {
        AlertAction::List(args) => desk::list(args).await,
        AlertAction::Show(args) => desk::one(args).await,
        AlertAction::Why(args) => desk::why(args).await,
        AlertAction::Ack(args) => desk::ack(args).await,
        AlertAction::Assign(args) => desk::assign(args).await,
        AlertAction::Silence(args) => desk::silence(args).await,
        AlertAction::Unsilence(args) => desk::unsilence(args).await,
        AlertAction::Silences(args) => desk::silences(args).await,
        AlertAction::Routes(args) => match args.action {
            RoutesAction::Test(args) => desk::routes_test(&args),
        },
        AlertAction::Preview(args) => receivers::preview(&args),
        AlertAction::Test(args) => receivers::test(args).await,
    }
}
