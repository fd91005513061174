//! A Slack incoming webhook, or anything that takes the same requests and answers `ok`.

mod body;

use async_trait::async_trait;
use reqwest::{Client, header::CONTENT_TYPE};
use service_kit::config::Secret;

pub use self::body::body;
use super::{DeliveryError, Receiver, http};
use crate::{config::SlackConfig, message::Message};

/// What Slack answers when it has taken a message.
const TAKEN: &[u8] = b"ok";

/// See the [module](self).
pub struct Slack {
    client: Client,
    url: Secret,
    channel: Option<String>,
}

impl Slack {
    pub fn new(config: &SlackConfig) -> anyhow::Result<Self> {
        Ok(Self {
            client: http::client(config.timeout.as_std())?,
            url: config.api_url.clone(),
            channel: config.channel.clone(),
        })
    }
}

#[async_trait]
impl Receiver for Slack {
    async fn deliver(&self, message: &Message) -> Result<(), DeliveryError> {
        let body = body(message, self.channel.as_deref()).to_string();
        let request = self.client.post(self.url.expose()).header(CONTENT_TYPE, "application/json").body(body);
        let answer = http::beginning(http::accepted(request.send().await)?).await?;
        if answer.trim_ascii() == TAKEN {
            return Ok(());
        }
        // Something else stands at this address. It may have taken the message: no second one.
        Err(DeliveryError::Refused { why: "the receiver answered 200, but not `ok` as Slack does".to_owned() })
    }

    /// Slack takes about one message a second per channel, and in order.
    fn concurrency(&self) -> usize {
        1
    }
}
