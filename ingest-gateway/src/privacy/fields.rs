//! Rules for paths, and the lists of properties that are kept.

use serde_json::{Map, Value};

use super::{
    config::{Action, PropertyLists},
    detect::network_of,
    keyring::{is_hash, is_pseudonym},
    policy::{MASK, Pass},
};

/// What is done with the value under a path.
#[derive(Debug, Clone)]
pub struct Rule {
    /// As configured; the class of what it redacts.
    pub path: String,
    pub segments: Vec<String>,
    pub action: Action,
}

/// Class of what the lists leave out.
const LISTED: &str = "property";

/// What `performance` and `error` events tell by their contract: kept whatever the lists say.
const PERFORMANCE: [&str; 4] = ["operation", "duration_ms", "status", "http_status"];
const ERROR: [&str; 5] = ["error_type", "message", "handled", "severity", "operation"];

impl PropertyLists {
    pub fn is_empty(&self) -> bool {
        self.allow.is_none() && self.deny.is_empty()
    }
}

impl<'p> Pass<'p> {
    /// Leaves out the properties that the lists do not let through.
    pub fn lists(&mut self, lists: &PropertyLists, event: &mut Map<String, Value>) {
        if lists.is_empty() {
            return;
        }
        let by_contract: &[&str] = match event.get("event_type").and_then(Value::as_str) {
            Some("performance") => &PERFORMANCE,
            Some("error") => &ERROR,
            _ => &[],
        };
        let Some(Value::Object(properties)) = event.get_mut("properties") else {
            return;
        };
        properties.retain(|name, _| {
            let is_allowed =
                lists.allow.as_ref().is_none_or(|allow| allow.contains(name)) && !lists.deny.contains(name);
            let is_kept = is_allowed || by_contract.contains(&name.as_str());
            if !is_kept {
                self.note(format!("properties.{name}"), LISTED, Action::Drop);
            }
            is_kept
        });
    }

    /// Carries one rule out.
    pub fn rule(&mut self, rule: &'p Rule, event: &mut Map<String, Value>) {
        self.rule_in_map(rule, &rule.segments, event);
    }

    fn rule_in_map(&mut self, rule: &'p Rule, path: &[String], map: &mut Map<String, Value>) {
        let [name, deeper @ ..] = path else {
            return;
        };
        let Some(value) = map.get_mut(name) else {
            return;
        };
        if !deeper.is_empty() {
            return self.rule_in_value(rule, deeper, value);
        }
        if value.is_null() {
            return;
        }
        match self.changed(rule, value) {
            Some(new) if new == *value => return,
            Some(new) => *value = new,
            None => {
                map.remove(name);
            }
        }
        self.note(rule.path.clone(), &rule.path, rule.action);
    }

    /// Follows the path through objects, and through every item of lists.
    fn rule_in_value(&mut self, rule: &'p Rule, path: &[String], value: &mut Value) {
        match value {
            Value::Object(map) => self.rule_in_map(rule, path, map),
            Value::Array(items) => items.iter_mut().for_each(|item| self.rule_in_value(rule, path, item)),
            _ => {}
        }
    }

    /// The value after the rule; `None` when it is to be left out.
    fn changed(&mut self, rule: &Rule, value: &Value) -> Option<Value> {
        match rule.action {
            Action::Allow => Some(value.clone()),
            Action::Drop => None,
            Action::Mask => Some(MASK.into()),
            Action::Truncate => value.as_str().and_then(network_of).map(Value::String),
            Action::Hash => match value.as_str() {
                Some(text) if is_hash(text) => Some(value.clone()),
                Some(text) => self.hash(text).map(Value::String),
                None => self.hash(&value.to_string()).map(Value::String),
            },
            Action::Seal => {
                self.seal(&rule.path, value);
                None
            }
        }
    }

    /// Puts a pseudonym in place of an id.
    pub fn person(&mut self, field: &'static str, event: &mut Map<String, Value>) {
        let Some(Value::String(id)) = event.get_mut(field) else {
            return;
        };
        if is_pseudonym(id) {
            return;
        }
        let keyring = &self.policy.keyring;
        let pseudonym = match field {
            "user_id" => keyring.user_pseudonym(self.tenant, id),
            _ => keyring.visitor_pseudonym(self.tenant, id),
        };
        *id = pseudonym.unwrap_or_else(|| MASK.to_owned());
        self.note(field.to_owned(), field, Action::Hash);
    }
}
