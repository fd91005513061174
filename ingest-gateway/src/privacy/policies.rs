//! The policies of all tenants: the common one, and for some what is different for them.

use std::collections::BTreeMap;

use super::{
    config::{PrivacyConfig, TenantPrivacy},
    consent::Milestones,
    policy::{Policy, PolicyError},
};

/// Every tenant's policy, compiled.
#[derive(Debug, Clone)]
pub struct Policies {
    common: Policy,
    of_tenants: BTreeMap<String, Policy>,
}

impl Policies {
    /// # Errors
    /// What cannot be carried out, with its setting.
    pub fn compile(config: &PrivacyConfig, milestones: &Milestones) -> Result<Self, PolicyError> {
        let compile = |(tenant, own): (&String, &TenantPrivacy)| {
            let policy = Policy::compile(&merged(config, own), milestones.clone());
            let policy =
                policy.map_err(|error| PolicyError::OfTenant { tenant: tenant.clone(), error: Box::new(error) })?;
            Ok((tenant.clone(), policy))
        };
        Ok(Self {
            common: Policy::compile(config, milestones.clone())?,
            of_tenants: config.tenants.iter().map(compile).collect::<Result<_, _>>()?,
        })
    }

    /// The policy of a tenant.
    pub fn of(&self, tenant: &str) -> &Policy {
        // Most installations have none, and need no look-up for that.
        if self.of_tenants.is_empty() {
            return &self.common;
        }
        self.of_tenants.get(tenant).unwrap_or(&self.common)
    }
}

/// What holds for a tenant: single rules in place of the common ones of the same path or detector, and beside the others;
/// lists and consent as a whole.
fn merged(common: &PrivacyConfig, own: &TenantPrivacy) -> PrivacyConfig {
    let mut merged = common.clone();
    merged.tenants.clear();
    merged.fields.extend(own.fields.clone());
    merged.detectors.extend(own.detectors.iter().map(|(detector, action)| (*detector, *action)));
    if let Some(properties) = &own.properties {
        merged.properties = properties.clone();
    }
    if let Some(consent) = own.consent {
        merged.consent = consent;
    }
    merged.after_erasure = own.after_erasure.unwrap_or(merged.after_erasure);
    merged
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::privacy::AfterErasure;

    fn policies(config: Value) -> Result<Policies, PolicyError> {
        Policies::compile(&serde_json::from_value(config).unwrap(), &Milestones::default())
    }

    fn properties(policies: &Policies, tenant: &str, properties: Value) -> Value {
        let mut event = Map::new();
        event.insert("properties".to_owned(), properties);
        policies.of(tenant).apply(tenant, &mut event).unwrap();
        event.remove("properties").unwrap_or_default()
    }

    #[test]
    fn a_tenants_rules_come_before_the_common_ones_and_beside_them() {
        let policies = policies(json!({
            "fields": {"properties.city": "drop", "properties.name": "mask"},
            "detectors": {"email": "mask", "ip": "drop"},
            "tenants": {"acme": {"fields": {"properties.city": "allow"}, "detectors": {"email": "allow"}}},
        }))
        .unwrap();
        let sent = json!({"city": "Bern", "name": "Ada", "note": "a@example.com", "at": "10.1.2.3"});
        assert_eq!(properties(&policies, "other", sent.clone()), json!({"name": "***", "note": "***"}));
        assert_eq!(
            properties(&policies, "acme", sent),
            json!({"city": "Bern", "name": "***", "note": "a@example.com"})
        );
    }

    #[test]
    fn lists_and_consent_of_a_tenant_stand_in_place_of_the_common_ones() {
        let policies = policies(json!({
            "properties": {"deny": ["secret"]},
            "tenants": {"acme": {
                "properties": {"allow": ["plan"]},
                "consent": {"without_analytics": "nothing", "unknown": "denied"},
            }},
        }))
        .unwrap();
        assert_eq!(properties(&policies, "other", json!({"secret": 1, "x": 2})), json!({"x": 2}));
        let mut event = Map::new();
        assert!(policies.of("acme").apply("acme", &mut event).is_err(), "no consent");
        event.insert("context".to_owned(), json!({"consent": {"analytics": true}}));
        event.insert("properties".to_owned(), json!({"secret": 1, "plan": "team"}));
        assert!(policies.of("acme").apply("acme", &mut event).is_ok());
        assert_eq!(event["properties"], json!({"plan": "team"}));
    }

    #[test]
    fn what_follows_an_erasure_is_each_tenants_own() {
        let policies = policies(
            json!({"after_erasure": "refuse", "tenants": {"acme": {"after_erasure": "start_anew"}, "bank": {}}}),
        );
        let policies = policies.unwrap();
        let of = |tenant| policies.of(tenant).after_erasure();
        assert_eq!(
            (of("other"), of("acme"), of("bank")),
            (AfterErasure::Refuse, AfterErasure::StartAnew, AfterErasure::Refuse)
        );
    }

    #[test]
    fn a_rule_that_cannot_be_carried_out_is_named_with_its_tenant() {
        let error = policies(json!({"tenants": {"acme": {"fields": {"properties.x": "hash"}}}})).unwrap_err();
        insta::assert_snapshot!(error, @r#"tenant `acme`: privacy.fields."properties.x": action `hash` needs a key under privacy.keys"#);
    }
}
