//! The privacy policy, applied to the JSON of an event, valid or not.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::config::{Action, PrivacyConfig};

/// What a masked value becomes.
const MASK: &str = "***";

/// A configured policy that cannot be carried out; better no start than a promise not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("privacy.fields.\"{path}\": a path starts with `properties.` or `context.`")]
    UnknownRoot { path: String },
    #[error("{setting}: action `{action}` is not available yet; use allow, drop, mask or truncate")]
    ActionNotAvailable { setting: String, action: &'static str },
    #[error(
        "privacy.detectors.{detector}: detectors are not available yet; only `allow` is taken, or name the fields under privacy.fields"
    )]
    DetectorNotAvailable { detector: &'static str },
}

/// A compiled policy.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// As configured; the `class` of what it redacts.
    path: String,
    segments: Vec<String>,
    change: Change,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Drop,
    Mask,
    Truncate,
}

impl Change {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => Action::Drop.as_str(),
            Self::Mask => Action::Mask.as_str(),
            Self::Truncate => Action::Truncate.as_str(),
        }
    }
}

/// One value that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redaction<'p> {
    pub class: &'p str,
    pub action: &'static str,
}

impl Policy {
    pub fn compile(config: &PrivacyConfig) -> Result<Self, PolicyError> {
        for (detector, action) in &config.detectors {
            if *action != Action::Allow {
                return Err(PolicyError::DetectorNotAvailable { detector: detector.as_str() });
            }
        }
        let mut rules = Vec::new();
        for (path, action) in &config.fields {
            let segments: Vec<String> = path.split('.').map(str::to_owned).collect();
            let has_root = matches!(segments[0].as_str(), "properties" | "context");
            if !has_root || segments.len() < 2 || segments.iter().any(String::is_empty) {
                return Err(PolicyError::UnknownRoot { path: path.clone() });
            }
            let change = match action {
                Action::Allow => continue,
                Action::Drop => Change::Drop,
                Action::Mask => Change::Mask,
                Action::Truncate => Change::Truncate,
                Action::Hash | Action::Seal => {
                    let setting = format!("privacy.fields.\"{path}\"");
                    return Err(PolicyError::ActionNotAvailable { setting, action: action.as_str() });
                }
            };
            rules.push(Rule { path: path.clone(), segments, change });
        }
        Ok(Self { rules })
    }

    /// Applies the policy in place and tells what was changed.
    pub fn apply(&self, event: &mut Map<String, Value>) -> Vec<Redaction<'_>> {
        let mut redactions = Vec::new();
        for rule in &self.rules {
            let changed = apply_to_map(event, &rule.segments, rule.change);
            let redaction = Redaction { class: &rule.path, action: rule.change.as_str() };
            redactions.extend(std::iter::repeat_n(redaction, changed));
        }
        redactions
    }
}

/// Returns the number of values changed.
fn apply_to_map(map: &mut Map<String, Value>, path: &[String], change: Change) -> usize {
    let [name, deeper @ ..] = path else {
        return 0;
    };
    let Some(value) = map.get_mut(name) else {
        return 0;
    };
    if !deeper.is_empty() {
        return apply_to_value(value, deeper, change);
    }
    if value.is_null() {
        return 0;
    }
    match changed(value, change) {
        Some(new) if new == *value => return 0,
        Some(new) => *value = new,
        None => {
            map.remove(name);
        }
    }
    1
}

/// Follows the path through objects, and through every item of arrays.
fn apply_to_value(value: &mut Value, path: &[String], change: Change) -> usize {
    match value {
        Value::Object(map) => apply_to_map(map, path, change),
        Value::Array(items) => items.iter_mut().map(|item| apply_to_value(item, path, change)).sum(),
        _ => 0,
    }
}

/// The value after the change; `None` when it is to be left out.
fn changed(value: &Value, change: Change) -> Option<Value> {
    match change {
        Change::Drop => None,
        Change::Mask => Some(Value::String(MASK.to_owned())),
        Change::Truncate => value.as_str().and_then(network_of).map(Value::String),
    }
}

/// The network an address belongs to: /24 for IPv4, /48 for IPv6.
fn network_of(address: &str) -> Option<String> {
    match address.trim().parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            Some(format!("{a}.{b}.{c}.0"))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            Some(std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::privacy::config::Detector;

    fn config(fields: &[(&str, Action)]) -> PrivacyConfig {
        PrivacyConfig {
            fields: fields.iter().map(|(path, action)| ((*path).to_owned(), *action)).collect(),
            detectors: std::collections::BTreeMap::new(),
        }
    }

    fn applied(fields: &[(&str, Action)], event: Value) -> (Value, usize) {
        let policy = Policy::compile(&config(fields)).expect("the policy can be carried out");
        let Value::Object(mut map) = event else { panic!("an event is an object") };
        let redactions = policy.apply(&mut map).len();
        (Value::Object(map), redactions)
    }

    #[test]
    fn each_action_does_what_it_says() {
        let fields = [
            ("context.ip", Action::Truncate),
            ("properties.email", Action::Drop),
            ("properties.people.name", Action::Mask),
            ("properties.plan", Action::Allow),
        ];
        let event = json!({
            "context": {"ip": "203.0.113.77"},
            "properties": {"email": "a@b.example", "people": [{"name": "A"}, {"name": "B"}, 3], "plan": "pro"},
        });
        let (event, redactions) = applied(&fields, event);
        assert_eq!(
            event,
            json!({
                "context": {"ip": "203.0.113.0"},
                "properties": {"people": [{"name": "***"}, {"name": "***"}, 3], "plan": "pro"},
            })
        );
        assert_eq!(redactions, 4);
    }

    #[test]
    fn addresses_are_cut_to_their_network_and_anything_else_is_left_out() {
        for (given, kept) in [
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1::")),
            ("::ffff:203.0.113.77", Some("203.0.113.0")),
            ("203.0.113.0", Some("203.0.113.0")),
            ("not an address", None),
        ] {
            let (event, _) = applied(&[("context.ip", Action::Truncate)], json!({"context": {"ip": given}}));
            assert_eq!(event["context"].get("ip").and_then(Value::as_str), kept, "{given}");
        }
    }

    #[test]
    fn an_event_of_any_shape_is_survived() {
        for event in [json!({}), json!({"context": 3}), json!({"context": {"ip": null}}), json!({"properties": ["x"]})]
        {
            let (after, redactions) =
                applied(&[("context.ip", Action::Mask), ("properties.a.b", Action::Drop)], event.clone());
            assert_eq!((after, redactions), (event, 0));
        }
    }

    #[test]
    fn what_cannot_be_done_is_an_error_at_the_start() {
        let refused = |config: &PrivacyConfig| Policy::compile(config).expect_err("must be refused").to_string();
        insta::assert_snapshot!(refused(&config(&[("properties.email", Action::Seal)])), @r#"privacy.fields."properties.email": action `seal` is not available yet; use allow, drop, mask or truncate"#);
        insta::assert_snapshot!(refused(&config(&[("user_id", Action::Drop)])), @r#"privacy.fields."user_id": a path starts with `properties.` or `context.`"#);
        let detectors = [(Detector::Email, Action::Mask)].into();
        let config = PrivacyConfig { detectors, ..config(&[]) };
        insta::assert_snapshot!(refused(&config), @"privacy.detectors.email: detectors are not available yet; only `allow` is taken, or name the fields under privacy.fields");
    }
}
