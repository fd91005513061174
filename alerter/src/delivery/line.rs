//! A receiver with its gate: shared by its own delivery and those it stands in for.

use std::{collections::HashMap, sync::Arc, time::Instant};

use parking_lot::Mutex;
use prometheus::IntGauge;
use telemetry_schemas::EventTime;

use super::gate::Gate;
use crate::{
    config::{AlerterConfig, ReceiverConfig},
    metrics::AlerterMetrics,
    receivers::{self, Pace, Receiver},
};

/// See the [module](self).
pub struct Line {
    pub name: String,
    pub receiver: Arc<dyn Receiver>,
    pub gate: Mutex<Gate>,
    /// Who is told in its place.
    pub fallback: Option<String>,
    /// 1 while it takes what it is sent.
    pub up: IntGauge,
    /// What was said of its trouble, and to whom.
    pub trouble: Mutex<Option<Told>>,
}

/// A trouble that somebody was told of.
#[derive(Debug, Clone)]
pub struct Told {
    pub began_at: EventTime,
    /// The receiver that took it, and what it wants to be told again. `None`: nobody did, yet.
    pub by: Option<(String, Option<String>)>,
}

impl Line {
    fn new(config: &ReceiverConfig, all: &AlerterConfig, metrics: &AlerterMetrics) -> anyhow::Result<Self> {
        let receiver = receivers::build(config)?;
        let pace = match config.max_per_minute {
            Some(count) => Some(Pace::per_minute(count)),
            None => receiver.pace(),
        };
        let up = metrics.up.with_label_values(&[&config.name]);
        up.set(1);
        Ok(Self {
            name: config.name.clone(),
            receiver,
            gate: Mutex::new(Gate::new(all.delivery.clone(), pace, Instant::now())),
            fallback: config.fallback.clone(),
            up,
            trouble: Mutex::new(None),
        })
    }
}

/// All receivers, by name.
pub struct Lines {
    by_name: HashMap<String, Arc<Line>>,
    /// In the order of the configuration.
    names: Vec<String>,
    /// Who hears what no route says.
    root: String,
}

impl Lines {
    /// # Errors
    /// When a receiver cannot be made.
    pub fn new(config: &AlerterConfig, metrics: &AlerterMetrics) -> anyhow::Result<Self> {
        let mut by_name = HashMap::new();
        for receiver in &config.receivers {
            let line = Line::new(receiver, config, metrics)
                .map_err(|error| error.context(format!("receiver `{}`", receiver.name)))?;
            by_name.insert(receiver.name.clone(), Arc::new(line));
        }
        Ok(Self {
            by_name,
            names: config.receivers.iter().map(|receiver| receiver.name.clone()).collect(),
            root: config.route.receiver.clone().unwrap_or_default(),
        })
    }

    pub fn get(&self, name: &str) -> Option<Arc<Line>> {
        self.by_name.get(name).cloned()
    }

    /// Who is told of a receiver's trouble, the best first: its fallback, the root route's receiver, the others.
    pub fn confidants(&self, of: &Line) -> Vec<Arc<Line>> {
        let mut names: Vec<&str> = of.fallback.iter().map(String::as_str).collect();
        names.extend(std::iter::once(self.root.as_str()).chain(self.names.iter().map(String::as_str)));
        let mut confidants: Vec<Arc<Line>> = Vec::new();
        for line in names.into_iter().filter_map(|name| self.get(name)) {
            if line.name != of.name && confidants.iter().all(|known| known.name != line.name) {
                confidants.push(line);
            }
        }
        confidants
    }
}
