//! What is said about a receiver that does not take what it is sent, to another receiver.

use std::time::Duration;

use minijinja::context;
use service_kit::config::HumanDuration;
use sha2::{Digest, Sha256};
use telemetry_schemas::{BreachLevel, BreachStatus, EventTime};

use super::{Alert, EmailTexts, Message, Messages, SlackTexts, templates::TemplateError};
use crate::route::Labels;

/// Name of the alert, as Alertmanager's consumers expect one.
const ALERT_NAME: &str = "TtfReceiverDead";

/// A receiver in trouble, or out of it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub receiver: String,
    pub why: String,
    /// Who is told in its place.
    pub fallback: Option<String>,
    pub began_at: EventTime,
    pub now: EventTime,
    pub is_over: bool,
    /// What is older is given up.
    pub max_age: Duration,
    /// Whom it is said to.
    pub told: String,
}

impl Trouble {
    /// One to try the template on.
    pub(super) fn sample() -> Self {
        Self {
            receiver: "on-call".to_owned(),
            why: "the receiver answered 403".to_owned(),
            fallback: None,
            began_at: EventTime(0),
            now: EventTime(60_000),
            is_over: false,
            max_age: Duration::from_secs(86_400),
            told: "team".to_owned(),
        }
    }

    /// The same for all that is said of one trouble, so that providers fold it into one incident.
    fn group_key(&self) -> String {
        format!("ttf:internal:receiver:{}", self.receiver)
    }

    fn notification_id(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.group_key().as_str(), &self.began_at.0.to_string(), &self.is_over.to_string()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hex::encode(&hash.finalize()[..16])
    }
}

impl Messages {
    /// The trouble in words.
    pub fn trouble(&self, trouble: &Trouble) -> Result<Message, TemplateError> {
        let status = if trouble.is_over { BreachStatus::Resolved } else { BreachStatus::Firing };
        let length = trouble.now.since(trouble.began_at);
        let values = context! {
            receiver => trouble.receiver,
            why => trouble.why,
            fallback => trouble.fallback,
            status => status.as_str(),
            since => HumanDuration::from_millis(length.0).to_string(),
            max_age => HumanDuration::from_millis(i64::try_from(trouble.max_age.as_millis()).unwrap_or(i64::MAX)).to_string(),
        };
        let line = self.templates.render("internal.jinja", values)?;
        let labels = Labels::from([
            ("alertname".to_owned(), ALERT_NAME.to_owned()),
            ("receiver".to_owned(), trouble.receiver.clone()),
            ("severity".to_owned(), "critical".to_owned()),
        ]);
        let title = if trouble.is_over { "RESOLVED: a receiver works again" } else { "A receiver does not work" };
        Ok(Message {
            notification_id: trouble.notification_id(),
            group_key: trouble.group_key(),
            receiver: trouble.told.clone(),
            tenant: String::new(),
            journey: String::new(),
            level: BreachLevel::Critical,
            status,
            reason: if trouble.is_over { "receiver_recovered" } else { "receiver_dead" }.to_owned(),
            group_labels: labels.clone(),
            external_url: self.external_url.clone(),
            created_at: trouble.now,
            alerts: vec![Alert {
                status,
                due_at: trouble.began_at,
                detected_at: trouble.now,
                fingerprint: trouble.notification_id()[..16].to_owned(),
                labels,
                annotations: Labels::from([("summary".to_owned(), line.clone())]),
            }],
            left_out: 0,
            people: Vec::new(),
            headline: line.clone(),
            slack: SlackTexts {
                title: title.to_owned(),
                overview: None,
                footer: slack_escaped(&line),
                fallback: slack_escaped(&line),
                update: slack_escaped(&line),
            },
            email: EmailTexts {
                subject: format!("[TTF] receiver {}", trouble.receiver),
                text: line.clone(),
                html: format!("<!DOCTYPE html>\n<html><body><p>{}</p></body></html>", slack_escaped(&line)),
            },
            line,
            is_actionable: false,
        })
    }
}

/// Of what stands in our own words only: names of receivers and answers.
fn slack_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
