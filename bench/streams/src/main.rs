//! Makes the events that benchmarks of the gateway and the stream processor run on, and measures what becomes of them.
//!
//! Every command prints one line of JSON; `bench/ttfbench` puts them together.

mod clients;
mod cohort;
mod compare;
mod floor;
mod generate;
mod http_load;
mod latency;
mod measure;
mod process;
mod raw_gateway;
mod topics;

use clap::{Parser, Subcommand};

/// The one that `ttf` has, so that floors and what they are a floor of pay the same for memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(name = "ttf-bench", version, max_term_width = 110)]
struct Cli {
    /// Where the brokers are
    #[arg(long, env = "TTF_TEST_KAFKA", value_name = "HOST:PORT", global = true, default_value = "127.0.0.1:9092")]
    brokers: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the events of a cohort to telemetry.events.v1
    Generate(generate::Args),
    /// Read and decode all events on one thread, and do nothing else
    Floor(floor::Args),
    /// Watch a process until its group has committed everything: records, CPU, memory
    Measure(measure::Args),
    /// Publish events at a steady rate and time them until their committed records can be read
    Latency(latency::Args),
    /// Hold the final records and breaches of two programs against each other
    Compare(compare::Args),
    /// Delete topics and groups, and make topics
    Reset(topics::ResetArgs),
    /// Count what lies in a topic
    Ends(topics::EndsArgs),
    /// Send events over HTTP and check every answer
    HttpLoad(http_load::Args),
    /// Take the gateway's bodies over HTTP and publish them as they are
    RawGateway(raw_gateway::Args),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let told = match cli.command {
        Command::Generate(args) => serde_json::to_value(generate::run(&cli.brokers, &args)?)?,
        Command::Floor(args) => serde_json::to_value(floor::run(&cli.brokers, &args)?)?,
        Command::Measure(args) => serde_json::to_value(measure::run(&cli.brokers, &args)?)?,
        Command::Latency(args) => serde_json::to_value(latency::run(&cli.brokers, &args)?)?,
        Command::Compare(args) => serde_json::to_value(compare::run(&cli.brokers, &args)?)?,
        Command::Reset(args) => serde_json::to_value(topics::reset(&cli.brokers, &args)?)?,
        Command::Ends(args) => serde_json::to_value(topics::ends(&cli.brokers, &args)?)?,
        Command::HttpLoad(args) => serde_json::to_value(http_load::run(&args)?)?,
        Command::RawGateway(args) => serde_json::to_value(raw_gateway::run(&cli.brokers, &args)?)?,
    };
    println!("{told}");
    Ok(())
}
