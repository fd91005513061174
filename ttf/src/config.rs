//! The whole configuration: one section per part, each owned by its crate.

use std::{collections::BTreeSet, path::Path};

use alerter::{AlerterConfig, ConfigErrors};
use ingest_gateway::{
    GatewayConfig, Milestones, PlanConfig, PrivacyConfig, Settings, TenantsSource,
    plan::{self, PlanErrors},
    privacy::Policies,
};
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::config::{ConfigError, MetricsConfig, Places, Problem, Secret, ServiceConfig, Sources, TenantsConfig};
use sink_archiver::config::{ArchiveConfig, RetentionConfig};
use stream_runtime::log::LogConfig;
use telemetry_schemas::Codec;
use ttf_processor::{DefinitionErrors, JourneyDefinition, ProcessorConfig};

use crate::cli::ConfigArgs;

/// The defaults, word for word.
const DEFAULTS: &str = include_str!("../../config/telemetry.yaml");

/// Where `ttf dev` differs from them.
const DEV: &str = include_str!("../../config/dev.yaml");

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub service: ServiceConfig,
    pub log: LogConfig,
    pub topics: TopicsConfig,
    pub schema_registry: SchemaRegistryConfig,
    pub gateway: GatewayConfig,
    pub tenants: TenantsConfig,
    pub privacy: PrivacyConfig,
    pub plan: PlanConfig,
    pub journeys: Vec<JourneyDefinition>,
    pub processor: ProcessorConfig,
    pub archive: ArchiveConfig,
    pub retention: RetentionConfig,
    pub alerter: AlerterConfig,
    pub metrics: MetricsConfig,
    /// Where everything was set; there after [`load`].
    #[serde(skip)]
    pub places: Option<Places>,
    /// What it was loaded by; there after [`load`].
    #[serde(skip)]
    pub args: ConfigArgs,
}

/// How topics are made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicsConfig {
    pub partitions: i32,
    pub replication_factor: i32,
    pub min_insync_replicas: i32,
}

/// A Confluent-compatible schema registry; without one, records carry Avro's single-object encoding.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaRegistryConfig {
    pub url: Option<Secret>,
}

/// Loads defaults < the named file < environment.
pub fn load(args: &ConfigArgs) -> Result<Config, ConfigError> {
    let (config, places) = service_kit::config::load_with_places(sources(args))?;
    checked(config, places).map(|config| Config { args: args.clone(), ..config })
}

/// Loads and checks the journeys alone.
pub fn load_journeys(args: &ConfigArgs) -> Result<(Vec<JourneyDefinition>, Places), ConfigError> {
    let (journeys, places): (Vec<JourneyDefinition>, Places) =
        service_kit::config::load_section_with_places(sources(args), "journeys")?;
    match ttf_processor::check(&journeys) {
        Ok(()) => Ok((journeys, places)),
        Err(errors) => Err(ConfigError { problems: located(&errors, &places) }),
    }
}

/// Loads what `ttf dev` runs on: everything below `data_dir`, listening on `listen`. Options given on the command
/// line win over the file and the environment.
pub fn load_dev(
    args: &ConfigArgs,
    data_dir: &Path,
    listen: Option<std::net::SocketAddr>,
) -> Result<Config, ConfigError> {
    let mut flags = json!({});
    if let Some(listen) = listen {
        flags["gateway"] = json!({ "listen": listen.to_string() });
    }
    let sources = sources(args)
        .with_layer("the built-in settings of `ttf dev`", DEV)
        .with_value("the data folder", dev_paths(data_dir));
    let (config, places) = service_kit::config::load_with_places(sources.with_flags(flags))?;
    checked(config, places).map(|config| Config { args: args.clone(), ..config })
}

/// What the types cannot say: each part's own rules.
fn checked(config: Config, places: Places) -> Result<Config, ConfigError> {
    fn problem(error: impl std::fmt::Display) -> Vec<Problem> {
        vec![Problem { path: String::new(), origin: None, message: error.to_string() }]
    }
    let problems: Vec<_> = [
        config.gateway.validate().map_err(problem),
        Policies::compile(&config.privacy, &Milestones::default()).map(drop).map_err(problem),
        ttf_processor::check(&config.journeys).map_err(|errors| located(&errors, &places)),
        plan::check(&config.plan).map_err(|errors| located_plan(&errors, &places)),
        config.alerter.check().map_err(|errors| located_alerter(&errors, &places)),
    ]
    .into_iter()
    .filter_map(Result::err)
    .flatten()
    .collect();
    if problems.is_empty() { Ok(Config { places: Some(places), ..config }) } else { Err(ConfigError { problems }) }
}

/// What is wrong with journeys, with the lines it stands on.
pub fn located(errors: &DefinitionErrors, places: &Places) -> Vec<Problem> {
    errors.0.iter().map(|error| places.problem(&*error.path, &*error.message)).collect()
}

/// Loads and checks the tracking plans alone.
pub fn load_plan(args: &ConfigArgs) -> Result<PlanConfig, ConfigError> {
    let (plan, places): (PlanConfig, Places) = service_kit::config::load_section_with_places(sources(args), "plan")?;
    match plan::check(&plan) {
        Ok(()) => Ok(plan),
        Err(errors) => Err(ConfigError { problems: located_plan(&errors, &places) }),
    }
}

fn located_alerter(errors: &ConfigErrors, places: &Places) -> Vec<Problem> {
    let problem = |error: &String| match error.split_once(": ") {
        Some((path, message)) => places.problem(path, message),
        None => places.problem("alerter", error.as_str()),
    };
    errors.0.iter().map(problem).collect()
}

fn located_plan(errors: &PlanErrors, places: &Places) -> Vec<Problem> {
    errors.0.iter().map(|error| places.problem(&*error.path, &*error.message)).collect()
}

impl Config {
    /// Names the lines in an error about journeys that came up after the configuration was read.
    pub fn locate(places: Option<&Places>, error: anyhow::Error) -> anyhow::Error {
        match (error.downcast_ref::<DefinitionErrors>(), places) {
            (Some(errors), Some(places)) => ConfigError { problems: located(errors, places) }.into(),
            _ => error,
        }
    }
}

fn sources(args: &ConfigArgs) -> Sources {
    let sources = Sources::new(DEFAULTS).with_process_environment();
    match &args.config {
        Some(path) => sources.with_file(path),
        None => sources,
    }
}

fn dev_paths(data_dir: &Path) -> Value {
    json!({
        "log": { "kind": "embedded", "path": data_dir.join("log") },
        "processor": { "state_dir": data_dir.join("state") },
        "alerter": { "state_dir": data_dir.join("alerts") },
        "archive": {
            "database": { "kind": "sqlite", "path": data_dir.join("ttf.sqlite") },
            "s3": { "kind": "folder", "path": data_dir.join("archive") },
        },
    })
}

/// What the gateway is told.
pub fn gateway_settings(config: &Config) -> Settings {
    let milestones = config.journeys.iter().flat_map(|journey| &journey.milestones);
    let events = milestones.flat_map(|milestone| {
        let looked_at: BTreeSet<String> = milestone.conditions.keys().cloned().collect();
        milestone.events.iter().map(move |event| (event.clone(), looked_at.clone()))
    });
    let args = config.args.clone();
    Settings {
        gateway: config.gateway.clone(),
        tenants: config.tenants.clone(),
        privacy: config.privacy.clone(),
        plan: config.plan.clone(),
        metrics: config.metrics.clone(),
        milestones: events.collect(),
        tenants_source: Some(TenantsSource::new(move || {
            Ok(service_kit::config::load_section(sources(&args), "tenants")?)
        })),
    }
}

/// The encoder and decoder this configuration asks for. Blocks while it reaches the registry.
pub fn codec(config: &Config) -> anyhow::Result<Codec> {
    match &config.schema_registry.url {
        Some(url) => Ok(Codec::with_registry(telemetry_schemas::codec::RegistryConfig::new(url.expose()))?),
        None => Ok(Codec::without_registry()),
    }
}
