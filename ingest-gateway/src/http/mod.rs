//! The HTTP side: the router, one module per endpoint, and what they share.

mod answer;
mod auth;
mod body;
mod carried;
mod compat;
mod connection;
mod cors;
mod deliver;
mod erasures;
mod error;
mod events;
mod front;
mod intake;
mod journey;
mod leftover;
mod observe;
mod openapi;
mod operator;
mod root;
mod server;
mod smoke_limit;
mod state;
#[cfg(test)]
mod tests;
mod tls;

use axum::{
    Router,
    http::{Method, StatusCode, Uri},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use service_kit::Kit;
use tower_http::catch_panic::CatchPanicLayer;

pub use self::cors::is_origin;
use self::error::ApiError;
pub use self::{
    auth::Keys,
    connection::ServerLimits,
    front::Front,
    server::serve,
    smoke_limit::SmokeLimit,
    state::{Gateway, LogHealth, Shared},
    tls::Certificates,
};
use crate::validate::nearest;

/// Every path of the gateway with its method; the OpenAPI document has the same.
pub const ROUTES: [(&str, &str); 9] = [
    ("GET", "/"),
    ("POST", "/api/v1/events"),
    ("GET", "/api/v1/users/{user_id}/journey"),
    ("POST", "/api/v1/privacy/erasures"),
    ("GET", "/health"),
    ("GET", "/live"),
    ("GET", "/ready"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
];

/// Puts the endpoints together. `extra` holds further routes of the process; those below `/api/v1/` are for admins.
fn router(gateway: Gateway, extra: Router, kit: &Kit) -> Router {
    let metrics = gateway.metrics.clone();
    let cors = cors::layer(&gateway.config.cors);
    let extra = extra.layer(middleware::from_fn_with_state(gateway.clone(), operator::require));
    let compatible = if gateway.config.compatible.enabled { compat::router() } else { Router::new() };
    Router::new()
        .route("/", get(root::get))
        .route("/api/v1/events", post(events::post))
        .route("/api/v1/users/{user_id}/journey", get(journey::get))
        .route("/api/v1/privacy/erasures", post(erasures::post))
        .route("/openapi.json", get(openapi::get))
        .merge(compatible)
        .with_state(gateway)
        .merge(service_kit::admin::router(kit.clone()))
        .merge(extra)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(tower::util::option_layer(cors))
        .layer(middleware::from_fn_with_state(metrics, observe::count))
}

async fn not_found(method: Method, uri: Uri) -> Response {
    let known = ROUTES.map(|(_, path)| path);
    let hint = match nearest(uri.path().trim_end_matches('/'), &known) {
        Some(path) => format!("did you mean {path}?"),
        None => format!("{method} requests are taken as GET /openapi.json says; events go to POST /api/v1/events"),
    };
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing under this path")
        .with_hint(hint)
        .into_response()
}

/// `Allow` is added by the router.
async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not take this method")
        .with_hint("the Allow header lists the methods it takes")
        .into_response()
}

fn panicked(payload: Box<dyn std::any::Any + Send>) -> Response {
    let message =
        payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    tracing::error!(message = message.unwrap_or("unknown"), "a request handler panicked");
    ApiError::internal().into_response()
}
