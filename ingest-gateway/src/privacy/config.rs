//! Section `privacy` of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use service_kit::config::Secret;

/// Says what is done with which fields, with what the detectors find, and without consent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacyConfig {
    /// Path below the event, such as `context.ip` or `properties.email` → what is done with its value.
    pub fields: BTreeMap<String, Action>,
    /// Kind of personal data that is looked for in every text → what is done with it.
    pub detectors: BTreeMap<Detector, Action>,
    pub properties: PropertyLists,
    pub consent: ConsentConfig,
    pub after_erasure: AfterErasure,
    /// For hashes, pseudonyms and sealed values. The first makes new hashes and seals, the last makes pseudonyms, and
    /// all of them open what was sealed.
    pub keys: Vec<PrivacyKey>,
    /// Keys of tenants that have their own instead.
    pub tenant_keys: BTreeMap<String, Vec<PrivacyKey>>,
    /// What is different for single tenants.
    pub tenants: BTreeMap<String, TenantPrivacy>,
}

/// What is different for one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantPrivacy {
    /// In place of the common rules of the same path; the others hold as well.
    pub fields: BTreeMap<String, Action>,
    /// In place of the common actions of the same detector.
    pub detectors: BTreeMap<Detector, Action>,
    /// In place of the common lists.
    pub properties: Option<PropertyLists>,
    /// In place of the common consent.
    pub consent: Option<ConsentConfig>,
    /// In place of the common one.
    pub after_erasure: Option<AfterErasure>,
}

/// What becomes of events of a person that come after the erasure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterErasure {
    /// The person is a new one.
    #[default]
    StartAnew,
    /// Nothing of them is kept, ever. Cannot be taken back for those who were erased so.
    Refuse,
}

/// Which properties are kept at all, by their names directly below `properties`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PropertyLists {
    /// When set, only these are kept.
    pub allow: Option<BTreeSet<String>>,
    /// Never kept, also when `allow` names them.
    pub deny: BTreeSet<String>,
}

/// What follows from `context.consent`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsentConfig {
    pub without_analytics: WithoutAnalytics,
    pub unknown: Unknown,
}

/// What is kept of a person who did not agree to analytics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutAnalytics {
    /// Milestones of journeys, under a pseudonym.
    #[default]
    Milestones,
    Nothing,
    /// Consent is somebody else's business.
    Everything,
}

/// How an event counts that says nothing about consent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    #[default]
    Granted,
    Denied,
}

/// A secret that hashes, pseudonyms and seals are derived from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyKey {
    /// Stands in every hash and seal made with it.
    pub id: String,
    pub secret: Secret,
}

/// What is done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Kept as it is.
    Allow,
    /// Left out.
    Drop,
    /// Replaced by `***`.
    Mask,
    /// Replaced by a keyed hash.
    Hash,
    /// An IP address is cut to its network (IPv4 /24, IPv6 /48); any other value is left out.
    Truncate,
    /// Kept encrypted under the tenant's key, in the event's `sealed` map only.
    Seal,
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Drop => "drop",
            Self::Mask => "mask",
            Self::Hash => "hash",
            Self::Truncate => "truncate",
            Self::Seal => "seal",
        }
    }

    /// True when it cannot be done without a key.
    pub const fn needs_key(self) -> bool {
        matches!(self, Self::Hash | Self::Seal)
    }
}

/// Kinds of personal data that can be recognised by their form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    Email,
    Phone,
    Card,
    NationalId,
    Ip,
    Secret,
}

impl Detector {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::NationalId => "national_id",
            Self::Ip => "ip",
            Self::Secret => "secret",
        }
    }
}
