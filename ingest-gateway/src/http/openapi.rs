//! `GET /openapi.json`.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};

/// The OpenAPI document; tests hold it against the router and the event schema.
pub const DOCUMENT: &str = include_str!("../../openapi.json");

pub async fn get() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
