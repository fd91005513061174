//! `GET /api/v1/users/{user_id}/journey`.

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use service_kit::config::KeyScope;
use telemetry_schemas::json::to_json;

use super::{error::ApiError, state::Gateway};

/// The live view of a user's journeys: one record per attempt.
pub async fn get(
    State(gateway): State<Gateway>,
    user_id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    match look_up(&gateway, user_id, &headers).await {
        Ok(found) => Json(found).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn look_up(
    gateway: &Gateway,
    user_id: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
) -> Result<Value, ApiError> {
    let caller = gateway.keys.identify(headers)?;
    caller.require(KeyScope::Read)?;
    let Path(user_id) = user_id.map_err(|_| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_path", "the user id in the path is not percent-encoded UTF-8")
    })?;
    let known_as = gateway.judge.treatment.policies.of(&caller.tenant).id_of_user(&caller.tenant, &user_id);
    let records = gateway.journeys.journeys(&caller.tenant, &known_as).await.map_err(|error| {
        tracing::warn!(error = format!("{error:#}"), "the live view is away");
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "view_unavailable", "the live view is away; nothing is lost")
            .with_retry_after(5)
    })?;
    if records.is_empty() {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "user_unknown", "no journey of this user is known")
            .with_hint("a journey is known from its signup on; events without a user_id do not count"));
    }
    Ok(json!({ "user_id": user_id, "journeys": records.iter().map(to_json).collect::<Vec<_>>() }))
}
