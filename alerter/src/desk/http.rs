//! The desk over HTTP. Who asks was found out, and found to be an admin, by the gateway: it puts an [`Operator`] into the
//! request.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::Operator;
use telemetry_schemas::alert::{AlertAction, AlertState};

use super::{
    Desk, DeskError, now,
    orders::{self, Asker, Order},
    view,
};
use crate::{config::Matcher, group::processor::Kind, group::state, mutes::Mutes};

/// The paths, all for admins.
pub fn router(desk: Desk) -> Router {
    Router::new()
        .route("/api/v1/alerts", get(list))
        .route("/api/v1/alerts/routes/test", post(routes))
        .route("/api/v1/alerts/{id}", get(show))
        .route("/api/v1/alerts/{id}/why", get(why))
        .route("/api/v1/alerts/{id}/{action}", post(act))
        .route("/api/v1/silences", get(silences).post(silence))
        .route("/api/v1/silences/{id}", delete(unsilence))
        .with_state(Arc::new(desk))
}

type Shared = State<Arc<Desk>>;
type Answer = Result<(StatusCode, Json<Value>), DeskError>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    /// Matchers, separated by commas outside quotes.
    #[serde(default)]
    filter: String,
    /// Also what is over.
    #[serde(default)]
    over: bool,
}

impl IntoResponse for DeskError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_order"),
            Self::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_alert"),
            Self::Log(_) | Self::Encode(_) => (StatusCode::SERVICE_UNAVAILABLE, "log_unavailable"),
        };
        (status, Json(json!({ "code": code, "message": self.to_string() }))).into_response()
    }
}

/// Does something that blocks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DeskError> + Send + 'static,
) -> Result<T, DeskError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => {
            Err(DeskError::Log(stream_runtime::log::LogError::Unavailable("the request was interrupted".to_owned())))
        }
    }
}

fn asker(operator: &Operator) -> Asker {
    Asker { tenant: operator.tenant.clone(), name: operator.name.clone(), origin: operator.origin.clone() }
}

/// Matchers in a list, as amtool takes them: `{a="b",c=~"d"}` or without braces.
pub fn matchers(text: &str) -> Result<Vec<Matcher>, DeskError> {
    let text = text.trim();
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let (mut parts, mut part, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for character in inner.chars() {
        match character {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        escaped = character == '\\' && !escaped;
        part.push(character);
    }
    parts.push(part);
    let parts = parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty());
    parts
        .map(|part| part.parse().map_err(|error: crate::config::MatcherError| DeskError::Invalid(error.to_string())))
        .collect()
}

/// The configured mutes with what is stored.
fn mutes_of(desk: &Desk, states: &BTreeMap<String, AlertState>) -> Mutes {
    let mut mutes = desk.mutes.clone();
    for (key, state) in states {
        mutes.observe(key, Some(state));
    }
    mutes
}

async fn list(State(desk): Shared, Extension(operator): Extension<Operator>, Query(filter): Query<Filter>) -> Answer {
    let matchers = matchers(&filter.filter)?;
    let alerts = blocking(move || {
        let states = desk.read(Some(&operator.tenant))?;
        let mutes = mutes_of(&desk, &states);
        let groups = states.iter().filter(|(key, _)| Kind::of(key) == Kind::Group).map(|(_, state)| state);
        let mut groups: Vec<_> =
            groups.filter(|group| (filter.over || !state::is_over(group)) && view::matches(group, &matchers)).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(crate::group::decide::firing_level(group)));
        Ok(groups.into_iter().map(|group| view::summary(group, &desk.naming, &mutes, now())).collect::<Vec<_>>())
    });
    Ok((StatusCode::OK, Json(json!({ "alerts": alerts.await? }))))
}

async fn show(State(desk): Shared, Extension(operator): Extension<Operator>, Path(id): Path<String>) -> Answer {
    let shown = blocking(move || {
        let group = desk.find(Some(&operator.tenant), &id)?;
        let mutes = mutes_of(&desk, &desk.read(Some(&operator.tenant))?);
        Ok(view::whole(&group, &desk.naming, &mutes, now()))
    });
    Ok((StatusCode::OK, Json(shown.await?)))
}

async fn why(State(desk): Shared, Extension(operator): Extension<Operator>, Path(id): Path<String>) -> Answer {
    let shown = blocking(move || {
        let group = desk.find(Some(&operator.tenant), &id)?;
        let mutes = mutes_of(&desk, &desk.read(Some(&operator.tenant))?);
        Ok(view::why(&group, &desk.routes, &desk.naming, &mutes, now()))
    });
    Ok((StatusCode::OK, Json(shown.await?)))
}

async fn act(
    State(desk): Shared,
    Extension(operator): Extension<Operator>,
    Path((id, action)): Path<(String, String)>,
    body: bytes::Bytes,
) -> Answer {
    let action = match action.as_str() {
        "ack" => AlertAction::Ack,
        "assign" => AlertAction::Assign,
        "silence" => AlertAction::Silence,
        "unsilence" => AlertAction::Unsilence,
        _ => return Err(DeskError::Unknown("there is ack, assign, silence and unsilence".to_owned())),
    };
    let order = order(&body)?;
    let asker = asker(&operator);
    let done = blocking(move || {
        let group = desk.find(Some(&operator.tenant), &id)?;
        if state::is_over(&group) {
            return Err(DeskError::Invalid("it is over already".to_owned()));
        }
        let command = order.about(&group.group_key, action, &asker, now())?;
        desk.submit(&command, &orders::audit(&command, &asker))?;
        Ok(json!({
            "id": view::id(&group), "status": "accepted", "command_id": command.command_id, "by": command.by,
            "until": command.until.map(telemetry_schemas::EventTime::to_rfc3339),
        }))
    });
    Ok((StatusCode::ACCEPTED, Json(done.await?)))
}

async fn silences(State(desk): Shared, Extension(operator): Extension<Operator>) -> Answer {
    let shown = blocking(move || {
        let states = desk.read(Some(&operator.tenant))?;
        Ok(states.values().filter_map(|state| view::silence(state, now())).collect::<Vec<_>>())
    });
    Ok((StatusCode::OK, Json(json!({ "silences": shown.await? }))))
}

async fn silence(State(desk): Shared, Extension(operator): Extension<Operator>, body: bytes::Bytes) -> Answer {
    let (order, asker) = (order(&body)?, asker(&operator));
    let id = uuid::Uuid::now_v7().to_string();
    let command = order.silence(&id, &asker, now())?;
    let done = blocking(move || {
        desk.submit(&command, &orders::audit(&command, &asker))?;
        Ok(json!({
            "id": id, "status": "accepted", "matchers": command.matchers,
            "ends_at": command.until.map(telemetry_schemas::EventTime::to_rfc3339), "created_by": command.by,
        }))
    });
    Ok((StatusCode::ACCEPTED, Json(done.await?)))
}

async fn unsilence(State(desk): Shared, Extension(operator): Extension<Operator>, Path(id): Path<String>) -> Answer {
    let asker = asker(&operator);
    let done = blocking(move || {
        let key = format!("{}{id}", crate::route::SILENCE_PREFIX);
        if !desk.read(Some(&operator.tenant))?.contains_key(&key) {
            return Err(DeskError::Unknown(format!("there is no silence `{id}`")));
        }
        let command = Order::default().about(&key, AlertAction::Unsilence, &asker, now())?;
        desk.submit(&command, &orders::audit(&command, &asker))?;
        Ok(json!({ "id": id, "status": "accepted" }))
    });
    Ok((StatusCode::ACCEPTED, Json(done.await?)))
}

async fn routes(State(desk): Shared, Extension(operator): Extension<Operator>, body: bytes::Bytes) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Test {
        labels: BTreeMap<String, String>,
    }
    let test: Test = serde_json::from_slice(&body).map_err(|error| DeskError::Invalid(error.to_string()))?;
    let mut labels = test.labels;
    labels.insert("tenant".to_owned(), operator.tenant.clone());
    let shown = blocking(move || {
        let mutes = mutes_of(&desk, &desk.read(Some(&operator.tenant))?);
        Ok(view::destinations(&desk.routes, &labels, &mutes, now()))
    });
    Ok((StatusCode::OK, Json(shown.await?)))
}

fn order(body: &[u8]) -> Result<Order, DeskError> {
    if body.is_empty() {
        return Ok(Order::default());
    }
    serde_json::from_slice(body).map_err(|error| DeskError::Invalid(format!("the body is no order: {error}")))
}
