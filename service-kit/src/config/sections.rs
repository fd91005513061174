//! Sections that several services read: `service`, `metrics` and `tenants`.

use std::{collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroU32};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected},
};

use super::values::{ByteSize, HumanDuration};
use crate::telemetry::LogFormat;

/// What a label shows for a value that is not on its list.
pub const OTHER: &str = "other";

/// Section `service`: what concerns the process, whichever services it runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    /// Name of the installation (`production`, `staging`), in the log's first line.
    pub environment: String,
    /// Where `/health`, `/live`, `/ready` and `/metrics` are served; port 0 takes any free port.
    pub admin_listen: SocketAddr,
    pub log_format: LogFormat,
    /// A `tracing` filter: a level, then exceptions by module (`info,stream_runtime=debug`).
    pub log_level: String,
    /// How long tasks may take to end after SIGTERM.
    pub drain_timeout: HumanDuration,
}

/// Section `metrics`: which values may become labels.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsConfig {
    /// Name of the one segment that journey metrics are split by; none when unset.
    pub segment_by: Option<String>,
    /// Values of that segment that get series of their own; all others are counted as `other`.
    pub segment_values: Vec<String>,
}

impl MetricsConfig {
    /// The `segment` label of a journey: its value of the segment chosen, when that is on the list, else `other`.
    pub fn segment_label<'a>(&'a self, segment: impl FnOnce(&str) -> Option<&'a str>) -> &'a str {
        let value = self.segment_by.as_deref().and_then(segment);
        let listed = value.and_then(|value| self.segment_values.iter().find(|listed| *listed == value));
        listed.map_or(OTHER, String::as_str)
    }
}

/// Section `tenants`: who may send, by tenant id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantsConfig {
    #[serde(deserialize_with = "tenants_by_id")]
    by_id: BTreeMap<String, TenantConfig>,
}

/// One tenant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantConfig {
    /// API keys; none means that nobody can send as this tenant where keys are required.
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
    /// Events older than this are rejected as `timestamp_too_old`; unset means as for the tenant `default`.
    #[serde(default)]
    pub max_event_age: Option<HumanDuration>,
    /// What all its keys together may send.
    #[serde(default)]
    pub limits: RateLimits,
}

/// How much may be sent; what is unset is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    pub events_per_second: Option<NonZeroU32>,
    /// Events that may come at once; unset means 10 seconds' worth.
    pub events_burst: Option<NonZeroU32>,
    /// Of bodies as they are sent.
    pub bytes_per_second: Option<ByteSize>,
    /// Bytes that may come at once; unset means 10 seconds' worth.
    pub bytes_burst: Option<ByteSize>,
    /// In a calendar month, UTC.
    pub events_per_month: Option<u64>,
}

/// One API key, known by its hash alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Shown in logs and audit entries in place of the key.
    pub name: String,
    pub sha256: KeyHash,
    pub scopes: Vec<KeyScope>,
    /// What this key may send, within its tenant's limits.
    #[serde(default)]
    pub limits: RateLimits,
}

/// What a key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyScope {
    /// Send events.
    Ingest,
    /// Read journeys and figures.
    Read,
    /// Erase, acknowledge, silence.
    Admin,
}

/// SHA-256 of an API key, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    /// The first digits: enough to tell keys apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.8}…", self.to_string())
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Not `Unexpected::Str`: somebody may have put the key itself here.
        let expected = "64 hexadecimal digits (printf %s \"$KEY\" | sha256sum)";
        Self::parse(&text).ok_or_else(|| Error::invalid_value(Unexpected::Other("another text"), &expected))
    }
}

impl TenantsConfig {
    /// The tenant of what carries no other.
    pub const DEFAULT: &str = "default";

    pub fn get(&self, tenant: &str) -> Option<&TenantConfig> {
        self.by_id.get(tenant)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &TenantConfig)> {
        self.by_id.iter().map(|(id, tenant)| (id.as_str(), tenant))
    }

    /// The tenant as a metrics label: its id when it is configured, else `other`.
    pub fn label<'a>(&self, tenant: &'a str) -> &'a str {
        if self.by_id.contains_key(tenant) { tenant } else { OTHER }
    }

    /// The tenant's `max_event_age`, else that of the tenant `default`.
    pub fn max_event_age(&self, tenant: &str) -> Option<HumanDuration> {
        let own = |tenant: &str| self.get(tenant).and_then(|tenant| tenant.max_event_age);
        own(tenant).or_else(|| own(Self::DEFAULT))
    }
}

impl FromIterator<(String, TenantConfig)> for TenantsConfig {
    fn from_iter<I: IntoIterator<Item = (String, TenantConfig)>>(tenants: I) -> Self {
        Self { by_id: tenants.into_iter().collect() }
    }
}

fn tenants_by_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, TenantConfig>, D::Error> {
    let tenants = BTreeMap::<String, TenantConfig>::deserialize(deserializer)?;
    let plain = |id: &str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    match tenants.keys().find(|id| !plain(id)) {
        None => Ok(tenants),
        Some(id) => Err(D::Error::custom(format!("tenant id {id:?} must be 1 to 64 letters, digits, `_` or `-`"))),
    }
}
