//! A small client of the gateway's HTTP API, for the operator's commands.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::cli::GatewayArgs;

/// Talks to one gateway.
#[derive(Clone)]
pub struct GatewayClient {
    http: reqwest::Client,
    url: String,
    api_key: Option<String>,
}

/// The gateway's answer to a batch.
#[derive(Debug, Default, Deserialize)]
pub struct BatchAnswer {
    #[serde(default)]
    pub accepted: u64,
    #[serde(default)]
    pub rejected: u64,
    #[serde(default)]
    pub duplicate: u64,
    #[serde(default)]
    pub results: Vec<EventResult>,
}

#[derive(Debug, Deserialize)]
pub struct EventResult {
    pub index: usize,
    pub status: String,
    #[serde(default)]
    pub code: Option<String>,
    #[serde(default)]
    pub path: Option<String>,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub hint: Option<String>,
}

/// How often a batch is tried again when the gateway says "later".
const ATTEMPTS: u32 = 8;

impl GatewayClient {
    pub fn new(args: &GatewayArgs) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
        Ok(Self { http, url: args.url.trim_end_matches('/').to_owned(), api_key: args.api_key.clone() })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.with_key(self.http.get(format!("{}{path}", self.url)))
    }

    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.with_key(self.http.post(format!("{}{path}", self.url)))
    }

    pub fn delete(&self, path: &str) -> reqwest::RequestBuilder {
        self.with_key(self.http.delete(format!("{}{path}", self.url)))
    }

    /// Sends a request made by [`Self::get`] and its like.
    pub async fn ask(&self, request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
        // The address is named once, and a user's id that is part of it not at all.
        request
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("no answer from {} (is it running? `ttf dev` starts one)", self.url))
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a body of events (`{"events":[…]}`); waits and repeats on 429 and 503 as the gateway asks.
    /// Every event must carry an `event_id`, so that a repeated batch counts once.
    pub async fn send(&self, body: String) -> anyhow::Result<BatchAnswer> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let request = self
                .with_key(self.http.post(format!("{}/api/v1/events", self.url)))
                .header("content-type", "application/json")
                .body(body.clone());
            let response = self.ask(request).await?;
            let status = response.status().as_u16();
            match status {
                202 | 207 | 422 => return Ok(response.json().await?),
                429 | 503 if attempt < ATTEMPTS => {
                    let seconds = response
                        .headers()
                        .get("retry-after")
                        .and_then(|value| value.to_str().ok())
                        .and_then(|value| value.parse().ok())
                        .unwrap_or(1);
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
                _ => bail!("{} answered {status}: {}", self.url, message_of(response).await),
            }
        }
    }
}

/// The `message` of an error answer, or its text.
pub async fn message_of(response: reqwest::Response) -> String {
    let text = response.text().await.unwrap_or_default();
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(object)) => {
            object.get("message").and_then(Value::as_str).map_or(text.clone(), ToOwned::to_owned)
        }
        _ => text,
    }
}
