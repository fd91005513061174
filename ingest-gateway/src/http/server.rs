//! Accepts connections, with TLS where there are certificates, within limits, until it is told to stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::server::graceful::GracefulShutdown;
use service_kit::CancellationToken;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::{
    connection::{Protocols, ServerLimits},
    front::Front,
    tls::Certificates,
};
use crate::metrics::HttpMetrics;

/// After a failed accept (no file descriptors left) the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`; then stops accepting, lets running requests end, and returns.
pub async fn serve(
    listener: TcpListener,
    front: Front,
    limits: ServerLimits,
    certificates: Option<Certificates>,
    metrics: HttpMetrics,
    shutdown: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let protocols = Protocols::new(front, limits, metrics.connections_cut);
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
        let acceptor = certificates.as_ref().map(Certificates::acceptor);
        let served = protocols.clone().serve(stream, peer, acceptor, graceful.watcher(), shutdown.clone());
        let gauge = metrics.connections.clone();
        tokio::spawn(async move {
            gauge.inc();
            // Time-outs and clients that go away are everyday life; what matters is counted per event.
            if let Err(error) = served.await {
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
