//! The command line: what can be asked for, and its help.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use service_kit::config::{ByteSize, HumanDuration};
use telemetry_schemas::EventTime;

/// Real-time onboarding telemetry: time to first value, per user, while there is still time to help.
#[derive(Debug, Parser)]
#[command(name = "ttf", version, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process on embedded defaults; nothing to install
    Dev(DevArgs),
    /// Run all four services in one process on the configured servers
    All(ConfigArgs),
    /// Run the ingest gateway (HTTP and Kafka ingress)
    Gateway(ConfigArgs),
    /// Run the stream processor (journeys, records, breaches)
    Processor(ConfigArgs),
    /// Run the archiver (database, object store, live view)
    Archiver(ConfigArgs),
    /// Run the alerter (routes, groups, notifications)
    Alerter(ConfigArgs),
    /// Show or create the topics
    Topics(TopicsArgs),
    /// Show the schema of the archive's database, or bring it up to date
    Db(DbArgs),
    /// Check the configuration, and events in a file, without sending anything
    Validate(ValidateArgs),
    /// Ask everything the configuration depends on, and say what is wrong and what to do about it
    Doctor(DoctorArgs),
    /// Send events from a file or standard input (one JSON object a line)
    Send(SendArgs),
    /// Print what flows through a topic
    Tail(TailArgs),
    /// Show where an event is: the gateway's outcome, its place on the topics, the record it caused, its row, its object
    Trace(TraceArgs),
    /// Watch the processors: partitions and their owners, lag, commits, restores, state
    Top(TopArgs),
    /// Check journey definitions, and show which are in force
    Journeys(JourneysArgs),
    /// Check tracking plans, and events against them; show what a change of them breaks
    Plan(PlanArgs),
    /// Show where a user is: milestones, stages against target, what is next and when it is due
    User(UserArgs),
    /// Work the journeys out from the events again, compare with what was emitted, and put right what differs
    Replay(ReplayArgs),
    /// Look at, verify and put back the object archive
    Archive(crate::archive::args::ArchiveArgs),
    /// Show and enforce how long data is kept
    Retention(crate::archive::args::RetentionArgs),
    /// Look at alerts: what is open and why; acknowledge, assign, silence; see what receivers would be sent
    Alert(crate::alert::args::AlertArgs),
    /// Ask for a user to be forgotten everywhere, and follow it to the certificate
    Erase(crate::privacy::args::EraseArgs),
    /// Show what an erasure has erased where and when
    Certificate(crate::privacy::args::CertificateArgs),
    /// Print everything that is kept about a user, as JSON
    Export(crate::privacy::args::ExportArgs),
    /// Simulate a cohort of users against a running gateway and watch it in a live table
    Demo(DemoArgs),
}

#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// YAML configuration; it needs only what differs from the defaults
    #[arg(long, short, env = "TELEMETRY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DevArgs {
    /// Where to listen for HTTP
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where everything is kept
    #[arg(long, default_value = "ttf-data", value_name = "DIR")]
    pub data_dir: PathBuf,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct TopicsArgs {
    #[command(subcommand)]
    pub action: TopicsAction,
}

#[derive(Debug, Subcommand)]
pub enum TopicsAction {
    /// Show what `apply` would do
    Plan(ConfigArgs),
    /// Create the topics that are missing; never changes a partition count
    Apply(ConfigArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 nothing is wrong (there may be warnings); 1 something is; 64 wrong usage; 78 wrong configuration."
)]
pub struct DoctorArgs {
    /// Only what this role needs; may be repeated. Without any: what all four need
    #[arg(long, value_enum, value_name = "ROLE")]
    pub role: Vec<crate::doctor::Role>,
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    /// How long each server may take to answer
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    pub timeout: HumanDuration,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct DbArgs {
    #[command(subcommand)]
    pub action: DbAction,
}

#[derive(Debug, Subcommand)]
pub enum DbAction {
    /// Apply the schema changes that are missing; archivers do it too when they start
    Migrate(ConfigArgs),
    /// Show which version the database has
    Status(ConfigArgs),
}

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Events to check, one JSON object a line (`-` for standard input)
    #[arg(value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Show what the privacy policy makes of the events in a file, one JSON object a line (`-` for standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "events")]
    pub sample: Option<PathBuf>,
    /// The tenant whose events they are
    #[arg(long, default_value = "default", value_name = "TENANT")]
    pub tenant: String,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// How to reach a gateway.
#[derive(Debug, Clone, Args)]
pub struct GatewayArgs {
    /// The gateway's address
    #[arg(long, env = "TELEMETRY_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub url: String,
    /// The API key, where the gateway asks for one
    #[arg(long, env = "TELEMETRY_API_KEY", hide_env_values = true, value_name = "KEY")]
    pub api_key: Option<String>,
}

#[derive(Debug, Args)]
pub struct SendArgs {
    /// Events, one JSON object a line (`-` for standard input)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Events a request
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=2500))]
    pub batch: u32,
    #[command(flatten)]
    pub gateway: GatewayArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Stream {
    Events,
    Records,
    Breaches,
    Rejected,
    Notifications,
}

#[derive(Debug, Args)]
pub struct TailArgs {
    #[arg(value_enum)]
    pub stream: Stream,
    /// One JSON object a line instead of a line for people
    #[arg(long)]
    pub json: bool,
    /// Where to start: `beginning`, `now`, or a time (RFC 3339)
    #[arg(long, default_value = "now", value_name = "PLACE", value_parser = place)]
    pub from: String,
    /// Stop at what is there now
    #[arg(long)]
    pub no_follow: bool,
    /// Read from Kafka, as this configuration says [env: TELEMETRY_CONFIG]
    #[arg(long, short, value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// Read from a running `ttf dev` [env: TELEMETRY_URL] [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The event's id, as it was sent or given
    #[arg(value_name = "EVENT_ID")]
    pub event_id: String,
    /// Where to start looking: `beginning` or a time (RFC 3339)
    #[arg(long, default_value_t = crate::trace::a_day_ago(), hide_default_value = true, value_name = "PLACE", value_parser = place)]
    pub from: String,
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    /// Look in Kafka, as this configuration says [env: TELEMETRY_CONFIG]
    #[arg(long, short, value_name = "FILE", conflicts_with = "url")]
    pub config: Option<PathBuf>,
    /// Ask a running `ttf dev` [env: TELEMETRY_URL] [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// Where `ttf tail` reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailSource {
    Url(String),
    Config(PathBuf),
}

impl TailArgs {
    /// An option wins over the environment; a variable is no contradiction to an option.
    pub fn source(&self, variable: impl Fn(&str) -> Option<String>) -> TailSource {
        source_of(self.config.as_ref(), self.url.as_ref(), variable)
    }
}

impl TraceArgs {
    /// An option wins over the environment; a variable is no contradiction to an option.
    pub fn source(&self, variable: impl Fn(&str) -> Option<String>) -> TailSource {
        source_of(self.config.as_ref(), self.url.as_ref(), variable)
    }
}

fn source_of(config: Option<&PathBuf>, url: Option<&String>, variable: impl Fn(&str) -> Option<String>) -> TailSource {
    if let Some(config) = config {
        return TailSource::Config(config.clone());
    }
    if let Some(url) = url.cloned().or_else(|| variable("TELEMETRY_URL")) {
        return TailSource::Url(url);
    }
    match variable("TELEMETRY_CONFIG") {
        Some(config) => TailSource::Config(config.into()),
        None => TailSource::Url("http://127.0.0.1:8080".to_owned()),
    }
}

fn place(text: &str) -> anyhow::Result<String> {
    crate::tail::From::parse(text).map(|_| text.to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("it must be a number greater than 0".to_owned()),
    }
}

#[derive(Debug, Args)]
pub struct TopArgs {
    /// A process to ask, by an address that serves its /metrics; may be repeated. Without any: the gateway's port and
    /// the admin port of this machine, as configured
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
    /// With a configuration whose log is Kafka, the group is asked as well: its lag shows even when no processor runs
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Two looks an interval apart, one answer, and the end
    #[arg(long)]
    pub once: bool,
    /// One JSON object a look instead of tables
    #[arg(long)]
    pub json: bool,
    /// Seconds between two looks
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = positive)]
    pub interval: f64,
}

#[derive(Debug, Args)]
pub struct JourneysArgs {
    #[command(subcommand)]
    pub action: JourneysAction,
}

#[derive(Debug, Subcommand)]
pub enum JourneysAction {
    /// Name everything that is wrong with the section `journeys`, by file and line (exit code 78)
    Check(JourneysCheckArgs),
    /// Show every version: since when, how many journeys are on their way by it, which processors have it
    Show(JourneysShowArgs),
}

#[derive(Debug, Args)]
pub struct JourneysCheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Also against the definitions that were loaded before: what a start with this configuration would change, or
    /// why it would be refused. Asks the configured log
    #[arg(long)]
    pub in_force: bool,
}

#[derive(Debug, Args)]
pub struct JourneysShowArgs {
    /// A processor to ask, by an address that serves its /metrics; may be repeated. Without any: the gateway's port and
    /// the admin port of this machine, as configured
    #[arg(long, value_name = "URL")]
    pub url: Vec<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(subcommand)]
    pub action: PlanAction,
}

#[derive(Debug, Subcommand)]
pub enum PlanAction {
    /// Name everything that is wrong with the section `plan`, by file and line (exit code 78)
    Check(PlanCheckArgs),
    /// Show what differs between two plans, and what of it breaks senders (exit code 1)
    Diff(PlanDiffArgs),
}

#[derive(Debug, Args)]
pub struct PlanCheckArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Also hold the events in a file against the plan, one JSON object a line (`-` for standard input)
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// The tenant whose events they are
    #[arg(long, default_value = "default", value_name = "TENANT")]
    pub tenant: String,
}

#[derive(Debug, Args)]
pub struct PlanDiffArgs {
    /// The configuration with the plan as it was
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The configuration with the plan as it is to be [default: --config]
    #[arg(value_name = "NEW")]
    pub new: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
pub struct UserArgs {
    /// The user's id
    #[arg(value_name = "ID")]
    pub user_id: String,
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 all is equal, or was put right; 1 there are differences; 2 it could not be done; \
    64 wrong usage; 78 wrong configuration."
)]
pub struct ReplayArgs {
    /// Read events received from this instant on (RFC 3339) [default: the oldest that is kept]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub from: Option<EventTime>,
    /// … and before this one [default: everything the processor has processed]
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub to: Option<EventTime>,
    /// Compare only; the processor may run meanwhile
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before anything is written
    #[arg(long)]
    pub yes: bool,
    /// Write the report to a file, as JSON (`-` for standard output)
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Examples of each kind of difference
    #[arg(long, default_value_t = 3, value_name = "NUMBER")]
    pub examples: usize,
    /// Show the ids of users, attempts and events in examples, not hashes of them
    #[arg(long)]
    pub show_ids: bool,
    /// Wait so long for a stopped processor to leave its group
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    pub wait: HumanDuration,
    /// Hold about so much in memory; what goes beyond is on disk, in the temporary folder
    #[arg(long, default_value = "256MiB", value_name = "SIZE")]
    pub memory: ByteSize,
    /// Write at most so many users in one transaction
    #[arg(long, default_value_t = 1_000, value_name = "NUMBER", value_parser = at_least_one)]
    pub users_per_transaction: usize,
    /// The data folder of a stopped `ttf dev`
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
}

fn instant(text: &str) -> Result<EventTime, String> {
    EventTime::parse(text).map_err(|error| error.to_string())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "it must be a whole number greater than 0".to_owned())
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Users that sign up
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub users: u32,
    /// How much faster than real time the signups are replayed
    #[arg(long, default_value_t = 720.0, value_name = "FACTOR", value_parser = positive)]
    pub speed_up: f64,
    /// How far back the first signup lies, in hours
    #[arg(long, default_value_t = 6.0, value_name = "HOURS", value_parser = positive)]
    pub hours: f64,
    /// The same seed makes the same cohort (ids differ in their prefix)
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(arguments: &[&str], set: &[(&str, &str)]) -> TailSource {
        let cli = Cli::try_parse_from(["ttf", "tail", "events"].iter().chain(arguments)).unwrap();
        let Command::Tail(args) = cli.command else { unreachable!("it was asked for") };
        args.source(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn tail_reads_where_the_options_say_whatever_the_environment_says() {
        let both = [("TELEMETRY_URL", "http://e"), ("TELEMETRY_CONFIG", "e.yaml")];
        assert_eq!(source(&["--config", "a.yaml"], &both), TailSource::Config("a.yaml".into()));
        assert_eq!(source(&["--url", "http://a"], &both), TailSource::Url("http://a".into()));
        assert_eq!(source(&[], &both), TailSource::Url("http://e".into()));
        assert_eq!(source(&[], &both[1..]), TailSource::Config("e.yaml".into()));
        assert_eq!(source(&[], &[]), TailSource::Url("http://127.0.0.1:8080".into()));
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for text in ["0", "-1", "inf", "NaN", "x"] {
            assert!(positive(text).is_err(), "{text}");
        }
        assert_eq!(positive("0.5"), Ok(0.5));
    }
}
