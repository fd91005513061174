//! Slack's Web API: <https://docs.slack.dev/reference/methods/chat.postMessage>, `chat.update`. A group is one message,
//! which always shows how things are; what has changed is said in its thread, for a changed message tells nobody.

use anyhow::Context as _;
use async_trait::async_trait;
use reqwest::{Client, header::CONTENT_TYPE};
use serde_json::{Value, json};
use service_kit::config::Secret;

use super::{Buttons, body, webhook::PER_MINUTE};
use crate::{
    config::SlackConfig,
    message::{Message, clip},
    receivers::{DeliveryError, Pace, Receiver, Reference, http},
};

const API: &str = "https://slack.com/api";

/// Characters of a message's text.
const MAX_TEXT: usize = 3_000;

/// What Slack says when nothing will be taken until somebody mends the app or the channel.
const LASTING: [&str; 17] = [
    "access_denied",
    "account_inactive",
    "app_missing_action_url",
    "channel_not_found",
    "ekm_access_denied",
    "enterprise_is_restricted",
    "invalid_auth",
    "is_archived",
    "missing_scope",
    "no_permission",
    "not_allowed_token_type",
    "not_authed",
    "not_in_channel",
    "org_login_required",
    "restricted_action",
    "token_expired",
    "token_revoked",
];

/// … and when it may work later.
const PASSING: [&str; 6] =
    ["fatal_error", "internal_error", "rate_limited", "ratelimited", "request_timeout", "service_unavailable"];

/// … and when the message that was to be changed cannot be.
const UNCHANGEABLE: [&str; 5] = [
    "cant_update_message",
    "edit_window_closed",
    "message_not_found",
    "thread_not_found",
    "external_channel_migrating",
];

/// See the [module](self).
pub struct WebApi {
    client: Client,
    base: Secret,
    token: Secret,
    channel: String,
    receiver: String,
    has_buttons: bool,
}

/// What became of a call that was answered.
enum Said {
    /// The message's channel and time, its identity.
    Taken(String),
    /// The message it was about cannot be changed.
    Unchangeable,
}

impl WebApi {
    /// # Errors
    /// When token or channel is missing, or no client can be made.
    pub fn new(receiver: &str, config: &SlackConfig) -> anyhow::Result<Self> {
        let base = config.api_url.as_ref().map_or(API, Secret::expose).trim_end_matches('/');
        Ok(Self {
            client: http::client(config.timeout.as_std())?,
            base: Secret::new(base),
            token: config.token.clone().context("Slack's Web API needs a `token`")?,
            channel: config.channel.clone().context("Slack's Web API needs a `channel`")?,
            receiver: receiver.to_owned(),
            has_buttons: config.signing_secret.is_some(),
        })
    }

    fn message(&self, message: &Message) -> Value {
        let buttons = if self.has_buttons { Buttons::Of(&self.receiver) } else { Buttons::None };
        body(message, Some(&self.channel), buttons)
    }

    fn first(&self, message: &Message) -> Value {
        let mut body = self.message(message);
        body["unfurl_links"] = false.into();
        body["unfurl_media"] = false.into();
        body
    }

    async fn call(&self, method: &str, body: &Value) -> Result<Said, DeliveryError> {
        let request = self
            .client
            .post(format!("{}/{method}", self.base.expose()))
            .bearer_auth(self.token.expose())
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(body.to_string());
        let response = http::accepted(request.send().await)?;
        let pause = http::wanted_pause(&response);
        let answer = http::beginning(response).await?;
        let Ok(answer) = serde_json::from_slice::<Value>(&answer) else {
            // It may have taken the message: no second one.
            return Err(DeliveryError::refused("the receiver answered 200, but not in JSON as Slack does"));
        };
        if answer["ok"] == true {
            let identity = answer["channel"].as_str().zip(answer["ts"].as_str());
            let (channel, ts) = identity
                .ok_or_else(|| DeliveryError::refused("Slack took the message, but did not say which it is"))?;
            return Ok(Said::Taken(format!("{channel} {ts}")));
        }
        // An identifier; anything longer is none of Slack's.
        let error = clip(answer["error"].as_str().unwrap_or("nothing"), 60);
        let why = format!("Slack answered {error}");
        if UNCHANGEABLE.contains(&error.as_str()) {
            Ok(Said::Unchangeable)
        } else if PASSING.contains(&error.as_str()) {
            Err(DeliveryError::later(why, pause))
        } else if LASTING.contains(&error.as_str()) {
            Err(DeliveryError::dead(why))
        } else {
            Err(DeliveryError::refused(why))
        }
    }

    async fn post(&self, message: &Message) -> Result<Reference, DeliveryError> {
        match self.call("chat.postMessage", &self.first(message)).await? {
            Said::Taken(identity) => Ok(Some(identity)),
            Said::Unchangeable => Err(DeliveryError::refused("Slack did not take a new message")),
        }
    }
}

/// What is said in the thread.
fn reply(message: &Message, channel: &str, ts: &str) -> Value {
    let mut reply = json!({"channel": channel, "thread_ts": ts, "text": clip(&message.slack.update, MAX_TEXT), "unfurl_links": false});
    // Nobody follows the thread of a message nobody has looked at.
    if ["level_raised", "repeat_interval_elapsed", "escalated"].contains(&message.reason.as_str()) {
        reply["reply_broadcast"] = true.into();
    }
    reply
}

#[async_trait]
impl Receiver for WebApi {
    async fn deliver(&self, message: &Message, before: Option<&str>) -> Result<Reference, DeliveryError> {
        let Some((channel, ts)) = before.and_then(|before| before.split_once(' ')) else {
            return self.post(message).await;
        };
        // Saying the same twice changes nothing, so that this comes first: whatever happens to the reply, the message
        // is right.
        let mut update = self.message(message);
        update["channel"] = channel.into();
        update["ts"] = ts.into();
        let Said::Taken(_) = self.call("chat.update", &update).await? else {
            // Somebody has deleted it, or it is too old to be changed.
            return self.post(message).await;
        };
        match self.call("chat.postMessage", &reply(message, channel, ts)).await? {
            Said::Taken(_) => Ok(before.map(str::to_owned)),
            Said::Unchangeable => self.post(message).await,
        }
    }

    fn preview(&self, message: &Message) -> String {
        let head = "Content-Type: application/json; charset=utf-8\nAuthorization: Bearer <token>";
        let first = http::pretty(&self.first(message));
        let reply = http::pretty(&reply(message, &self.channel, "<ts>"));
        format!(
            "POST <api_url>/chat.postMessage\n{head}\n\n{first}\n\n\
             as a change, the same goes to <api_url>/chat.update, and into the thread:\n\n\
             POST <api_url>/chat.postMessage\n{head}\n\n{reply}"
        )
    }

    /// In order.
    fn concurrency(&self) -> usize {
        1
    }

    /// A delivery is at most one message to the channel, and one change, which has a limit of its own.
    fn pace(&self) -> Option<Pace> {
        Some(Pace::per_minute(PER_MINUTE))
    }
}
