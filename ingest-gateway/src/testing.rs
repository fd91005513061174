//! What the tests of this crate share.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use service_kit::{
    Metrics,
    config::{KeyConfig, KeyHash, KeyScope, RateLimits, Sources, TenantConfig, TenantsConfig},
};
use sha2::{Digest, Sha256};
use telemetry_schemas::time::Millis;

use crate::{
    GatewayConfig, PlanConfig, PrivacyConfig,
    app_metrics::AppMetrics,
    judge::Judge,
    metrics::EventMetrics,
    privacy::{Milestones, Policies, Treatment},
};

#[derive(Deserialize)]
struct Sections {
    gateway: GatewayConfig,
    privacy: PrivacyConfig,
    #[allow(dead_code, reason = "reading it is the check")]
    plan: PlanConfig,
    #[serde(flatten)]
    _others: BTreeMap<String, serde_json::Value>,
}

fn sections() -> Sections {
    let defaults = include_str!("../../config/telemetry.yaml");
    service_kit::config::load(Sources::new(defaults)).expect("the defaults are valid")
}

/// The section `gateway` of the default configuration, on any free port.
pub fn gateway_config() -> GatewayConfig {
    let mut config = sections().gateway;
    config.listen = ([127, 0, 0, 1], 0).into();
    config.kafka_ingress.enabled = false;
    config
}

/// The section `privacy` of the default configuration.
pub fn privacy_config() -> PrivacyConfig {
    sections().privacy
}

/// The default privacy policy at work.
pub fn treatment(metrics: EventMetrics) -> Treatment {
    let policies = Policies::compile(&privacy_config(), &Milestones::default()).expect("the default policy compiles");
    Treatment { policies: Arc::new(policies), metrics, payload_bytes: 32 * 1024 }
}

/// The tenant `default` without keys, and `acme` with `acme-secret` (ingest), `acme-reader` and `acme-admin`.
pub fn tenants() -> TenantsConfig {
    let key = |name: &str, secret: &str, scope| KeyConfig {
        name: name.to_owned(),
        sha256: KeyHash::new(Sha256::digest(secret.as_bytes()).into()),
        scopes: vec![scope],
        limits: RateLimits::default(),
    };
    let acme = TenantConfig {
        keys: vec![
            key("acme ingest", "acme-secret", KeyScope::Ingest),
            key("acme read", "acme-reader", KeyScope::Read),
            key("acme admin", "acme-admin", KeyScope::Admin),
        ],
        ..TenantConfig::default()
    };
    let default = TenantConfig::default();
    [("default".to_owned(), default), ("acme".to_owned(), acme)].into_iter().collect()
}

/// Judges by the default limits and policies, for [`tenants`].
pub fn judge(metrics: &Metrics) -> Judge {
    let tenants = Arc::new(tenants());
    let events = EventMetrics::new(metrics, tenants.clone());
    Judge {
        event_bytes: 32 * 1024,
        max_skew: Millis(300_000),
        max_future: Millis(86_400_000),
        tenants,
        plans: Arc::default(),
        treatment: treatment(events.clone()),
        metrics: events,
        app_metrics: AppMetrics::new(metrics, &gateway_config().app_metrics),
    }
}
