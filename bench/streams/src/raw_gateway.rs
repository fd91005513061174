//! The floor of the gateway: takes the same bodies and publishes their bytes, without a look at them.
//!
//! Answers when the brokers have acknowledged them, as the gateway does.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context;
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rdkafka::{
    message::DeliveryResult,
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};
use serde::Serialize;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use crate::clients;

/// What the gateway takes at most, too.
const BODY_LIMIT: usize = 5 << 20;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_name = "HOST:PORT")]
    listen: SocketAddr,
    #[arg(long, default_value = "bench.gateway.floor")]
    topic: String,
    /// What is answered as the number of accepted events
    #[arg(long, default_value_t = 100)]
    events: usize,
    /// Cut each body into so many records of the same length, wherever that cuts it
    #[arg(long, default_value_t = 1)]
    records: usize,
    /// Give each record a key of its own, so that they go to all partitions, as those of many users do; without one,
    /// the producer fills one partition after the other
    #[arg(long)]
    keys: bool,
}

#[derive(Debug, Serialize)]
pub struct Served {
    topic: String,
}

/// Hands each delivery report to the request that waits for it.
struct Reports;

impl rdkafka::ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<oneshot::Sender<bool>>;

    fn delivery(&self, report: &DeliveryResult<'_>, waiting: Self::DeliveryOpaque) {
        // A request that was given up does not want to know.
        let _ = waiting.send(report.is_ok());
    }
}

struct Floor {
    producer: ThreadedProducer<Reports>,
    topic: String,
    records: usize,
    /// The next key, where there are keys.
    key: Option<AtomicU64>,
    answer: Bytes,
}

/// Serves until SIGTERM.
pub fn run(brokers: &str, args: &Args) -> anyhow::Result<Served> {
    let floor = Arc::new(Floor {
        // The gateway's linger.
        producer: clients::producer_config(brokers, 2)
            .create_with_context(Reports)
            .context("cannot make a producer")?,
        topic: args.topic.clone(),
        records: args.records.max(1),
        key: args.keys.then(|| AtomicU64::new(0)),
        answer: serde_json::json!({ "code": "accepted", "accepted": args.events }).to_string().into(),
    });
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(args.listen, floor))?;
    Ok(Served { topic: args.topic.clone() })
}

async fn serve(listen: SocketAddr, floor: Arc<Floor>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let mut end = signal(SignalKind::terminate())?;
    loop {
        let (stream, _) = tokio::select! {
            _ = end.recv() => return Ok(()),
            accepted = listener.accept() => accepted?,
        };
        stream.set_nodelay(true)?;
        let floor = floor.clone();
        let service = service_fn(move |request| answer(floor.clone(), request));
        // How a connection ends concerns its client alone.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(floor: Arc<Floor>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (status, body) = if request.method() == Method::POST {
        match axum::body::to_bytes(Body::new(request.into_body()), BODY_LIMIT).await {
            Ok(body) if floor.publish(&body).await => (StatusCode::ACCEPTED, floor.answer.clone()),
            Ok(_) => (StatusCode::SERVICE_UNAVAILABLE, Bytes::new()),
            Err(_) => (StatusCode::BAD_REQUEST, Bytes::new()),
        }
    } else {
        (StatusCode::OK, Bytes::new())
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}

impl Floor {
    /// Whether the brokers have all of it.
    async fn publish(&self, body: &[u8]) -> bool {
        let mut waiting = Vec::with_capacity(self.records);
        for piece in body.chunks(body.len().div_ceil(self.records).max(1)) {
            let (sender, receiver) = oneshot::channel();
            let key = self.key.as_ref().map(|next| format!("user-{:06}", next.fetch_add(1, Ordering::Relaxed)));
            let mut record = BaseRecord::<str, [u8], _>::with_opaque_to(&self.topic, Box::new(sender)).payload(piece);
            record.key = key.as_deref();
            if self.producer.send(record).is_err() {
                return false;
            }
            waiting.push(receiver);
        }
        for receiver in waiting {
            if receiver.await != Ok(true) {
                return false;
            }
        }
        true
    }
}
