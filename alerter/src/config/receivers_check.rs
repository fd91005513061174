//! What the types cannot say about receivers: each is one thing, with a name of its own and addresses that are some.

use std::collections::HashSet;

use super::{
    AlerterConfig,
    check::check_url,
    receivers::{EmailConfig, EmailTls, ReceiverConfig, SlackConfig},
};

const MAX_RECEIVER_NAME: usize = 64;

impl AlerterConfig {
    /// Notes what is wrong with the receivers and how they are treated.
    pub(super) fn check_receivers(&self, wrong: &mut Vec<String>) {
        let mut names = HashSet::new();
        for (index, receiver) in self.receivers.iter().enumerate() {
            let path = format!("alerter.receivers[{index}]");
            if !is_receiver_name(&receiver.name) {
                wrong.push(format!("{path}.name: expected 1 to {MAX_RECEIVER_NAME} letters, digits, `_`, `-` and `.`"));
            } else if !names.insert(&receiver.name) {
                wrong.push(format!("{path}.name: there is another receiver `{}`", receiver.name));
            }
            check_kind(receiver, &path, wrong);
            check_timeouts(receiver, &path, wrong);
            check_urls(receiver, &path, wrong);
            if let Some(slack) = &receiver.slack {
                check_slack(slack, &format!("{path}.slack"), wrong);
            }
            if let Some(email) = &receiver.email {
                check_email(email, &format!("{path}.email"), wrong);
            }
            if receiver.max_per_minute == Some(0) {
                wrong.push(format!("{path}.max_per_minute: must be greater than zero"));
            }
            self.check_fallback(receiver, &path, wrong);
        }
        self.check_delivery(wrong);
    }

    fn check_fallback(&self, receiver: &ReceiverConfig, path: &str, wrong: &mut Vec<String>) {
        let Some(fallback) = &receiver.fallback else { return };
        if *fallback == receiver.name {
            wrong.push(format!("{path}.fallback: a receiver cannot stand in for itself"));
        } else if self.receivers.iter().all(|other| other.name != *fallback) {
            wrong.push(format!("{path}.fallback: there is no receiver `{fallback}`"));
        }
    }

    fn check_delivery(&self, wrong: &mut Vec<String>) {
        let delivery = &self.delivery;
        if delivery.break_after == 0 {
            wrong.push("alerter.delivery.break_after: must be greater than zero".to_owned());
        }
        if delivery.break_pause.millis() == 0 {
            wrong.push("alerter.delivery.break_pause: must be longer than zero".to_owned());
        }
        if delivery.longest_pause.millis() < delivery.break_pause.millis() {
            wrong.push("alerter.delivery.longest_pause: must not be shorter than `break_pause`".to_owned());
        }
    }
}

fn check_kind(receiver: &ReceiverConfig, path: &str, wrong: &mut Vec<String>) {
    let kinds = [
        ("`webhook`", receiver.webhook.is_some()),
        ("`slack`", receiver.slack.is_some()),
        ("`pagerduty`", receiver.pagerduty.is_some()),
        ("`email`", receiver.email.is_some()),
        ("`alertmanager`", receiver.alertmanager.is_some()),
        ("`log`", receiver.log.is_some()),
    ];
    let set: Vec<_> = kinds.into_iter().filter(|(_, is_there)| *is_there).map(|(kind, _)| kind).collect();
    match set.as_slice() {
        [_] => {}
        [] => wrong.push(format!("{path}: one of {} must be there", kinds.map(|(kind, _)| kind).join(", "))),
        several => wrong
            .push(format!("{path}: a receiver is one thing, not {}; make one receiver of each", several.join(" and "))),
    }
}

fn check_timeouts(receiver: &ReceiverConfig, path: &str, wrong: &mut Vec<String>) {
    let timeouts = [
        ("webhook", receiver.webhook.as_ref().map(|webhook| webhook.timeout)),
        ("slack", receiver.slack.as_ref().map(|slack| slack.timeout)),
        ("pagerduty", receiver.pagerduty.as_ref().map(|pagerduty| pagerduty.timeout)),
        ("email", receiver.email.as_ref().map(|email| email.timeout)),
        ("alertmanager", receiver.alertmanager.as_ref().map(|alertmanager| alertmanager.timeout)),
    ];
    for (kind, timeout) in timeouts {
        if timeout.is_some_and(|timeout| timeout.millis() == 0) {
            wrong.push(format!("{path}.{kind}.timeout: must be longer than zero"));
        }
    }
}

fn check_urls(receiver: &ReceiverConfig, path: &str, wrong: &mut Vec<String>) {
    let urls = [
        ("webhook.url", receiver.webhook.as_ref().map(|webhook| &webhook.url)),
        ("slack.api_url", receiver.slack.as_ref().and_then(|slack| slack.api_url.as_ref())),
        ("pagerduty.url", receiver.pagerduty.as_ref().map(|pagerduty| &pagerduty.url)),
        ("alertmanager.url", receiver.alertmanager.as_ref().map(|alertmanager| &alertmanager.url)),
    ];
    for (key, url) in urls {
        let Some(Err(reason)) = url.map(|url| check_url(url.expose())) else { continue };
        wrong.push(format!("{path}.{key}: {reason}"));
    }
}

fn check_slack(slack: &SlackConfig, path: &str, wrong: &mut Vec<String>) {
    match (&slack.token, &slack.api_url) {
        (None, None) => {
            wrong
                .push(format!("{path}: either `api_url` (an incoming webhook) or `token` and `channel` must be there"));
        }
        (Some(_), _) if slack.channel.is_none() => {
            wrong.push(format!("{path}.channel: must be there, the Web API needs to know where to"));
        }
        (None, Some(_)) if slack.signing_secret.is_some() => {
            wrong.push(format!("{path}.signing_secret: only messages of the Web API (`token`) have buttons"));
        }
        _ => {}
    }
}

fn check_email(email: &EmailConfig, path: &str, wrong: &mut Vec<String>) {
    if !matches!(email.smarthost.rsplit_once(':'), Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok())
    {
        wrong.push(format!("{path}.smarthost: expected `host:port`"));
    }
    let addresses = [("from", std::slice::from_ref(&email.from)), ("to", &*email.to)];
    for (key, mailboxes) in addresses {
        // Whose address it is stays out of the log.
        if mailboxes.iter().any(|mailbox| mailbox.parse::<lettre::message::Mailbox>().is_err()) {
            wrong.push(format!("{path}.{key}: expected `user@example.com` or `Name <user@example.com>`"));
        }
    }
    if email.to.is_empty() {
        wrong.push(format!("{path}.to: there must be somebody"));
    }
    if email.username.is_some() != email.password.is_some() {
        wrong.push(format!("{path}: `username` and `password` go together"));
    }
    if email.tls == EmailTls::None && email.password.is_some() {
        wrong.push(format!("{path}.tls: a password is not sent over a connection that is not protected"));
    }
}

fn is_receiver_name(name: &str) -> bool {
    (1..=MAX_RECEIVER_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
