//! Everything that is kept about somebody.

use serde::Serialize;
use serde_json::Value;
use telemetry_schemas::time::EventTime;

use crate::{
    database::{Database, DatabaseError, Person, SubjectKind},
    live_view::LiveView,
};

/// The rows of a user, each as the database has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UserRows {
    pub events: Vec<Value>,
    /// Every revision of every journey.
    pub records: Vec<Value>,
    /// The newest revision of every journey.
    pub journeys: Vec<Value>,
    pub stages: Vec<Value>,
    pub breaches: Vec<Value>,
    pub breach_status: Vec<Value>,
}

/// Tables with rows by user id, and the time they are ordered by, in the order of [`UserRows`].
pub(crate) const TABLES: [(&str, &str); 6] = [
    ("events", "occurred_at"),
    ("ttf_records", "emitted_at"),
    ("journeys", "signup_at"),
    ("stage_durations", "signup_at"),
    ("breaches", "detected_at"),
    ("breach_status", "detected_at"),
];

impl UserRows {
    /// Of the rows of [`TABLES`].
    pub(crate) fn of(tables: [Vec<Value>; 6]) -> Self {
        let [events, records, journeys, stages, breaches, breach_status] = tables;
        Self { events, records, journeys, stages, breaches, breach_status }
    }
}

/// What is kept about a user.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Access {
    pub tenant: String,
    pub user_id: String,
    #[serde(with = "telemetry_schemas::time::rfc3339")]
    pub at: EventTime,
    /// Set when the user was erased: what follows came later.
    #[serde(with = "telemetry_schemas::time::rfc3339::option")]
    pub erased_at: Option<EventTime>,
    /// Under which the object archive knows the user; `null`: under none.
    pub pseudonym: Option<String>,
    pub database: UserRows,
    /// What the live view shows.
    pub live_view: Vec<Value>,
}

/// Gathers what is kept about a user.
///
/// # Errors
/// When the database does not answer.
pub async fn gather(
    database: &dyn Database,
    live_view: &dyn LiveView,
    tenant: &str,
    user_id: &str,
    now: EventTime,
) -> Result<Access, DatabaseError> {
    let person = Person { tenant: tenant.to_owned(), kind: SubjectKind::User, id: user_id.to_owned() };
    let known = database.lookup(vec![(person.clone(), now)]).await?.remove(&person).unwrap_or_default();
    let shown = live_view.journeys(tenant, user_id).await;
    let shown = shown.map_err(|error| DatabaseError::Unavailable(error.to_string()))?;
    Ok(Access {
        tenant: tenant.to_owned(),
        user_id: user_id.to_owned(),
        at: now,
        erased_at: known.erased_at,
        pseudonym: known.pseudonym,
        database: database.rows_of(tenant, user_id).await?,
        live_view: shown.iter().map(telemetry_schemas::json::to_json).collect(),
    })
}
