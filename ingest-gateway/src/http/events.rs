//! `POST /api/v1/events`.

use std::{sync::atomic::Ordering, time::Instant};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use service_kit::config::KeyScope;
use stream_runtime::log::NewRecord;
use telemetry_schemas::time::EventTime;

use super::{
    answer::{Answer, AnswerOptions, EventResult, Problem},
    auth::{self, Caller},
    body::{self, DecodeFailure, Encoding},
    error::ApiError,
    state::{Gateway, now},
};
use crate::{
    batch::{self, Form, Unreadable},
    in_flight::Reservation,
    judge::{Judged, Reception},
    outcome::{Outcome, Tally},
    publish::Unacknowledged,
    validate::{Code, Violation},
};

/// `source` of everything that came over the native endpoint.
const SOURCE: &str = "http";

/// A body of the lane without a key has at most so many bytes.
const SMOKE_TEST_BODY: usize = 64 * 1024;

/// Plain bodies up to this size are checked where they were read; a larger one would hold up other connections.
const SMALL_BODY: usize = 16 * 1024;

/// Takes events in.
pub async fn post(State(gateway): State<Gateway>, uri: Uri, headers: HeaderMap, body: Body) -> Response {
    let options = AnswerOptions::from_query(uri.query());
    match receive(gateway, options, &headers, body).await {
        Ok(answer) => answer.into_response(),
        Err(error) => error.about_events().into_response(),
    }
}

/// A request whose body is in.
struct Intake {
    caller: Caller,
    form: Form,
    encoding: Encoding,
    body: Bytes,
    received_at: EventTime,
    options: AnswerOptions,
    reservation: Reservation,
}

async fn receive(
    gateway: Gateway,
    options: AnswerOptions,
    headers: &HeaderMap,
    body: Body,
) -> Result<Answer, ApiError> {
    let caller = gateway.keys.identify(headers)?;
    caller.require(KeyScope::Ingest)?;
    if caller.is_smoke_test() {
        gateway.smoke_limit.take(Instant::now()).map_err(|seconds| {
            gateway.judge.metrics.rate_limited(&caller.tenant);
            too_many_without_key(seconds)
        })?;
    }
    let form = body::form_of(headers)?;
    let encoding = body::encoding_of(headers)?;
    let limit = gateway.config.limits.body_bytes.as_usize();
    let limit = if caller.is_smoke_test() { limit.min(SMOKE_TEST_BODY) } else { limit };
    let mut reservation = gateway.in_flight.reserve();
    let timeout = gateway.config.body_timeout.as_std();
    let body = body::read(headers, body, limit, timeout, &mut reservation).await?;
    let intake = Intake { caller, form, encoding, body, received_at: now(), options, reservation };
    // From here on the events are ours: they get their outcome even when the client goes away and this future is
    // dropped.
    let task = gateway.tasks.spawn(take_in(gateway.clone(), intake));
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request's task failed");
        Err(ApiError::internal())
    })
}

fn too_many_without_key(seconds: u32) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests without a key")
        .with_hint("send an API key: `Authorization: Bearer <key>`")
        .with_retry_after(seconds)
}

async fn take_in(gateway: Gateway, intake: Intake) -> Result<Answer, ApiError> {
    let options = intake.options;
    let tenant = intake.caller.tenant.clone();
    let is_quick = intake.encoding == Encoding::Identity && intake.body.len() <= SMALL_BODY;
    let prepared = if is_quick && gateway.is_warm.load(Ordering::Relaxed) {
        prepare(&gateway, intake)
    } else {
        let gateway = gateway.clone();
        tokio::task::spawn_blocking(move || prepare(&gateway, intake)).await.map_err(|error| {
            tracing::error!(%error, "checking a request failed");
            ApiError::internal()
        })?
    }?;
    let is_unreadable = prepared.is_unreadable;
    let results =
        if options.validate_only { validated(prepared.items) } else { publish(&gateway, &tenant, prepared).await };
    Ok(Answer { results, options, is_unreadable })
}

/// An event that was decided about.
struct Item {
    event_id: Option<String>,
    /// Why it is rejected; `None` when it is accepted.
    problem: Option<Problem>,
    /// Milliseconds between the event and its arrival.
    lag: i64,
    record: Result<NewRecord, Unacknowledged>,
}

struct Prepared {
    items: Vec<Item>,
    is_unreadable: bool,
    /// Held until everything is published.
    _reservation: Reservation,
}

/// Everything that takes time on the processor and waits for nothing.
fn prepare(gateway: &Gateway, mut intake: Intake) -> Result<Prepared, ApiError> {
    let mut reception = Reception {
        tenant: &intake.caller.tenant,
        source: SOURCE,
        received_at: intake.received_at,
        sent_at: None,
        origin: None,
    };
    let batch = events_of(gateway, &mut intake.reservation, &intake.body, intake.encoding, intake.form)?;
    let is_unreadable = batch.is_err();
    let mut items = Vec::new();
    let mut record_bytes = 0;
    // Each event is encoded before the next is read: as records they take a fraction of the memory.
    let mut add = |judged: Judged| {
        if intake.caller.is_smoke_test() && !judged.is_test() {
            return Err(auth::key_missing());
        }
        let item = item(gateway, judged);
        record_bytes += item.record.as_ref().map_or(0, NewRecord::size);
        items.push(item);
        Ok(())
    };
    match batch {
        Ok(batch) => {
            reception.sent_at = batch.sent_at;
            batch.events.iter().try_for_each(|raw| add(gateway.judge.event(raw, &reception)))?;
        }
        Err(violation) => {
            let rejection = gateway.judge.unreadable(violation, &intake.body, &reception);
            add(Judged::Rejected(Box::new(rejection)))?;
        }
    }
    intake.reservation.grow(record_bytes).map_err(|_| ApiError::overloaded())?;
    Ok(Prepared { items, is_unreadable, _reservation: intake.reservation })
}

/// Cuts the body into events. The inner error is a body that is none.
fn events_of(
    gateway: &Gateway,
    reservation: &mut Reservation,
    body: &Bytes,
    encoding: Encoding,
    form: Form,
) -> Result<Result<batch::Batch, Violation>, ApiError> {
    let limits = &gateway.config.limits;
    let decoded = match body::decode(encoding, body, limits.batch_bytes.as_usize(), reservation) {
        Ok(decoded) => decoded,
        Err(DecodeFailure::Damaged) => {
            let message = "the body is not what its Content-Encoding says, or is cut off";
            return Ok(Err(Violation::new(Code::InvalidEncoding, "", message)));
        }
        Err(DecodeFailure::TooLarge) => {
            return Err(ApiError::body_too_large(limits.batch_bytes.as_usize(), "batch_bytes"));
        }
        Err(DecodeFailure::Overloaded) => return Err(ApiError::overloaded()),
    };
    match batch::split(&decoded, form, limits.batch_events) {
        Ok(batch) => Ok(Ok(batch)),
        Err(Unreadable::Malformed(violation)) => Ok(Err(violation)),
        Err(Unreadable::TooManyEvents { limit }) => {
            let message = format!("the body has more than {limit} events");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_events", message)
                .with_hint("split the batch; the limit is gateway.limits.batch_events"))
        }
    }
}

fn item(gateway: &Gateway, judged: Judged) -> Item {
    let encoded = |record: Result<NewRecord, telemetry_schemas::EncodeError>| {
        record.map_err(|error| {
            tracing::error!(%error, "an event could not be encoded");
            Unacknowledged::Unavailable
        })
    };
    match judged {
        Judged::Accepted(event) => Item {
            record: encoded(gateway.records.event(&event)),
            lag: event.received_at.since(event.timestamp).0,
            event_id: Some(event.event_id),
            problem: None,
        },
        Judged::Rejected(rejection) => Item {
            record: encoded(gateway.records.rejected(&rejection.event)),
            lag: 0,
            event_id: rejection.event_id,
            problem: rejection.violations.first().map(Problem::from),
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
            problem: item.problem,
        })
        .collect()
}

/// Publishes accepted and rejected events alike; an outcome counts only once the log has acknowledged.
async fn publish(gateway: &Gateway, tenant: &str, prepared: Prepared) -> Vec<EventResult> {
    let mut tally = Tally::open(&gateway.judge.metrics, tenant, SOURCE, prepared.items.len());
    let mut records = Vec::with_capacity(prepared.items.len());
    let mut decided = Vec::with_capacity(prepared.items.len());
    for item in prepared.items {
        let unencoded = match item.record {
            Ok(record) => {
                records.push(record);
                None
            }
            Err(failure) => Some(failure),
        };
        decided.push((item.event_id, item.problem, item.lag, unencoded));
    }
    let mut fates = gateway.outlet.publish(records).await.into_iter();

    let mut all_acknowledged = true;
    let mut results = Vec::with_capacity(decided.len());
    for (index, (event_id, problem, lag, unencoded)) in decided.into_iter().enumerate() {
        let fate = match unencoded {
            None => fates.next().unwrap_or(Err(Unacknowledged::Unavailable)),
            Some(failure) => Err(failure),
        };
        let (status, problem) = match (fate, problem) {
            (Ok(()), None) => {
                gateway.judge.metrics.lag(lag);
                tally.count(Outcome::Accepted);
                (Outcome::Accepted, None)
            }
            (Ok(()), Some(problem)) => {
                tally.reject(problem.code);
                (Outcome::Rejected, Some(problem))
            }
            (Err(failure), _) => {
                all_acknowledged = false;
                tally.count(Outcome::Retry);
                (Outcome::Retry, Some(Problem::from(failure)))
            }
        };
        results.push(EventResult { index, event_id, status, problem });
    }
    gateway.log_health.observe(all_acknowledged);
    results
}
