//! `ttf trace EVENT_ID`: where an event is: what the gateway decided, where it lies on the topics, which record it caused,
//! whether its row is in the database and which object holds it. What cannot be known is said to be unknown.

mod archive;
mod words;

use std::{ops::ControlFlow, process::ExitCode, sync::Arc, time::Duration};

use anyhow::bail;
use axum::{
    Json, Router,
    extract::Query,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use serde_json::{Value, json};
use sink_archiver::{ArchiveConfig, whereabouts::Sought};
use stream_runtime::log::{LogConfig, RecordRef, TopicPartition};
use telemetry_schemas::{Codec, Event, EventTime, TtfRecord, json::to_json, rejected::RejectedEvent, topics};

use crate::{
    cli::{ConfigArgs, GatewayArgs, TailSource, TraceArgs},
    config, exit,
    gateway_client::{self, GatewayClient},
    output,
    tail::{From, SharedLog, scan},
};

/// At most so many places of one event are told: an id may be on a topic more than once.
const MAX_PLACES: usize = 20;

/// A scan of days takes its time.
const PATIENCE: Duration = Duration::from_secs(600);

pub async fn run(args: TraceArgs) -> anyhow::Result<ExitCode> {
    From::parse(&args.from)?;
    let found = match args.source(|name| std::env::var(name).ok().filter(|value| !value.is_empty())) {
        TailSource::Config(path) => on_kafka(&args, ConfigArgs { config: Some(path) }).await?,
        TailSource::Url(url) => on_dev(&args, &url).await?,
    };
    if args.json {
        output::line(serde_json::to_string_pretty(&found)?)?;
    } else {
        for line in words::for_people(&found) {
            output::line(line)?;
        }
    }
    let is_known = found["gateway"]["outcome"] != "unknown";
    Ok(if is_known { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILURE) })
}

async fn on_kafka(args: &TraceArgs, config: ConfigArgs) -> anyhow::Result<Value> {
    let config = config::load(&config)?;
    if matches!(config.log, LogConfig::Embedded(_)) {
        bail!("an embedded log is read through the process that holds it: use `--url http://127.0.0.1:8080`");
    }
    let (id, from, archive) = (args.event_id.clone(), From::parse(&args.from)?, config.archive.clone());
    let traced = tokio::task::spawn_blocking(move || {
        let log = stream_runtime::log::open(&config.log, "ttf-trace")?;
        trace(&log, &config::codec(&config)?, &id, from)
    })
    .await??;
    Ok(traced.with_archive(&archive).await)
}

async fn on_dev(args: &TraceArgs, url: &str) -> anyhow::Result<Value> {
    let client = GatewayClient::new(&GatewayArgs { url: url.to_owned(), api_key: None })?;
    let request = client.get("/dev/v1/trace").query(&[("event_id", &args.event_id), ("from", &args.from)]);
    let response = client.ask(request.timeout(PATIENCE)).await?;
    match response.status().as_u16() {
        200 => Ok(response.json().await?),
        404 => bail!("{url} has no trace: it is not a `ttf dev` (for Kafka give --config)"),
        status => bail!("{url} answered {status}: {}", gateway_client::message_of(response).await),
    }
}

#[derive(Deserialize)]
struct Params {
    event_id: String,
    from: String,
}

/// `GET /dev/v1/trace`: how `ttf trace` asks a running `ttf dev`.
pub fn router(log: SharedLog, codec: Arc<Codec>, archive: ArchiveConfig) -> Router {
    let archive = Arc::new(archive);
    let handler = move |Query(params): Query<Params>| {
        let (log, codec, archive) = (log.clone(), codec.clone(), archive.clone());
        async move {
            let traced =
                tokio::task::spawn_blocking(move || trace(&log, &codec, &params.event_id, From::parse(&params.from)?));
            match traced.await {
                Ok(Ok(traced)) => Json(traced.with_archive(&archive).await).into_response(),
                Ok(Err(error)) => refuse(StatusCode::BAD_REQUEST, &error.to_string()),
                Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "the trace failed; it was logged"),
            }
        }
    };
    Router::new().route("/dev/v1/trace", get(handler))
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "code": "bad_request", "message": message }))).into_response()
}

/// What the topics told.
struct Traced {
    found: Value,
    /// The first event of that id.
    first: Option<Sought>,
}

impl Traced {
    /// Everything, with what the archive says.
    async fn with_archive(mut self, config: &ArchiveConfig) -> Value {
        let (row, object) = archive::ask(config, self.first.as_ref()).await;
        self.found["row"] = row;
        self.found["object"] = object;
        self.found
    }
}

/// Looks through the topics from `from` on. Blocks.
fn trace(log: &SharedLog, codec: &Codec, event_id: &str, from: From) -> anyhow::Result<Traced> {
    let mut events = Vec::new();
    let mut first = None;
    let mut user = None;
    places(
        log,
        topics::EVENTS,
        from,
        event_id,
        &mut |record| {
            let event: Event = codec
                .decode(record.value.unwrap_or_default())
                .ok()
                .filter(|event: &Event| event.event_id == event_id)?;
            let told = json!({
                "tenant": event.tenant, "source": event.source, "event_name": event.event_name,
                "received_at": event.received_at.to_rfc3339(), "timestamp": event.timestamp.to_rfc3339(),
            });
            user = event.user_id.clone().map(|user| (event.tenant.clone(), user));
            let at = TopicPartition::new(topics::EVENTS, record.partition);
            first.get_or_insert(Sought { event, at, offset: record.offset });
            Some(told)
        },
        &mut events,
    )?;

    let mut rejected = Vec::new();
    let quoted = format!("\"{event_id}\"");
    places(
        log,
        topics::EVENTS_REJECTED,
        from,
        &quoted,
        &mut |record| {
            let event: RejectedEvent = codec.decode(record.value.unwrap_or_default()).ok()?;
            let reasons: Vec<_> =
                event.reasons.iter().map(|reason| json!({"code": reason.code, "path": reason.path})).collect();
            Some(json!({"tenant": event.tenant, "received_at": event.received_at.to_rfc3339(), "reasons": reasons}))
        },
        &mut rejected,
    )?;

    let record = match &user {
        Some((tenant, user)) => record_of(log, codec, from, event_id, tenant, user)?,
        None => json!({"known": false, "why": "only accepted events with a user_id take part in journeys"}),
    };
    let outcome = match (events.is_empty(), rejected.is_empty()) {
        (false, _) => "accepted",
        (true, false) => "rejected",
        (true, true) => "unknown",
    };
    let found = json!({
        "event_id": event_id,
        "gateway": {"outcome": outcome, "events": events, "rejected": rejected},
        "record": record,
    });
    Ok(Traced { found, first })
}

/// Adds where records are that hold `needle` and of which `tell` has something to say.
fn places(
    log: &SharedLog,
    topic: &str,
    from: From,
    needle: &str,
    tell: &mut dyn FnMut(&RecordRef<'_>) -> Option<Value>,
    found: &mut Vec<Value>,
) -> anyhow::Result<()> {
    scan(log, topic, from, false, &mut |record| {
        if let Some(record) = record.filter(|record| holds(record, needle))
            && let Some(mut told) = tell(record)
        {
            told["topic"] = topic.into();
            told["partition"] = record.partition.into();
            told["offset"] = record.offset.into();
            found.push(told);
        }
        if found.len() >= MAX_PLACES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

/// Texts stand in records as they are; so most need not be decoded.
fn holds(record: &RecordRef<'_>, needle: &str) -> bool {
    let value = record.value.unwrap_or_default();
    !needle.is_empty() && value.windows(needle.len()).any(|bytes| bytes == needle.as_bytes())
}

/// The record the event caused, or else the latest of its user.
fn record_of(
    log: &SharedLog,
    codec: &Codec,
    from: From,
    event_id: &str,
    tenant: &str,
    user_id: &str,
) -> anyhow::Result<Value> {
    let (mut caused, mut latest) = (Value::Null, Value::Null);
    scan(log, topics::TTF_RECORDS, from, false, &mut |record| {
        let decoded = record.filter(|record| holds(record, user_id)).and_then(|record| {
            let decoded: TtfRecord = codec.decode(record.value.unwrap_or_default()).ok()?;
            Some((record.partition, record.offset, decoded))
        });
        if let Some((partition, offset, decoded)) = decoded
            && decoded.tenant == tenant
            && decoded.user_id == user_id
        {
            let whole = to_json(&decoded);
            let told = json!({
                "journey": whole["journey"], "attempt": whole["attempt"], "revision": whole["revision"],
                "status": whole["status"], "emitted_at": whole["emitted_at"],
                "topic": topics::TTF_RECORDS, "partition": partition, "offset": offset,
            });
            if caused.is_null() && whole["cause_event_id"] == event_id {
                caused = told.clone();
            }
            latest = told;
        }
        ControlFlow::Continue(())
    })?;
    Ok(match (caused.is_null(), latest.is_null()) {
        (false, _) => json!({"known": true, "caused": caused}),
        (true, false) => json!({
            "known": false, "latest_of_user": latest,
            "why": "no record names it as its cause: it changed nothing, another milestone came with it, or it waits to be processed",
        }),
        (true, true) => {
            json!({"known": false, "why": "there is no record of this user: no signup is known yet, or it waits to be processed"})
        }
    })
}

/// A day ago, as the command line has it.
pub fn a_day_ago() -> String {
    EventTime(service_kit::clock::now_ms() - 86_400_000).to_rfc3339()
}
