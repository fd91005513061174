//! `ttf replay`: works the journeys out from the events again, holds the result against what was emitted, and puts
//! right what differs. What it promises is in `docs/replay.md`.
//!
//! - [`window`], [`standing`]: which records are read; [`gather`], [`reading`]: reading them, user by user; [`shelf`],
//!   [`values`]: in bounded memory; [`progress`]: how far it is.
//! - [`exclusive`]: keeping the processor out; [`write`]: the transactions.

mod exclusive;
mod gather;
mod progress;
mod reading;
mod shelf;
mod standing;
mod values;
mod window;
mod write;

use std::{
    collections::BTreeMap,
    io::{BufRead, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use anyhow::{Context as _, bail};
use serde::Serialize;
use stream_runtime::{
    keyed::Codec as _,
    log::{Log, LogConfig, TopicPartition},
};
use telemetry_schemas::{EventTime, topics};
use ttf_processor::{
    codec::JourneyCodec,
    in_force,
    journey::{DefinitionErrors, Journeys, changes::Changes},
    replay::{Report, Showing, Verdict, correct, examine},
};

use self::{
    exclusive::Exclusive,
    gather::{Gathering, Read, Slice, Sources},
    progress::Progress,
    shelf::{Scratch, Shelf},
    values::Records,
    window::{CALL, InputWindow, patiently},
    write::Applied,
};
use crate::{
    cli::ReplayArgs,
    config::{self, Config},
    output,
};

/// Everything is equal, or was put right.
const EQUAL: u8 = 0;
/// There are differences, and they are still there.
const DIFFERENT: u8 = 1;
/// It could not be done.
const FAILED: u8 = 2;

pub async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let config = match &args.data_dir {
        Some(folder) => config::load_dev(&args.config, folder, None)?,
        None => config::load(&args.config)?,
    };
    let outcome = tokio::task::spawn_blocking(move || replay(&args, &config)).await?;
    match outcome {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) if error.is::<output::ReaderGone>() => Err(error),
        Err(error) => {
            anstream::eprintln!("ttf: {error:#}");
            Ok(ExitCode::from(FAILED))
        }
    }
}

/// What `--output` writes.
#[derive(Serialize)]
struct Written<'a> {
    run: &'a str,
    dry_run: bool,
    #[serde(with = "telemetry_schemas::time::rfc3339::option")]
    from: Option<EventTime>,
    #[serde(with = "telemetry_schemas::time::rfc3339::option")]
    to: Option<EventTime>,
    journeys: Vec<String>,
    partitions: &'a [InputWindow],
    read: Read,
    seconds: f64,
    records_per_second: f64,
    report: &'a Report,
    /// `null` when nothing was written.
    applied: Option<&'a Applied>,
}

fn replay(args: &ReplayArgs, config: &Config) -> anyhow::Result<u8> {
    if let (Some(from), Some(to)) = (args.from, args.to) {
        anyhow::ensure!(from < to, "--from {from} is not before --to {to}");
    }
    let started = Instant::now();
    let run_id = uuid::Uuid::now_v7().to_string();
    let log = open(config)?;
    let partitions = partitions_of(&*log)?;
    let exclusive = if args.dry_run {
        None
    } else {
        hold_against_what_is_in_force(args, config, &*log)?;
        let codec = JourneyCodec::new(config::codec(config)?);
        anyhow::ensure!(codec.is_ready()?, "the schema registry does not answer: nothing could be written");
        Some(Exclusive::acquire(log.clone(), &config.log, partitions.people, args.wait.as_std())?)
    };
    let sources = Sources {
        codec: config::codec(config)?,
        journey_codec: JourneyCodec::new(config::codec(config)?),
        journeys: Arc::new(Journeys::new(&config.journeys)?),
        partitions: partitions.people,
        from: args.from,
        to: args.to,
        exclusive: exclusive.is_some(),
        stop: exclusive.as_ref().map_or_else(|| Arc::new(AtomicBool::new(false)), Exclusive::lost),
        log: log.clone(),
    };
    let scratch = Scratch::open()?;
    let memory = args.memory.as_usize();
    let mut corrections: Shelf<Records> = Shelf::new(&scratch, "corrections", memory / 4)?;
    let mut gathering = Gathering::new(&scratch, memory)?;
    let compared = compare(args, &sources, &partitions, &mut gathering, &mut corrections).map_err(|error| {
        match exclusive.as_ref().map(Exclusive::check) {
            Some(Err(joined)) => joined,
            _ => error,
        }
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let report = &compared.report;
    say(args, &gathering, report, seconds)?;

    let mut applied = None;
    if let Some(exclusive) = &exclusive
        && report.users.differ > 0
        && confirmed(args, report.users.differ)?
    {
        let from = args.from.map_or_else(|| "oldest".to_owned(), EventTime::to_rfc3339);
        let to = args.to.map_or_else(|| "processed".to_owned(), EventTime::to_rfc3339);
        let audit = |phase: &str| {
            let details = [("phase", phase.to_owned()), ("from", from.clone()), ("to", to.clone())];
            write::audit(&*log, &sources.codec, &run_id, &compared.tenants, &details)
        };
        audit("begin")?;
        let written =
            write::write(&*log, exclusive, &mut corrections, report.users.differ, args.users_per_transaction)?;
        audit("end")?;
        output::line(format_args!(
            "put right  {} users with {} records and {} breaches in {} transactions",
            written.users, written.records, written.breaches, written.transactions
        ))?;
        applied = Some(written);
    }
    if let Some(path) = &args.output {
        let written = Written {
            run: &run_id,
            dry_run: args.dry_run,
            from: args.from,
            to: args.to,
            journeys: config.journeys.iter().map(|journey| format!("{} v{}", journey.id, journey.version)).collect(),
            partitions: &gathering.windows,
            read: gathering.read,
            seconds,
            records_per_second: gathering.read.total() as f64 / seconds.max(1e-9),
            report,
            applied: applied.as_ref(),
        };
        write_report(path, &written)?;
    }
    let is_right = if applied.is_some() { report.contradicted == 0 } else { !report.has_differences() };
    Ok(if is_right { EQUAL } else { DIFFERENT })
}

/// What is written must be what the processor goes on with. `ttf dev` takes definitions as they come.
fn hold_against_what_is_in_force(args: &ReplayArgs, config: &Config, log: &dyn Log) -> anyhow::Result<()> {
    if args.data_dir.is_some() {
        return Ok(());
    }
    let remembered = in_force::recall(log).context("what is in force is not known")?;
    let now = EventTime(service_kit::clock::now_ms());
    let refused = Changes::between(&remembered, &config.journeys, now).refused;
    if !refused.is_empty() {
        return Err(anyhow::Error::new(DefinitionErrors(refused)).context(
            "the processor would not start with these journeys, so nothing is written by them; --dry-run shows what \
             they would say",
        ));
    }
    Ok(())
}

/// What came of the comparison.
struct Compared {
    report: Report,
    /// Users to be put right, by tenant.
    tenants: BTreeMap<String, u64>,
}

fn compare(
    args: &ReplayArgs,
    sources: &Sources,
    partitions: &Partitions,
    gathering: &mut Gathering,
    corrections: &mut Shelf<Records>,
) -> anyhow::Result<Compared> {
    let mut report = Report::default();
    let mut tenants: BTreeMap<String, u64> = BTreeMap::new();
    let mut progress = Progress::new("reading", "records", estimate(sources, partitions)?);
    let showing = Showing { examples: args.examples, ids: args.show_ids };
    for slice in partitions.slices() {
        gathering.gather(sources, &slice, &mut progress)?;
        gathering.for_each(sources, &mut |user, terms| {
            let examined = examine(&sources.journeys, user, terms);
            report.count(user, &examined, showing);
            if examined.verdict == Verdict::Differs && sources.exclusive {
                *tenants.entry(user.key.tenant.clone()).or_default() += 1;
                let correction = correct(&sources.journeys, user, &examined.judged, terms.now);
                let records = write::records_of(sources, &user.key, correction, terms);
                corrections.put(&user.key.to_bytes(), Some(records))?;
            }
            Ok(())
        })?;
    }
    progress.finish();
    Ok(Compared { report, tenants })
}

/// Partition counts of the topics.
struct Partitions {
    /// Of events, erasures and state.
    people: i32,
    records: i32,
    breaches: i32,
}

impl Partitions {
    fn slices(&self) -> Vec<Slice> {
        if self.records == self.people && self.breaches == self.people {
            let slice = |number| Slice { inputs: vec![number], records: vec![number], breaches: vec![number] };
            return (0..self.people).map(slice).collect();
        }
        vec![Slice {
            inputs: (0..self.people).collect(),
            records: (0..self.records).collect(),
            breaches: (0..self.breaches).collect(),
        }]
    }
}

fn partitions_of(log: &dyn Log) -> anyhow::Result<Partitions> {
    let names = [topics::EVENTS, topics::ERASURES, topics::TTF_STATE, topics::TTF_RECORDS, topics::TTF_BREACHES];
    let there = patiently(|| log.topics(Some(&names), CALL))?;
    let count = |name: &str| {
        there
            .iter()
            .find(|topic| topic.name == name)
            .map(|topic| topic.partitions)
            .with_context(|| format!("topic {name} does not exist: nothing was ever processed here"))
    };
    let people = count(topics::EVENTS)?;
    for name in [topics::ERASURES, topics::TTF_STATE] {
        anyhow::ensure!(
            count(name)? == people,
            "topics {} and {name} must have equal partition counts",
            topics::EVENTS
        );
    }
    Ok(Partitions { people, records: count(topics::TTF_RECORDS)?, breaches: count(topics::TTF_BREACHES)? })
}

/// About how many records will be read.
fn estimate(sources: &Sources, partitions: &Partitions) -> anyhow::Result<u64> {
    let log = &*sources.log;
    let mut total = 0;
    let events: Vec<_> =
        (0..partitions.people).map(|partition| TopicPartition::new(topics::EVENTS, partition)).collect();
    for known in window::committed(log, &events)? {
        let partition = known.at.partition;
        total += window::of_events(log, partition, known.next, sources.from, sources.to)?.range().len();
        total += window::whole(log, topics::ERASURES, partition)?.len();
        total += window::whole(log, topics::TTF_STATE, partition)?.len();
    }
    for (topic, count) in [(topics::TTF_RECORDS, partitions.records), (topics::TTF_BREACHES, partitions.breaches)] {
        for partition in 0..count {
            total += window::whole(log, topic, partition)?.len();
        }
    }
    Ok(total)
}

fn open(config: &Config) -> anyhow::Result<Arc<dyn Log>> {
    if let LogConfig::Embedded(embedded) = &config.log {
        // Opening would make it.
        if !embedded.path.is_dir() {
            bail!(
                "there is no log in {}; --data-dir is the folder `ttf dev` keeps everything in",
                embedded.path.display()
            );
        }
        return stream_runtime::log::open(&config.log, "ttf-replay")
            .context("an embedded log is one process's alone: stop that process first");
    }
    Ok(stream_runtime::log::open(&config.log, "ttf-replay")?)
}

fn say(args: &ReplayArgs, gathering: &Gathering, report: &Report, seconds: f64) -> anyhow::Result<()> {
    let read = gathering.read;
    let windows = &gathering.windows;
    let gone = windows.iter().filter(|window| window.oldest_offset > 0 && window.from_offset == window.oldest_offset);
    let gone = gone.count();
    output::line(format_args!(
        "read       {} events, {} erasures, {} states, {} records, {} breaches in {seconds:.1} s ({:.0} records/s)",
        read.events,
        read.erasures,
        read.states,
        read.records,
        read.breaches,
        read.total() as f64 / seconds.max(1e-9)
    ))?;
    if gone > 0 {
        let asked = args.from.map_or(String::new(), |from| format!(", some perhaps after {from}"));
        output::line(format_args!(
            "window     in {gone} of {} partitions older events are no longer kept{asked}",
            windows.len()
        ))?;
    }
    if read.unprocessable > 0 {
        output::line(format_args!(
            "skipped    {} records that cannot be processed (the processor has set them aside)",
            read.unprocessable
        ))?;
    }
    output::line(report.to_string().trim_end())
}

fn confirmed(args: &ReplayArgs, users: u64) -> anyhow::Result<bool> {
    if args.yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        bail!("{users} users differ; nobody is there to confirm that they are rewritten: give --yes");
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "Rewrite the state of {users} users and emit their records anew? Nobody is paged. [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn write_report(path: &Path, written: &Written<'_>) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(written)?;
    if path == Path::new("-") {
        return output::line(text);
    }
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}
