//! What a connection hands its requests to: the router, and a way past it for the one request that is nearly all of them.
//!
//! Routing, and each layer around a route, costs allocations and a copy of what the layer holds, for every request.
//! `POST /api/v1/events` has the same handler, metrics and answers here without them. Where pages may call (CORS), the router with its layers answers.

use std::{convert::Infallible, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{Method, Request, StatusCode},
    response::Response,
};
use futures::FutureExt;
use hyper::body::Incoming;
use prometheus::{Histogram, IntCounter};
use service_kit::Kit;
use tower::ServiceExt;

use super::{events, leftover, panicked, router, state::Gateway};

const EVENTS: &str = "/api/v1/events";

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    gateway: Gateway,
    router: Router,
    has_short_way: bool,
    duration: Histogram,
    accepted: IntCounter,
}

impl Front {
    /// Puts the endpoints together. `extra` holds further routes of the process.
    pub fn new(gateway: Gateway, extra: Router, kit: &Kit) -> Self {
        let metrics = &gateway.metrics;
        Self(Arc::new(Inner {
            router: router(gateway.clone(), extra, kit),
            has_short_way: gateway.config.cors.origins.is_empty(),
            duration: metrics.duration.with_label_values(&[EVENTS]),
            accepted: metrics.requests.with_label_values(&[EVENTS, StatusCode::ACCEPTED.as_str()]),
            gateway,
        }))
    }

    /// Answers one request.
    ///
    /// # Errors
    /// None.
    pub async fn answer(self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response, Infallible> {
        let is_short = self.0.has_short_way && request.method() == Method::POST && request.uri().path() == EVENTS;
        let (mut request, leftover) = leftover::lend(request);
        let response = if is_short {
            self.events(request).await
        } else {
            request.extensions_mut().insert(ConnectInfo(peer));
            self.0.router.clone().oneshot(request).await?
        };
        leftover.hear_out(response.status()).await;
        Ok(response)
    }

    async fn events(self, request: Request<Body>) -> Response {
        let Inner { gateway, duration, accepted, .. } = &*self.0;
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let answer = events::post(State(gateway.clone()), parts.uri, parts.headers, body);
        // A handler that panics costs one request.
        let response = AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(panicked);
        match response.status() {
            StatusCode::ACCEPTED => accepted.inc(),
            status => gateway.metrics.requests.with_label_values(&[EVENTS, status.as_str()]).inc(),
        }
        duration.observe(started.elapsed().as_secs_f64());
        response
    }
}
