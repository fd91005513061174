//! Sends events over HTTP/1.1 on keep-alive connections and holds every answer against what was sent.
//!
//! Either as fast as it is answered (what can be taken?), or on a schedule (how long does an answer take?). Runs on one
//! thread; bodies are made beforehand.

mod bodies;
mod pace;
mod watch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use telemetry_schemas::EventTime;
use tokio::{net::TcpStream, task::JoinSet};

use self::{bodies::Template, pace::Pace, watch::Used};
use crate::{generate::now_ms, latency::quantile};

/// An answer that takes longer than this ends the run.
const PATIENCE: Duration = Duration::from_secs(60);
/// Different events altogether, at least.
const EVENTS: usize = 10_000;
const ANSWER_LIMIT: usize = 1 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the gateway listens
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// API key
    #[arg(long)]
    key: Option<String>,
    /// Events in one request
    #[arg(long, default_value_t = 100)]
    events: usize,
    /// Keep-alive connections
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests a second; as fast as they are answered where it is not given
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds that are not measured
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Go on when a request is refused with 429; it does not count
    #[arg(long)]
    refusals: bool,
    /// Processes whose CPU time and memory are told
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
}

#[derive(Debug, Serialize)]
pub struct Told {
    /// In the measured time.
    events: u64,
    requests: u64,
    seconds: f64,
    events_per_second: f64,
    body_bytes: usize,
    /// From when a request was due until its answer was read.
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// In the whole run, each accepted by an answer that said so.
    accepted_in_all: u64,
    /// CPU time of this program, warm-up and all, over its time: near 1.0 it holds back what it measures.
    own_cores: f64,
    processes: Vec<Used>,
}

/// What the connections have in common.
struct Load {
    to: String,
    authorization: Option<HeaderValue>,
    events: usize,
    refusals: bool,
    templates: Vec<Template>,
    pace: Arc<Pace>,
    answered: Arc<AtomicU64>,
    measured_from: Instant,
    measured_to: Instant,
}

pub fn run(args: &Args) -> anyhow::Result<Told> {
    if args.events == 0 || args.connections == 0 {
        bail!("there must be events and connections");
    }
    let now = now_ms();
    // The run's time tells its events from those of the one before.
    let templates = bodies::templates(EVENTS.div_ceil(args.events).max(8), args.events, now as u32, EventTime(now));
    let body_bytes = templates.iter().map(Template::bytes).sum::<usize>() / templates.len();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(drive(args, templates, body_bytes))
}

async fn drive(args: &Args, templates: Vec<Template>, body_bytes: usize) -> anyhow::Result<Told> {
    let (own_before, answered) = (crate::process::usage(std::process::id())?, Arc::new(AtomicU64::new(0)));
    let pace = Pace::start(args.rate);
    let measured_from = pace.began() + Duration::from_secs_f64(args.warm_up);
    let duration = Duration::from_secs_f64(args.seconds);
    let load = Arc::new(Load {
        to: args.to.clone(),
        authorization: args.key.as_ref().map(|key| HeaderValue::try_from(format!("Bearer {key}"))).transpose()?,
        events: args.events,
        refusals: args.refusals,
        templates,
        pace: pace.clone(),
        answered: answered.clone(),
        measured_from,
        measured_to: measured_from + duration,
    });
    let mut connections = JoinSet::new();
    for _ in 0..args.connections {
        connections.spawn(connection(load.clone()));
    }
    let watching = thread::spawn({
        let (pids, pace) = (args.pids.clone(), pace.clone());
        move || {
            let measured = watch::measure(&pids, &answered, measured_from, duration);
            pace.end();
            measured
        }
    });
    let mut millis = Vec::new();
    while let Some(ended) = connections.join_next().await {
        millis.extend(ended??);
    }
    // Whoever ends by itself has failed, and was told above.
    let Ok(measured) = watching.join() else { bail!("the watching thread panicked") };
    let measured = measured?;
    let own = crate::process::usage(std::process::id())?.cpu_seconds - own_before.cpu_seconds;
    millis.sort_unstable_by(f64::total_cmp);
    let events = measured.answered * args.events as u64;
    Ok(Told {
        events,
        requests: measured.answered,
        seconds: measured.seconds,
        events_per_second: events as f64 / measured.seconds,
        body_bytes,
        p50_ms: quantile(&millis, 0.5),
        p90_ms: quantile(&millis, 0.9),
        p99_ms: quantile(&millis, 0.99),
        max_ms: quantile(&millis, 1.0),
        accepted_in_all: load.answered.load(Ordering::Relaxed) * args.events as u64,
        own_cores: own / pace.began().elapsed().as_secs_f64(),
        processes: measured.used,
    })
}

/// Sends until the pace ends; the answer is how long each request took that was due in the measured time.
async fn connection(load: Arc<Load>) -> anyhow::Result<Vec<f64>> {
    let stream = TcpStream::connect(&load.to).await.with_context(|| format!("nobody listens on {}", load.to))?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut millis = Vec::new();
    while let Some((number, due)) = load.pace.next().await {
        let template = &load.templates[number as usize % load.templates.len()];
        let body = template.numbered(number * load.events as u64);
        let sent = tokio::time::timeout(PATIENCE, send(&mut sender, &load, body));
        if !sent.await.context("a request was not answered in time")?? {
            continue;
        }
        load.answered.fetch_add(1, Ordering::Relaxed);
        if due >= load.measured_from && due < load.measured_to {
            millis.push(due.elapsed().as_secs_f64() * 1_000.0);
        }
    }
    Ok(millis)
}

#[derive(Deserialize)]
struct Answer {
    accepted: usize,
}

/// Whether the events were taken; anything but that and a refusal that is allowed is an error.
async fn send(sender: &mut SendRequest<Body>, load: &Load, body: Bytes) -> anyhow::Result<bool> {
    let mut request = Request::post("/api/v1/events")
        .header(header::HOST, &load.to)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))?;
    if let Some(authorization) = &load.authorization {
        request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
    }
    sender.ready().await?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let answer = axum::body::to_bytes(Body::new(response.into_body()), ANSWER_LIMIT).await?;
    if load.refusals && status == StatusCode::TOO_MANY_REQUESTS {
        return Ok(false);
    }
    let accepted = serde_json::from_slice::<Answer>(&answer).map(|answer| answer.accepted);
    if status != StatusCode::ACCEPTED || accepted.ok() != Some(load.events) {
        bail!("{} events were answered with {status}: {}", load.events, String::from_utf8_lossy(&answer));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Serves one connection, gives every request the same answer, and runs the load against it.
    fn answered_with(status: &'static str, answer: &'static str) -> anyhow::Result<Told> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let to = listener.local_addr()?.to_string();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let (mut stream, _) = TcpListener::from_std(listener)?.accept().await?;
                let mut request = [0; 4096];
                // A request of one event comes in one piece.
                while stream.read(&mut request).await? > 0 {
                    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
                    stream.write_all(format!("{head}{answer}").as_bytes()).await?;
                }
                anyhow::Ok(())
            })
        });
        let args = Args {
            to,
            key: None,
            events: 1,
            connections: 1,
            rate: Some(200.0),
            warm_up: 0.05,
            seconds: 0.5,
            refusals: true,
            pids: vec![std::process::id()],
        };
        run(&args)
    }

    #[test]
    fn what_was_accepted_is_counted_and_timed() {
        let told = answered_with("202 Accepted", r#"{"accepted":1}"#).unwrap();
        assert!(told.events > 0 && told.accepted_in_all >= told.events, "{told:?}");
        assert!(told.p50_ms > 0.0 && told.p99_ms >= told.p50_ms, "{told:?}");
        assert_eq!(told.processes.len(), 1);
    }

    #[test]
    fn an_answer_that_does_not_accept_everything_ends_the_run() {
        let failure = |status, answer| format!("{:#}", answered_with(status, answer).unwrap_err());
        assert!(failure("202 Accepted", r#"{"accepted":0}"#).contains("1 events were answered with 202"));
        assert!(failure("202 Accepted", "{}").contains("{}"));
        assert_eq!(
            answered_with("429 Too Many Requests", "{}").unwrap().accepted_in_all,
            0,
            "allowed here, but not counted"
        );
        assert!(failure("503 Service Unavailable", r#"{"accepted":1}"#).contains("503"));
    }
}
