//! From serde's errors to a place in the configuration and words about it.
//!
//! serde buffers internally tagged and flattened values, so the path it reports ends above them: the place is then
//! found again by what the error says (the key's name, the value found). serde offers the parts of an error only as
//! text, in the fixed forms of `serde::de::Error`.

use serde_json::Value;
use serde_path_to_error::Segment;

use super::{
    error::Problem,
    tree::{KIND, Kind, Node, Step, dotted},
};

/// How alike two names must be to suggest one for the other (Jaro–Winkler, 1 is equal).
const ALIKE: f64 = 0.75;

/// How much of a wrong value is shown, in characters.
const SHOWN: usize = 60;

/// What is wrong at one place.
#[derive(Debug, PartialEq)]
pub struct Fault {
    pub path: Vec<Step>,
    complaint: Complaint,
}

#[derive(Debug, PartialEq)]
enum Complaint {
    UnknownKey { valid: Vec<String> },
    MissingKey,
    UnknownValue { found: String, valid: Vec<String> },
    Mismatch { found: String, expected: String },
    Other(String),
}

impl Fault {
    /// Reads an error and finds its place in the tree it came from.
    pub fn find(error: &serde_path_to_error::Error<serde_json::Error>, tree: &Node) -> Self {
        let mut path: Vec<Step> = error.path().iter().filter_map(step).collect();
        // An enum's variant is a step of the error's path, but not of the tree when the enum is a plain string.
        while tree.at(&path).is_none() && path.len() > 1 && tree.at(&path[..path.len() - 1]).is_none() {
            path.pop();
        }
        let message = error.inner().to_string();
        if let Some((name, valid)) = unknown(&message, "unknown field ") {
            return Self { path: locate_key(tree, path, &name), complaint: Complaint::UnknownKey { valid } };
        }
        if let Some(name) = message.strip_prefix("missing field ").and_then(backticked) {
            path.push(Step::Key(name.to_owned()));
            return Self { path, complaint: Complaint::MissingKey };
        }
        if let Some((found, valid)) = unknown(&message, "unknown variant ") {
            let path = locate_value(tree, path, |value| value.as_str() == Some(&found));
            return Self { path, complaint: Complaint::UnknownValue { found, valid } };
        }
        let mismatch = ["invalid type: ", "invalid value: ", "invalid length "]
            .iter()
            .find_map(|prefix| message.strip_prefix(prefix)?.rsplit_once(", expected "));
        if let Some((found, expected)) = mismatch {
            let path = locate_value(tree, path, |value| renderings(value).iter().any(|rendering| rendering == found));
            let (found, expected) = (found.to_owned(), expected.to_owned());
            return Self { path, complaint: Complaint::Mismatch { found, expected } };
        }
        Self { path, complaint: Complaint::Other(message) }
    }

    /// Whether it is an echo: of a problem of the same key (a reference to nothing), or a key that is missing because
    /// its misspelling was taken out.
    pub fn follows_from(&self, problems: &[Problem]) -> bool {
        let path = dotted(&self.path);
        let section = dotted(&self.path[..self.path.len().saturating_sub(1)]);
        problems.iter().any(|problem| {
            let sibling = problem.path.rsplit_once('.').map_or("", |(section, _)| section) == section;
            let missing = self.complaint == Complaint::MissingKey;
            !problem.path.is_empty() && (problem.path == path || (missing && sibling))
        })
    }

    pub fn describe(&self, tree: &Node, defaults: &Node) -> Problem {
        let node = tree.at(&self.path);
        let nearest_set = (0..=self.path.len()).rev().find_map(|length| tree.at(&self.path[..length]));
        let hidden = node.is_some_and(Node::holds_reference);
        let message = match &self.complaint {
            Complaint::UnknownKey { valid } => self.describe_unknown_key(valid, tree, defaults),
            Complaint::MissingKey => "this key is required and missing".to_owned(),
            Complaint::UnknownValue { valid, .. } if hidden => {
                format!("the referenced value does not fit, expected {}", list(valid))
            }
            Complaint::UnknownValue { found, valid } => {
                let expected = list(valid);
                nearest(found, valid).map_or_else(
                    || format!("found `{found}`, expected {expected}"),
                    |near| format!("found `{found}`, expected {expected}; did you mean `{near}`?"),
                )
            }
            Complaint::Mismatch { expected, .. } if hidden => {
                format!("the referenced value does not fit, expected {}", expectation(expected))
            }
            Complaint::Mismatch { found, expected } if expected == "a string" && is_plain(found) => {
                "found a number or a boolean, expected text; put it in quotes".to_owned()
            }
            Complaint::Mismatch { found, expected } => {
                format!("found {}, expected {}", finding(found), expectation(expected))
            }
            Complaint::Other(_) if hidden => "the referenced value does not fit".to_owned(),
            Complaint::Other(message) if message == "invalid socket address syntax" => {
                let found = node.and_then(Node::text).unwrap_or_default();
                format!("found {found:?}, expected an address and a port such as `127.0.0.1:9464`")
            }
            Complaint::Other(message) => message.clone(),
        };
        Problem { path: dotted(&self.path), origin: nearest_set.map(|node| node.origin.to_string()), message }
    }

    fn describe_unknown_key(&self, valid: &[String], tree: &Node, defaults: &Node) -> String {
        let Some((Step::Key(name), section)) = self.path.split_last() else { return "unknown key".to_owned() };
        let here = |key: &str| dotted(&[section, &[Step::Key(key.to_owned())]].concat());
        let unknown = match tree.at(section).and_then(Node::chosen_kind) {
            Some(kind) => format!("unknown key for kind `{kind}`"),
            None => "unknown key".to_owned(),
        };
        let suggestion = nearest(name, valid).map(|near| here(&near)).or_else(|| elsewhere(&self.path, defaults));
        match suggestion {
            Some(suggestion) => format!("{unknown}; did you mean `{suggestion}`?"),
            None if valid.is_empty() => format!("{unknown}; none is allowed here"),
            None => format!("{unknown}, expected {}", list(valid)),
        }
    }

    /// Puts something right in the fault's place, so that the rest can be checked. False when there is no way.
    pub fn repair(&self, tree: &mut Node, defaults: &Node) -> bool {
        if self.complaint == Complaint::MissingKey {
            return false;
        }
        // A wrong `kind` decides over the whole section: the keys beside it cannot be judged.
        let path = match self.path.split_last() {
            Some((Step::Key(key), section)) if key == KIND => section,
            _ => &self.path,
        };
        let Some((last, section)) = path.split_last() else { return false };
        let unknown_key = matches!(self.complaint, Complaint::UnknownKey { .. });
        let default = defaults.at(path).filter(|default| !unknown_key && tree.at(path) != Some(*default));
        match (tree.at_mut(section).map(|node| &mut node.kind), last) {
            (Some(Kind::Map(entries)), Step::Key(key)) => match default {
                Some(default) => entries.insert(key.clone(), default.clone()).is_some(),
                None if unknown_key => entries.remove(key).is_some(),
                None => false,
            },
            (Some(Kind::List(items)), Step::Index(index)) if *index < items.len() => {
                items.remove(*index);
                true
            }
            _ => false,
        }
    }
}

fn step(segment: &Segment) -> Option<Step> {
    match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { variant } => Some(Step::Key(variant.clone())),
        Segment::Unknown => None,
    }
}

/// The place of an unknown key: at the path, just below it, or the only one of that name further below.
fn locate_key(tree: &Node, path: Vec<Step>, name: &str) -> Vec<Step> {
    let named = |path: &[Step]| path.last() == Some(&Step::Key(name.to_owned()));
    if named(&path) && tree.at(&path).is_some() {
        return path;
    }
    let below = [path.as_slice(), &[Step::Key(name.to_owned())]].concat();
    if tree.at(&below).is_some() {
        return below;
    }
    only(tree, &path, |candidate, _| named(candidate)).unwrap_or(below)
}

/// The place of a wrong value: the path when a value stands there, else the only such value below it.
fn locate_value(tree: &Node, path: Vec<Step>, fits: impl Fn(&Value) -> bool) -> Vec<Step> {
    match tree.at(&path).map(|node| &node.kind) {
        Some(Kind::Scalar(_)) | None => path,
        Some(_) => {
            only(tree, &path, |_, node| matches!(&node.kind, Kind::Scalar(value) if fits(value))).unwrap_or(path)
        }
    }
}

fn only(tree: &Node, below: &[Step], fits: impl Fn(&[Step], &Node) -> bool) -> Option<Vec<Step>> {
    let mut found = Vec::new();
    tree.at(below)?.walk(&mut below.to_vec(), &mut |path, node| {
        if path.len() > below.len() && fits(path, node) {
            found.push(path.to_vec());
        }
    });
    if found.len() == 1 { found.pop() } else { None }
}

/// The name and the valid ones of ``unknown field `x`, expected one of `a`, `b` ``.
fn unknown(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix(prefix)?;
    let name = backticked(rest)?;
    let valid = rest[name.len() + 2..].split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((name.to_owned(), valid))
}

fn backticked(text: &str) -> Option<&str> {
    text.strip_prefix('`')?.split('`').next()
}

/// How serde writes a value it did not expect; it has two ways for some.
fn renderings(value: &Value) -> Vec<String> {
    match value {
        Value::Null => vec!["null".to_owned(), "unit value".to_owned(), "Option value".to_owned()],
        Value::Bool(value) => vec![format!("boolean `{value}`")],
        Value::Number(number) => vec![format!("integer `{number}`"), format!("floating point `{number}`")],
        Value::String(text) => vec![format!("string {text:?}"), format!("character `{text}`")],
        Value::Array(_) | Value::Object(_) => Vec::new(),
    }
}

/// What was found, as its writer would call it.
fn finding(found: &str) -> String {
    let plain = match found {
        "map" => "a section",
        "sequence" => "a list",
        "null" | "unit value" | "Option value" => "nothing",
        other => ["string ", "integer ", "floating point ", "boolean "]
            .iter()
            .find_map(|kind| other.strip_prefix(kind))
            .unwrap_or(other),
    };
    if plain.chars().count() <= SHOWN {
        return plain.to_owned();
    }
    format!("{}…", plain.chars().take(SHOWN).collect::<String>())
}

/// What was expected, as its reader would call it.
fn expectation(expected: &str) -> String {
    let unsigned = |max: u64| format!("a whole number from 0 to {max}");
    match expected {
        "u8" => unsigned(u8::MAX.into()),
        "u16" => unsigned(u16::MAX.into()),
        "u32" => unsigned(u32::MAX.into()),
        "u64" | "usize" => "a whole number, not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a section".to_owned(),
        "a string" => "text".to_owned(),
        "path string" => "a path".to_owned(),
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum ") => "a section".to_owned(),
        other => other.to_owned(),
    }
}

fn nearest(name: &str, valid: &[String]) -> Option<String> {
    let alike = |candidate: &String| strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase());
    valid.iter().filter(|candidate| alike(candidate) >= ALIKE).max_by(|a, b| alike(a).total_cmp(&alike(b))).cloned()
}

/// The only other place where the defaults have a key of this name.
fn elsewhere(path: &[Step], defaults: &Node) -> Option<String> {
    only(defaults, &[], |candidate, _| candidate.last() == path.last() && candidate != path).map(|path| dotted(&path))
}

/// Whether serde found a scalar that would be text in quotes.
fn is_plain(found: &str) -> bool {
    ["integer ", "floating point ", "boolean "].iter().any(|kind| found.starts_with(kind))
}

fn list(valid: &[String]) -> String {
    let quoted: Vec<String> = valid.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
