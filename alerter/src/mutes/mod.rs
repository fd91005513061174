//! What keeps single alerts quiet, whatever group they are in: silences, maintenance windows, inhibition.
//!
//! [`Mutes`] is a pure table; [`follow`] keeps it as the changelog of the groups says, in every alerter alike.

pub mod follow;
mod silence;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use telemetry_schemas::{BreachStatus, EventTime, alert::AlertState};

pub use self::silence::Silence;
use crate::{
    config::{AlerterConfig, InhibitRule, Maintenance},
    route::{self, Labels},
};

/// Why an alert is not told although it fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Muted {
    /// A more telling alert fires.
    Inhibited {
        rule: String,
        by: String,
    },
    Silenced {
        id: String,
        by: String,
        until: EventTime,
    },
    Maintenance {
        name: String,
        until: EventTime,
    },
}

impl Muted {
    /// When it ends by itself, where that is known.
    pub fn until(&self) -> Option<EventTime> {
        match self {
            Self::Inhibited { .. } => None,
            Self::Silenced { until, .. } | Self::Maintenance { until, .. } => Some(*until),
        }
    }

    /// In words, for those who ask why.
    pub fn describe(&self) -> String {
        match self {
            Self::Inhibited { rule, by } => format!("inhibited by {by} (rule {rule})"),
            Self::Silenced { id, by, until } => format!("silence {id} by {by} until {}", until.to_rfc3339()),
            Self::Maintenance { name, until } => format!("maintenance {name} until {}", until.to_rfc3339()),
        }
    }
}

/// Every silence, window and alert that inhibits others.
#[derive(Debug, Clone, Default)]
pub struct Mutes {
    rules: Vec<InhibitRule>,
    windows: Vec<Maintenance>,
    silences: HashMap<String, Silence>,
    /// Labels of firing alerts that some rule's source matches, by the group they are in.
    sources: HashMap<String, Vec<Labels>>,
}

impl Mutes {
    pub fn new(config: &AlerterConfig) -> Self {
        Self { rules: config.inhibit_rules.clone(), windows: config.maintenance.clone(), ..Self::default() }
    }

    /// Whether groups have to be shown to [`Self::observe`], too, and not silences only.
    pub fn needs_groups(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether no alert can be muted.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.silences.is_empty() && self.sources.is_empty()
    }

    /// Takes in what is stored under a key now.
    pub fn observe(&mut self, key: &str, state: Option<&AlertState>) {
        if key.starts_with(route::SILENCE_PREFIX) {
            match state.and_then(Silence::read) {
                Some(silence) => self.silences.insert(key.to_owned(), silence),
                None => self.silences.remove(key),
            };
            return;
        }
        if !self.needs_groups() || key.starts_with(route::MEMORY_PREFIX) || key.starts_with(route::LATE_PREFIX) {
            return;
        }
        let is_source = |labels: &Labels| {
            self.rules.iter().any(|rule| rule.source_matchers.iter().all(|matcher| matcher.matches(labels)))
        };
        let firing = state.into_iter().flat_map(|state| &state.alerts);
        let sources: Vec<Labels> = firing
            .filter(|alert| alert.breach.status == BreachStatus::Firing)
            .map(|alert| route::all_labels(&alert.breach))
            .filter(is_source)
            .collect();
        if sources.is_empty() {
            self.sources.remove(key);
        } else {
            self.sources.insert(key.to_owned(), sources);
        }
    }

    /// Forgets what was observed, before everything is observed anew.
    pub fn clear(&mut self) {
        self.silences.clear();
        self.sources.clear();
    }

    /// Why an alert with these labels is not told now; inhibition first, then silences, then windows.
    pub fn check(&self, labels: &Labels, now: EventTime) -> Option<Muted> {
        self.inhibited(labels).or_else(|| self.silenced(labels, now)).or_else(|| self.in_maintenance(labels, now))
    }

    fn inhibited(&self, labels: &Labels) -> Option<Muted> {
        for (index, rule) in self.rules.iter().enumerate() {
            let matches = |labels: &Labels, matchers: &[crate::config::Matcher]| {
                matchers.iter().all(|matcher| matcher.matches(labels))
            };
            // As in Alertmanager: what is a source of a rule itself is not inhibited by its like.
            if !matches(labels, &rule.target_matchers) || matches(labels, &rule.source_matchers) {
                continue;
            }
            let is_equal = |source: &&Labels| rule.equal.iter().all(|name| source.get(name) == labels.get(name));
            let source = self
                .sources
                .values()
                .flatten()
                .find(|source| matches(source, &rule.source_matchers) && is_equal(source));
            if let Some(source) = source {
                let rule = rule.name.clone().unwrap_or_else(|| format!("inhibit_rules[{index}]"));
                return Some(Muted::Inhibited { rule, by: describe(source) });
            }
        }
        None
    }

    /// The silence that lasts longest, so that nobody is woken between two.
    fn silenced(&self, labels: &Labels, now: EventTime) -> Option<Muted> {
        let silence = self
            .silences
            .values()
            .filter(|silence| silence.is_active(now) && silence.matches(labels))
            .max_by_key(|silence| (silence.ends_at, &silence.id))?;
        Some(Muted::Silenced { id: silence.id.clone(), by: silence.by.clone(), until: silence.ends_at })
    }

    fn in_maintenance(&self, labels: &Labels, now: EventTime) -> Option<Muted> {
        let window = self
            .windows
            .iter()
            .filter(|window| window.starts_at <= now && now < window.ends_at)
            .filter(|window| window.matchers.iter().all(|matcher| matcher.matches(labels)))
            .max_by_key(|window| window.ends_at)?;
        Some(Muted::Maintenance { name: window.name.clone(), until: window.ends_at })
    }
}

/// An alert in few words, without a user's id.
fn describe(labels: &Labels) -> String {
    let shown: BTreeSet<_> = ["alertname", "tenant", "journey", "level", "check", "stage"].into();
    let pairs = labels.iter().filter(|(name, value)| shown.contains(name.as_str()) && !value.is_empty());
    let words: Vec<_> = pairs.map(|(name, value)| format!("{name}={value}")).collect();
    words.join(",")
}
