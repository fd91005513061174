//! What all receivers behind HTTP have in common: the client, and what an answer means.

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{Client, Response, StatusCode, header::RETRY_AFTER, redirect};

use super::DeliveryError;

/// A receiver that asks for a longer pause is tried again after this one.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// At most this much of an answer is read.
pub const MAX_ANSWER_BYTES: usize = 1_024;

/// A client whose requests end after `timeout`. Redirects are not followed: what is sent is for one address only.
pub fn client(timeout: Duration) -> anyhow::Result<Client> {
    // An error says that the process has one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Client::builder()
        .timeout(timeout)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("ttf-alerter/", env!("CARGO_PKG_VERSION")))
        .build()?)
}

/// What came of a request: an answer that says yes, or why not.
pub fn accepted(sent: Result<Response, reqwest::Error>) -> Result<Response, DeliveryError> {
    let response = sent.map_err(|error| unanswered(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let why = format!("the receiver answered {}", status.as_u16());
    if is_temporary(status) {
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        return Err(DeliveryError::Retry { why, after: after.and_then(|text| retry_after(text, Timestamp::now())) });
    }
    Err(DeliveryError::Refused { why })
}

/// Why there is no answer, or no whole one. Whether it was accepted is not known, so it is sent again.
pub fn unanswered(error: &reqwest::Error) -> DeliveryError {
    let why = if error.is_timeout() {
        "the receiver did not answer in time"
    } else if error.is_connect() {
        "the receiver cannot be reached"
    } else {
        "the connection broke"
    };
    DeliveryError::Retry { why: why.to_owned(), after: None }
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

fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
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
        for temporary in [408, 425, 429, 500, 502, 503, 504] {
            assert!(is_temporary(StatusCode::from_u16(temporary).unwrap()), "{temporary}");
        }
        for lasting in [301, 400, 401, 403, 404, 410, 413, 422] {
            assert!(!is_temporary(StatusCode::from_u16(lasting).unwrap()), "{lasting}");
        }
    }
}
