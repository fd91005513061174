//! What people read: a notification in words, from the templates in `templates/`.
//!
//! Every message names the journey, the level, how late it is, the stage, the segments, when the user signed up, and
//! what else will be told. Users are named as the policy says, in texts and labels alike.

mod facts;
mod render;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use service_kit::config::{HumanDuration, Secret};
use telemetry_schemas::{BreachLevel, BreachStatus, EventTime, alert::Notification};

use self::{facts::Facts, render::Templates};
use crate::{
    config::{AlerterConfig, UserIds},
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
    pub alerts: Vec<Alert>,
    pub people: Vec<Person>,
    /// All of it in one line.
    pub line: String,
    pub slack: SlackTexts,
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
}

/// Texts in Slack's mark-up.
#[derive(Debug, Clone, PartialEq)]
pub struct SlackTexts {
    pub title: String,
    pub footer: String,
    /// For where blocks are not shown.
    pub fallback: String,
}

/// How users are named.
#[derive(Debug, Clone)]
pub struct Naming {
    policy: UserIds,
    key: Option<Secret>,
}

impl Naming {
    pub fn new(policy: UserIds, key: Option<Secret>) -> Self {
        Self { policy, key }
    }

    /// The user's name in messages.
    fn user(&self, tenant: &str, user_id: &str) -> String {
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
    /// # Errors
    /// When a template is damaged, which a test rules out.
    pub fn new(config: &AlerterConfig, routes: Arc<Routes>) -> Result<Self, minijinja::Error> {
        Ok(Self {
            templates: Arc::new(Templates::new()?),
            routes,
            naming: Naming::new(config.user_ids, config.user_id_key.clone()),
            external_url: config.external_url.clone(),
        })
    }

    /// The notification in words.
    pub fn message(&self, notification: &Notification) -> Result<Message, minijinja::Error> {
        let repeat = notification
            .alerts
            .first()
            .and_then(|breach| self.routes.find(&notification.group_key, &route::labels(breach)))
            .map_or(self.routes.root_timing(), |routed| routed.timing)
            .repeat_interval
            .map(|interval| HumanDuration::from_millis(interval.0).to_string());
        let mut facts = Facts::new(notification, &self.naming, repeat);
        let templates = &self.templates;
        facts.changes = templates.changes(&facts)?;
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
            alerts: templates.alerts(notification, &facts, &self.naming)?,
            people: templates.people(&facts)?,
            line: templates.line(&facts)?,
            slack: templates.slack(&facts)?,
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
