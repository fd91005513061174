//! `POST /api/v1/privacy/erasures`.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{
    Extension, Json,
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::config::KeyScope;
use telemetry_schemas::{EncodeError, EventTime, audit::AuditEntry, erasure::Erasure};

use super::{
    auth::Caller,
    body::{self, Encoding},
    error::ApiError,
    state::{Gateway, now},
};
use crate::{privacy::AfterErasure, validate};

const MAX_BODY: usize = 16 * 1024;

/// Where the request came from; absent in tests that call the router without a connection.
pub type Peer = Option<Extension<ConnectInfo<SocketAddr>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    user_id: String,
    reason: Option<String>,
}

/// Asks for a person to be forgotten everywhere.
pub async fn post(State(gateway): State<Gateway>, peer: Peer, headers: HeaderMap, body: Body) -> Response {
    match accept(gateway, peer, &headers, body).await {
        Ok(accepted) => (StatusCode::ACCEPTED, Json(accepted)).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn accept(gateway: Gateway, peer: Peer, headers: &HeaderMap, body: Body) -> Result<Value, ApiError> {
    let caller = gateway.keys.identify(headers)?;
    caller.require(KeyScope::Admin)?;
    body::require_json(headers)?;
    if body::encoding_of(headers)? != Encoding::Identity {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(ApiError::new(status, "unsupported_encoding", "send the request as it is, not encoded"));
    }
    let mut reservation = gateway.in_flight.reserve(&caller.tenant).map_err(ApiError::overloaded)?;
    let timeout = gateway.config.body_timeout.as_std();
    let body = body::read(headers, body, MAX_BODY, timeout, &mut reservation).await?;
    let request = parse(&body)?;
    let origin = peer.map_or_else(|| "unknown".to_owned(), |Extension(ConnectInfo(addr))| addr.ip().to_string());
    let at = now();
    let policy = gateway.judge.treatment.policies.of(&caller.tenant);
    let after_erasure = policy.after_erasure();
    let erased_at = match after_erasure {
        AfterErasure::StartAnew => at,
        AfterErasure::Refuse => Erasure::FOR_GOOD,
    };
    let erasure = |user_id| Erasure {
        erasure_id: uuid::Uuid::now_v7().to_string(),
        tenant: caller.tenant.to_string(),
        user_id,
        erased_at,
        requested_by: caller.name.to_string(),
        reason: request.reason.clone(),
    };
    // A person is forgotten under the pseudonyms, too, that the privacy policy may have given.
    let ids = policy.ids_of_user(&caller.tenant, &request.user_id);
    let erasures: Vec<Erasure> = ids.into_iter().map(erasure).collect();
    let answer = json!({
        "erasure_id": erasures.first().map(|erasure| &erasure.erasure_id),
        "status": "accepted",
        "erased_at": erased_at.to_rfc3339(),
        "after_erasure": after_erasure,
    });
    // Carried to its end even when the client goes away.
    let task = gateway.tasks.spawn(publish(gateway.clone(), caller, erasures, origin, at));
    task.await.map_err(|error| {
        tracing::error!(%error, "an erasure's task failed");
        ApiError::internal()
    })??;
    Ok(answer)
}

fn parse(body: &[u8]) -> Result<Request, ApiError> {
    let invalid = |message: String| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_erasure", message)
            .with_hint(r#"send {"user_id":"…"} and optionally a "reason""#)
    };
    let request: Request = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => invalid(error.to_string()),
        _ => ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", error.to_string()),
    })?;
    if validate::is_person_id(&request.user_id) {
        Ok(request)
    } else {
        Err(invalid("`user_id` must have 1 to 200 characters and no control characters".to_owned()))
    }
}

/// Publishes the erasures and their entries in the audit log; all or a retry.
async fn publish(
    gateway: Gateway,
    caller: Caller,
    erasures: Vec<Erasure>,
    origin: String,
    at: EventTime,
) -> Result<(), ApiError> {
    let entry = |erasure: &Erasure| AuditEntry {
        audit_id: uuid::Uuid::now_v7().to_string(),
        tenant: erasure.tenant.clone(),
        at,
        actor: caller.name.to_string(),
        action: "erasure".to_owned(),
        target: erasure.erasure_id.clone(),
        origin: origin.clone(),
        details: BTreeMap::new(),
    };
    let entries: Vec<AuditEntry> = erasures.iter().map(entry).collect();
    let unavailable = || {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", "the log did not take the erasure")
            .with_hint("send the request again; erasing twice does no harm")
            .with_retry_after(5)
    };
    let records = gateway.records.clone();
    let encoded = tokio::task::spawn_blocking(move || {
        let erasures = erasures.iter().map(|erasure| records.erasure(erasure, at));
        erasures.chain(entries.iter().map(|entry| records.audit(entry))).collect::<Result<Vec<_>, EncodeError>>()
    });
    let records = encoded.await.map_err(|_| ApiError::internal())?.map_err(|error| {
        tracing::error!(%error, "an erasure could not be encoded");
        unavailable()
    })?;
    let fates = gateway.outlet.publish(records, ()).await;
    gateway.log_health.observe(fates.iter().all(Result::is_ok));
    if fates.iter().all(Result::is_ok) { Ok(()) } else { Err(unavailable()) }
}
