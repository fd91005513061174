//! Counts requests and times them, by route.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};

use crate::metrics::HttpMetrics;

/// Label of requests to paths that do not exist.
const UNMATCHED: &str = "unmatched";

pub async fn count(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = matched.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    metrics.requests.with_label_values(&[route, response.status().as_str()]).inc();
    metrics.duration.with_label_values(&[route]).observe(started.elapsed().as_secs_f64());
    response
}
