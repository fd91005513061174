//! The desk over HTTP. Who asks was found out, and found to be an admin, by the gateway: it puts an [`Operator`] into the
//! request.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{
        Path, Query, State,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
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

const ALERTS: &str = "/api/v1/alerts";
const ROUTES_TEST: &str = "/api/v1/alerts/routes/test";
const ALERT: &str = "/api/v1/alerts/{id}";
const WHY: &str = "/api/v1/alerts/{id}/why";
const ACT: &str = "/api/v1/alerts/{id}/{action}";
const SILENCES: &str = "/api/v1/silences";
const SILENCE: &str = "/api/v1/silences/{id}";

/// Methods and paths, all for admins, as the gateway's OpenAPI document has them.
pub const ROUTES: [(&str, &str); 8] = [
    ("GET", ALERTS),
    ("POST", ROUTES_TEST),
    ("GET", ALERT),
    ("GET", WHY),
    ("POST", ACT),
    ("GET", SILENCES),
    ("POST", SILENCES),
    ("DELETE", SILENCE),
];

/// Serves [`ROUTES`].
pub fn router(desk: Desk) -> Router {
    Router::new()
        .route(ALERTS, get(list))
        .route(ROUTES_TEST, post(routes))
        .route(ALERT, get(show))
        .route(WHY, get(why))
        .route(ACT, post(act))
        .route(SILENCES, get(silences).post(silence))
        .route(SILENCE, delete(unsilence))
        .with_state(Arc::new(desk))
}

type Shared = State<Arc<Desk>>;
type Answer = Result<(StatusCode, Json<Value>), Refused>;
type Parameters = Result<Query<Filter>, QueryRejection>;
type Named<T> = Result<Path<T>, PathRejection>;
type Body = Result<bytes::Bytes, BytesRejection>;

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

/// Why a request comes to nothing.
#[derive(Debug)]
pub enum Refused {
    Desk(DeskError),
    /// Its parts cannot be read.
    Unreadable(StatusCode, String),
}

impl<E: Into<DeskError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Desk(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Unreadable(status, message) => (status, "invalid_request", message),
            Self::Desk(error) => {
                let (status, code) = match &error {
                    DeskError::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_order"),
                    DeskError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown_alert"),
                    DeskError::Log(_) | DeskError::Encode(_) => (StatusCode::SERVICE_UNAVAILABLE, "log_unavailable"),
                };
                (status, code, error.to_string())
            }
        };
        (status, Json(json!({ "code": code, "message": message }))).into_response()
    }
}

fn parameters(filter: Parameters) -> Result<Filter, Refused> {
    let unreadable = |error: QueryRejection| Refused::Unreadable(StatusCode::UNPROCESSABLE_ENTITY, error.body_text());
    filter.map(|Query(filter)| filter).map_err(unreadable)
}

/// An id that is no text names nothing.
fn named<T>(id: Named<T>) -> Result<T, Refused> {
    id.map(|Path(id)| id).map_err(|error| Refused::Desk(DeskError::Unknown(error.body_text())))
}

fn read(body: Body) -> Result<bytes::Bytes, Refused> {
    body.map_err(|error| Refused::Unreadable(error.status(), error.body_text()))
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

async fn list(State(desk): Shared, Extension(operator): Extension<Operator>, filter: Parameters) -> Answer {
    let filter = parameters(filter)?;
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

async fn show(State(desk): Shared, Extension(operator): Extension<Operator>, id: Named<String>) -> Answer {
    let id = named(id)?;
    let shown = blocking(move || {
        let group = desk.find(Some(&operator.tenant), &id)?;
        let mutes = mutes_of(&desk, &desk.read(Some(&operator.tenant))?);
        Ok(view::whole(&group, &desk.naming, &mutes, now()))
    });
    Ok((StatusCode::OK, Json(shown.await?)))
}

async fn why(State(desk): Shared, Extension(operator): Extension<Operator>, id: Named<String>) -> Answer {
    let id = named(id)?;
    let shown = blocking(move || {
        let group = desk.find(Some(&operator.tenant), &id)?;
        let mutes = mutes_of(&desk, &desk.read(Some(&operator.tenant))?);
        let mut why = view::why(&group, &desk.routes, &desk.naming, &mutes, now());
        why["deliveries"] = view::deliveries(&desk.receipts(&group.group_key)?);
        Ok(why)
    });
    Ok((StatusCode::OK, Json(shown.await?)))
}

async fn act(
    State(desk): Shared,
    Extension(operator): Extension<Operator>,
    names: Named<(String, String)>,
    body: Body,
) -> Answer {
    let ((id, action), body) = (named(names)?, read(body)?);
    let action = match action.as_str() {
        "ack" => AlertAction::Ack,
        "assign" => AlertAction::Assign,
        "silence" => AlertAction::Silence,
        "unsilence" => AlertAction::Unsilence,
        _ => return Err(DeskError::Unknown("there is ack, assign, silence and unsilence".to_owned()).into()),
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

async fn silence(State(desk): Shared, Extension(operator): Extension<Operator>, body: Body) -> Answer {
    let body = read(body)?;
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

async fn unsilence(State(desk): Shared, Extension(operator): Extension<Operator>, id: Named<String>) -> Answer {
    let id = named(id)?;
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

async fn routes(State(desk): Shared, Extension(operator): Extension<Operator>, body: Body) -> Answer {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Test {
        labels: BTreeMap<String, String>,
    }
    let test: Test = serde_json::from_slice(&read(body)?).map_err(|error| DeskError::Invalid(error.to_string()))?;
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
