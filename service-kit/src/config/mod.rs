//! One strict YAML configuration: built-in defaults, then the user's file, then the environment, then the command line.
//!
//! - Maps merge, lists replace. A section that names another `kind` than the layer below starts empty.
//! - Any key by environment: `TELEMETRY__GATEWAY__LISTEN=0.0.0.0:8080`, `TELEMETRY__TENANTS__ACME__KEYS__0__NAME=x`;
//!   values are YAML scalars or flow collections (`[a, b]`, `{a: 1}`).
//! - `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` inside a string are replaced; `$${` is a literal `${`.
//! - Unknown keys, wrong types, duplicate keys and references to nothing are errors that say where and what instead.
//!   Values that came by reference are never shown.

mod diagnosis;
mod environment;
mod error;
mod places;
mod references;
mod sections;
mod tree;
mod values;

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::{
    error::{ConfigError, Problem},
    places::Places,
    sections::{KeyConfig, KeyHash, KeyScope, MetricsConfig, RateLimits, ServiceConfig, TenantConfig, TenantsConfig},
    values::{ByteSize, HumanDuration, Secret},
};
use self::{
    references::References,
    tree::{Kind, Node, Origin},
};

/// What a process exits with when its configuration is not valid: `EX_CONFIG` of `sysexits.h`.
pub const EXIT_CONFIG: u8 = 78;

/// More problems than this are not collected: they tend to be echoes.
const MAX_PROBLEMS: usize = 20;

/// Where a configuration comes from: defaults < further layers < the user's file < environment < flags, in whichever
/// order they are added.
#[derive(Debug, Clone)]
pub struct Sources {
    defaults: String,
    layers: Vec<(String, Layer)>,
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    flags: Vec<Value>,
}

#[derive(Debug, Clone)]
enum Layer {
    Yaml(String),
    Value(Value),
}

impl Sources {
    /// Only the built-in defaults, as YAML text.
    pub fn new(defaults: impl Into<String>) -> Self {
        Self { defaults: defaults.into(), layers: Vec::new(), file: None, environment: Vec::new(), flags: Vec::new() }
    }

    /// Adds built-in settings as YAML text, stronger than the defaults and earlier layers; `name` is for messages.
    pub fn with_layer(mut self, name: &str, yaml: impl Into<String>) -> Self {
        self.layers.push((name.to_owned(), Layer::Yaml(yaml.into())));
        self
    }

    /// As [`Sources::with_layer`], for settings that are computed.
    pub fn with_value(mut self, name: &str, value: Value) -> Self {
        self.layers.push((name.to_owned(), Layer::Value(value)));
        self
    }

    /// Adds the user's file.
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Adds the environment of this process, for `TELEMETRY__…` keys and for references. Variables that are not
    /// UTF-8 are left out.
    pub fn with_process_environment(self) -> Self {
        let readable =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        self.with_environment(std::env::vars_os().filter_map(readable))
    }

    /// Adds a given environment.
    pub fn with_environment<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        self.environment.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Adds what the command line sets, as a tree of sections: the strongest layer.
    pub fn with_flags(mut self, flags: Value) -> Self {
        self.flags.push(flags);
        self
    }
}

/// Reads, merges and checks a configuration.
///
/// # Errors
/// Everything found wrong, up to 20 problems; see [`ConfigError`].
pub fn load<T: DeserializeOwned>(sources: Sources) -> Result<T, ConfigError> {
    let layers = Layers::read(sources)?;
    check(layers.merged, &layers.defaults, layers.problems)
}

/// As [`load`], and tells where everything was set.
pub fn load_with_places<T: DeserializeOwned>(sources: Sources) -> Result<(T, Places), ConfigError> {
    let layers = Layers::read(sources)?;
    let places = Places(layers.merged.clone());
    Ok((check(layers.merged, &layers.defaults, layers.problems)?, places))
}

/// As [`load`], for one section alone; the others are neither checked nor looked at.
pub fn load_section<T: DeserializeOwned>(sources: Sources, section: &str) -> Result<T, ConfigError> {
    load_section_with_places(sources, section).map(|(value, _)| value)
}

/// As [`load_section`], and tells where everything was set.
pub fn load_section_with_places<T: DeserializeOwned>(
    sources: Sources,
    section: &str,
) -> Result<(T, Places), ConfigError> {
    let mut layers = Layers::read(sources)?;
    if let Kind::Map(sections) = &mut layers.merged.kind {
        sections.retain(|name, _| name == section);
    }
    let outside = |problem: &Problem| !problem.path.is_empty() && !problem.path.starts_with(section);
    layers.problems.retain(|problem| !outside(problem));
    let places = Places(layers.merged.clone());
    let value = check::<BTreeMap<String, T>>(layers.merged, &layers.defaults, layers.problems)?
        .remove(section)
        .ok_or_else(|| Problem::general(format!("section `{section}` is missing")))?;
    Ok((value, places))
}

/// All sources in one tree.
struct Layers {
    defaults: Node,
    merged: Node,
    problems: Vec<Problem>,
}

impl Layers {
    fn read(sources: Sources) -> Result<Self, ConfigError> {
        let mut defaults = tree::parse(&sources.defaults, &Origin::file_named("built-in defaults"))?;
        for (name, layer) in sources.layers {
            let origin = Origin::file_named(&name);
            defaults.merge(match layer {
                Layer::Yaml(text) => tree::parse(&text, &origin)?,
                Layer::Value(value) => Node::from_value(value, &origin),
            });
        }

        let mut merged = defaults.clone();
        if let Some(path) = &sources.file {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Problem::general(format!("cannot read configuration file {name}: {error}")))?;
            merged.merge(tree::parse(&text, &Origin::file_named(&name))?);
        }

        let mut problems = Vec::new();
        for setting in environment::settings(&sources.environment, &mut problems) {
            if let Err(problem) = environment::apply(setting, &mut merged, &defaults) {
                problems.push(problem);
            }
        }
        for flags in sources.flags {
            merged.merge(Node::from_value(flags, &Origin::CommandLine));
        }
        References::new(&sources.environment).resolve(&mut merged, &mut problems);
        Ok(Self { defaults, merged, problems })
    }
}

/// Types the merged tree; after a problem, repairs the spot and goes on, so that one run finds as many as it can.
fn check<T: DeserializeOwned>(mut merged: Node, defaults: &Node, mut problems: Vec<Problem>) -> Result<T, ConfigError> {
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(merged.to_value()) {
            Ok(config) if problems.is_empty() => return Ok(config),
            Ok(_) => break,
            Err(error) => error,
        };
        let fault = diagnosis::Fault::find(&error, &merged);
        if merged.at_mut(&fault.path).is_some_and(Node::read_otherwise) {
            continue;
        }
        if !fault.follows_from(&problems) {
            problems.push(fault.describe(&merged, defaults));
        }
        if problems.len() >= MAX_PROBLEMS || !fault.repair(&mut merged, defaults) {
            break;
        }
    }
    Err(ConfigError { problems })
}

#[cfg(test)]
mod tests;
