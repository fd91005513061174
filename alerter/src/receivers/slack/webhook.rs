//! A Slack incoming webhook, or anything that takes the same requests and answers `ok`.

use anyhow::Context as _;
use async_trait::async_trait;
use reqwest::{Client, header::CONTENT_TYPE};
use service_kit::config::Secret;

use super::{Buttons, body};
use crate::{
    config::SlackConfig,
    message::Message,
    receivers::{DeliveryError, Pace, Receiver, Reference, http},
};

/// What Slack answers when it has taken a message.
const TAKEN: &[u8] = b"ok";

/// Slack takes about one message a second per channel.
pub const PER_MINUTE: u32 = 50;

/// See the [module](self).
pub struct Webhook {
    client: Client,
    url: Secret,
    channel: Option<String>,
}

impl Webhook {
    pub fn new(config: &SlackConfig) -> anyhow::Result<Self> {
        Ok(Self {
            client: http::client(config.timeout.as_std())?,
            url: config.api_url.clone().context("a Slack webhook has an `api_url`")?,
            channel: config.channel.clone(),
        })
    }
}

#[async_trait]
impl Receiver for Webhook {
    async fn deliver(&self, message: &Message, _before: Option<&str>) -> Result<Reference, DeliveryError> {
        let body = body(message, self.channel.as_deref(), Buttons::None).to_string();
        let request = self.client.post(self.url.expose()).header(CONTENT_TYPE, "application/json").body(body);
        let answer = http::beginning(http::accepted(request.send().await)?).await?;
        if answer.trim_ascii() == TAKEN {
            return Ok(None);
        }
        // Something else stands at this address. It may have taken the message: no second one.
        Err(DeliveryError::refused("the receiver answered 200, but not `ok` as Slack does"))
    }

    fn preview(&self, message: &Message) -> String {
        let body = http::pretty(&body(message, self.channel.as_deref(), Buttons::None));
        format!("POST <api_url>\nContent-Type: application/json\n\n{body}")
    }

    /// In order.
    fn concurrency(&self) -> usize {
        1
    }

    fn pace(&self) -> Option<Pace> {
        Some(Pace::per_minute(PER_MINUTE))
    }
}
