//! Starts the roles of a process and waits for its end.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use alerter::desk::Desk;
use anyhow::Context;
use axum::Router;
use service_kit::{
    Kit,
    config::{ConfigError, Problem},
};
use sink_archiver::live_view::LiveView;
use stream_runtime::log::{Log, LogConfig, LogError};
use telemetry_schemas::{Codec, Millis, TtfRecord};
use ttf_processor::{JourneyDefinition, in_force::OnChange};

use crate::{
    audit::{self, Act},
    cli::{ConfigArgs, DevArgs},
    config::{self, Config},
    output, tail, topics, trace,
};

/// Which services a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    pub name: &'static str,
    gateway: bool,
    processor: bool,
    archiver: bool,
    alerter: bool,
}

impl Roles {
    const NONE: Self = Self { name: "", gateway: false, processor: false, archiver: false, alerter: false };
    pub const ALL: Self = Self { name: "all", gateway: true, processor: true, archiver: true, alerter: true };
    pub const GATEWAY: Self = Self { name: "gateway", gateway: true, ..Self::NONE };
    pub const PROCESSOR: Self = Self { name: "processor", processor: true, ..Self::NONE };
    pub const ARCHIVER: Self = Self { name: "archiver", archiver: true, ..Self::NONE };
    pub const ALERTER: Self = Self { name: "alerter", alerter: true, ..Self::NONE };
}

/// Runs the roles on the configured servers until a signal.
pub async fn serve(roles: Roles, args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = config::load(&args)?;
    service_kit::telemetry::init(&config.service)?;
    if matches!(config.log, LogConfig::Embedded(_)) && roles != Roles::ALL {
        let message = format!(
            "an embedded log lives in one process: run `ttf dev` or `ttf all`, or set `kafka` here for `ttf {}`",
            roles.name
        );
        return Err(ConfigError::from(Problem { path: "log.kind".to_owned(), origin: None, message }).into());
    }
    let drain = config.service.drain_timeout.as_std();
    let kit = Kit::new(roles.name);
    kit.handle_signals()?;
    service_kit::telemetry::log_start(kit.service(), &config.service.environment);
    service_kit::admin::serve(config.service.admin_listen, &kit).await?;
    start(config, roles, DevRoutes::Absent, &kit).await?;
    kit.join(drain).await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs everything on embedded defaults below one folder.
pub async fn dev(args: DevArgs) -> anyhow::Result<ExitCode> {
    let config = config::load_dev(&args.config, &args.data_dir, args.listen)?;
    // Before anything is made: whether there is a place to listen at the end.
    drop(service_kit::net::listen(config.gateway.listen, "--listen").await?);
    prepare_folder(&args.data_dir)?;
    service_kit::telemetry::init(&config.service)?;
    let drain = config.service.drain_timeout.as_std();
    let kit = Kit::new("dev");
    kit.handle_signals()?;
    service_kit::telemetry::log_start(kit.service(), &config.service.environment);
    let address = start(config, Roles::ALL, DevRoutes::Present, &kit).await?.context("the gateway runs in dev")?;
    greet(address, &args.data_dir);
    kit.join(drain).await?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the process serves what only `ttf dev` serves.
#[derive(PartialEq, Eq)]
enum DevRoutes {
    Present,
    Absent,
}

async fn start(config: Config, roles: Roles, dev: DevRoutes, kit: &Kit) -> anyhow::Result<Option<SocketAddr>> {
    let Some((log, codec)) = open(config.clone(), roles, kit).await? else { return Ok(None) };
    let settings = config::gateway_settings(&config);
    let (alerting, archive) = (config.alerter.clone(), config.archive.clone());
    let live_view = if roles.archiver || roles.gateway {
        Some(sink_archiver::live_view::open_live_view(&config.archive, kit).await?)
    } else {
        None
    };
    if let (true, Some(live_view)) = (roles.archiver, &live_view) {
        let target = |journey: &JourneyDefinition| Millis(journey.total.target.millis());
        let of = |journey: &JourneyDefinition| ((journey.id.clone(), journey.version), target(journey));
        let targets = config.journeys.iter().map(of).collect();
        sink_archiver::run(
            config.archive,
            config.retention,
            targets,
            log.clone(),
            codec.clone(),
            live_view.clone(),
            kit,
        )
        .await
        .context("archiver")?;
    }
    if roles.processor {
        let on_change = match dev {
            DevRoutes::Present => OnChange::Adopt,
            DevRoutes::Absent => OnChange::Refuse,
        };
        let (processor, journeys, metrics) = (config.processor, config.journeys, config.metrics);
        let (asked, defined) = (log.clone(), journeys.clone());
        let acts = tokio::task::spawn_blocking(move || audit::journey_changes(&*asked, &defined)).await?;
        ttf_processor::run(processor, journeys, on_change, metrics, log.clone(), codec.clone(), kit)
            .await
            .map_err(|error| Config::locate(config.places.as_ref(), error))
            .context("processor")?;
        tell(acts, log.clone(), codec.clone()).await?;
    }
    if roles.alerter {
        alerter::run(config.alerter, log.clone(), codec.clone(), kit).await.context("alerter")?;
    }
    let (true, Some(live_view)) = (roles.gateway, live_view) else { return Ok(None) };
    let routes = match dev {
        DevRoutes::Present => tail::server::router(log.clone(), Arc::new(codec.clone()), kit.shutdown())
            .merge(trace::router(log.clone(), Arc::new(codec.clone()), archive)),
        DevRoutes::Absent => Router::new(),
    };
    let (desk_log, desk_codec) = (log.clone(), codec.clone());
    let for_desk = alerting.clone();
    let desk = tokio::task::spawn_blocking(move || Desk::new(&for_desk, desk_log, desk_codec)).await??;
    let pressed = alerter::receivers::slack::endpoint::router(&alerting, desk.clone())?;
    let routes = routes.merge(alerter::desk::http::router(desk)).merge(pressed);
    let lookup = Arc::new(LiveJourneys(live_view));
    let address = ingest_gateway::run(settings, log, codec, lookup, routes, kit).await?;
    Ok(Some(address))
}

/// Writes what was done to the audit log. A start does not fail for it: what was done is done.
async fn tell(acts: Vec<Act>, log: Arc<dyn Log>, codec: Codec) -> anyhow::Result<()> {
    if acts.is_empty() {
        return Ok(());
    }
    let told = tokio::task::spawn_blocking(move || audit::write(&*log, &codec, "system", acts)).await?;
    if let Err(error) = told {
        tracing::error!(error = format!("{error:#}"), "changes of journeys are not in the audit log");
    }
    Ok(())
}

/// Opens the log and the encoder on a thread that may block, and checks the topics. `None`: told to end before the log
/// was there.
async fn open(config: Config, roles: Roles, kit: &Kit) -> anyhow::Result<Option<(Arc<dyn Log>, Codec)>> {
    let (there, shutdown) = (kit.health().readiness("topics"), kit.shutdown());
    there.set(false);
    tokio::task::spawn_blocking(move || {
        let log = stream_runtime::log::open(&config.log, &format!("ttf-{}", roles.name))?;
        // A log that is away is waited for.
        while let Err(error) = topics::ensure(&config, &log) {
            let is_away = error.downcast_ref::<LogError>().is_some_and(LogError::is_retriable);
            if !is_away {
                return Err(error);
            }
            if shutdown.is_cancelled() {
                return Ok(None);
            }
            tracing::warn!(%error, "waiting for the log");
            std::thread::sleep(Duration::from_millis(500));
        }
        there.set(true);
        let codec = config::codec(&config)?;
        Ok(Some((log, codec)))
    })
    .await?
}

/// The gateway's view of the archiver's live view.
struct LiveJourneys(Arc<dyn LiveView>);

#[async_trait::async_trait]
impl ingest_gateway::JourneyLookup for LiveJourneys {
    async fn journeys(&self, tenant: &str, user_id: &str) -> anyhow::Result<Vec<TtfRecord>> {
        self.0.journeys(tenant, user_id).await
    }
}

fn prepare_folder(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the data folder {}", folder.display()))?;
    let probe = folder.join(".writable");
    std::fs::write(&probe, b"").with_context(|| format!("cannot write to the data folder {}", folder.display()))?;
    std::fs::remove_file(&probe).with_context(|| format!("cannot write to the data folder {}", folder.display()))
}

fn greet(address: SocketAddr, data_dir: &Path) {
    let host = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        ip => ip,
    };
    let url = format!("http://{}", SocketAddr::new(host, address.port()));
    let option = if address.port() == 8080 { String::new() } else { format!(" --url {url}") };
    let ttf = called();
    // Nobody has to read it.
    let _ = output::line(format_args!(
        "ttf is ready on {url}, everything is kept in {}

Three things to try in another terminal:
  curl -X POST {url}/api/v1/events -H 'Content-Type: application/json' -d '{{\"events\":[{{\"event_name\":\"test\",\"event_type\":\"test\"}}]}}'
  {ttf} demo{option}
  {ttf} tail records --from beginning{option}

Ctrl-C ends it; what was accepted is still there at the next start.",
        data_dir.display()
    ));
}

/// How to call this program again: by the path it was called by, or by its name.
fn called() -> String {
    std::env::args().next().filter(|path| path.contains('/')).unwrap_or_else(|| "ttf".to_owned())
}
