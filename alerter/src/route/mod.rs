//! Where a breach goes: down the routing tree, to one alert group per receiver. Pure.

mod admission;
mod stage;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use telemetry_schemas::{Millis, TtfBreach};

pub use self::{
    admission::{NotRouted, admit},
    stage::RouteStage,
};
use crate::config::{
    AlerterConfig, EscalationStep, Hours, Matcher, RepeatInterval, RouteConfig, TimeInterval, is_mutable_label,
};

/// Labels of an alert, by name.
pub type Labels = BTreeMap<String, String>;

/// Labels every group has, whatever its route says: a group is one tenant's and one journey's.
const ALWAYS_GROUPED_BY: [&str; 2] = ["tenant", "journey"];

/// When a group is told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub group_wait: Millis,
    pub group_interval: Millis,
    /// `None`: never.
    pub repeat_interval: Option<Millis>,
}

/// A route with all it has inherited.
#[derive(Debug, Clone)]
struct Route {
    receiver: String,
    group_by: Vec<String>,
    timing: Timing,
    hours: Arc<Hours>,
    steps: Arc<[Step]>,
    matchers: Vec<Matcher>,
    goes_on: bool,
    routes: Vec<Route>,
}

/// Who is told, too, when nobody has acknowledged an alert for so long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub after: Millis,
    pub receiver: String,
}

/// One group an alert belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Routed {
    /// `ttf:{tenant}:{journey}:{hash of receiver and labels}`. The level is no part of it, unless grouped by.
    pub group_key: String,
    pub receiver: String,
    /// The labels the group is formed by.
    pub labels: Labels,
    pub timing: Timing,
    /// When it may be told.
    pub hours: Arc<Hours>,
    /// Who is told, too, when nobody acknowledges; the earliest first.
    pub steps: Arc<[Step]>,
}

/// The routing tree.
#[derive(Debug, Clone)]
pub struct Routes {
    root: Route,
    receivers: Vec<String>,
    key: Vec<u8>,
    remembers: bool,
}

impl Routes {
    /// The tree of a configuration that was checked.
    pub fn new(config: &AlerterConfig) -> Self {
        let top = Inherited {
            receiver: String::new(),
            group_by: Vec::new(),
            timing: Timing { group_wait: Millis(0), group_interval: Millis(0), repeat_interval: None },
            steps: Arc::new([]),
        };
        let root = compile(&config.route, &top, &config.time_intervals);
        Self {
            remembers: uses_mutable_labels(&root),
            root,
            receivers: config.receivers.iter().map(|receiver| receiver.name.clone()).collect(),
            key: config.user_id_key.as_ref().map_or_else(Vec::new, |key| key.expose().as_bytes().to_vec()),
        }
    }

    /// The groups an alert with these labels belongs to, at most one per key.
    pub fn route(&self, labels: &Labels) -> Vec<Routed> {
        let mut found = Vec::new();
        matching(&self.root, labels, &mut found);
        let mut routed: Vec<Routed> = Vec::with_capacity(found.len());
        for route in found {
            let group = self.group(route, labels);
            // Two routes to one receiver with one grouping are one group; the first says when.
            if routed.iter().all(|known| known.group_key != group.group_key) {
                routed.push(group);
            }
        }
        routed
    }

    /// The group of this key, when an alert with these labels still belongs to it.
    pub fn find(&self, group_key: &str, labels: &Labels) -> Option<Routed> {
        self.route(labels).into_iter().find(|routed| routed.group_key == group_key)
    }

    /// Whether an alert may leave its groups while it fires: then where it went has to be remembered, so that its end
    /// goes there, too.
    pub fn need_memory(&self) -> bool {
        self.remembers
    }

    /// The key under which it is remembered where an alert went.
    pub fn memory_key(&self, breach: &TtfBreach) -> String {
        let level = breach.level.as_str();
        let subject = [&breach.tenant, &breach.journey, &breach.user_id, &breach.attempt].map(String::as_str);
        let own = breach.labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        let hash = self.hash(subject.into_iter().chain([breach.kind.as_str(), level]).chain(own));
        format!("{MEMORY_PREFIX}{}:{}:{hash}", breach.tenant, breach.journey)
    }

    /// When groups of unknown routes are told about.
    pub fn root_timing(&self) -> Timing {
        self.root.timing
    }

    /// The receiver of the root route.
    pub fn root_receiver(&self) -> &str {
        &self.root.receiver
    }

    pub fn has_receiver(&self, name: &str) -> bool {
        self.receivers.iter().any(|known| known == name)
    }

    fn group(&self, route: &Route, alert: &Labels) -> Routed {
        let names = ALWAYS_GROUPED_BY.into_iter().chain(route.group_by.iter().map(String::as_str));
        let labels: Labels =
            names.map(|name| (name.to_owned(), alert.get(name).cloned().unwrap_or_default())).collect();
        let parts = labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        let hash = self.hash(std::iter::once(route.receiver.as_str()).chain(parts));
        Routed {
            group_key: format!("ttf:{}:{}:{hash}", labels["tenant"], labels["journey"]),
            receiver: route.receiver.clone(),
            labels,
            timing: route.timing,
            hours: route.hours.clone(),
            steps: route.steps.clone(),
        }
    }

    fn hash<'a>(&self, parts: impl Iterator<Item = &'a str>) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        hex::encode(&mac.finalize().into_bytes()[..16])
    }
}

/// Begins the keys under which it is remembered where an alert went.
pub const MEMORY_PREFIX: &str = "alert:";
/// Begins the keys under which breaches are counted that come too late to be told.
pub const LATE_PREFIX: &str = "late:";
/// Begins the keys of silences.
pub const SILENCE_PREFIX: &str = "silence:";

/// Name of the alert of a missed deadline.
pub const DEADLINE_MISSED: &str = "TtfDeadlineMissed";

/// The labels of an alert that stay the same from its first word to its last.
pub fn labels(breach: &TtfBreach) -> Labels {
    let labels = [
        ("tenant", breach.tenant.as_str()),
        ("journey", &breach.journey),
        ("user_id", &breach.user_id),
        ("attempt", &breach.attempt),
        ("kind", breach.kind.as_str()),
        ("level", breach.level.as_str()),
    ];
    let mut labels: Labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    labels.insert("alertname".to_owned(), DEADLINE_MISSED.to_owned());
    labels.extend(breach.labels.clone());
    labels
}

/// What an alert is routed, grouped, silenced and inhibited by: [`labels`], and what may become known while it fires.
pub fn all_labels(breach: &TtfBreach) -> Labels {
    let mut labels = labels(breach);
    let known = [("stage", &breach.current_stage), ("release", &breach.release)];
    labels.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))));
    let named = |prefix: &str, (name, value): (&String, &String)| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let name: String = name.bytes().map(|byte| if is_plain(byte) { byte as char } else { '_' }).collect();
        (format!("{prefix}{name}"), value.clone())
    };
    labels.extend(breach.segments.iter().map(|pair| named("segment_", pair)));
    labels.extend(breach.experiments.iter().map(|pair| named("experiment_", pair)));
    labels
}

fn uses_mutable_labels(route: &Route) -> bool {
    route.group_by.iter().any(|name| is_mutable_label(name))
        || route.matchers.iter().any(|matcher| is_mutable_label(&matcher.label))
        || route.routes.iter().any(uses_mutable_labels)
}

/// What a route hands down.
#[derive(Clone)]
struct Inherited {
    receiver: String,
    group_by: Vec<String>,
    timing: Timing,
    steps: Arc<[Step]>,
}

fn compile(route: &RouteConfig, above: &Inherited, intervals: &[TimeInterval]) -> Route {
    let millis = |duration: service_kit::config::HumanDuration| Millis(duration.millis());
    let own = Inherited {
        receiver: route.receiver.clone().unwrap_or_else(|| above.receiver.clone()),
        group_by: route.group_by.clone().unwrap_or_else(|| above.group_by.clone()),
        timing: Timing {
            group_wait: route.group_wait.map_or(above.timing.group_wait, millis),
            group_interval: route.group_interval.map_or(above.timing.group_interval, millis),
            repeat_interval: match route.repeat_interval {
                None => above.timing.repeat_interval,
                Some(RepeatInterval::Never) => None,
                Some(RepeatInterval::Every(interval)) => Some(millis(interval)),
            },
        },
        steps: route.escalation.as_ref().map_or_else(
            || above.steps.clone(),
            |steps| {
                let step = |step: &EscalationStep| Step { after: millis(step.after), receiver: step.receiver.clone() };
                steps.iter().map(step).collect()
            },
        ),
    };
    let named = |names: &[String]| {
        intervals.iter().filter(|interval| names.contains(&interval.name)).cloned().collect::<Vec<_>>()
    };
    let hours = Hours { active: named(&route.active_time_intervals), mute: named(&route.mute_time_intervals) };
    Route {
        routes: route.routes.iter().map(|child| compile(child, &own, intervals)).collect(),
        receiver: own.receiver,
        group_by: own.group_by,
        timing: own.timing,
        hours: Arc::new(hours),
        steps: own.steps,
        matchers: route.matchers.clone(),
        goes_on: route.goes_on,
    }
}

/// As in Alertmanager: the deepest routes that match; a route none of whose children matches takes the alert itself.
/// Returns whether `route` matches.
fn matching<'a>(route: &'a Route, labels: &Labels, found: &mut Vec<&'a Route>) -> bool {
    if !route.matchers.iter().all(|matcher| matcher.matches(labels)) {
        return false;
    }
    let before = found.len();
    for child in &route.routes {
        if matching(child, labels, found) && !child.goes_on {
            break;
        }
    }
    if found.len() == before {
        found.push(route);
    }
    true
}
