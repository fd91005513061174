//! Measures the local state on a real Kafka: bytes a journey on disk, memory, and how soon a process is ready again
//! after a kill and after the loss of its volume.
//!
//!     cargo run --release -p ttf-processor --example restore_speed -- --journeys 1000000
//!
//! Needs `TTF_TEST_KAFKA` and makes topics of its own there. It starts itself as the process that is measured: one
//! worker with the default journey. Prints a line per step, and a line of JSON in the end.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::{
    Kit,
    config::{ByteSize, MetricsConfig},
};
use stream_runtime::{
    keyed::{self, Codec, KeyedOptions, Poison, RuntimeConfig, Undecoded},
    log::{
        Cleanup, Isolation, Log, LogError, NewRecord, RecordRef, TopicPartition, TopicSpec, config::KafkaConfig,
        kafka::KafkaLog,
    },
};
use telemetry_schemas::{Event, EventTime, EventType, RecordKey, event::EventContext, topics};
use ttf_processor::{
    JourneyDefinition,
    codec::JourneyCodec,
    figures::Figures,
    journey::{Emission, Journeys, UserState},
    processor::{Input, JourneyProcessor},
};

const CALL: Duration = Duration::from_secs(30);
/// A step that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(900);
const SETTLE: Duration = Duration::from_millis(20);
/// Milestones of the default journey, in order.
const STEPS: [&str; 4] = ["signup", "project_created", "agent_created", "workflow_created"];

#[derive(Debug, Clone)]
struct Setup {
    journeys: usize,
    /// Events of each journey; each but those that fall into one transaction is a changelog record.
    events: usize,
    partitions: i32,
    prefix: String,
    state_dir: PathBuf,
}

impl Setup {
    fn from_args() -> anyhow::Result<(Self, bool)> {
        let now_ms = service_kit::clock::now_ms();
        let mut setup = Self {
            journeys: 1_000_000,
            events: 2,
            partitions: 12,
            prefix: format!("restore-speed-{now_ms}-"),
            state_dir: std::env::temp_dir().join(format!("restore-speed-{now_ms}")),
        };
        let mut child = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--journeys" => setup.journeys = value()?.parse()?,
                "--events" => setup.events = value()?.parse()?,
                "--partitions" => setup.partitions = value()?.parse()?,
                "--prefix" => setup.prefix = value()?,
                "--state-dir" => setup.state_dir = value()?.into(),
                "--child" => child = true,
                other => anyhow::bail!("unknown argument {other}"),
            }
        }
        ensure!((1..=STEPS.len()).contains(&setup.events), "--events must be 1 to {}", STEPS.len());
        Ok((setup, child))
    }

    fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn log() -> anyhow::Result<Arc<KafkaLog>> {
        let brokers = std::env::var("TTF_TEST_KAFKA")
            .context("TTF_TEST_KAFKA names no broker: start one with `make services-up`")?;
        Ok(Arc::new(KafkaLog::open(&KafkaConfig { brokers, properties: BTreeMap::new() }, "restore-speed")?))
    }

    fn changelog_records(&self, log: &KafkaLog) -> Result<i64, LogError> {
        (0..self.partitions)
            .map(|number| {
                let at = TopicPartition::new(self.topic("state"), number);
                log.end_offset(&at, Isolation::ReadUncommitted, CALL)
            })
            .sum()
    }
}

fn main() -> anyhow::Result<()> {
    let (setup, child) = Setup::from_args()?;
    if child { serve(&setup) } else { measure(&setup) }
}

fn measure(setup: &Setup) -> anyhow::Result<()> {
    let log = Setup::log()?;
    create_topics(setup, &log)?;
    let mut process = Process::start(setup)?;
    publish(setup, &log)?;
    let events = (setup.journeys * setup.events) as u64;
    let filled = process.until(|report| report["records_in"].as_u64() == Some(events))?;
    println!("filled:     {}", line(&filled));

    process.kill()?;
    let mut process = Process::start(setup)?;
    let after_kill = process.ready.clone();
    println!("after kill: {}", line(&after_kill));
    // Compacts what it can, and shows every stored state.
    let settled = process.until(|report| report["scanned"].as_u64() == Some(setup.journeys as u64))?;
    println!("scanned:    {}", line(&settled));
    let disk = Disk::of(&setup.state_dir)?;
    process.kill()?;

    std::fs::remove_dir_all(&setup.state_dir)?;
    let records = setup.changelog_records(&log)?;
    let mut process = Process::start(setup)?;
    let restored = process.ready.clone();
    println!("restored:   {}", line(&restored));
    let scanned = process.until(|report| report["scanned"].as_u64() == Some(setup.journeys as u64))?;
    println!("scanned:    {}", line(&scanned));
    let disk_restored = Disk::of(&setup.state_dir)?;
    process.kill()?;
    std::fs::remove_dir_all(&setup.state_dir)?;

    let per = |bytes: u64| bytes as f64 / setup.journeys as f64;
    let summary = json!({
        "journeys": setup.journeys,
        "partitions": setup.partitions,
        "changelog_records": records,
        "ready_after_kill_s": after_kill["ready_s"],
        "restore_s": restored["ready_s"],
        "restore_records_per_s": (restored["restored"].as_f64().unwrap_or(0.0) / restored["ready_s"].as_f64().unwrap_or(1.0)).round(),
        "restore_records_per_cpu_s": (restored["restored"].as_f64().unwrap_or(0.0) / restored["cpu_s"].as_f64().unwrap_or(1.0)).round(),
        "bytes_per_journey": per(disk.tables).round(),
        "bytes_per_journey_after_restore": per(disk_restored.tables).round(),
        "journal_bytes": disk.journals,
        "resident_mib_filled": filled["rss_mib"],
        "resident_mib_after_kill": settled["rss_mib"],
        "resident_mib_restored": scanned["rss_mib"],
        "peak_mib_restored": restored["peak_mib"],
    });
    println!("{summary}");
    Ok(())
}

fn line(report: &Value) -> String {
    let number = |name: &str| report[name].as_f64().unwrap_or_default();
    format!(
        "{:.2} s wall, {:.2} s CPU, {} records restored, {:.0} MiB resident (peak {:.0})",
        number("ready_s"),
        number("cpu_s"),
        report["restored"],
        number("rss_mib"),
        number("peak_mib")
    )
}

fn create_topics(setup: &Setup, log: &KafkaLog) -> anyhow::Result<()> {
    let spec = |name: &str, cleanup| TopicSpec { cleanup, ..TopicSpec::new(setup.topic(name), setup.partitions) };
    let plain = ["events", "out"].map(|name| spec(name, Cleanup::Delete));
    log.create_topics(&plain, CALL)?;
    log.create_topics(&[spec("state", Cleanup::Compact)], CALL)?;
    Ok(())
}

/// Publishes first the first event of every journey, then every second one, and so on.
fn publish(setup: &Setup, log: &KafkaLog) -> anyhow::Result<()> {
    let publisher = log.publisher()?;
    let codec = telemetry_schemas::Codec::without_registry();
    let topic: Arc<str> = setup.topic("events").into();
    let now_ms = service_kit::clock::now_ms();
    for (step, name) in STEPS.iter().enumerate().take(setup.events) {
        for number in 0..setup.journeys {
            let event = event(name, number, now_ms + step as i64);
            let key = RecordKey::user(&*event.tenant, event.user_id.as_deref().unwrap_or_default()).to_bytes();
            let record = NewRecord::new(topic.clone(), key, codec.encode(&event)?);
            while let Err(error) = publisher.publish(record.clone()).map(drop) {
                ensure!(matches!(error, LogError::QueueFull), "{error}");
                thread::sleep(SETTLE);
            }
        }
    }
    publisher.flush(PATIENCE)?;
    Ok(())
}

fn event(name: &str, number: usize, at_ms: i64) -> Event {
    // Spread out, as users' ids are.
    let user = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Event {
        tenant: "default".to_owned(),
        source: "http".to_owned(),
        event_id: format!("{name}-{number}"),
        event_name: name.to_owned(),
        event_type: EventType::TtfMilestone,
        timestamp: EventTime(at_ms),
        original_timestamp: None,
        sent_at: None,
        received_at: EventTime(at_ms),
        user_id: Some(format!("{user:016x}")),
        anonymous_id: None,
        session_id: None,
        journey_id: None,
        properties: serde_json::Map::new(),
        context: EventContext::default(),
        sealed: BTreeMap::new(),
        replay: false,
    }
}

/// The measured process, as seen from outside.
struct Process {
    child: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
    /// What it said when it was ready.
    ready: Value,
}

impl Process {
    /// Starts it and waits until it is ready.
    fn start(setup: &Setup) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--child")
            .args(["--prefix", &setup.prefix])
            .args(["--partitions", &setup.partitions.to_string()])
            .arg("--state-dir")
            .arg(&setup.state_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = child.stdin.take().context("the child has no standard input")?;
        let told = BufReader::new(child.stdout.take().context("the child has no standard output")?);
        let mut process = Self { child, ask, told, ready: Value::Null };
        process.ready = process.read()?;
        Ok(process)
    }

    fn read(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        self.told.read_line(&mut line)?;
        serde_json::from_str(&line).context("the measured process has ended")
    }

    /// Asks until what it says is as wanted.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.ask.write_all(b"\n")?;
            let report = self.read()?;
            if wanted(&report) {
                return Ok(report);
            }
            ensure!(Instant::now() < deadline, "it takes too long: {report}");
            thread::sleep(SETTLE);
        }
    }

    fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// The process that is measured: reports when it is ready, and then whenever it is asked.
fn serve(setup: &Setup) -> anyhow::Result<()> {
    let started = Instant::now();
    let kit = Kit::new("restore-speed");
    let runtime = RuntimeConfig {
        ordinal: "0".to_owned(),
        workers: 1,
        state_dir: setup.state_dir.clone(),
        commit_interval: "200ms".parse()?,
        commit_records: 50_000,
        commit_bytes: ByteSize::from_bytes(8 << 20),
        timer_grace: "0s".parse()?,
        poison_share: 0.5,
        poison_minimum: 100,
        prefetch: ByteSize::from_bytes(16 << 20),
        cache: ByteSize::from_bytes(64 << 20),
    };
    let name = setup.topic("app");
    let inputs = vec![setup.topic("events")];
    let options = KeyedOptions::new(&name, &name, inputs, setup.topic("state"), "ttf_processor", &runtime);
    let journeys = Arc::new(Journeys::new(&default_journeys()?)?);
    let labels = MetricsConfig { segment_by: None, segment_values: Vec::new() };
    let figures = Figures::new(kit.metrics(), journeys.clone(), labels)?;
    let processor = Arc::new(JourneyProcessor::new(journeys, figures));
    let codec = Renamed {
        inner: JourneyCodec::new(telemetry_schemas::Codec::without_registry()),
        out: setup.topic("out").into(),
    };
    keyed::run(options, Setup::log()?, processor, Arc::new(codec), &kit)?;

    while !kit.health().not_ready().is_empty() {
        if kit.shutdown().is_cancelled() {
            return tokio::runtime::Runtime::new()?.block_on(kit.join(CALL));
        }
        thread::sleep(Duration::from_millis(1));
    }
    tell(&kit, started)?;
    for line in std::io::stdin().lines() {
        line?;
        tell(&kit, started)?;
    }
    Ok(())
}

fn tell(kit: &Kit, started: Instant) -> anyhow::Result<()> {
    let text = kit.metrics().render();
    let sum = |name: &str| -> f64 {
        let of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mib = |name: &str| -> Option<f64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
    };
    let report = json!({
        "ready_s": started.elapsed().as_secs_f64(),
        "cpu_s": cpu_seconds()?,
        "restored": sum("ttf_processor_restored_records_total") as u64,
        "records_in": sum("ttf_processor_records_in_total") as u64,
        "scanned": sum("ttf_journeys_in_progress") as u64,
        "rss_mib": mib("VmRSS:"),
        "peak_mib": mib("VmHWM:"),
    });
    println!("{report}");
    Ok(())
}

/// User and system time of this process so far.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').context("/proc/self/stat has another form")?;
    let ticks: Vec<f64> = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    // The kernel counts in hundredths of a second on every platform Rust runs on.
    Ok(ticks.iter().sum::<f64>() / 100.0)
}

fn default_journeys() -> anyhow::Result<Vec<JourneyDefinition>> {
    #[derive(Deserialize)]
    struct Defaults {
        journeys: Vec<JourneyDefinition>,
    }
    let defaults: Defaults = serde_saphyr::from_str(include_str!("../../config/telemetry.yaml"))?;
    Ok(defaults.journeys)
}

/// Bytes of a state folder.
#[derive(Default)]
struct Disk {
    tables: u64,
    journals: u64,
}

impl Disk {
    fn of(folder: &Path) -> anyhow::Result<Self> {
        let mut disk = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "jnl") {
                    disk.journals += path.metadata()?.len();
                } else {
                    disk.tables += path.metadata()?.len();
                }
            }
        }
        Ok(disk)
    }
}

/// The processor's codec on topics of other names.
struct Renamed {
    inner: JourneyCodec,
    out: Arc<str>,
}

impl Codec<JourneyProcessor> for Renamed {
    fn decode<'a>(&self, record: &RecordRef<'a>) -> Result<Option<Input<'a>>, Undecoded> {
        self.inner.decode(&RecordRef { topic: topics::EVENTS, ..*record })
    }

    fn decode_key(&self, bytes: &[u8]) -> Result<RecordKey, Poison> {
        self.inner.decode_key(bytes)
    }

    fn encode_state(&self, state: &UserState) -> Vec<u8> {
        self.inner.encode_state(state)
    }

    fn decode_state(&self, bytes: &[u8]) -> Result<UserState, Poison> {
        self.inner.decode_state(bytes)
    }

    fn encode_output(&self, output: &Emission, records: &mut Vec<NewRecord>) {
        self.inner.encode_output(output, records);
        for record in records.iter_mut() {
            record.topic = self.out.clone();
        }
    }

    fn encode_poison(&self, record: &RecordRef<'_>, poison: &Poison, now_ms: i64) -> NewRecord {
        NewRecord { topic: self.out.clone(), ..self.inner.encode_poison(record, poison, now_ms) }
    }
}
