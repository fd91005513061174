//! A signed HTTP POST with the body Alertmanager sends, so that whatever takes Alertmanager's webhooks takes these.

mod body;
mod signature;

use async_trait::async_trait;
use reqwest::{Client, header::CONTENT_TYPE};
use service_kit::config::Secret;

pub use self::{body::Body, signature::sign};
use super::{DeliveryError, Receiver, Reference, http};
use crate::{config::WebhookConfig, message::Message};

/// Deliveries of different groups that may be under way at once.
const CONCURRENCY: usize = 8;

/// Carries the notification's id: the same for each try of the same notification, and for no other.
pub const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
pub const SIGNATURE: &str = "X-Ttf-Signature";

/// See the [module](self).
pub struct Webhook {
    client: Client,
    url: Secret,
    secret: Option<Secret>,
    max_alerts: usize,
}

impl Webhook {
    pub fn new(config: &WebhookConfig) -> anyhow::Result<Self> {
        Ok(Self {
            client: http::client(config.timeout.as_std())?,
            url: config.url.clone(),
            secret: config.secret.clone(),
            max_alerts: config.max_alerts,
        })
    }
}

#[async_trait]
impl Receiver for Webhook {
    async fn deliver(&self, message: &Message, _before: Option<&str>) -> Result<Reference, DeliveryError> {
        let body = serde_json::to_vec(&Body::new(message, self.max_alerts))
            .map_err(|error| DeliveryError::refused(format!("the message cannot be written: {error}")))?;
        let mut request = self
            .client
            .post(self.url.expose())
            .header(CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, &message.notification_id);
        if let Some(secret) = &self.secret {
            let now = service_kit::clock::now_ms().div_euclid(1_000);
            request = request.header(SIGNATURE, sign(secret.expose().as_bytes(), now, &body));
        }
        http::accepted(request.body(body).send().await)?;
        Ok(None)
    }

    fn preview(&self, message: &Message) -> String {
        let signature = if self.secret.is_some() { "X-Ttf-Signature: t=<unix seconds>,v1=<hex>\n" } else { "" };
        let body = http::pretty(&Body::new(message, self.max_alerts));
        format!(
            "POST <url>\nContent-Type: application/json\nIdempotency-Key: {}\n{signature}\n{body}",
            message.notification_id
        )
    }

    fn concurrency(&self) -> usize {
        CONCURRENCY
    }
}
