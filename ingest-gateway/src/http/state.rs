//! What the endpoints share.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use service_kit::CheckHandle;
use telemetry_schemas::time::EventTime;
use tokio_util::task::TaskTracker;

use super::{auth::Keys, smoke_limit::SmokeLimit};
use crate::{
    adapters::EventNames, config::GatewayConfig, dedup::Dedup, in_flight::InFlight, journeys::JourneyLookup,
    judge::Judge, limits::Limits, metrics::HttpMetrics, publish::Outlet, records::Records,
};

/// Handle to the shared parts; cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

/// The shared parts.
pub struct Shared {
    pub config: GatewayConfig,
    pub keys: Keys,
    pub smoke_limit: SmokeLimit,
    pub judge: Judge,
    pub records: Records,
    /// What other products' clients call their events.
    pub names: Arc<EventNames>,
    pub dedup: Dedup,
    pub limits: Limits,
    pub outlet: Outlet,
    pub in_flight: InFlight,
    pub journeys: Arc<dyn JourneyLookup>,
    pub metrics: HttpMetrics,
    /// Requests whose body is in: they are carried to their end whatever the client does.
    pub tasks: TaskTracker,
    pub log_health: LogHealth,
    /// True once encoding does not wait for a schema registry any more.
    pub is_warm: AtomicBool,
}

impl Gateway {
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for Gateway {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The gateway's clock.
pub fn now() -> EventTime {
    EventTime(service_kit::clock::now_ms())
}

/// Shows on `/health` whether the log acknowledges.
#[derive(Debug)]
pub struct LogHealth {
    check: CheckHandle,
    is_degraded: AtomicBool,
}

impl LogHealth {
    pub fn new(check: CheckHandle) -> Self {
        Self { check, is_degraded: AtomicBool::new(false) }
    }

    /// Tells how the latest attempt went; only a change is passed on.
    pub fn observe(&self, acknowledged: bool) {
        if self.is_degraded.swap(!acknowledged, Ordering::Relaxed) == acknowledged {
            if acknowledged {
                self.check.healthy();
            } else {
                self.check.degraded("the log does not acknowledge events");
            }
        }
    }
}
