//! `ttf`: one binary for every role and every operator's command.

mod alert;
mod archive;
mod audit;
mod cli;
mod config;
mod db;
mod demo;
mod doctor;
#[cfg(feature = "failpoints")]
mod faults;
mod gateway_client;
mod journeys;
mod output;
mod plan;
mod privacy;
mod process;
mod replay;
mod send;
mod tail;
mod top;
mod topics;
mod trace;
mod user;
mod validate;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, DbAction, JourneysAction, PlanAction, TopicsAction};

/// The stream processor makes and drops small things by the million: against the system's allocator this saves it a
/// sixth of its CPU time, and a quarter of its memory. For librdkafka, too (`override`), and without huge pages
/// (`no_thp`), of which most would be empty.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit codes of `sysexits.h`, as far as they are used here.
mod exit {
    pub const FAILURE: u8 = 1;
    pub const USAGE: u8 = 64;
    pub use service_kit::config::EXIT_CONFIG as CONFIG;
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { exit::USAGE } else { 0 };
            // A closed pipe is no reason to fail.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    #[cfg(feature = "failpoints")]
    let _failpoints = faults::setup();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) if error.is::<output::ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("ttf: {error:#}");
            let misconfigured = error.is::<service_kit::config::ConfigError>()
                || error.is::<service_kit::telemetry::InitError>()
                || error.is::<alerter::message::TemplateError>();
            ExitCode::from(if misconfigured { exit::CONFIG } else { exit::FAILURE })
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    // Every TLS client of the process uses this provider; a second install is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async move {
        match command {
            Command::Dev(args) => process::dev(args).await,
            Command::All(args) => process::serve(process::Roles::ALL, args).await,
            Command::Gateway(args) => process::serve(process::Roles::GATEWAY, args).await,
            Command::Processor(args) => process::serve(process::Roles::PROCESSOR, args).await,
            Command::Archiver(args) => process::serve(process::Roles::ARCHIVER, args).await,
            Command::Alerter(args) => process::serve(process::Roles::ALERTER, args).await,
            Command::Topics(args) => match args.action {
                TopicsAction::Plan(config) => topics::plan(config).await,
                TopicsAction::Apply(config) => topics::apply(config).await,
            },
            Command::Db(args) => match args.action {
                DbAction::Migrate(config) => db::migrate(config).await,
                DbAction::Status(config) => db::status(config).await,
            },
            Command::Validate(args) => validate::run(args),
            Command::Doctor(args) => doctor::run(args).await,
            Command::Send(args) => send::run(args).await,
            Command::Tail(args) => tail::run(args).await,
            Command::Trace(args) => trace::run(args).await,
            Command::Top(args) => top::run(args).await,
            Command::Journeys(args) => match args.action {
                JourneysAction::Check(args) => journeys::check(args).await,
                JourneysAction::Show(args) => journeys::show(args).await,
            },
            Command::Plan(args) => match args.action {
                PlanAction::Check(args) => plan::check(args),
                PlanAction::Diff(args) => plan::diff(args),
            },
            Command::User(args) => user::run(args).await,
            Command::Replay(args) => replay::run(args).await,
            Command::Alert(args) => alert::run(args.action).await,
            Command::Archive(args) => archive::run(args.action).await,
            Command::Retention(args) => archive::retention::run(args.action).await,
            Command::Erase(args) => privacy::erase(args).await,
            Command::Certificate(args) => privacy::certificate(args).await,
            Command::Export(args) => privacy::export(args).await,
            Command::Demo(args) => demo::run(args).await,
        }
    });
    // What still blocks on a thread (a read of a topic, a server that does not answer) holds nothing that must be kept.
    runtime.shutdown_background();
    outcome
}
