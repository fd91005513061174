//! Where Slack sends what people press: `POST /slack/interactions`. Whoever holds no signing secret is refused before
//! anything is read.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use reqwest::Url;
use serde_json::json;
use service_kit::config::Secret;
use telemetry_schemas::{
    EventTime,
    alert::{AlertAction, AlertCommand},
};

use super::interactions::{self, Pressed, Unusable};
use crate::{
    config::AlerterConfig,
    desk::{
        Desk,
        orders::{self, Asker},
    },
    receivers::http,
};

/// The path to configure in the Slack app under "Interactivity".
pub const PATH: &str = "/slack/interactions";

/// Slack sends the whole message along.
const MAX_BODY: usize = 256 * 1_024;

struct Endpoint {
    desk: Desk,
    secrets: Vec<Secret>,
    client: reqwest::Client,
}

/// The endpoint; no routes when no receiver has a signing secret.
///
/// # Errors
/// When no client for answers can be made.
pub fn router(config: &AlerterConfig, desk: Desk) -> anyhow::Result<Router> {
    let secrets: Vec<_> = config
        .receivers
        .iter()
        .filter_map(|receiver| receiver.slack.as_ref().and_then(|slack| slack.signing_secret.clone()))
        .collect();
    if secrets.is_empty() {
        return Ok(Router::new());
    }
    let client = http::client(std::time::Duration::from_secs(5))?;
    let endpoint = Arc::new(Endpoint { desk, secrets, client });
    Ok(Router::new().route(PATH, post(interaction)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(endpoint))
}

async fn interaction(State(endpoint): State<Arc<Endpoint>>, headers: HeaderMap, body: Bytes) -> Response {
    let now = EventTime(service_kit::clock::now_ms());
    let pressed = match endpoint.read(&headers, &body, now) {
        Ok(pressed) => pressed,
        Err(error) => {
            tracing::warn!(%error, "a request to Slack's endpoint was refused");
            let status = match error {
                Unusable::NotSigned | Unusable::TooOld => StatusCode::UNAUTHORIZED,
                Unusable::NotUnderstood => StatusCode::BAD_REQUEST,
            };
            return (status, error.to_string()).into_response();
        }
    };
    let (desk, commands) = (endpoint.desk.clone(), pressed.commands.clone());
    let written = tokio::task::spawn_blocking(move || commands.iter().try_for_each(|command| submit(&desk, command)));
    match written.await {
        Ok(Ok(())) => {
            // Slack waits three seconds for this answer, and not for the one below.
            tokio::spawn(async move { endpoint.answer(&pressed).await });
            StatusCode::OK.into_response()
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "what was pressed in Slack cannot be written");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn submit(desk: &Desk, command: &AlertCommand) -> Result<(), crate::desk::DeskError> {
    let tenant = command.group_key.split(':').nth(1).unwrap_or_default().to_owned();
    let asker = Asker { tenant, name: command.by.clone(), origin: "slack".to_owned() };
    desk.submit(command, &orders::audit(command, &asker))
}

impl Endpoint {
    fn read(&self, headers: &HeaderMap, body: &[u8], now: EventTime) -> Result<Pressed, Unusable> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (sent, signature) = (header("x-slack-request-timestamp"), header("x-slack-signature"));
        let mut verdict = Err(Unusable::NotSigned);
        for secret in &self.secrets {
            verdict = interactions::check(secret.expose().as_bytes(), sent, signature, body, now);
            if verdict != Err(Unusable::NotSigned) {
                break;
            }
        }
        verdict?;
        let payload =
            form_urlencoded::parse(body).find(|(name, _)| name == "payload").ok_or(Unusable::NotUnderstood)?;
        interactions::read(&payload.1, now)
    }

    /// Tells the one who pressed; the message itself changes when the alerter has taken the command.
    async fn answer(&self, pressed: &Pressed) {
        let url = pressed.response_url.as_deref().and_then(|url| Url::parse(url).ok());
        let Some(url) = url.filter(|url| url.scheme() == "https" && url.host_str() == Some("hooks.slack.com")) else {
            return;
        };
        let text = match pressed.commands.first().map(|command| command.action) {
            Some(AlertAction::Silence) => "Silenced for 4 hours.",
            _ => "It is yours now.",
        };
        let body = json!({"response_type": "ephemeral", "replace_original": false, "text": text}).to_string();
        let request = self.client.post(url).header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        if let Err(error) = http::accepted(request.send().await) {
            tracing::debug!(%error, "the one who pressed a button in Slack was not answered");
        }
    }
}
