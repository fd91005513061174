//! What people read: a notification in words, from the templates in `templates/`.
//!
//! Every message names the journey, the level, how late it is, the stage, the segments, when the user signed up, and
//! what else will be told. Users are named as the policy says, in texts and labels alike.

mod facts;
mod internal;
mod render;
pub(crate) mod sample;
mod templates;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use service_kit::config::{HumanDuration, Secret};
use telemetry_schemas::{BreachLevel, BreachStatus, EventTime, alert::Notification};

use self::{facts::Facts, render::Renderer};
pub use self::{
    internal::Trouble,
    sample::{breach as sample_breach, notification_of, samples},
    templates::{TemplateError, Templates},
};
use crate::{
    config::{AlerterConfig, UserIds},
    group::decide::Reason,
    route::{self, Labels, Routes},
};

/// A notification as receivers get it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub notification_id: String,
    pub group_key: String,
    pub receiver: String,
    pub tenant: String,
    pub journey: String,
    pub level: BreachLevel,
    pub status: BreachStatus,
    /// Why it is sent: `first_notification`, `level_raised`, ….
    pub reason: String,
    pub group_labels: Labels,
    pub external_url: Option<String>,
    pub created_at: EventTime,
    pub alerts: Vec<Alert>,
    /// Attempts that are late and not among them, for want of room.
    pub left_out: usize,
    pub people: Vec<Person>,
    /// All of it in one line.
    pub line: String,
    /// What has happened, in a few words, for a pager.
    pub headline: String,
    pub slack: SlackTexts,
    pub email: EmailTexts,
    /// Whether people can acknowledge or silence it: it is about an alert group.
    pub is_actionable: bool,
}

impl Message {
    /// Whether it sums up what was found too late to be told: it is over before anybody hears of it.
    pub fn is_summary(&self) -> bool {
        self.reason == Reason::CaughtUp.as_str()
    }
}

/// One breach.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub status: BreachStatus,
    pub due_at: EventTime,
    pub detected_at: EventTime,
    /// The same while it fires and when it is resolved.
    pub labels: Labels,
    pub annotations: Labels,
    /// A hash of the labels, 16 hexadecimal digits.
    pub fingerprint: String,
}

/// One user's attempt at the journey, with the worst that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// In Slack's mark-up.
    pub slack: String,
    pub journey_url: Option<String>,
    pub runbook_url: Option<String>,
    pub stage: Option<String>,
    pub segments: String,
    pub late: String,
}

/// A mail.
#[derive(Debug, Clone, PartialEq)]
pub struct EmailTexts {
    /// The same for all messages of a group.
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Texts in Slack's mark-up.
#[derive(Debug, Clone, PartialEq)]
pub struct SlackTexts {
    pub title: String,
    /// How many there are, where they are, in which segments; `None` when there is only one.
    pub overview: Option<String>,
    pub footer: String,
    /// For where blocks are not shown.
    pub fallback: String,
    /// What has changed since the group's last message, for its thread.
    pub update: String,
}

/// How users are named, and where this installation is.
#[derive(Debug, Clone)]
pub struct Naming {
    policy: UserIds,
    key: Option<Secret>,
    external_url: Option<String>,
}

impl Naming {
    pub fn new(policy: UserIds, key: Option<Secret>, external_url: Option<String>) -> Self {
        Self { policy, key, external_url: external_url.map(|url| url.trim_end_matches('/').to_owned()) }
    }

    /// The user's name in messages.
    pub fn user(&self, tenant: &str, user_id: &str) -> String {
        match self.policy {
            UserIds::Plain => user_id.to_owned(),
            UserIds::Hashed => {
                let key = self.key.as_ref().map_or(&[][..], |key| key.expose().as_bytes());
                telemetry_schemas::ids::pseudonym(key, tenant, user_id)[..16].to_owned()
            }
        }
    }
}

/// Puts notifications into words.
#[derive(Clone)]
pub struct Messages {
    templates: Arc<Templates>,
    routes: Arc<Routes>,
    naming: Naming,
    external_url: Option<String>,
}

impl Messages {
    /// Compiles the templates and tries each of them on notifications of every kind.
    ///
    /// # Errors
    /// The first template that is damaged, or cannot say something, with its line.
    pub fn new(config: &AlerterConfig, routes: Arc<Routes>) -> Result<Self, TemplateError> {
        let templates =
            Templates::load(config.templates.as_deref(), config.journey_url.as_deref(), config.runbook_url.as_deref())?;
        let messages = Self {
            templates: Arc::new(templates),
            routes,
            naming: Naming::new(config.user_ids, config.user_id_key.clone(), config.external_url.clone()),
            external_url: config.external_url.clone(),
        };
        for sample in samples() {
            messages.message(&sample)?;
        }
        messages.trouble(&Trouble::sample())?;
        Ok(messages)
    }

    /// The notification in words.
    pub fn message(&self, notification: &Notification) -> Result<Message, TemplateError> {
        let repeat = notification
            .alerts
            .first()
            .and_then(|breach| self.routes.find(&notification.group_key, &route::labels(breach)))
            .map_or(self.routes.root_timing(), |routed| routed.timing)
            .repeat_interval
            .map(|interval| HumanDuration::from_millis(interval.0).to_string());
        let renderer = Renderer { templates: &self.templates, naming: &self.naming };
        let mut facts = Facts::new(notification, &self.naming, repeat);
        renderer.complete(&mut facts)?;
        let values = Renderer::values(&facts);
        Ok(Message {
            notification_id: notification.notification_id.clone(),
            group_key: notification.group_key.clone(),
            receiver: notification.receiver.clone(),
            tenant: notification.tenant.clone(),
            journey: notification.journey.clone(),
            level: notification.level,
            status: notification.status,
            reason: notification.reason.clone(),
            group_labels: self.group_labels(notification),
            external_url: self.external_url.clone(),
            created_at: notification.created_at,
            alerts: renderer.alerts(notification, &facts, &values)?,
            left_out: usize::try_from(notification.left_out).unwrap_or_default(),
            people: renderer.people(&facts, &values)?,
            line: self.templates.render("line.jinja", &values)?,
            headline: self.templates.render("pagerduty_summary.jinja", &values)?,
            slack: renderer.slack(&facts, &values)?,
            email: renderer.email(&values)?,
            is_actionable: true,
        })
    }

    fn group_labels(&self, notification: &Notification) -> Labels {
        let mut labels = notification.labels.clone();
        if let Some(user_id) = labels.get_mut("user_id") {
            *user_id = self.naming.user(&notification.tenant, user_id);
        }
        // Alertmanager knows no empty labels.
        labels.retain(|_, value| !value.is_empty());
        labels
    }
}

/// The first `limit` characters, with an ellipsis where something was cut off; never half an entity (`&amp;`).
pub fn clip(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    if let Some(entity) = cut.rfind('&')
        && !cut[entity..].contains(';')
    {
        cut.truncate(entity);
    }
    cut.push('…');
    cut
}
