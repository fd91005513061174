//! What the detectors find in an event, wherever it stands.

use serde_json::{Map, Value};

use super::{
    config::{Action, Detector},
    detect::{Find, is_card_number, names_a_secret, network_of, one_spelling},
    keyring::is_hash,
    policy::{MASK, Pass},
};

/// The parts of `context` that people or servers write into. The others are lists of known words and versions, which
/// look like addresses.
const CONTEXT_TEXTS: [&str; 2] = ["ip", "user_agent"];
const CONTEXT_MAPS: [&str; 2] = ["segments", "experiments"];

/// Names of an event's own fields that detectors leave to the rules for fields.
const IDS: [&str; 7] = ["event_id", "event_type", "timestamp", "user_id", "anonymous_id", "session_id", "journey_id"];

/// The smallest number with as many digits as a card's.
const MIN_CARD: u64 = 1_000_000_000_000;

/// What becomes of a key's name.
enum Name {
    Kept,
    Changed(String),
    /// With its entry.
    LeftOut,
}

impl Pass<'_> {
    /// Looks at an event that meets the schema.
    pub fn event(&mut self, event: &mut Map<String, Value>) {
        let mut path = String::with_capacity(64);
        if let Some(Value::Object(properties)) = event.get_mut("properties") {
            path.push_str("properties");
            self.object(properties, &mut path);
        }
        let Some(Value::Object(context)) = event.get_mut("context") else {
            return;
        };
        "context".clone_into(&mut path);
        for name in CONTEXT_TEXTS {
            if let Some(Value::String(_)) = context.get(name) {
                self.entry(context, name, &mut path);
            }
        }
        for name in CONTEXT_MAPS {
            if let Some(Value::Object(map)) = context.get_mut(name) {
                let length = push(&mut path, name);
                self.object(map, &mut path);
                path.truncate(length);
            }
        }
    }

    /// Looks at all of an event that does not meet the schema, but for the ids it is known by.
    pub fn everything(&mut self, event: &mut Map<String, Value>) {
        let ids =
            IDS.map(|name| if event.get(name).is_some_and(Value::is_string) { event.remove_entry(name) } else { None });
        self.object(event, &mut String::new());
        event.extend(ids.into_iter().flatten());
    }

    fn entry(&mut self, map: &mut Map<String, Value>, name: &str, path: &mut String) {
        let length = push(path, name);
        if map.get_mut(name).is_some_and(|value| !self.value(value, path)) {
            map.remove(name);
        }
        path.truncate(length);
    }

    fn object(&mut self, map: &mut Map<String, Value>, path: &mut String) {
        let policy = self.policy;
        let secret = policy.action(Detector::Secret).filter(|_| policy.detectors.is_on(Detector::Secret));
        let mut renamed = Vec::new();
        map.retain(|name, value| {
            let length = push(path, name);
            let is_kept = match secret {
                Some(action) if names_a_secret(name) => self.named_secret(action, value, path),
                _ => self.value(value, path),
            };
            path.truncate(length);
            if !is_kept {
                return false;
            }
            match self.name(name, path) {
                Name::Kept => true,
                Name::LeftOut => false,
                Name::Changed(new) => {
                    renamed.push((new, value.take()));
                    false
                }
            }
        });
        for (name, value) in renamed {
            map.entry(name).or_insert(value);
        }
    }

    /// A key's name after the detectors.
    fn name(&mut self, name: &str, path: &str) -> Name {
        let finds = self.policy.detectors.find(name);
        if finds.is_empty() || self.policy.has_rule(path) {
            return Name::Kept;
        }
        for find in &finds {
            self.note(path.to_owned(), find.detector.as_str(), self.policy.action_or_mask(find.detector));
        }
        if finds.iter().any(|find| self.policy.action_or_mask(find.detector) == Action::Drop) {
            return Name::LeftOut;
        }
        Name::Changed(self.replaced(name, &finds))
    }

    /// Changes a value in place; false when it is to be left out.
    fn value(&mut self, value: &mut Value, path: &mut String) -> bool {
        match value {
            Value::String(text) => self.text(text, path),
            Value::Number(number) => match number.as_u64() {
                Some(number)
                    if number >= MIN_CARD && self.policy.detectors.is_on(Detector::Card) && is_card_number(number) =>
                {
                    self.card(value, path)
                }
                _ => true,
            },
            Value::Array(items) => {
                items.retain_mut(|item| self.value(item, path));
                true
            }
            Value::Object(map) => {
                self.object(map, path);
                true
            }
            Value::Null | Value::Bool(_) => true,
        }
    }

    fn text(&mut self, text: &mut String, path: &str) -> bool {
        let finds = self.policy.detectors.find(text);
        if finds.is_empty() || self.policy.has_rule(path) {
            return true;
        }
        if let Some(dropped) = finds.iter().find(|find| self.policy.action_or_mask(find.detector) == Action::Drop) {
            self.note(path.to_owned(), dropped.detector.as_str(), Action::Drop);
            MASK.clone_into(text);
            return self.is_wanted(path);
        }
        if finds.iter().any(|find| self.policy.action_or_mask(find.detector) == Action::Seal) {
            self.seal(path, &Value::String(text.clone()));
        }
        let new = self.replaced(text, &finds);
        if new != *text {
            for find in &finds {
                self.note(path.to_owned(), find.detector.as_str(), self.policy.action_or_mask(find.detector));
            }
            *text = new;
        }
        true
    }

    fn card(&mut self, value: &mut Value, path: &str) -> bool {
        if self.policy.has_rule(path) {
            return true;
        }
        let action = self.policy.action_or_mask(Detector::Card);
        self.note(path.to_owned(), Detector::Card.as_str(), action);
        if action == Action::Seal {
            self.seal(path, value);
        }
        let hash = if action == Action::Hash { self.hash(&value.to_string()) } else { None };
        *value = hash.unwrap_or_else(|| MASK.to_owned()).into();
        action != Action::Drop || self.is_wanted(path)
    }

    /// A value whose name says that it is a secret.
    fn named_secret(&mut self, action: Action, value: &mut Value, path: &str) -> bool {
        let is_done = value.as_str().is_some_and(|text| text == MASK || is_hash(text));
        if value.is_null() || is_done || self.policy.has_rule(path) {
            return true;
        }
        self.note(path.to_owned(), Detector::Secret.as_str(), action);
        let new = match (action, &*value) {
            (Action::Hash, Value::String(text)) => self.hash(text),
            (Action::Hash, value) => self.hash(&value.to_string()),
            (Action::Seal, value) => {
                self.seal(path, value);
                None
            }
            _ => None,
        };
        *value = new.unwrap_or_else(|| MASK.to_owned()).into();
        action != Action::Drop
    }

    /// The text with what was found changed.
    fn replaced(&self, text: &str, finds: &[Find]) -> String {
        let mut new = String::with_capacity(text.len());
        let mut from = 0;
        for find in finds {
            let found = &text[find.range.clone()];
            new.push_str(&text[from..find.range.start]);
            let put = match self.policy.action_or_mask(find.detector) {
                Action::Hash => self.hash(&one_spelling(find.detector, found)),
                Action::Truncate if find.detector == Detector::Ip => network_of(found),
                _ => None,
            };
            new.push_str(put.as_deref().unwrap_or(MASK));
            from = find.range.end;
        }
        new.push_str(&text[from..]);
        new
    }

    /// True for what an event is not valid without.
    fn is_wanted(&self, path: &str) -> bool {
        matches!(
            (self.event_type.as_deref(), path),
            (Some("performance"), "properties.operation") | (Some("error"), "properties.error_type")
        )
    }
}

/// Appends a name and returns the length before.
fn push(path: &mut String, name: &str) -> usize {
    let length = path.len();
    if length > 0 {
        path.push('.');
    }
    path.push_str(name);
    length
}
