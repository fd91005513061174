//! Section `privacy` of the configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Says what is done with which fields and with what the detectors find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyConfig {
    /// Path below the event, such as `context.ip` or `properties.email` → what is done with its value.
    pub fields: BTreeMap<String, Action>,
    /// Kind of personal data that is looked for in every text → what is done with it.
    pub detectors: BTreeMap<Detector, Action>,
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
