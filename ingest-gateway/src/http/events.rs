//! `POST /api/v1/events`.

use std::time::Instant;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use service_kit::config::KeyScope;

use super::{
    answer::{Answer, AnswerOptions},
    auth::Caller,
    body, deliver,
    error::ApiError,
    intake::{self, Intake, Sender},
    state::{Gateway, now},
};

use crate::limits::Standing;

/// A body of the lane without a key has at most so many bytes.
const SMOKE_TEST_BODY: usize = 64 * 1024;

/// Takes events in.
pub async fn post(State(gateway): State<Gateway>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let options = AnswerOptions::from_query(uri.query());
    let headers = with_key_of_query(&gateway, headers, uri.query());
    match receive(gateway, options, &headers, body).await {
        Ok((answer, standing)) => {
            let mut response = answer.into_response();
            if let Some(standing) = standing {
                standing.put_headers(response.headers_mut());
            }
            response
        }
        Err(error) => error.about_events().into_response(),
    }
}

async fn receive(
    gateway: Gateway,
    options: AnswerOptions,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Answer, Option<Standing>), ApiError> {
    let caller = gateway.keys.identify(headers)?;
    caller.require(KeyScope::Ingest)?;
    if caller.is_smoke_test() {
        gateway.smoke_limit.take(Instant::now()).map_err(|seconds| {
            gateway.judge.metrics.rate_limited(&caller.tenant);
            too_many_without_key(seconds)
        })?;
    }
    not_at_the_door(&gateway, &caller).await?;
    let door = body::door_of(headers)?;
    let encoding = body::encoding_of(headers)?;
    let limit = gateway.config.limits.body_bytes.as_usize();
    let limit = if caller.is_smoke_test() { limit.min(SMOKE_TEST_BODY) } else { limit };
    let mut reservation = gateway.in_flight.reserve(&caller.tenant).map_err(ApiError::overloaded)?;
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
    Ok((Answer { results: taken.results, options, is_unreadable: taken.is_unreadable }, taken.standing))
}

/// Refuses who was over a limit a moment ago, before anything is read.
async fn not_at_the_door(gateway: &Gateway, caller: &Caller) -> Result<(), ApiError> {
    let Err((seconds, is_quota)) = gateway.limits.at_the_door(&caller.allowance) else { return Ok(()) };
    gateway.judge.metrics.rate_limited(&caller.tenant);
    intake::pause_of_refused().await;
    let (code, message) = deliver::over_the_limit(is_quota);
    Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, message)
        .with_hint("send the same events again after Retry-After seconds")
        .with_retry_after(seconds))
}

/// The headers with the key that stands in the query, for senders that cannot set any (`navigator.sendBeacon`). Only
/// keys that can do nothing but send events are taken there: queries end up in logs.
fn with_key_of_query(gateway: &Gateway, mut headers: HeaderMap, query: Option<&str>) -> HeaderMap {
    let has_key = headers.contains_key(header::AUTHORIZATION) || headers.contains_key("x-api-key");
    let Some(query) = query.filter(|_| gateway.config.auth.key_in_query && !has_key) else {
        return headers;
    };
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let key = pairs.find(|(name, _)| name == "api_key").and_then(|(_, key)| HeaderValue::from_str(&key).ok());
    if let Some(key) = key {
        let mut presented = HeaderMap::new();
        presented.insert("x-api-key", key.clone());
        let is_refused = gateway.keys.identify(&presented).is_ok_and(|caller| caller.is_more_than_ingest());
        // Another key is as good as an unknown one here.
        headers.insert("x-api-key", if is_refused { HeaderValue::from_static("refused") } else { key });
    }
    headers
}

fn too_many_without_key(seconds: u32) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests without a key")
        .with_hint("send an API key: `Authorization: Bearer <key>`")
        .with_retry_after(seconds)
}
