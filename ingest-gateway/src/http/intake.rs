//! The way every request with events takes once its body is in, whichever endpoint it came to: undo the encoding, cut the
//! body into events, find out who sent them, decide about each, publish.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::{Map, Value};
use service_kit::config::KeyScope;
use stream_runtime::log::NewRecord;
use telemetry_schemas::time::EventTime;

use super::{
    answer::{EventResult, Problem},
    auth::{self, Caller},
    body::{self, DecodeFailure, Encoding},
    carried::Carried,
    compat,
    deliver::{self, Item},
    error::ApiError,
    state::Gateway,
};
use crate::{
    adapters::{Adapter, Dialect},
    app_metrics::AppSample,
    batch::{self, Form, RawEvent, Unreadable},
    dedup::Identity,
    in_flight::Reservation,
    judge::{Judged, Reception},
    limits::{Cost, Standing},
    outcome::Outcome,
    publish::Unacknowledged,
    validate::{Code, Violation},
};

/// `source` of everything that came over HTTP, but for CloudEvents, which have their own.
pub const SOURCE: &str = "http";

/// Plain bodies up to this size are checked where they were read; a larger one would hold up other connections.
const SMALL_BODY: usize = 16 * 1024;

/// Less than the second that `Retry-After` says at least.
pub const PAUSE_OF_REFUSED: Duration = Duration::from_millis(250);

/// A request whose body is in.
pub struct Intake {
    pub sender: Sender,
    pub door: Door,
    pub encoding: Encoding,
    pub body: Bytes,
    pub received_at: EventTime,
    /// Check only; publish and count nothing.
    pub validate_only: bool,
    pub reservation: Reservation,
}

/// Who sent a request.
pub enum Sender {
    Known(Caller),
    /// To be found out once the body is read: clients of other products may have their key in there.
    ByKeys {
        /// What the headers have.
        presented: Vec<String>,
    },
}

/// Which form the events have.
pub enum Door {
    Native(Form),
    /// One event or an array of them.
    CloudEvents,
    /// One event: its attributes were headers, the body is its data.
    BinaryCloudEvent {
        attributes: Vec<(String, String)>,
        content_type: Option<String>,
    },
    Compatible(compat::Request),
}

/// What became of a request's events.
#[derive(Debug)]
pub struct Taken {
    pub results: Vec<EventResult>,
    /// The body could not be read as events at all.
    pub is_unreadable: bool,
    /// How the caller stands, where it has limits.
    pub standing: Option<Standing>,
}

/// Carries a request to its end, also when the client goes away and the caller is dropped.
pub async fn carry(gateway: Gateway, intake: Intake) -> Result<Taken, ApiError> {
    let work = take_in(gateway.clone(), intake);
    let taken = Carried::new(&gateway.tasks, work).await?;
    if taken.standing.as_ref().is_some_and(|standing| standing.retry_after.is_some()) {
        pause_of_refused().await;
    }
    Ok(taken)
}

/// Who is over a limit hears of it after a pause, which costs nothing here: a sender that comes again at once, whatever
/// `Retry-After` says, would take the processors' time from others.
pub async fn pause_of_refused() {
    tokio::time::sleep(PAUSE_OF_REFUSED).await;
}

async fn take_in(gateway: Gateway, intake: Intake) -> Result<Taken, ApiError> {
    let validate_only = intake.validate_only;
    let (bytes, received_at) = (intake.body.len(), intake.received_at);
    let is_quick = intake.encoding == Encoding::Identity && intake.body.len() <= SMALL_BODY;
    let prepared = if is_quick && gateway.is_warm.load(Ordering::Relaxed) {
        prepare(&gateway, intake)
    } else {
        // Who waits for the schema registry takes nobody's turn.
        let turn = if gateway.is_warm.load(Ordering::Relaxed) { intake.reservation.turn().await } else { None };
        let gateway = gateway.clone();
        let prepared = move || {
            let _turn = turn;
            prepare(&gateway, intake)
        };
        tokio::task::spawn_blocking(prepared).await.map_err(|error| {
            tracing::error!(%error, "checking a request failed");
            ApiError::internal()
        })?
    }?;
    let is_unreadable = prepared.is_unreadable;
    let cost = Cost { events: prepared.items.len(), bytes };
    let standing =
        if validate_only { None } else { gateway.limits.take(&prepared.caller.allowance, cost, received_at).await };
    let refused = standing.as_ref().filter(|standing| standing.retry_after.is_some());
    let results = if validate_only {
        validated(prepared.items)
    } else if let Some(refused) = refused {
        gateway.judge.metrics.rate_limited(&prepared.caller.tenant);
        deliver::limited(&gateway, &prepared.caller.tenant, prepared.items, refused)
    } else {
        deliver::publish(&gateway, &prepared.caller.tenant, prepared.items, prepared.reservation).await
    };
    Ok(Taken { results, is_unreadable, standing })
}

struct Prepared {
    caller: Caller,
    items: Vec<Item>,
    is_unreadable: bool,
    /// Held until everything is published.
    reservation: Reservation,
}

/// A body cut into events.
struct Opened {
    records: Records,
    sent_at: Option<EventTime>,
    /// Keys that stand in the body.
    keys: Vec<String>,
}

enum Records {
    Native(Vec<RawEvent>),
    Foreign(Vec<RawEvent>, Dialect),
    /// A record that was put together from parts of the request, with its text.
    Whole(Map<String, Value>, Bytes, Dialect),
}

/// Everything that takes time on the processor and waits for nothing.
fn prepare(gateway: &Gateway, mut intake: Intake) -> Result<Prepared, ApiError> {
    let opened = open(gateway, &mut intake)?;
    let keys = opened.as_ref().map(|opened| opened.keys.as_slice()).unwrap_or_default();
    let is_known = matches!(intake.sender, Sender::Known(_));
    let (caller, own_key) = caller(gateway, intake.sender, keys)?;
    if !is_known {
        intake.reservation.assign(&caller.tenant).map_err(ApiError::overloaded)?;
    }
    let mut reception = Reception {
        tenant: &caller.tenant,
        source: SOURCE,
        received_at: intake.received_at,
        sent_at: None,
        origin: None,
    };
    let is_unreadable = opened.is_err();
    let mut items = Vec::new();
    let mut record_bytes = 0;
    // Each event is encoded before the next is read: as records they take a fraction of the memory.
    let mut add = |judged: Judged| {
        if caller.is_smoke_test() && !judged.is_test() {
            return Err(auth::key_missing());
        }
        let item = item(gateway, &caller.tenant, judged);
        record_bytes += item.record.as_ref().map_or(0, NewRecord::size);
        items.push(item);
        Ok(())
    };
    let adapter = |dialect| Adapter { dialect, names: gateway.names.clone(), own_key };
    match opened {
        Ok(opened) => {
            reception.sent_at = opened.sent_at;
            match opened.records {
                Records::Native(events) => {
                    events.iter().try_for_each(|raw| add(gateway.judge.event(raw, &reception)))?;
                }
                Records::Foreign(events, dialect) => {
                    let adapter = adapter(dialect);
                    events.iter().try_for_each(|raw| add(gateway.judge.translated(raw, &adapter, &reception)))?;
                }
                Records::Whole(record, raw, dialect) => {
                    add(gateway.judge.record(record, &raw, &adapter(dialect), &reception))?;
                }
            }
        }
        Err(violation) => {
            let rejection = gateway.judge.unreadable(violation, &intake.body, &reception);
            add(Judged::Rejected(Box::new(rejection)))?;
        }
    }
    intake.reservation.grow(record_bytes).map_err(ApiError::overloaded)?;
    Ok(Prepared { caller, items, is_unreadable, reservation: intake.reservation })
}

/// Who sent the request, and the key in its body that said so.
fn caller(gateway: &Gateway, sender: Sender, in_body: &[String]) -> Result<(Caller, Option<Arc<str>>), ApiError> {
    let presented = match sender {
        Sender::Known(caller) => return Ok((caller, None)),
        Sender::ByKeys { presented } => presented,
    };
    let (caller, index) = gateway.keys.identify_any(presented.iter().chain(in_body).map(String::as_str))?;
    caller.require(KeyScope::Ingest)?;
    let own_key =
        index.and_then(|index| in_body.get(index.checked_sub(presented.len())?)).map(|key| key.as_str().into());
    Ok((caller, own_key))
}

/// Cuts the body into events. The inner error is a body that is none.
fn open(gateway: &Gateway, intake: &mut Intake) -> Result<Result<Opened, Violation>, ApiError> {
    let limits = &gateway.config.limits;
    let decoded =
        match body::decode(intake.encoding, &intake.body, limits.batch_bytes.as_usize(), &mut intake.reservation) {
            Ok(decoded) => decoded,
            Err(DecodeFailure::Damaged) => {
                let message = "the body is not what its Content-Encoding says, or is cut off";
                return Ok(Err(Violation::new(Code::InvalidEncoding, "", message)));
            }
            Err(DecodeFailure::TooLarge) => {
                return Err(ApiError::body_too_large(limits.batch_bytes.as_usize(), "batch_bytes"));
            }
            Err(DecodeFailure::Overloaded(exhausted)) => return Err(ApiError::overloaded(exhausted)),
        };
    let opened = match &mut intake.door {
        Door::Native(form) => batch::split(&decoded, *form, limits.batch_events).map(|batch| Opened {
            records: Records::Native(batch.events),
            sent_at: batch.sent_at,
            keys: Vec::new(),
        }),
        Door::CloudEvents => batch::split_foreign(&decoded, "", limits.batch_events).map(|batch| Opened {
            records: Records::Foreign(batch.records, Dialect::CloudEvents),
            sent_at: None,
            keys: Vec::new(),
        }),
        Door::BinaryCloudEvent { attributes, content_type } => {
            let record = binary_cloud_event(std::mem::take(attributes), content_type.as_deref(), &decoded);
            record.map(|(record, raw)| Opened {
                records: Records::Whole(record, raw, Dialect::CloudEvents),
                sent_at: None,
                keys: Vec::new(),
            })
        }
        Door::Compatible(request) => request.open(&decoded, limits.batch_events).map(|opened| Opened {
            records: Records::Foreign(opened.records, opened.dialect),
            sent_at: None,
            keys: opened.keys,
        }),
    };
    match opened {
        Ok(opened) => Ok(Ok(opened)),
        Err(Unreadable::Malformed(violation)) => Ok(Err(violation)),
        Err(Unreadable::TooManyEvents { limit }) => {
            let message = format!("the body has more than {limit} events");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_events", message)
                .with_hint("split the batch; the limit is gateway.limits.batch_events"))
        }
    }
}

fn binary_cloud_event(
    attributes: Vec<(String, String)>,
    content_type: Option<&str>,
    data: &[u8],
) -> Result<(Map<String, Value>, Bytes), Unreadable> {
    let attributes = attributes.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let record = crate::adapters::cloudevents::from_binary(attributes, content_type, data)?;
    let raw = serde_json::to_vec(&record).unwrap_or_default();
    Ok((record, raw.into()))
}

fn item(gateway: &Gateway, tenant: &str, judged: Judged) -> Item {
    let encoded = |record: Result<NewRecord, telemetry_schemas::EncodeError>| {
        record.map_err(|error| {
            tracing::error!(%error, "an event could not be encoded");
            Unacknowledged::Unavailable
        })
    };
    match judged {
        Judged::Accepted(accepted) => {
            let event = accepted.event;
            let app = AppSample::of(&event);
            Item {
                record: encoded(gateway.records.event(&event)),
                lag: event.received_at.since(event.timestamp).0,
                identity: accepted.has_own_id.then(|| Identity::of(tenant, &event.source, &event.event_id)),
                event_id: Some(event.event_id),
                problem: None,
                warning: accepted.warning.as_ref().map(Problem::from),
                app,
            }
        }
        Judged::Rejected(rejection) => Item {
            record: encoded(gateway.records.rejected(&rejection.event)),
            lag: 0,
            identity: None,
            event_id: rejection.event_id,
            problem: rejection.violations.first().map(Problem::from),
            warning: None,
            app: None,
        },
    }
}

fn validated(items: Vec<Item>) -> Vec<EventResult> {
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| EventResult {
            index,
            event_id: item.event_id,
            status: if item.problem.is_none() { Outcome::Accepted } else { Outcome::Rejected },
            problem: item.problem.or(item.warning),
        })
        .collect()
}
