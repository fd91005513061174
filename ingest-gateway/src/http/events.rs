//! `POST /api/v1/events`.

use std::time::Instant;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use service_kit::config::KeyScope;

use super::{
    answer::{Answer, AnswerOptions},
    body,
    error::ApiError,
    intake::{self, Intake, Sender},
    state::{Gateway, now},
};

/// A body of the lane without a key has at most so many bytes.
const SMOKE_TEST_BODY: usize = 64 * 1024;

/// Takes events in.
pub async fn post(State(gateway): State<Gateway>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let options = AnswerOptions::from_query(uri.query());
    match receive(gateway, options, &headers, body).await {
        Ok(answer) => answer.into_response(),
        Err(error) => error.about_events().into_response(),
    }
}

async fn receive(
    gateway: Gateway,
    options: AnswerOptions,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, ApiError> {
    let caller = gateway.keys.identify(headers)?;
    caller.require(KeyScope::Ingest)?;
    if caller.is_smoke_test() {
        gateway.smoke_limit.take(Instant::now()).map_err(|seconds| {
            gateway.judge.metrics.rate_limited(&caller.tenant);
            too_many_without_key(seconds)
        })?;
    }
    let door = body::door_of(headers)?;
    let encoding = body::encoding_of(headers)?;
    let limit = gateway.config.limits.body_bytes.as_usize();
    let limit = if caller.is_smoke_test() { limit.min(SMOKE_TEST_BODY) } else { limit };
    let mut reservation = gateway.in_flight.reserve();
    let timeout = gateway.config.body_timeout.as_std();
    let body = body::read(headers, body, limit, timeout, &mut reservation).await?;
    let intake = Intake {
        sender: Sender::Known(caller),
        door,
        encoding,
        body,
        received_at: now(),
        validate_only: options.validate_only,
        reservation,
    };
    let taken = intake::carry(gateway, intake).await?;
    Ok(Answer { results: taken.results, options, is_unreadable: taken.is_unreadable })
}

fn too_many_without_key(seconds: u32) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests without a key")
        .with_hint("send an API key: `Authorization: Bearer <key>`")
        .with_retry_after(seconds)
}
