//! Refusals that concern a whole request, in one envelope for every endpoint.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::in_flight::Exhausted;

/// A request that was refused as a whole.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    /// Seconds, at least 1.
    pub retry_after: Option<u32>,
    /// The endpoint takes events, so the answer has their counts (all zero) and results (none).
    pub is_about_events: bool,
}

#[derive(Serialize)]
struct Envelope<'e> {
    code: &'e str,
    message: &'e str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'e str>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    nothing_taken: Option<NothingTaken>,
}

#[derive(Serialize, Default)]
struct NothingTaken {
    accepted: u64,
    rejected: u64,
    duplicate: u64,
    results: [(); 0],
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None, retry_after: None, is_about_events: false }
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// Gives the answer the shape of an answer about events.
    pub fn about_events(mut self) -> Self {
        self.is_about_events = true;
        self
    }

    /// Too much waits already: nothing was taken.
    pub fn overloaded(exhausted: Exhausted) -> Self {
        let message = match exhausted {
            Exhausted::All => "too many requests wait for the log; nothing was taken",
            Exhausted::Share => "too many of this tenant's requests wait for the log; nothing was taken",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message)
            .with_hint("send the same events again after Retry-After seconds")
            .with_retry_after(1)
    }

    pub fn body_too_large(limit: usize, setting: &str) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("the body has more than {limit} bytes"))
            .with_hint(format!("split the batch; the limit is gateway.limits.{setting}"))
    }

    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the gateway failed on this request; it was logged")
            .with_hint("send it again; events that were taken already keep their event_id")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let envelope = Envelope {
            code: self.code,
            message: &self.message,
            hint: self.hint.as_deref(),
            nothing_taken: self.is_about_events.then(NothingTaken::default),
        };
        let mut response = (self.status, Json(envelope)).into_response();
        self.put_headers(response.headers_mut());
        response
    }
}

impl ApiError {
    /// The headers that go with the refusal, whatever form its body has.
    pub fn put_headers(&self, headers: &mut HeaderMap) {
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
}
