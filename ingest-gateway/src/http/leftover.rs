//! What a sender still sends when its answer is known already.
//!
//! A server that answers and closes while the other side writes makes it fail with a broken pipe, often before it has read
//! the answer (RFC 9112, section 9.6): a 503 with `Retry-After` would look like a crash. So what is left of a body is read
//! and thrown away before a refusal is sent, within bounds. HTTP/2 has streams for that.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Request, StatusCode, Version, header},
};
use futures::StreamExt;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::timeout;

/// A body of this size comes with its head, or is in a buffer of the connection.
const AT_ONCE: u64 = 16 << 10;
/// More is not read for the sake of an answer.
const LIMIT: u64 = 16 << 20;
/// How long a sender may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A body that comes back when whoever reads it has had enough.
struct Lent(Arc<Mutex<Body>>);

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

/// What is left of a body, if that matters.
pub struct Leftover(Option<Arc<Mutex<Body>>>);

/// Lends the body of a request to who answers it.
pub fn lend(request: Request<Incoming>) -> (Request<Body>, Leftover) {
    let size = request.body().size_hint();
    let matters = size.upper().is_none_or(|size| size > AT_ONCE) && size.lower() <= LIMIT;
    // Who asks first has not begun to send.
    let asks_first = request.headers().contains_key(header::EXPECT);
    if request.version() >= Version::HTTP_2 || asks_first || !matters {
        return (request.map(Body::new), Leftover(None));
    }
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(Body::new(body)));
    (Request::from_parts(parts, Body::new(Lent(body.clone()))), Leftover(Some(body)))
}

impl Leftover {
    /// Hears a sender out before it is refused with this status.
    pub async fn hear_out(self, status: StatusCode) {
        // Who was too slow has been waited for already.
        if status.is_success() || status == StatusCode::REQUEST_TIMEOUT {
            return;
        }
        if let Some(body) = self.0 {
            let rest = std::mem::take(&mut *body.lock());
            // Whether it was heard out or not, it gets the answer.
            let _ = timeout(PATIENCE, discard(rest)).await;
        }
    }
}

async fn discard(body: Body) {
    let mut left = LIMIT;
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        let Some(less) = left.checked_sub(chunk.len() as u64) else { return };
        left = less;
    }
}
