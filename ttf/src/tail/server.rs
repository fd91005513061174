//! `GET /dev/v1/tail/{stream}`: how `ttf tail` reads the embedded log of a running `ttf dev`. One JSON object a
//! line, empty lines as heartbeats. Only `ttf dev` serves it.

use std::{ops::ControlFlow, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Path, Query},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use service_kit::CancellationToken;
use telemetry_schemas::Codec;
use tokio::sync::mpsc;

use super::{From, SharedLog, read};
use crate::cli::Stream;

/// Lines in flight to one reader before the log is read no further.
const BUFFERED_LINES: usize = 256;

#[derive(Deserialize)]
struct Params {
    #[serde(default = "now")]
    from: String,
    #[serde(default = "yes")]
    follow: bool,
}

fn now() -> String {
    "now".to_owned()
}

fn yes() -> bool {
    true
}

/// Ends its answers when `shutdown` comes.
pub fn router(log: SharedLog, codec: Arc<Codec>, shutdown: CancellationToken) -> Router {
    Router::new().route(
        "/dev/v1/tail/{stream}",
        get(move |Path(stream): Path<String>, Query(params): Query<Params>| {
            let (log, codec, shutdown) = (log.clone(), codec.clone(), shutdown.clone());
            async move { tail(log, codec, &stream, &params, shutdown) }
        }),
    )
}

fn tail(log: SharedLog, codec: Arc<Codec>, stream: &str, params: &Params, shutdown: CancellationToken) -> Response {
    let Some(stream) = Stream::by_name(stream) else {
        return refuse(StatusCode::NOT_FOUND, "there is events, records, breaches, rejected and notifications");
    };
    let from = match From::parse(&params.from) {
        Ok(from) => from,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let (lines, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(BUFFERED_LINES);
    let follow = params.follow;
    tokio::task::spawn_blocking(move || {
        let send = |line: Bytes| match lines.blocking_send(Ok(line)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let outcome = read::read(&log, &codec, stream, from, follow, &mut |value| match value {
            None if shutdown.is_cancelled() => ControlFlow::Break(()),
            None if follow => send(Bytes::from_static(b"\n")),
            None => ControlFlow::Continue(()),
            Some(value) => send(format!("{value}\n").into()),
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, stream = stream.name(), "tail ended");
        }
    });
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, axum::Json(json!({ "code": "bad_request", "message": message }))).into_response()
}
