//! Keys set by environment: `TELEMETRY__SECTION__KEY`.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{
    error::Problem,
    tree::{self, Kind, Node, Origin},
};

const PREFIX: &str = "TELEMETRY__";
const SEPARATOR: &str = "__";

/// One key and what it is set to.
#[derive(Debug)]
pub struct Setting {
    steps: Vec<String>,
    value: Node,
}

impl Setting {
    fn from_variable(name: &str, value: &str) -> Result<Self, Problem> {
        let steps: Vec<String> = name[PREFIX.len()..].split(SEPARATOR).map(str::to_lowercase).collect();
        let problem = |message: String| Problem {
            path: String::new(),
            origin: Some(Origin::Variable(name.into()).to_string()),
            message,
        };
        if steps.iter().any(String::is_empty) {
            return Err(problem("the name must be TELEMETRY__SECTION__KEY, with two underscores between words".into()));
        }
        let origin = Origin::Variable(Arc::from(name));
        let text = Value::String(value.to_owned());
        let flow = value.trim_start().starts_with(['[', '{', '"', '\'']);
        let node = match tree::parse_inline(value) {
            Some(parsed @ (Value::Array(_) | Value::Object(_))) if flow => Node::from_value(parsed, &origin),
            // `a: b` is a map in YAML, but on one line somebody meant text.
            Some(Value::Array(_) | Value::Object(_)) => Node::from_value(text, &origin),
            Some(parsed) => {
                let otherwise = (!parsed.is_string()).then_some(text);
                Node { otherwise, ..Node::from_value(parsed, &origin) }
            }
            None if flow => return Err(problem("the value is not valid YAML".into())),
            None => Node::from_value(text, &origin),
        };
        Ok(Self { steps, value: node })
    }

    fn chooses_kind(&self) -> bool {
        self.steps.last().is_some_and(|step| step == "kind")
    }

    /// Whole sections before their keys, `kind` before its siblings, list items in order.
    fn order(&self, other: &Self) -> Ordering {
        let natural = |setting: &Self| -> Vec<(Option<usize>, String)> {
            setting.steps.iter().map(|step| (step.parse().ok(), step.clone())).collect()
        };
        self.steps
            .len()
            .cmp(&other.steps.len())
            .then(other.chooses_kind().cmp(&self.chooses_kind()))
            .then_with(|| natural(self).cmp(&natural(other)))
    }
}

/// The settings an environment holds, in the order they are to be applied.
pub fn settings(env: &[(String, String)], problems: &mut Vec<Problem>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for (name, value) in env.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        match Setting::from_variable(name, value) {
            Ok(setting) => settings.push(setting),
            Err(problem) => problems.push(problem),
        }
    }
    settings.sort_by(Setting::order);
    settings
}

/// Lays one setting over the tree.
pub fn apply(setting: Setting, tree: &mut Node, defaults: &Node) -> Result<(), Problem> {
    let origin = setting.value.origin.clone();
    let chooses_kind = setting.chooses_kind();
    let mut node = tree;
    let mut default = Some(defaults);
    let (last, sections) = setting.steps.split_last().expect("splitting a string gives at least one part");
    for step in sections {
        let key;
        (node, key) = enter(node, step, &origin)?;
        default = default.and_then(|default| match (&default.kind, &key) {
            (Kind::Map(entries), Some(key)) => entries.get(key),
            _ => None,
        });
    }
    if chooses_kind && node.chosen_kind() != setting.value.text() {
        let same_kind = default.filter(|default| default.chosen_kind() == setting.value.text());
        node.kind = same_kind.map_or_else(|| Kind::Map(BTreeMap::new()), |default| default.kind.clone());
    }
    enter(node, last, &origin)?.0.merge(setting.value);
    Ok(())
}

/// The child that a step names, made when missing; with its key when it is one of a map.
fn enter<'n>(node: &'n mut Node, step: &str, origin: &Origin) -> Result<(&'n mut Node, Option<String>), Problem> {
    let nothing = || Node::new(Kind::Scalar(Value::Null), origin.clone());
    let index = step.parse::<usize>().ok();
    if let Kind::Scalar(_) = node.kind {
        node.kind = if index == Some(0) { Kind::List(Vec::new()) } else { Kind::Map(BTreeMap::new()) };
    }
    match &mut node.kind {
        Kind::List(items) => {
            let length = items.len();
            let index = index.filter(|index| *index <= length).ok_or_else(|| Problem {
                path: String::new(),
                origin: Some(origin.to_string()),
                message: format!("`{step}` does not name an item of a list of {length}; the next new one is {length}"),
            })?;
            if index == length {
                items.push(nothing());
            }
            Ok((&mut items[index], None))
        }
        Kind::Map(entries) => {
            let known = entries.keys().find(|key| *key == step).or_else(|| entries.keys().find(|key| means(key, step)));
            let key = known.cloned().unwrap_or_else(|| step.to_owned());
            Ok((entries.entry(key.clone()).or_insert_with(nothing), Some(key)))
        }
        Kind::Scalar(_) => unreachable!("a scalar was turned into a collection above"),
    }
}

/// Whether a lower-case step of a variable's name means a key: names of variables have no dots, dashes or cases.
fn means(key: &str, step: &str) -> bool {
    key.to_lowercase().replace(['-', '.'], "_") == step
}
