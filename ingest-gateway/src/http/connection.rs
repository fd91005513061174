//! One client connection: which HTTP it speaks, and what it may cost.
//!
//! HTTP/2 is spoken with who asks for it in the TLS handshake, or begins with its preface without TLS. There a client
//! costs more than its connection: requests run beside each other, and taking one back is a frame of a few bytes. So
//! streams are bounded, a connection without requests ends, and so does one that takes most of its requests back
//! (CVE-2023-44487).

use std::{
    io::{self, Cursor},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::response::Response;
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulConnection, Watcher},
};
use prometheus::IntCounterVec;
use service_kit::CancellationToken;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use super::{front::Front, tls::HTTP_2};

/// Limits of connections.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// A request's head must be complete within this time; an idle connection is closed after it.
    pub header_timeout: Duration,
    pub header_bytes: usize,
    pub connections: usize,
    /// Requests beside each other on one HTTP/2 connection.
    pub streams: u32,
}

/// With what HTTP/2 begins where no handshake could agree on it (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client may send of one body, or of all bodies of a connection, before the gateway has read it.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// So many requests of a connection may be taken back before it is looked at, ...
const TAKEN_BACK: usize = 100;

/// ... and so many that are not even begun yet are a breach of the protocol.
const UNBEGUN_RESETS: usize = 20;

/// Once we are to end, a connection that was opened before has so long to say its first bytes.
const FAREWELL: Duration = Duration::from_secs(1);

/// A peer that does not answer a ping within this time is gone.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How connections are spoken on; cheap to clone.
#[derive(Clone)]
pub struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    limits: ServerLimits,
    front: Front,
    /// By reason.
    cut: IntCounterVec,
}

impl Protocols {
    pub fn new(front: Front, limits: ServerLimits, cut: IntCounterVec) -> Self {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(limits.header_bytes);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(UNBEGUN_RESETS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(limits.header_timeout)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { http1, http2, limits, front, cut }
    }

    /// Serves a connection to its end. `watcher` ends it in good order, when that is asked for.
    ///
    /// # Errors
    /// How it ended early.
    pub async fn serve(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        acceptor: Option<TlsAcceptor>,
        watcher: Watcher,
        shutdown: CancellationToken,
    ) -> Result<(), hyper::Error> {
        // A client that does not get through its handshake is cut off as one that sends no head.
        let limit = self.limits.header_timeout;
        let Some(acceptor) = acceptor else {
            let (mut read, write) = stream.into_split();
            let Some((first, is_http2)) = opened(first_bytes(&mut read), limit, &shutdown).await else {
                return Ok(());
            };
            let stream = tokio::io::join(Cursor::new(first).chain(read), write);
            return self.speak(is_http2, stream, peer, watcher, shutdown).await;
        };
        let Some(stream) = opened(acceptor.accept(stream), limit, &shutdown).await else {
            return Ok(());
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        self.speak(is_http2, stream, peer, watcher, shutdown).await
    }

    async fn speak(
        self,
        is_http2: bool,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        watcher: Watcher,
        shutdown: CancellationToken,
    ) -> Result<(), hyper::Error> {
        let Self { http1, http2, limits, front, cut } = self;
        let answer = move |request: Request<Incoming>| front.clone().answer(request, peer);
        let stream = TokioIo::new(stream);
        if !is_http2 {
            return watcher.watch(http1.serve_connection(stream, service_fn(answer))).await;
        }
        let traffic = Arc::new(Traffic::default());
        let counted = traffic.clone();
        let service = service_fn(move |request| {
            let (entry, answer) = (Entry::new(counted.clone()), answer(request));
            async move {
                let response: Result<Response, _> = answer.await;
                entry.done();
                response
            }
        });
        let connection = http2.serve_connection(stream, service);
        let ended = supervised(connection, &traffic, limits.header_timeout, shutdown, &cut).await;
        // Whoever waits for the connections to end waits for this one, too.
        drop(watcher);
        ended
    }
}

/// What a connection begins with; `None` when it does not come within `limit`, or soon after we are told to end: whoever
/// has said nothing yet must not hold that up.
async fn opened<T>(
    opening: impl Future<Output = io::Result<T>>,
    limit: Duration,
    shutdown: &CancellationToken,
) -> Option<T> {
    let farewell = async {
        shutdown.cancelled().await;
        tokio::time::sleep(FAREWELL).await;
    };
    tokio::select! {
        opened = tokio::time::timeout(limit, opening) => opened.ok()?.ok(),
        () = farewell => None,
    }
}

/// Reads until it is clear whether the client begins with HTTP/2's preface. What was read is the answer's first part.
async fn first_bytes(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Vec<u8>, bool)> {
    let mut first = Vec::with_capacity(PREFACE.len());
    loop {
        let missing = PREFACE.len() - first.len();
        let read = (&mut *stream).take(missing as u64).read_buf(&mut first).await?;
        if read == 0 || !PREFACE.starts_with(&first) {
            return Ok((first, false));
        }
        if first.len() == PREFACE.len() {
            return Ok((first, true));
        }
    }
}

async fn supervised<C: GracefulConnection>(
    connection: C,
    traffic: &Traffic,
    limit: Duration,
    shutdown: CancellationToken,
    cut: &IntCounterVec,
) -> Result<(), C::Error> {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = traffic.is_abused() => {
            cut.with_label_values(&["resets"]).inc();
            return Ok(());
        }
        () = traffic.is_idle_for(limit) => cut.with_label_values(&["idle"]).inc(),
        () = shutdown.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    // Requests under way end; a client that then does not go is left.
    tokio::select! {
        ended = connection => ended,
        () = traffic.is_abused() => Ok(()),
        () = traffic.is_idle_for(limit) => Ok(()),
    }
}

/// The requests of one HTTP/2 connection.
#[derive(Debug, Default)]
struct Traffic {
    begun: AtomicUsize,
    under_way: AtomicUsize,
    taken_back: AtomicUsize,
    abused: Notify,
}

impl Traffic {
    /// Returns once nothing was asked for at least `limit`, and at most twice that.
    async fn is_idle_for(&self, limit: Duration) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(limit).await;
            if self.under_way.load(Ordering::Relaxed) == 0 && self.begun.load(Ordering::Relaxed) == begun {
                return;
            }
        }
    }

    async fn is_abused(&self) {
        self.abused.notified().await;
    }

    fn take_back(&self) {
        let taken_back = self.taken_back.fetch_add(1, Ordering::Relaxed) + 1;
        if taken_back >= TAKEN_BACK && taken_back.saturating_mul(2) > self.begun.load(Ordering::Relaxed) {
            self.abused.notify_one();
        }
    }
}

/// One request in its connection's books; dropped before it is done, the client took it back.
struct Entry {
    traffic: Arc<Traffic>,
    is_done: bool,
}

impl Entry {
    fn new(traffic: Arc<Traffic>) -> Self {
        traffic.begun.fetch_add(1, Ordering::Relaxed);
        traffic.under_way.fetch_add(1, Ordering::Relaxed);
        Self { traffic, is_done: false }
    }

    fn done(mut self) {
        self.is_done = true;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.traffic.under_way.fetch_sub(1, Ordering::Relaxed);
        if !self.is_done {
            self.traffic.take_back();
        }
    }
}
