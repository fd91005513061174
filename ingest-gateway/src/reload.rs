//! Keys and limits of tenants, read again while the gateway runs. A key that was taken out of the configuration stops
//! working within `gateway.reload_interval`, on every gateway, without a restart. Every change is an audit entry.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use service_kit::{CheckHandle, Kit, config::TenantsConfig};
use telemetry_schemas::{EncodeError, audit::AuditEntry, time::EventTime};

use crate::{http::Gateway, metrics::ReloadMetrics};

/// Entries that wait for the log; more are counted in the last one's place.
const MAX_WAITING: usize = 1_000;

/// Reads the section `tenants` as it is now.
#[derive(Clone)]
pub struct TenantsSource(Arc<Read>);

type Read = dyn Fn() -> anyhow::Result<TenantsConfig> + Send + Sync;

impl TenantsSource {
    pub fn new(read: impl Fn() -> anyhow::Result<TenantsConfig> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for TenantsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TenantsSource")
    }
}

/// One difference between two configurations.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    tenant: String,
    action: &'static str,
    target: String,
    what: &'static str,
}

/// Starts to look for changes.
pub fn start(source: TenantsSource, in_force: TenantsConfig, interval: Duration, gateway: Gateway, kit: &Kit) {
    let metrics = ReloadMetrics::new(kit.metrics());
    let check = kit.health().check("gateway configuration");
    let shutdown = kit.shutdown();
    let mut reload = Reload { source, in_force, gateway, metrics, check, waiting: Vec::new(), is_refused: false };
    kit.spawn("gateway reload", async move {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(interval) => reload.look().await?,
            }
        }
    });
}

struct Reload {
    source: TenantsSource,
    in_force: TenantsConfig,
    gateway: Gateway,
    metrics: ReloadMetrics,
    check: CheckHandle,
    /// Audit entries the log has not taken yet.
    waiting: Vec<AuditEntry>,
    is_refused: bool,
}

impl Reload {
    async fn look(&mut self) -> anyhow::Result<()> {
        let source = self.source.clone();
        match tokio::task::spawn_blocking(move || (source.0)()).await? {
            Ok(tenants) => self.take(tenants),
            Err(error) if !self.is_refused => {
                self.is_refused = true;
                self.metrics.reloads.with_label_values(&["refused"]).inc();
                self.check.degraded("the configuration cannot be read; keys stay as they were");
                tracing::error!(error = format!("{error:#}"), "keys and limits stay as they were");
            }
            Err(_) => {}
        }
        self.tell().await;
        Ok(())
    }

    fn take(&mut self, tenants: TenantsConfig) {
        if std::mem::take(&mut self.is_refused) {
            self.check.healthy();
        }
        let changes = changes(&self.in_force, &tenants);
        self.in_force = tenants;
        if changes.is_empty() {
            return;
        }
        self.gateway.keys.replace(&self.in_force);
        self.metrics.reloads.with_label_values(&["taken"]).inc();
        tracing::info!(changes = changes.len(), "keys and limits were read again");
        let now = EventTime(service_kit::clock::now_ms());
        self.waiting.extend(changes.into_iter().map(|change| change.entry(now)));
        self.waiting.truncate(MAX_WAITING);
    }

    /// Writes the audit entries; what the log does not take is tried again.
    async fn tell(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (records, entries) = (self.gateway.records.clone(), self.waiting.clone());
        let encoded = tokio::task::spawn_blocking(move || {
            entries.iter().map(|entry| records.audit(entry)).collect::<Result<Vec<_>, EncodeError>>()
        });
        let Ok(Ok(records)) = encoded.await else {
            tracing::warn!("audit entries wait for the schema registry");
            return;
        };
        let fates = self.gateway.outlet.publish(records, ()).await;
        let mut fates = fates.into_iter();
        self.waiting.retain(|_| fates.next().is_none_or(|fate| fate.is_err()));
        if !self.waiting.is_empty() {
            tracing::warn!(entries = self.waiting.len(), "audit entries wait for the log");
        }
    }
}

impl Change {
    fn entry(self, at: EventTime) -> AuditEntry {
        AuditEntry {
            audit_id: uuid::Uuid::now_v7().to_string(),
            tenant: self.tenant,
            at,
            actor: "system".to_owned(),
            action: self.action.to_owned(),
            target: self.target,
            origin: std::env::var("HOSTNAME").unwrap_or_else(|_| "gateway".to_owned()),
            details: BTreeMap::from([("what".to_owned(), self.what.to_owned())]),
        }
    }
}

/// What differs, by tenant; keys are the same when their names are.
fn changes(old: &TenantsConfig, new: &TenantsConfig) -> Vec<Change> {
    let mut found = Vec::new();
    let none = service_kit::config::TenantConfig::default();
    let mut tenants: Vec<&str> = old.iter().chain(new.iter()).map(|(tenant, _)| tenant).collect();
    tenants.sort_unstable();
    tenants.dedup();
    for tenant in tenants {
        let (before, after) = (old.get(tenant).unwrap_or(&none), new.get(tenant).unwrap_or(&none));
        let mut add = |action, target: String, what| {
            found.push(Change { tenant: tenant.to_owned(), action, target, what });
        };
        for key in &after.keys {
            match before.keys.iter().find(|earlier| earlier.name == key.name) {
                None => add("key_change", format!("key {}", key.name), "added"),
                Some(earlier) if earlier != key => add("key_change", format!("key {}", key.name), "changed"),
                Some(_) => {}
            }
        }
        for key in before.keys.iter().filter(|key| !after.keys.iter().any(|later| later.name == key.name)) {
            add("key_change", format!("key {}", key.name), "removed");
        }
        if before.limits != after.limits {
            add("config_reload", "limits".to_owned(), "changed");
        }
    }
    found
}
