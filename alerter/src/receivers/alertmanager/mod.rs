//! An Alertmanager that is told of alerts as Prometheus tells it:
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>. Alerts with the same labels are one to
//! it, so the same notification twice changes nothing.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, header::CONTENT_TYPE};
use serde::Serialize;
use service_kit::config::Secret;
use telemetry_schemas::{BreachStatus, Millis};

use super::{DeliveryError, Receiver, Reference, http};
use crate::{
    config::AlertmanagerConfig,
    message::{Alert, Message},
    route::Labels,
};

/// Deliveries of different groups that may be under way at once.
const CONCURRENCY: usize = 8;

/// See the [module](self).
pub struct Alertmanager {
    client: Client,
    url: Secret,
    basic: Option<(String, Secret)>,
    bearer: Option<Secret>,
    firing_for: Duration,
}

/// One alert of the request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PostableAlert<'a> {
    labels: &'a Labels,
    annotations: &'a Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<&'a str>,
}

impl Alertmanager {
    pub fn new(config: &AlertmanagerConfig) -> anyhow::Result<Self> {
        Ok(Self {
            client: http::client(config.timeout.as_std())?,
            url: Secret::new(format!("{}/api/v2/alerts", config.url.expose().trim_end_matches('/'))),
            basic: config.username.clone().zip(config.password.clone()),
            bearer: config.bearer_token.clone(),
            firing_for: config.firing_for.as_std(),
        })
    }

    fn body<'a>(&self, message: &'a Message) -> Vec<PostableAlert<'a>> {
        message.alerts.iter().map(|alert| postable(message, alert, self.firing_for)).collect()
    }
}

/// A summary of what is over fires there for so long: of what is over when it comes, Alertmanager tells nobody.
const SUMMARY_FIRES_FOR: Millis = Millis(3_600_000);

/// Alertmanager ends an alert that has no end of its own and is not sent again after minutes; ours are told once, so
/// each says how long it holds.
fn postable<'a>(message: &'a Message, alert: &'a Alert, firing_for: Duration) -> PostableAlert<'a> {
    let is_summary = message.is_summary();
    let ends_at = match alert.status {
        _ if is_summary => message.created_at.plus(SUMMARY_FIRES_FOR),
        BreachStatus::Resolved => alert.detected_at.max(alert.due_at),
        _ => message.created_at.plus(Millis(i64::try_from(firing_for.as_millis()).unwrap_or(i64::MAX))),
    };
    PostableAlert {
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: if is_summary { message.created_at } else { alert.due_at }.to_rfc3339(),
        ends_at: ends_at.to_rfc3339(),
        generator_url: alert.annotations.get("journey_url").map(String::as_str).or(message.external_url.as_deref()),
    }
}

#[async_trait]
impl Receiver for Alertmanager {
    async fn deliver(&self, message: &Message, _before: Option<&str>) -> Result<Reference, DeliveryError> {
        let body = serde_json::to_vec(&self.body(message))
            .map_err(|error| DeliveryError::refused(format!("the message cannot be written: {error}")))?;
        let mut request = self.client.post(self.url.expose()).header(CONTENT_TYPE, "application/json");
        if let Some((username, password)) = &self.basic {
            request = request.basic_auth(username, Some(password.expose()));
        }
        if let Some(token) = &self.bearer {
            request = request.bearer_auth(token.expose());
        }
        http::accepted(request.body(body).send().await)?;
        Ok(None)
    }

    fn preview(&self, message: &Message) -> String {
        format!("POST <url>/api/v2/alerts\nContent-Type: application/json\n\n{}", http::pretty(&self.body(message)))
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }
}
