//! `PagerDuty`'s Events API v2: <https://developer.pagerduty.com/docs/send-alert-event>.
//!
//! The group is the incident: its key without the level, so that warning, critical and escalation are one incident that
//! changes its severity. The same event sent twice is folded by that key. A summary of what is over is a change event.

mod body;

use async_trait::async_trait;
use reqwest::{Client, StatusCode, header::CONTENT_TYPE};
use service_kit::config::Secret;

pub use self::body::{action, body, change};
use super::{DeliveryError, Pace, Receiver, Reference, http};
use crate::{config::PagerDutyConfig, message::Message};

/// `PagerDuty` takes about 120 events a minute for an integration key; with the burst this stays below.
const PACE: Pace = Pace { every: std::time::Duration::from_millis(600), burst: 10 };

/// Deliveries of different groups that may be under way at once.
const CONCURRENCY: usize = 4;

/// The ends of the addresses of events and of change events.
const ENQUEUE: &str = "/enqueue";
const CHANGES: &str = "/change/enqueue";

/// What is kept of a group with an open incident.
const TRIGGERED: &str = "triggered";

/// See the [module](self).
pub struct PagerDuty {
    client: Client,
    url: Secret,
    /// Where change events go; `None`: the address is none of `PagerDuty`'s.
    changes_url: Option<Secret>,
    routing_key: Secret,
}

impl PagerDuty {
    pub fn new(config: &PagerDutyConfig) -> anyhow::Result<Self> {
        Ok(Self {
            client: http::client(config.timeout.as_std())?,
            url: config.url.clone(),
            changes_url: config.url.expose().strip_suffix(ENQUEUE).map(|base| Secret::new(format!("{base}{CHANGES}"))),
            routing_key: config.routing_key.clone(),
        })
    }
}

#[async_trait]
impl Receiver for PagerDuty {
    async fn deliver(&self, message: &Message, _before: Option<&str>) -> Result<Reference, DeliveryError> {
        let (url, body) = if message.is_summary() {
            let url = self.changes_url.as_ref();
            let url = url.ok_or_else(|| DeliveryError::refused("the receiver's `url` does not end in /enqueue"))?;
            (url, change(message, self.routing_key.expose()).to_string())
        } else {
            (&self.url, body(message, self.routing_key.expose()).to_string())
        };
        let request = self.client.post(url.expose()).header(CONTENT_TYPE, "application/json");
        let answer = http::accepted(request.body(body).send().await)?;
        if answer.status() == StatusCode::ACCEPTED {
            return Ok(Some(TRIGGERED.to_owned()));
        }
        // Something else stands at this address.
        Err(DeliveryError::refused(format!(
            "the receiver answered {}, not 202 as PagerDuty does",
            answer.status().as_u16()
        )))
    }

    fn preview(&self, message: &Message) -> String {
        const KEY: &str = "<routing key>";
        let (body, place) = if message.is_summary() {
            (http::pretty(&change(message, KEY)), "<url with /change before /enqueue>")
        } else {
            (http::pretty(&body(message, KEY)), "<url>")
        };
        format!("POST {place}\nContent-Type: application/json\n\n{body}")
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }

    fn pace(&self) -> Option<Pace> {
        Some(PACE)
    }
}
