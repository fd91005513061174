//! Sections `gateway`, `privacy` and `plan` of the configuration.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use service_kit::config::{ByteSize, HumanDuration, Secret};

use crate::{adapters::EventNames, in_flight::REQUEST};
pub use crate::{plan::PlanConfig, privacy::PrivacyConfig};

/// Section `gateway`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where clients connect; port 0 takes any free port.
    pub listen: SocketAddr,
    pub auth: AuthConfig,
    pub limits: LimitsConfig,
    /// A request's head must be complete within this time; idle connections are closed after it, too.
    pub header_timeout: HumanDuration,
    /// A request's body must be complete within this time.
    pub body_timeout: HumanDuration,
    /// Events that the log has not acknowledged within this time are answered with `retry`.
    pub ack_timeout: HumanDuration,
    /// A client's clock may be off by so much before its timestamps are corrected.
    pub max_skew: HumanDuration,
    /// Events further in the future are rejected.
    pub max_future: HumanDuration,
    pub kafka_ingress: KafkaIngressConfig,
    pub compatible: CompatibleConfig,
    /// Without it, plain HTTP.
    pub tls: Option<TlsConfig>,
    pub dedup: DedupConfig,
    /// `redis://[user:password@]host:port[/db]`: what gateways share. Without one, each has its own.
    pub redis: Option<Secret>,
    /// Redis may take so long to answer about rate limits; after that this process keeps to them alone.
    pub rate_limit_timeout: HumanDuration,
    pub cors: CorsConfig,
    pub app_metrics: AppMetricsConfig,
    /// Keys and limits of tenants are read again this often.
    pub reload_interval: HumanDuration,
}

/// Labels of the metrics that come of `performance` and `error` events.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppMetricsConfig {
    /// Operations with series of their own; empty: the first `max_operations` that come.
    pub operations: Vec<String>,
    pub max_operations: usize,
    /// Likewise, of errors.
    pub error_types: Vec<String>,
    pub max_error_types: usize,
}

/// Which pages may call from a browser.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    /// `https://app.example.com`, `https://*.example.com` (any name below it), or `*` (any page).
    pub origins: Vec<String>,
}

/// Endpoints for the clients of other products.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompatibleConfig {
    pub enabled: bool,
    /// What their clients call an event → the milestone's event name here.
    pub milestones: BTreeMap<String, String>,
}

/// TLS from files in PEM.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those between it and its root.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The files are read again this often.
    pub reload_interval: HumanDuration,
}

/// Recognising events that were taken before.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DedupConfig {
    pub enabled: bool,
    /// An id is remembered for so long.
    pub window: HumanDuration,
    /// Ids held in memory; beyond it the oldest are forgotten first. About 60 bytes each.
    pub max_ids: usize,
    /// Redis may take so long to answer; after that the memory of this process alone decides.
    pub redis_timeout: HumanDuration,
}

/// Who may call.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    pub mode: AuthMode,
    /// Tenant of requests without a key, where those are taken.
    pub keyless_tenant: String,
    /// Requests without a key, where keys are required: only `test` events, only so many a second.
    pub smoke_test: SmokeTestConfig,
    /// Keys that can only send events are taken as `?api_key=`, too, for senders that cannot set headers.
    pub key_in_query: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Every request needs a key, but for the smoke test.
    Required,
    /// Requests without a key may do everything. For `ttf dev` and tests.
    Open,
}

/// The lane for requests without a key.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmokeTestConfig {
    pub requests_per_second: u32,
    pub burst: u32,
}

/// What a request may weigh.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// One event's JSON.
    pub event_bytes: ByteSize,
    pub batch_events: usize,
    /// A body after decompression.
    pub batch_bytes: ByteSize,
    /// A body as it is sent.
    pub body_bytes: ByteSize,
    /// A request's line and headers together.
    pub header_bytes: ByteSize,
    /// All bodies that are not answered yet; beyond it requests get 503 at once. One tenant holds as much as is free: half
    /// of it when it is alone.
    pub in_flight_bytes: ByteSize,
    /// Open client connections; more wait in the system's queue.
    pub connections: usize,
    /// Requests beside each other on one HTTP/2 connection; a client opens no more.
    pub streams: u32,
    /// A rejected event's bytes are cut at this length on the rejected topic.
    pub rejected_payload_bytes: ByteSize,
}

/// Events produced straight to `telemetry.events.raw.v1`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaIngressConfig {
    pub enabled: bool,
    pub group: String,
    /// Stable name of this process among the gateways; part of the transactional id.
    pub ordinal: String,
    /// Tenant of every record on the raw topic.
    pub tenant: String,
    /// Outputs become visible after at most this time.
    pub commit_interval: HumanDuration,
}

/// A value that can be written but not be worked with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("gateway.{setting}: {problem}")]
pub struct InvalidSetting {
    pub setting: &'static str,
    pub problem: &'static str,
}

/// The smallest buffer the HTTP server works with.
const MIN_HEADER_BYTES: usize = 8 * 1024;

impl GatewayConfig {
    /// Checks what the types cannot say.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let limits = &self.limits;
        let rules = [
            (limits.header_bytes.as_usize() >= MIN_HEADER_BYTES, "limits.header_bytes", "must be at least 8KiB"),
            (limits.event_bytes.bytes() > 0, "limits.event_bytes", "must not be 0"),
            (limits.batch_events > 0, "limits.batch_events", "must not be 0"),
            (limits.connections > 0, "limits.connections", "must not be 0"),
            (limits.streams > 0, "limits.streams", "must not be 0"),
            (limits.event_bytes <= limits.batch_bytes, "limits.event_bytes", "must not exceed limits.batch_bytes"),
            (
                limits.in_flight_bytes.bytes() / 2
                    >= limits
                        .batch_bytes
                        .bytes()
                        .saturating_add(limits.body_bytes.bytes())
                        .saturating_add(REQUEST as u64),
                "limits.in_flight_bytes",
                "must be at least twice one whole request (limits.batch_bytes and limits.body_bytes together), as one tenant holds half of it at most",
            ),
            (self.auth.smoke_test.burst > 0, "auth.smoke_test.burst", "must not be 0"),
            (self.reload_interval.millis() > 0, "reload_interval", "must not be 0"),
            (
                self.cors.origins.iter().all(|origin| crate::http::is_origin(origin)),
                "cors.origins",
                "an origin is `https://host[:port]`, `https://*.host[:port]` or `*`",
            ),
            (self.dedup.max_ids > 0, "dedup.max_ids", "must not be 0"),
            (
                EventNames::compile(&self.compatible.milestones).is_ok(),
                "compatible.milestones",
                "every value must be an event's name: 1 to 200 of letters, digits, _ . : $ - and spaces",
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            None => Ok(()),
            Some((_, setting, problem)) => Err(InvalidSetting { setting, problem }),
        }
    }
}

#[cfg(test)]
mod tests {

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let mut config = crate::testing::gateway_config();
        assert_eq!(config.validate(), Ok(()));
        config.limits.in_flight_bytes = config.limits.batch_bytes;
        insta::assert_snapshot!(config.validate().unwrap_err(), @"gateway.limits.in_flight_bytes: must be at least twice one whole request (limits.batch_bytes and limits.body_bytes together), as one tenant holds half of it at most");
    }
}
