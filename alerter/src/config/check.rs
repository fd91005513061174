//! What the types cannot say: every route leads somewhere, every receiver is one thing.

use std::{collections::HashSet, fmt};

use super::{AlerterConfig, ReceiverConfig, RouteConfig};

/// The labels an alert is routed and grouped by. All of them stay the same from a breach's first word to its last,
/// so that its resolution takes the way its alarm took; segments may become known in between and are none.
pub const LABELS: [&str; 6] = ["tenant", "journey", "user_id", "attempt", "kind", "level"];

const MAX_RECEIVER_NAME: usize = 64;

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
        self.check_urls(&mut wrong);
        self.check_receivers(&mut wrong);
        self.check_root(&mut wrong);
        self.check_route(&self.route, "alerter.route", &mut wrong);
        if self.forget_after.millis() == 0 {
            wrong.push("alerter.forget_after: must be longer than zero".to_owned());
        }
        if self.max_notification_age.millis() == 0 {
            wrong.push("alerter.max_notification_age: must be longer than zero".to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(ConfigErrors(wrong)) }
    }

    fn check_urls(&self, wrong: &mut Vec<String>) {
        if let Some(url) = &self.external_url
            && let Err(reason) = check_url(url)
        {
            wrong.push(format!("alerter.external_url: {reason}"));
        }
        for (index, receiver) in self.receivers.iter().enumerate() {
            let urls = [
                ("webhook.url", receiver.webhook.as_ref().map(|webhook| &webhook.url)),
                ("slack.api_url", receiver.slack.as_ref().map(|slack| &slack.api_url)),
            ];
            for (key, url) in urls {
                let Some(Err(reason)) = url.map(|url| check_url(url.expose())) else { continue };
                wrong.push(format!("alerter.receivers[{index}].{key}: {reason}"));
            }
        }
    }

    fn check_receivers(&self, wrong: &mut Vec<String>) {
        let mut names = HashSet::new();
        for (index, receiver) in self.receivers.iter().enumerate() {
            let path = format!("alerter.receivers[{index}]");
            if !is_receiver_name(&receiver.name) {
                wrong.push(format!("{path}.name: expected 1 to {MAX_RECEIVER_NAME} letters, digits, `_`, `-` and `.`"));
            } else if !names.insert(&receiver.name) {
                wrong.push(format!("{path}.name: there is another receiver `{}`", receiver.name));
            }
            match kinds(receiver).as_slice() {
                [_] => {}
                [] => wrong.push(format!("{path}: one of `webhook`, `slack` and `log` must be there")),
                several => wrong.push(format!(
                    "{path}: a receiver is one thing, not {}; make one receiver of each",
                    several.join(" and ")
                )),
            }
            let timeouts = [
                ("webhook", receiver.webhook.as_ref().map(|webhook| webhook.timeout)),
                ("slack", receiver.slack.as_ref().map(|slack| slack.timeout)),
            ];
            for (kind, timeout) in timeouts {
                if timeout.is_some_and(|timeout| timeout.millis() == 0) {
                    wrong.push(format!("{path}.{kind}.timeout: must be longer than zero"));
                }
            }
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

    fn check_route(&self, route: &RouteConfig, path: &str, wrong: &mut Vec<String>) {
        if let Some(name) = &route.receiver
            && self.receivers.iter().all(|receiver| receiver.name != *name)
        {
            let known: Vec<_> = self.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
            wrong.push(format!("{path}.receiver: there is no receiver `{name}` (there are: {})", known.join(", ")));
        }
        for (index, label) in route.group_by.iter().flatten().enumerate() {
            if !LABELS.contains(&label.as_str()) {
                wrong.push(format!("{path}.group_by[{index}]: {}", no_label(label)));
            }
        }
        for (index, matcher) in route.matchers.iter().enumerate() {
            if !LABELS.contains(&matcher.label.as_str()) {
                wrong.push(format!("{path}.matchers[{index}]: {}", no_label(&matcher.label)));
            }
        }
        for (index, child) in route.routes.iter().enumerate() {
            self.check_route(child, &format!("{path}.routes[{index}]"), wrong);
        }
    }
}

fn no_label(label: &str) -> String {
    format!("alerts cannot be routed by `{label}` yet; they can by {}", LABELS.join(", "))
}

fn kinds(receiver: &ReceiverConfig) -> Vec<&'static str> {
    let kinds = [
        ("`webhook`", receiver.webhook.is_some()),
        ("`slack`", receiver.slack.is_some()),
        ("`log`", receiver.log.is_some()),
    ];
    kinds.into_iter().filter(|(_, is_there)| *is_there).map(|(kind, _)| kind).collect()
}

fn is_receiver_name(name: &str) -> bool {
    (1..=MAX_RECEIVER_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// Says what is wrong without showing the address: it may be a secret.
fn check_url(url: &str) -> Result<(), String> {
    let parsed = reqwest::Url::parse(url).map_err(|error| format!("is no address: {error}"))?;
    match parsed.scheme() {
        "http" | "https" => Ok(()),
        _ => Err("must begin with `http://` or `https://`".to_owned()),
    }
}
