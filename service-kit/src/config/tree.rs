//! The configuration as a tree whose nodes remember where they were set.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::error::{ConfigError, Problem};

/// The key that chooses between alternatives of a section.
pub const KIND: &str = "kind";

/// Where a node was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File { name: Arc<str>, line: u64, column: u64 },
    Variable(Arc<str>),
    CommandLine,
}

impl Origin {
    pub fn file_named(name: &str) -> Self {
        Self::File { name: name.into(), line: 0, column: 0 }
    }

    fn at(&self, location: Location) -> Self {
        match self {
            Self::File { name, .. } => {
                Self::File { name: Arc::clone(name), line: location.line(), column: location.column() }
            }
            other => other.clone(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line: 0, .. } => write!(f, "{name}"),
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::CommandLine => write!(f, "command line"),
        }
    }
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// A path as people write it: `alerter.receivers[0].webhook.url`.
pub fn dotted(path: &[Step]) -> String {
    path.iter().fold(String::new(), |text, step| match step {
        Step::Key(key) if text.is_empty() => key.clone(),
        Step::Key(key) => text + "." + key,
        Step::Index(index) => format!("{text}[{index}]"),
    })
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub origin: Origin,
    pub kind: Kind,
    /// The value came, wholly or in part, by reference: it must not be shown.
    pub by_reference: bool,
    /// How the value would read otherwise: text from outside YAML (`123` of a variable) may mean a number or a string.
    pub otherwise: Option<Value>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

impl Node {
    pub fn new(kind: Kind, origin: Origin) -> Self {
        Self { origin, kind, by_reference: false, otherwise: None }
    }

    /// A node and all below it, set at one place.
    pub fn from_value(value: Value, origin: &Origin) -> Self {
        let kind = match value {
            Value::Array(items) => Kind::List(items.into_iter().map(|item| Self::from_value(item, origin)).collect()),
            Value::Object(entries) => {
                Kind::Map(entries.into_iter().map(|(key, value)| (key, Self::from_value(value, origin))).collect())
            }
            scalar => Kind::Scalar(scalar),
        };
        Self::new(kind, origin.clone())
    }

    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|(key, node)| (key.clone(), node.to_value())).collect())
            }
        }
    }

    pub fn at(&self, path: &[Step]) -> Option<&Self> {
        path.iter().try_fold(self, |node, step| match (&node.kind, step) {
            (Kind::Map(entries), Step::Key(key)) => entries.get(key),
            (Kind::List(items), Step::Index(index)) => items.get(*index),
            _ => None,
        })
    }

    pub fn at_mut(&mut self, path: &[Step]) -> Option<&mut Self> {
        path.iter().try_fold(self, |node, step| match (&mut node.kind, step) {
            (Kind::Map(entries), Step::Key(key)) => entries.get_mut(key),
            (Kind::List(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        })
    }

    /// Lays a stronger layer over this one.
    pub fn merge(&mut self, mut over: Self) {
        let (Kind::Map(entries), stronger) = (&mut self.kind, &mut over.kind) else {
            *self = over;
            return;
        };
        let stronger = match stronger {
            Kind::Map(stronger) => std::mem::take(stronger),
            // `gateway:` with nothing below it: nothing was said.
            Kind::Scalar(Value::Null) => return,
            _ => {
                *self = over;
                return;
            }
        };
        let chosen = stronger.get(KIND).and_then(Self::text);
        if chosen.is_some() && chosen != entries.get(KIND).and_then(Self::text) {
            entries.clear();
        }
        for (key, node) in stronger {
            match entries.get_mut(&key) {
                Some(known) => known.merge(node),
                None => {
                    entries.insert(key, node);
                }
            }
        }
        self.origin = over.origin;
    }

    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The `kind` this section chose.
    pub fn chosen_kind(&self) -> Option<&str> {
        match &self.kind {
            Kind::Map(entries) => entries.get(KIND)?.text(),
            _ => None,
        }
    }

    /// Takes the value's other reading, once.
    pub fn read_otherwise(&mut self) -> bool {
        let Some(value) = self.otherwise.take() else { return false };
        self.kind = Kind::Scalar(value);
        true
    }

    /// Whether this node or one below it came by reference.
    pub fn holds_reference(&self) -> bool {
        self.by_reference
            || match &self.kind {
                Kind::Scalar(_) => false,
                Kind::List(items) => items.iter().any(Self::holds_reference),
                Kind::Map(entries) => entries.values().any(Self::holds_reference),
            }
    }

    /// Calls `visit` with this node and every one below it, and their paths below `path`.
    pub fn walk<'n>(&'n self, path: &mut Vec<Step>, visit: &mut impl FnMut(&[Step], &'n Self)) {
        visit(path, self);
        let mut step_into = |step: Step, node: &'n Self| {
            path.push(step);
            node.walk(path, visit);
            path.pop();
        };
        match &self.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => {
                items.iter().enumerate().for_each(|(index, item)| step_into(Step::Index(index), item));
            }
            Kind::Map(entries) => entries.iter().for_each(|(key, node)| step_into(Step::Key(key.clone()), node)),
        }
    }
}

/// Reads YAML text; an empty document is an empty map. Duplicate keys are errors.
pub fn parse(text: &str, origin: &Origin) -> Result<Node, ConfigError> {
    if text.lines().all(|line| line.trim_start().starts_with('#') || line.trim().is_empty()) {
        return Ok(Node::new(Kind::Map(BTreeMap::new()), origin.clone()));
    }
    let parsed: Yaml = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map_or_else(|| origin.clone(), |location| origin.at(location));
        Problem { path: String::new(), origin: Some(place.to_string()), message: syntax_message(&error) }
    })?;
    let mut root = parsed.into_node(origin);
    match root.kind {
        Kind::Map(_) => Ok(root),
        Kind::Scalar(Value::Null) => {
            root.kind = Kind::Map(BTreeMap::new());
            Ok(root)
        }
        _ => Err(Problem {
            path: String::new(),
            origin: Some(root.origin.to_string()),
            message: "expected sections (`gateway:`, `log:`, …)".to_owned(),
        }
        .into()),
    }
}

/// A YAML scalar or flow collection on one line, as an environment variable holds it.
pub fn parse_inline(text: &str) -> Option<Value> {
    serde_saphyr::from_str(text).ok()
}

/// The parser's words without the place, which is told apart, and without advice for programmers.
fn syntax_message(error: &serde_saphyr::Error) -> String {
    let message = error.without_snippet().to_string();
    let end = [" at line ", ", set DuplicateKeyPolicy"].iter().filter_map(|tail| message.find(tail)).min();
    message[..end.unwrap_or(message.len())].to_owned()
}

/// YAML with the place of every value; a map's values stand where their keys do.
#[derive(Deserialize)]
struct Yaml(Spanned<YamlKind>);

enum YamlKind {
    Scalar(Value),
    List(Vec<Yaml>),
    Map(Vec<(Spanned<String>, Yaml)>),
}

impl Yaml {
    fn into_node(self, file: &Origin) -> Node {
        let kind = match self.0.value {
            YamlKind::Scalar(value) => Kind::Scalar(value),
            YamlKind::List(items) => Kind::List(items.into_iter().map(|item| item.into_node(file)).collect()),
            YamlKind::Map(entries) => Kind::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let mut node = value.into_node(file);
                        node.origin = file.at(key.referenced);
                        (key.value, node)
                    })
                    .collect(),
            ),
        };
        Node::new(kind, file.at(self.0.referenced))
    }
}

impl<'de> Deserialize<'de> for YamlKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = YamlKind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<YamlKind, E> {
        Ok(YamlKind::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<YamlKind, E> {
        Ok(YamlKind::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<YamlKind, E> {
        Ok(YamlKind::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<YamlKind, E> {
        Ok(YamlKind::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<YamlKind, E> {
        Ok(YamlKind::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<YamlKind, E> {
        Ok(YamlKind::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<YamlKind, E> {
        Ok(YamlKind::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<YamlKind, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<YamlKind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(YamlKind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<YamlKind, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key()? {
            map.push((key, entries.next_value()?));
        }
        Ok(YamlKind::Map(map))
    }
}
