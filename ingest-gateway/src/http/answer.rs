//! The answer to a batch of events: what became of each, and the status code that sums it up.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{outcome::Outcome, publish::Unacknowledged, validate::Violation};

/// A sender whose events were not acknowledged comes again after so many seconds.
pub const RETRY_AFTER_SECONDS: u32 = 5;

/// What became of one event.
#[derive(Debug, Clone, Serialize)]
pub struct EventResult {
    /// Its place in the request, from 0.
    pub index: usize,
    pub event_id: Option<String>,
    pub status: Outcome,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Why an event was not accepted.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    pub code: &'static str,
    /// JSON Pointer into the event.
    pub path: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Violation> for Problem {
    fn from(violation: &Violation) -> Self {
        Self {
            code: violation.code.as_str(),
            path: violation.path.clone(),
            message: violation.message.clone(),
            hint: violation.hint.clone(),
        }
    }
}

impl From<Unacknowledged> for Problem {
    fn from(failure: Unacknowledged) -> Self {
        Self {
            code: failure.code(),
            path: String::new(),
            message: failure.message().to_owned(),
            hint: Some("send the same event again, with the same event_id".to_owned()),
        }
    }
}

/// What was asked for in the query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnswerOptions {
    /// List accepted events, too.
    pub verbose: bool,
    /// Check only; publish and count nothing.
    pub validate_only: bool,
}

impl AnswerOptions {
    /// Reads `?verbose=1&validate_only=1`.
    pub fn from_query(query: Option<&str>) -> Self {
        let is_set = |wanted: &str| {
            query.unwrap_or_default().split('&').any(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, "1"));
                name == wanted && matches!(value, "1" | "true" | "yes" | "")
            })
        };
        Self { verbose: is_set("verbose"), validate_only: is_set("validate_only") }
    }
}

/// The answer about all events of a request.
#[derive(Debug)]
pub struct Answer {
    pub results: Vec<EventResult>,
    pub options: AnswerOptions,
    /// The body could not be read as events at all.
    pub is_unreadable: bool,
}

#[derive(Serialize)]
struct AnswerBody<'a> {
    code: &'a str,
    message: &'a str,
    accepted: usize,
    rejected: usize,
    duplicate: usize,
    results: Vec<&'a EventResult>,
}

impl Answer {
    fn count(&self, outcome: Outcome) -> usize {
        self.results.iter().filter(|result| result.status == outcome).count()
    }

    /// The status code, and the answer's own code and message.
    fn summary(&self) -> (StatusCode, &str, &str) {
        let all = self.results.len();
        let taken = self.count(Outcome::Accepted) + self.count(Outcome::Duplicate);
        let first = self.results.iter().find_map(|result| result.problem.as_ref());
        let first_code = first.map_or("rejected", |problem| problem.code);
        let first_message = first.map_or("", |problem| &problem.message);
        if taken == 0 && self.count(Outcome::Retry) > 0 {
            let unacknowledged = self.results.iter().find(|result| result.status == Outcome::Retry);
            let code =
                unacknowledged.and_then(|result| result.problem.as_ref()).map_or("retry", |problem| problem.code);
            (StatusCode::SERVICE_UNAVAILABLE, code, "nothing was taken; send it again after Retry-After seconds")
        } else if self.is_unreadable {
            (StatusCode::BAD_REQUEST, first_code, first_message)
        } else if taken == all && self.options.validate_only {
            (StatusCode::ACCEPTED, "valid", "every event is valid; nothing was published")
        } else if taken == all {
            (StatusCode::ACCEPTED, "accepted", "every event was accepted")
        } else if self.count(Outcome::Rejected) == all {
            (StatusCode::UNPROCESSABLE_ENTITY, "rejected", "every event was rejected; see results")
        } else if self.count(Outcome::Limited) == all {
            let code = first.map_or("rate_limited", |problem| problem.code);
            (StatusCode::TOO_MANY_REQUESTS, code, "every event is over the limit")
        } else {
            (StatusCode::MULTI_STATUS, "partially_accepted", "some events were not accepted; see results")
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (status, code, message) = self.summary();
        let body = AnswerBody {
            code,
            message,
            accepted: self.count(Outcome::Accepted),
            rejected: self.count(Outcome::Rejected),
            duplicate: self.count(Outcome::Duplicate),
            results: self
                .results
                .iter()
                .filter(|result| self.options.verbose || result.status != Outcome::Accepted)
                .collect(),
        };
        let mut response = (status, Json(body)).into_response();
        let comes_again = self.count(Outcome::Retry) + self.count(Outcome::Limited) > 0;
        if comes_again {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(outcomes: &[Outcome]) -> (u16, bool) {
        let results = outcomes.iter().enumerate().map(|(index, status)| EventResult {
            index,
            event_id: None,
            status: *status,
            problem: None,
        });
        let answer = Answer { results: results.collect(), options: AnswerOptions::default(), is_unreadable: false };
        let response = answer.into_response();
        (response.status().as_u16(), response.headers().contains_key(header::RETRY_AFTER))
    }

    #[test]
    fn the_status_sums_up_what_became_of_the_events() {
        use Outcome::{Accepted, Duplicate, Limited, Rejected, Retry};
        assert_eq!(status(&[Accepted, Duplicate]), (202, false));
        assert_eq!(status(&[Accepted, Rejected]), (207, false));
        assert_eq!(status(&[Rejected, Rejected]), (422, false));
        assert_eq!(status(&[Limited]), (429, true));
        assert_eq!(status(&[Retry, Rejected]), (503, true));
        assert_eq!(status(&[Retry, Accepted]), (207, true));
    }

    #[test]
    fn the_query_is_read_leniently() {
        let both = AnswerOptions { verbose: true, validate_only: true };
        assert_eq!(AnswerOptions::from_query(Some("verbose=1&validate_only=true")), both);
        assert_eq!(AnswerOptions::from_query(Some("validate_only&verbose=")), both);
        assert_eq!(AnswerOptions::from_query(Some("verbose=0&x=1")), AnswerOptions::default());
        assert_eq!(AnswerOptions::from_query(None), AnswerOptions::default());
    }
}
