//! Answers in the words of other products' servers.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::{
    http::{
        answer::{EventResult, RETRY_AFTER_SECONDS},
        error::ApiError,
        intake::Taken,
    },
    outcome::Outcome,
};

/// How a client wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Segment, RudderStack, and PostHog's older endpoints.
    Plain,
    /// What became of each event, by its id.
    PostHogV1,
    Mixpanel,
    /// `1` or `0`.
    MixpanelText,
    MixpanelImport,
}

impl Style {
    /// The answer about events. 200 once each has its outcome, whatever that is; 503 or 429 when some are to be sent
    /// again: these clients send the whole batch again, and what was taken is recognised.
    pub fn answer(self, taken: &Taken) -> Response {
        let results = &taken.results;
        let count = |outcome: Outcome| results.iter().filter(|result| result.status == outcome).count();
        let (retry, limited) = (count(Outcome::Retry), count(Outcome::Limited));
        let comes_again = retry + limited > 0;
        let is_told_apart = self == Self::PostHogV1 && retry + limited < results.len();
        let mut response = if taken.is_unreadable && !comes_again {
            let problem = results.first().and_then(|result| result.problem.as_ref());
            let (code, message) = problem.map_or(("invalid_body", ""), |problem| (problem.code, &problem.message));
            self.failure(StatusCode::BAD_REQUEST, code, message, Some(results))
        } else if comes_again && !is_told_apart {
            let status = if retry > 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::TOO_MANY_REQUESTS };
            let code = results.iter().find_map(|result| match result.status {
                Outcome::Retry | Outcome::Limited => result.problem.as_ref().map(|problem| problem.code),
                _ => None,
            });
            self.failure(status, code.unwrap_or("retry"), "send the same events again", Some(results))
        } else {
            self.success(results)
        };
        if comes_again {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }

    /// The answer to a request that was refused as a whole.
    pub fn refusal(self, error: &ApiError) -> Response {
        let mut response = self.failure(error.status, error.code, &error.message, None);
        error.put_headers(response.headers_mut());
        response
    }

    fn success(self, results: &[EventResult]) -> Response {
        let taken = results.iter().filter(|result| matches!(result.status, Outcome::Accepted | Outcome::Duplicate));
        let mut body = json!({"success": true, "status": 1, "error": null, "results": self.results(results)});
        match self {
            Self::MixpanelText => return (StatusCode::OK, "1").into_response(),
            Self::MixpanelImport => {
                body["code"] = 200.into();
                body["num_records_imported"] = taken.count().into();
            }
            Self::Plain | Self::PostHogV1 | Self::Mixpanel => {}
        }
        (StatusCode::OK, Json(body)).into_response()
    }

    fn failure(self, status: StatusCode, code: &str, message: &str, results: Option<&[EventResult]>) -> Response {
        if self == Self::MixpanelText {
            return (status, "0").into_response();
        }
        let mut body = json!({"code": code, "message": message, "detail": message, "error": message, "success": false, "status": 0});
        if let Some(results) = results {
            body["results"] = self.results(results);
        }
        (status, Json(body)).into_response()
    }

    fn results(self, results: &[EventResult]) -> Value {
        if self == Self::PostHogV1 {
            return by_id(results);
        }
        let count = |outcome: Outcome| results.iter().filter(|result| result.status == outcome).count();
        let told: Vec<&EventResult> = results.iter().filter(|result| result.status != Outcome::Accepted).collect();
        json!({
            "accepted": count(Outcome::Accepted),
            "rejected": count(Outcome::Rejected),
            "duplicate": count(Outcome::Duplicate),
            "events": told,
        })
    }
}

fn by_id(results: &[EventResult]) -> Value {
    let mut by_id = Map::new();
    for result in results {
        let id = result.event_id.clone().unwrap_or_else(|| result.index.to_string());
        let told = match result.status {
            Outcome::Accepted | Outcome::Duplicate => "ok",
            Outcome::Rejected => "drop",
            Outcome::Limited | Outcome::Retry => "retry",
        };
        let mut entry = json!({ "result": told });
        if let Some(problem) = &result.problem {
            entry["details"] = format!("{}: {} {}", problem.code, problem.path, problem.message).into();
        }
        // Of two with one id, the one that is to come again counts.
        let is_settled = by_id.get(&id).is_some_and(|earlier: &Value| earlier["result"] == "retry");
        if !is_settled {
            by_id.insert(id, entry);
        }
    }
    by_id.into()
}
