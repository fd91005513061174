//! The policy at work on what the gateway writes: accepted events, and what goes to the rejected topic. Counts.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use super::{consent::ConsentMissing, policies::Policies, policy::Treated};
use crate::metrics::EventMetrics;

/// Of a payload that will be cut, so much more is looked at, so that nothing is cut off where it would be recognised.
const BEYOND_THE_CUT: usize = 4_096;

/// Class of payloads of which nothing is written.
const UNREADABLE: &str = "unreadable";

/// The policies and where they count.
#[derive(Debug, Clone)]
pub struct Treatment {
    pub policies: Arc<Policies>,
    pub metrics: EventMetrics,
    /// A rejected event's bytes are cut at this length.
    pub payload_bytes: usize,
}

impl Treatment {
    /// Treats an event that meets the schema; the answer has its sealed values.
    ///
    /// # Errors
    /// Nothing of the event may be kept.
    pub fn accepted(
        &self,
        tenant: &str,
        event: &mut Map<String, Value>,
    ) -> Result<BTreeMap<String, String>, ConsentMissing> {
        let treated = self.policies.of(tenant).apply(tenant, event)?;
        self.count(&treated);
        Ok(treated.sealed)
    }

    /// What may be written of a rejected event that was read: its bytes when the policy changes nothing, else its JSON
    /// after the policy.
    pub fn rejected(&self, tenant: &str, mut event: Map<String, Value>, raw: &[u8]) -> Vec<u8> {
        let Some(treated) = self.policies.of(tenant).apply_to_rejected(tenant, &mut event) else {
            self.metrics.redacted("consent", "drop");
            return Vec::new();
        };
        self.count(&treated);
        let written = if treated.redactions.is_empty() { Some(raw.to_vec()) } else { serde_json::to_vec(&event).ok() };
        self.cut(written.unwrap_or_default())
    }

    /// What may be written of rejected bytes that are no event's JSON.
    pub fn rejected_bytes(&self, tenant: &str, raw: &[u8]) -> Vec<u8> {
        let looked_at = &raw[..raw.len().min(self.payload_bytes.saturating_add(BEYOND_THE_CUT))];
        let Some(mut redacted) = self.policies.of(tenant).apply_to_raw(looked_at) else {
            self.metrics.redacted(UNREADABLE, "drop");
            return Vec::new();
        };
        if redacted != looked_at {
            self.metrics.redacted("text", "mask");
        }
        if looked_at.len() < raw.len() {
            // What stands at the end may go on behind it.
            redacted.truncate(redacted.len().saturating_sub(BEYOND_THE_CUT / 2));
        }
        self.cut(redacted)
    }

    /// A text about an event, which may repeat names of its keys.
    pub fn said(&self, tenant: &str, text: &str) -> String {
        self.policies.of(tenant).masked(text)
    }

    fn cut(&self, mut payload: Vec<u8>) -> Vec<u8> {
        payload.truncate(self.payload_bytes);
        payload
    }

    fn count(&self, treated: &Treated<'_>) {
        for redaction in &treated.redactions {
            self.metrics.redacted(redaction.class, redaction.action);
        }
    }
}
