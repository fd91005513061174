//! The front door: takes events over HTTP and from Kafka, holds each against the event schema and the privacy policy,
//! and puts it on the log. Each event has exactly one counted outcome, and the sender can find out which.
//!
//! - [`http`]: the server, the router, one module per endpoint.
//! - [`ingress`]: events produced straight to Kafka.
//! - [`batch`] cuts a body into events, [`validate`] checks each, [`normalise`] fills in and corrects times,
//!   [`privacy`] handles personal data; [`judge`] is the four of them in order, the same for every way in.
//! - [`records`] encodes what was decided, [`publish`] waits for the log's acknowledgement, [`outcome`] keeps the books.

mod app_metrics;
mod cohorts;
pub mod config;
mod dedup;
mod http;
mod in_flight;
mod ingress;
mod journeys;
mod judge;
mod limits;
mod metrics;
mod normalise;
mod outcome;
pub mod plan;
pub mod privacy;
mod publish;
mod records;
mod reload;
#[cfg(test)]
mod testing;
pub mod validate;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::Router;
use event_readers::{adapters, batch};
use service_kit::{
    Kit,
    config::{MetricsConfig, Secret, TenantsConfig},
};
use stream_runtime::log::{Log, Publisher};
use telemetry_schemas::{Codec, time::Millis};
use tokio_util::task::TaskTracker;

pub use config::{AuthMode, GatewayConfig, PlanConfig};
pub use journeys::JourneyLookup;
pub use privacy::{Milestones, PrivacyConfig};
pub use reload::TenantsSource;

use crate::{
    adapters::EventNames,
    app_metrics::AppMetrics,
    dedup::Dedup,
    http::{Certificates, Gateway, Keys, LogHealth, ServerLimits, Shared, SmokeLimit},
    in_flight::InFlight,
    ingress::Ingress,
    judge::Judge,
    limits::Limits,
    metrics::{DedupMetrics, EventMetrics, HttpMetrics, LimitMetrics},
    plan::Plans,
    privacy::{Policies, Treatment},
    publish::Outlet,
    records::Records,
};

/// Between two tries to reach the schema registry at the start.
const WARM_UP_PAUSE: Duration = Duration::from_secs(1);

/// Starts the gateway on the kit and returns the address it listens on. `extra` holds further routes of the process.
///
/// # Errors
/// A configuration that cannot be carried out, a busy port, a log that cannot be opened.
pub async fn run(
    settings: Settings,
    log: Arc<dyn Log>,
    codec: Codec,
    journeys: Arc<dyn JourneyLookup>,
    extra: Router,
    kit: &Kit,
) -> anyhow::Result<SocketAddr> {
    let opened = log.clone();
    let publisher = tokio::task::spawn_blocking(move || opened.publisher())
        .await
        .context("opening the log was interrupted")?
        .context("cannot publish to the log")?;
    run_with(Parts { settings, publisher, codec, journeys, extra, log: Some(log) }, kit).await
}

/// Everything that is configured.
#[derive(Debug, Clone)]
pub struct Settings {
    pub gateway: GatewayConfig,
    pub tenants: TenantsConfig,
    pub privacy: PrivacyConfig,
    pub plan: PlanConfig,
    /// Which segments get series of their own.
    pub metrics: MetricsConfig,
    /// Of all journeys, for those without consent.
    pub milestones: Milestones,
    /// Where keys and limits are read again; `None`: they stay as they are.
    pub tenants_source: Option<TenantsSource>,
}

/// What a gateway is made of.
struct Parts {
    settings: Settings,
    publisher: Arc<dyn Publisher>,
    codec: Codec,
    journeys: Arc<dyn JourneyLookup>,
    extra: Router,
    /// For the Kafka ingress.
    log: Option<Arc<dyn Log>>,
}

async fn run_with(parts: Parts, kit: &Kit) -> anyhow::Result<SocketAddr> {
    let Parts { settings, publisher, codec, journeys, extra, log } = parts;
    let Settings { gateway: config, tenants, privacy, plan, metrics: labels, milestones, tenants_source } = settings;
    plan::check(&plan)?;
    config.validate()?;
    let tenants = Arc::new(tenants);
    let event_metrics = EventMetrics::new(kit.metrics(), tenants.clone());
    let treatment = Treatment {
        policies: Arc::new(Policies::compile(&privacy, &milestones)?),
        metrics: event_metrics.clone(),
        payload_bytes: config.limits.rejected_payload_bytes.as_usize(),
    };
    let listener = service_kit::net::listen(config.listen, "gateway.listen").await?;
    let address = listener.local_addr().context("cannot tell the listening address")?;

    let judge = Judge {
        event_bytes: config.limits.event_bytes.as_usize(),
        max_skew: Millis(config.max_skew.millis()),
        max_future: Millis(config.max_future.millis()),
        plans: Arc::new(Plans::new(&plan)),
        treatment,
        metrics: event_metrics,
        app_metrics: AppMetrics::new(kit.metrics(), &config.app_metrics),
        tenants: tenants.clone(),
    };
    if let Some(log) = &log {
        cohorts::start(log.clone(), codec.clone(), labels, tenants.clone(), kit);
    }
    let records = Records::new(codec);
    let names = Arc::new(EventNames::compile(&config.compatible.milestones)?);
    let redis = config.redis.as_ref().map(Secret::expose);
    let dedup = Dedup::new(&config.dedup, redis, DedupMetrics::new(kit.metrics()))?;
    if let (true, Some(log)) = (config.kafka_ingress.enabled, log) {
        let ingress = Ingress {
            config: config.kafka_ingress.clone(),
            judge: judge.clone(),
            records: records.clone(),
            names: names.clone(),
            dedup: dedup.clone(),
            batch_events: config.limits.batch_events,
            log,
        };
        ingress.start(kit)?;
    }

    let limits = Limits::new(redis, config.rate_limit_timeout.as_std(), LimitMetrics::new(kit.metrics()))?;
    let metrics = HttpMetrics::new(kit.metrics());
    let certificates = config.tls.clone().map(Certificates::load).transpose()?;
    if let (Some(certificates), Some(tls)) = (&certificates, &config.tls) {
        certificates.clone().watch(tls.reload_interval.as_std(), metrics.tls_reloads.clone(), kit);
    }
    let server_metrics = metrics.clone();
    let server_limits = ServerLimits {
        header_timeout: config.header_timeout.as_std(),
        header_bytes: config.limits.header_bytes.as_usize(),
        connections: config.limits.connections,
        streams: config.limits.streams,
    };
    let gateway = Gateway::new(Shared {
        keys: Keys::new(&config.auth, &tenants),
        smoke_limit: SmokeLimit::new(config.auth.smoke_test, Instant::now()),
        judge,
        records,
        names,
        dedup,
        limits,
        outlet: Outlet::new(publisher, config.ack_timeout.as_std()),
        in_flight: InFlight::new(
            config.limits.in_flight_bytes.as_usize(),
            metrics.in_flight_bytes.clone(),
            metrics.overloaded.clone(),
        ),
        journeys,
        metrics,
        tasks: TaskTracker::new(),
        log_health: LogHealth::new(kit.health().check("gateway log")),
        is_warm: AtomicBool::new(false),
        config,
    });

    warm_up(gateway.clone(), kit);
    if let Some(source) = tenants_source {
        let interval = gateway.config.reload_interval.as_std();
        reload::start(source, (*tenants).clone(), interval, gateway.clone(), kit);
    }
    let front = http::Front::new(gateway.clone(), extra, kit);
    let shutdown = kit.shutdown();
    kit.spawn("gateway http", async move {
        http::serve(listener, front, server_limits, certificates, server_metrics, shutdown).await;
        // Requests whose clients went away are carried to their end, too.
        gateway.tasks.close();
        gateway.tasks.wait().await;
        Ok(())
    });
    tracing::info!(%address, "the gateway takes events");
    Ok(address)
}

/// Makes the codec know its schemas before the first event, and readiness wait for that.
fn warm_up(gateway: Gateway, kit: &Kit) {
    let ready = kit.health().readiness("gateway schemas");
    let shutdown = kit.shutdown();
    kit.spawn("gateway warm-up", async move {
        loop {
            let records = gateway.records.clone();
            match tokio::task::spawn_blocking(move || records.warm_up()).await? {
                Ok(()) => break,
                Err(error) => tracing::warn!(%error, "waiting for the schema registry"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(WARM_UP_PAUSE) => {}
            }
        }
        gateway.is_warm.store(true, Ordering::Relaxed);
        ready.set(true);
        shutdown.cancelled().await;
        Ok(())
    });
}
