//! What all receivers behind HTTP have in common: the client, and what an answer means.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{Client, Response, StatusCode, header::RETRY_AFTER, redirect};
use serde::Serialize;

use super::DeliveryError;

/// A receiver that asks for a longer pause is tried again after this one.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// At most this much of an answer is read.
pub const MAX_ANSWER_BYTES: usize = 16 * 1_024;

/// How we call ourselves.
pub const AGENT: &str = concat!("ttf-alerter/", env!("CARGO_PKG_VERSION"));

/// A client whose requests end after `timeout`. Redirects are not followed: what is sent is for one address only.
pub fn client(timeout: Duration) -> anyhow::Result<Client> {
    // An error says that the process has one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::builder().timeout(timeout).redirect(redirect::Policy::none()).user_agent(AGENT).build()?)
}

/// What came of a request: an answer that says yes, or why not.
pub fn accepted(sent: Result<Response, reqwest::Error>) -> Result<Response, DeliveryError> {
    let response = sent.map_err(|error| unanswered(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let why = format!("the receiver answered {}", status.as_u16());
    Err(match kind(status) {
        Kind::Temporary => DeliveryError::later(why, wanted_pause(&response)),
        Kind::Dead => DeliveryError::dead(why),
        Kind::Refused => DeliveryError::refused(why),
    })
}

/// How long the receiver wants to be left alone.
pub fn wanted_pause(response: &Response) -> Option<Duration> {
    let after = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    retry_after(after, Timestamp::now())
}

/// Why there is no answer, or no whole one.
pub fn unanswered(error: &reqwest::Error) -> DeliveryError {
    if error.is_connect() {
        DeliveryError::later("the receiver cannot be reached", None)
    } else if error.is_timeout() {
        DeliveryError::unknown("the receiver did not answer in time")
    } else {
        DeliveryError::unknown("the connection broke")
    }
}

/// JSON as people read it.
pub fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("it cannot be written: {error}"))
}

/// The first [`MAX_ANSWER_BYTES`] of an answer.
pub async fn beginning(mut response: Response) -> Result<Vec<u8>, DeliveryError> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ANSWER_BYTES {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return Err(unanswered(&error)),
        }
    }
    bytes.truncate(MAX_ANSWER_BYTES);
    Ok(bytes)
}

/// What a refusal says.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// It may pass.
    Temporary,
    /// Nothing will be taken here: the key is wrong, the address is no more.
    Dead,
    /// This request is not taken.
    Refused,
}

fn kind(status: StatusCode) -> Kind {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Kind::Temporary,
        status if status.is_server_error() => Kind::Temporary,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => Kind::Dead,
        _ => Kind::Refused,
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let pause = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Duration::try_from(at.duration_since(now)).unwrap_or_default()
    };
    Some(pause.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-01-31T09:30:00Z".parse().unwrap();
        let after = |text| retry_after(text, now);
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after(" 0 "), Some(Duration::ZERO));
        assert_eq!(after("Sat, 31 Jan 2026 09:30:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Sat, 31 Jan 2026 09:29:30 GMT"), Some(Duration::ZERO), "a date in the past");
        assert_eq!(after("999999999"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (statuses, expected) in [
            (&[408, 425, 429, 500, 502, 503, 504][..], Kind::Temporary),
            (&[401, 403, 404, 410], Kind::Dead),
            (&[301, 400, 413, 422], Kind::Refused),
        ] {
            for status in statuses {
                assert_eq!(kind(StatusCode::from_u16(*status).unwrap()), expected, "{status}");
            }
        }
    }
}
