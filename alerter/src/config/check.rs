//! What the types cannot say: every route leads somewhere, every receiver is one thing.

use std::fmt;

use super::{AlerterConfig, RouteConfig};

/// The labels of an alert that stay the same from its first word to its last.
pub const LABELS: [&str; 7] = ["tenant", "journey", "user_id", "attempt", "kind", "level", "alertname"];

/// Labels that may become known in between.
const MUTABLE_LABELS: [&str; 2] = ["stage", "release"];
/// Labels that begin so are named by the installation, and may become known in between, too.
const NAMED_LABELS: [&str; 2] = ["segment_", "experiment_"];
/// Labels of alerts that are no user's.
const CHECK_LABELS: [&str; 6] = ["check", "window", "operation", "topic", "group", "severity"];

/// Whether alerts may have a label of this name.
pub fn is_label(name: &str) -> bool {
    LABELS.contains(&name) || CHECK_LABELS.contains(&name) || is_mutable_label(name)
}

/// Whether an alert may get this label, or another value of it, while it fires.
pub fn is_mutable_label(name: &str) -> bool {
    MUTABLE_LABELS.contains(&name)
        || NAMED_LABELS.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()))
}

/// Everything that is wrong with a section `alerter`, each with the path to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl AlerterConfig {
    /// Whether the alerter can run with it.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the path to it.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let mut wrong = Vec::new();
        self.check_url(&mut wrong);
        self.check_receivers(&mut wrong);
        self.check_root(&mut wrong);
        self.check_route(&self.route, "alerter.route", &mut wrong);
        self.check_quiet(&mut wrong);
        self.checks.check(&mut wrong);
        if self.forget_after.millis() == 0 {
            wrong.push("alerter.forget_after: must be longer than zero".to_owned());
        }
        if self.max_notification_age.millis() == 0 {
            wrong.push("alerter.max_notification_age: must be longer than zero".to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(ConfigErrors(wrong)) }
    }

    fn check_url(&self, wrong: &mut Vec<String>) {
        if let Some(url) = &self.external_url
            && let Err(reason) = check_url(url)
        {
            wrong.push(format!("alerter.external_url: {reason}"));
        }
    }

    fn check_root(&self, wrong: &mut Vec<String>) {
        let root = &self.route;
        let required = [
            ("receiver", root.receiver.is_some()),
            ("group_by", root.group_by.is_some()),
            ("group_wait", root.group_wait.is_some()),
            ("group_interval", root.group_interval.is_some()),
            ("repeat_interval", root.repeat_interval.is_some()),
        ];
        for (key, _) in required.iter().filter(|(_, is_there)| !is_there) {
            wrong.push(format!("alerter.route.{key}: must be there, the other routes build on it"));
        }
        if !root.matchers.is_empty() {
            wrong
                .push("alerter.route.matchers: the root route matches everything; put matchers on its `routes`".into());
        }
        if root.goes_on {
            wrong.push("alerter.route.continue: nothing comes after the root route".to_owned());
        }
    }

    fn check_quiet(&self, wrong: &mut Vec<String>) {
        for (index, interval) in self.time_intervals.iter().enumerate() {
            let path = format!("alerter.time_intervals[{index}]");
            if self.time_intervals[..index].iter().any(|other| other.name == interval.name) {
                wrong.push(format!("{path}.name: there is another time interval `{}`", interval.name));
            }
            wrong.extend(interval.problems().into_iter().map(|problem| format!("{path}.{problem}")));
        }
        for (index, rule) in self.inhibit_rules.iter().enumerate() {
            let path = format!("alerter.inhibit_rules[{index}]");
            let matchers = [("source_matchers", &rule.source_matchers), ("target_matchers", &rule.target_matchers)];
            for (key, matchers) in matchers {
                if matchers.is_empty() {
                    wrong.push(format!("{path}.{key}: must not be empty: it would match every alert"));
                }
                for (at, matcher) in matchers.iter().enumerate().filter(|(_, matcher)| !is_label(&matcher.label)) {
                    wrong.push(format!("{path}.{key}[{at}]: {}", no_label(&matcher.label)));
                }
            }
            for (at, label) in rule.equal.iter().enumerate().filter(|(_, label)| !is_label(label)) {
                wrong.push(format!("{path}.equal[{at}]: {}", no_label(label)));
            }
        }
        for (index, window) in self.maintenance.iter().enumerate() {
            let path = format!("alerter.maintenance[{index}]");
            if window.ends_at <= window.starts_at {
                wrong.push(format!("{path}.ends_at: must be after starts_at"));
            }
            for (at, matcher) in window.matchers.iter().enumerate().filter(|(_, matcher)| !is_label(&matcher.label)) {
                wrong.push(format!("{path}.matchers[{at}]: {}", no_label(&matcher.label)));
            }
        }
    }

    fn check_route(&self, route: &RouteConfig, path: &str, wrong: &mut Vec<String>) {
        if let Some(name) = &route.receiver
            && self.receivers.iter().all(|receiver| receiver.name != *name)
        {
            let known: Vec<_> = self.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
            wrong.push(format!("{path}.receiver: there is no receiver `{name}` (there are: {})", known.join(", ")));
        }
        for (index, label) in route.group_by.iter().flatten().enumerate() {
            if !is_label(label) {
                wrong.push(format!("{path}.group_by[{index}]: {}", no_label(label)));
            }
        }
        for (index, matcher) in route.matchers.iter().enumerate() {
            if !is_label(&matcher.label) {
                wrong.push(format!("{path}.matchers[{index}]: {}", no_label(&matcher.label)));
            }
        }
        for (index, step) in route.escalation.iter().flatten().enumerate() {
            let at = format!("{path}.escalation[{index}]");
            if self.receivers.iter().all(|receiver| receiver.name != step.receiver) {
                wrong.push(format!("{at}.receiver: there is no receiver `{}`", step.receiver));
            }
            let earlier = index.checked_sub(1).and_then(|before| route.escalation.as_ref()?.get(before));
            if earlier.is_some_and(|before| before.after.millis() > step.after.millis()) {
                wrong.push(format!("{at}.after: comes before the step above it"));
            }
        }
        let named = [
            ("active_time_intervals", &route.active_time_intervals),
            ("mute_time_intervals", &route.mute_time_intervals),
        ];
        for (key, names) in named {
            for (index, name) in names.iter().enumerate() {
                if self.time_intervals.iter().all(|interval| interval.name != *name) {
                    wrong.push(format!("{path}.{key}[{index}]: there is no time interval `{name}`"));
                }
            }
        }
        for (index, child) in route.routes.iter().enumerate() {
            self.check_route(child, &format!("{path}.routes[{index}]"), wrong);
        }
    }
}

fn no_label(label: &str) -> String {
    format!(
        "alerts have no label `{label}`; they have {}, stage, release, segment_<name>, experiment_<name>",
        LABELS.join(", ")
    )
}

/// Says what is wrong without showing the address: it may be a secret.
pub fn check_url(url: &str) -> Result<(), String> {
    let parsed = reqwest::Url::parse(url).map_err(|error| format!("is no address: {error}"))?;
    match parsed.scheme() {
        "http" | "https" => Ok(()),
        _ => Err("must begin with `http://` or `https://`".to_owned()),
    }
}
