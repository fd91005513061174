//! A native event in the making.

use serde_json::{Map, Value, json};

use super::{
    EventNames, lenient_time,
    names::{Named, ORIGINAL_NAME},
};

/// Lengths a context text is cut to; it says where an event came from and is no reason to refuse it.
const MAX_TEXT: usize = 200;
const MAX_USER_AGENT: usize = 1_000;
/// Segments and experiments an event may have.
const MAX_EXPERIMENTS: usize = 255;
/// How deep `properties` may be; it is level 1 itself.
const MAX_DEPTH: usize = 5;

/// Collects the fields of a native event.
#[derive(Debug, Default)]
pub struct Draft {
    event: Map<String, Value>,
    properties: Map<String, Value>,
    context: Map<String, Value>,
}

impl Draft {
    /// Names the event by what its sender calls it. A configured milestone is one whatever the kind.
    pub fn named(&mut self, theirs: &Value, event_type: &str, names: &EventNames) {
        let Value::String(theirs) = theirs else {
            self.event.insert("event_name".to_owned(), theirs.clone());
            self.event_type(event_type);
            return;
        };
        let Named { name, is_milestone } = names.name(theirs);
        if name != *theirs {
            self.properties.insert(ORIGINAL_NAME.to_owned(), theirs.as_str().into());
        }
        self.event.insert("event_name".to_owned(), name.into());
        self.event_type(if is_milestone { "ttf_milestone" } else { event_type });
    }

    fn event_type(&mut self, event_type: &str) {
        self.event.insert("event_type".to_owned(), event_type.into());
    }

    /// Sets an id. Numbers become texts, nothing and empty texts are left out, as the peers do.
    pub fn id(&mut self, field: &str, value: Option<Value>) {
        if let Some(value) = value.and_then(id_text) {
            self.event.insert(field.to_owned(), value);
        }
    }

    pub fn has(&self, field: &str) -> bool {
        self.event.contains_key(field)
    }

    pub fn timestamp(&mut self, value: Option<Value>) {
        if let Some(value) = value.filter(|value| !is_nothing(value)) {
            self.event.insert("timestamp".to_owned(), lenient_time::native(value));
        }
    }

    /// Takes the sender's properties; what is no object is left for the check to refuse.
    pub fn properties(&mut self, value: Option<Value>) {
        match value {
            None | Some(Value::Null) => {}
            Some(Value::Object(properties)) => self.properties.extend(properties),
            Some(other) => {
                self.event.insert("properties".to_owned(), other);
            }
        }
    }

    /// Adds a property unless the sender has one of this name.
    pub fn property(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value.filter(|value| !is_nothing(value)) {
            self.properties.entry(name.to_owned()).or_insert(value);
        }
    }

    /// Takes a property out, to put it where the native form has it.
    pub fn take_property(&mut self, name: &str) -> Option<Value> {
        self.properties.remove(name).filter(|value| !is_nothing(value))
    }

    pub fn property_ref(&self, name: &str) -> Option<&Value> {
        self.properties.get(name).filter(|value| !is_nothing(value))
    }

    /// The properties whose names begin with `prefix`, taken out.
    pub fn take_prefixed(&mut self, prefix: &str) -> Vec<(String, Value)> {
        let names: Vec<String> = self.properties.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        names.into_iter().filter_map(|name| self.properties.remove_entry(&name)).collect()
    }

    /// Sets a text of `context`, cut to what it may have.
    pub fn context_text(&mut self, key: &str, value: Option<Value>) {
        let max = if key == "user_agent" { MAX_USER_AGENT } else { MAX_TEXT };
        if let Some(Value::String(text)) = value.and_then(id_text) {
            self.context.insert(key.to_owned(), cut(&text, max).into());
        }
    }

    pub fn library(&mut self, name: Option<Value>, version: Option<Value>) {
        let part = |value: Option<Value>| match value.and_then(id_text) {
            Some(Value::String(text)) => Some(cut(&text, MAX_TEXT)),
            _ => None,
        };
        let parts = [("name", part(name)), ("version", part(version))];
        let library: Map<String, Value> =
            parts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?.into()))).collect();
        if !library.is_empty() {
            self.context.insert("library".to_owned(), library.into());
        }
    }

    /// Adds variants of experiments; what is neither text, number nor boolean is none.
    pub fn experiments(&mut self, variants: impl IntoIterator<Item = (String, Value)>) {
        let experiments: Map<String, Value> = variants
            .into_iter()
            .filter_map(|(name, value)| match id_text(value)? {
                Value::String(text) => Some((name, cut(&text, MAX_TEXT).into())),
                Value::Bool(is_on) => Some((name, is_on.to_string().into())),
                _ => None,
            })
            .take(MAX_EXPERIMENTS)
            .collect();
        if !experiments.is_empty() {
            self.context.insert("experiments".to_owned(), experiments.into());
        }
    }

    pub fn consent(&mut self, analytics: bool, marketing: bool) {
        self.context.insert("consent".to_owned(), json!({"analytics": analytics, "marketing": marketing}));
    }

    /// The event's JSON. What is nested deeper than events may be becomes JSON text.
    pub fn finish(mut self) -> Map<String, Value> {
        for value in self.properties.values_mut() {
            flatten(value, 2);
        }
        if !self.properties.is_empty() && !self.event.contains_key("properties") {
            self.event.insert("properties".to_owned(), self.properties.into());
        }
        if !self.context.is_empty() {
            self.event.insert("context".to_owned(), self.context.into());
        }
        self.event
    }
}

/// True for what peers take as not given.
pub fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

fn id_text(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Number(number) => Some(number.to_string().into()),
        value => Some(value),
    }
}

fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

fn flatten(value: &mut Value, level: usize) {
    let too_deep = level > MAX_DEPTH && matches!(value, Value::Object(_) | Value::Array(_));
    if too_deep {
        *value = Value::String(value.to_string());
        return;
    }
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| flatten(value, level + 1)),
        Value::Array(items) => items.iter_mut().for_each(|value| flatten(value, level + 1)),
        _ => {}
    }
}
