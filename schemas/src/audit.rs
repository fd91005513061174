//! `AuditEntry`: who did what, when, from where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::time::EventTime;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    pub audit_id: String,
    pub tenant: String,
    pub at: EventTime,
    /// A key's name, an operator's name, or `system`.
    pub actor: String,
    /// `erasure`, `export`, `ack`, `silence`, `key_change`, `replay`, `config_reload`, ….
    pub action: String,
    /// What it was done to, without personal data.
    pub target: String,
    /// Where the request came from.
    #[serde(default)]
    pub origin: String,
    #[serde(default)]
    pub details: BTreeMap<String, String>,
}
