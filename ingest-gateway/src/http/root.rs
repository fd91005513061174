//! `GET /`: what this is and where to go on.

use axum::Json;
use serde_json::{Value, json};

pub async fn get() -> Json<Value> {
    Json(json!({
        "service": "TTF ingest gateway",
        "version": service_kit::VERSION,
        "send_events": "POST /api/v1/events",
        "user_journey": "GET /api/v1/users/{user_id}/journey",
        "documentation": "/openapi.json",
        "health": "/health",
        "metrics": "/metrics",
    }))
}
