//! The admin endpoints every process serves: `/health`, `/live`, `/ready` and `/metrics`.

use std::{future::IntoFuture, net::SocketAddr, time::Instant};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::{Kit, health::Status, metrics, net};

/// The endpoints as a router, to be merged into a service's own where that listens on one port for both.
pub fn router(kit: Kit) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(render_metrics))
        .with_state(kit)
}

/// Serves [`router`] on `addr` until the process has drained; returns the address, for port 0.
///
/// # Errors
/// When `addr` cannot be listened on: one line that names `service.admin_listen`.
pub async fn serve(addr: SocketAddr, kit: &Kit) -> anyhow::Result<SocketAddr> {
    let listener = net::listen(addr, "service.admin_listen").await?;
    let bound = listener.local_addr()?;
    let ended = kit.ended();
    let server = axum::serve(listener, router(kit.clone())).with_graceful_shutdown(ended.cancelled_owned());
    kit.spawn_background("admin endpoints", async move { Ok(server.into_future().await?) });
    tracing::info!(address = %bound, "admin endpoints are up");
    Ok(bound)
}

async fn health(State(kit): State<Kit>) -> Response {
    let checks = kit.health().checks();
    let status = checks.iter().map(|check| check.status).max().unwrap_or(Status::Healthy);
    let code = if status == Status::Unhealthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let body = json!({
        "status": status,
        "service": kit.service(),
        "version": crate::VERSION,
        "uptime_seconds": kit.uptime().as_secs(),
        "checks": checks,
    });
    (code, Json(body)).into_response()
}

async fn live(State(kit): State<Kit>) -> Response {
    let reasons: Vec<String> =
        kit.health().silent(Instant::now()).into_iter().map(|(name, message)| format!("{name}: {message}")).collect();
    verdict("live", reasons)
}

async fn ready(State(kit): State<Kit>) -> Response {
    verdict("ready", kit.not_ready())
}

fn verdict(good: &str, reasons: Vec<String>) -> Response {
    if reasons.is_empty() {
        return (StatusCode::OK, Json(json!({ "status": good }))).into_response();
    }
    let body = json!({ "status": format!("not {good}"), "reasons": reasons });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

async fn render_metrics(State(kit): State<Kit>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], kit.metrics().render()).into_response()
}

#[cfg(test)]
mod tests;
