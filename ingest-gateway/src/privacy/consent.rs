//! What is left of an event whose person did not agree to analytics.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    config::{ConsentConfig, Unknown, WithoutAnalytics},
    keyring::{Keyring, is_pseudonym},
};

/// The events that are milestones of some journey, each with the properties its definitions look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Milestones(BTreeMap<String, BTreeSet<String>>);

impl FromIterator<(String, BTreeSet<String>)> for Milestones {
    /// Properties of the same event add up.
    fn from_iter<I: IntoIterator<Item = (String, BTreeSet<String>)>>(events: I) -> Self {
        let mut milestones = BTreeMap::<_, BTreeSet<_>>::new();
        for (event, properties) in events {
            milestones.entry(event).or_default().extend(properties);
        }
        Self(milestones)
    }
}

/// Nothing of the event may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsentMissing;

/// Fields a milestone keeps besides its person, properties and consent.
const KEPT: [&str; 5] = ["event_name", "event_type", "event_id", "timestamp", "journey_id"];

/// True when the event may be used for analytics, as far as it and the configuration say.
pub fn is_granted(config: ConsentConfig, event: &Map<String, Value>) -> bool {
    if config.without_analytics == WithoutAnalytics::Everything {
        return true;
    }
    let said =
        event.get("context").and_then(|context| context.get("consent")).and_then(|consent| consent.get("analytics"));
    match said {
        Some(Value::Bool(analytics)) => *analytics,
        // Whatever else stands there is no yes.
        Some(_) => false,
        None => config.unknown == Unknown::Granted,
    }
}

/// Reduces an event without consent to what may be kept of it.
pub fn reduce(
    config: ConsentConfig,
    milestones: &Milestones,
    keyring: &Keyring,
    tenant: &str,
    event: &mut Map<String, Value>,
) -> Result<(), ConsentMissing> {
    if config.without_analytics != WithoutAnalytics::Milestones {
        return Err(ConsentMissing);
    }
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    let looked_at = text("event_name").and_then(|name| milestones.0.get(name));
    if looked_at.is_none() && text("event_type") != Some("ttf_milestone") {
        return Err(ConsentMissing);
    }
    let mut kept = Map::new();
    let person = match (text("user_id"), text("anonymous_id")) {
        (Some(pseudonym), _) if is_pseudonym(pseudonym) => ("user_id", Some(pseudonym.to_owned())),
        (None, Some(pseudonym)) if is_pseudonym(pseudonym) => ("anonymous_id", Some(pseudonym.to_owned())),
        (Some(user), _) => ("user_id", keyring.user_pseudonym(tenant, user)),
        (None, Some(visitor)) => ("anonymous_id", keyring.visitor_pseudonym(tenant, visitor)),
        (None, None) => return Err(ConsentMissing),
    };
    let (field, Some(pseudonym)) = person else {
        return Err(ConsentMissing);
    };
    kept.insert(field.to_owned(), pseudonym.into());
    for key in KEPT {
        kept.extend(event.remove_entry(key));
    }
    if let (Some(names), Some(Value::Object(properties))) = (looked_at, event.get("properties")) {
        let entries = names.iter().filter_map(|name| Some((name.clone(), property(properties, name)?.clone())));
        let properties: Map<String, Value> = entries.collect();
        if !properties.is_empty() {
            kept.insert("properties".to_owned(), properties.into());
        }
    }
    if let Some(Value::Object(mut context)) = event.remove("context") {
        context.retain(|key, _| key == "consent");
        if !context.is_empty() {
            kept.insert("context".to_owned(), context.into());
        }
    }
    *event = kept;
    Ok(())
}

/// A property by its name, or by its path where the name has dots: so that the journey's definition finds it under the
/// same name, without anything that stands beside it.
fn property<'v>(properties: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let nested = || {
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(properties.get(first)?, |value, segment| value.get(segment))
    };
    properties.get(name).or_else(nested)
}
