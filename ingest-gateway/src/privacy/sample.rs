//! What a policy would do to an event, without a gateway.

use serde::Serialize;
use serde_json::{Map, Value};

use super::policy::{Policy, Redaction, Treated};
use crate::validate;

/// What would be written of an event.
#[derive(Debug, Serialize)]
pub struct Sample<'p> {
    /// `accepted`, or `rejected` when it does not meet the schema or lacks consent.
    pub outcome: &'static str,
    pub redactions: Vec<Redaction<'p>>,
    /// Paths of sealed values.
    pub sealed: Vec<String>,
    /// The event after the policy; a text where it is no JSON, null where nothing is written.
    pub written: Value,
}

/// Applies the policy to the text of one event, as the gateway would. `event_bytes` is the limit of an event's size.
pub fn sample<'p>(policy: &'p Policy, tenant: &'p str, raw: &[u8], event_bytes: usize) -> Sample<'p> {
    let rejected = |treated: Option<(Treated<'p>, Value)>| {
        let (treated, written) = treated.unwrap_or_default();
        Sample { outcome: "rejected", redactions: treated.redactions, sealed: Vec::new(), written }
    };
    let read = |mut event: Map<String, Value>| {
        let treated = policy.apply_to_rejected(tenant, &mut event)?;
        Some((treated, event.into()))
    };
    match validate::event(raw, event_bytes) {
        Ok(mut checked) => {
            let event = checked.content_mut();
            match policy.apply(tenant, event) {
                Ok(treated) => Sample {
                    outcome: "accepted",
                    redactions: treated.redactions,
                    sealed: treated.sealed.into_keys().collect(),
                    written: event.clone().into(),
                },
                Err(_) => rejected(None),
            }
        }
        Err(invalid) => {
            if let Some(event) = invalid.content {
                return rejected(read(event));
            }
            let text = policy.apply_to_raw(raw).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            rejected(text.map(|text| (Treated::default(), text.into())))
        }
    }
}
