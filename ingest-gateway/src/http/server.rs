//! Accepts connections, with TLS where there are certificates, and speaks HTTP/1.1 on them, within limits, until it is
//! told to stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use prometheus::IntGauge;
use service_kit::CancellationToken;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tower::ServiceExt;

use super::tls::Certificates;

/// Limits of connections.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// A request's head must be complete within this time; an idle connection is closed after it.
    pub header_timeout: Duration,
    pub header_bytes: usize,
    pub connections: usize,
}

/// After a failed accept (no file descriptors left) the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`; then stops accepting, lets running requests end, and returns.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ServerLimits,
    certificates: Option<Certificates>,
    open_connections: IntGauge,
    shutdown: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(limits.header_bytes);
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, peer, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // A connection that cannot be tuned still works.
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request.map(Body::new))
        });
        let acceptor = certificates.as_ref().map(Certificates::acceptor);
        let (http, watcher, gauge) = (http.clone(), graceful.watcher(), open_connections.clone());
        tokio::spawn(async move {
            gauge.inc();
            let ended = match acceptor {
                None => watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await,
                // A client that does not get through the handshake is cut off as one that sends no head.
                Some(acceptor) => match tokio::time::timeout(limits.header_timeout, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await,
                    _ => Ok(()),
                },
            };
            // Time-outs and clients that go away are everyday life; what matters is counted per event.
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
            gauge.dec();
            drop(slot);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let slot = slots.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}
