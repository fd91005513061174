//! References inside strings: `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}`.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    error::Problem,
    tree::{self, Kind, Node, Step, dotted},
};

/// What references are resolved against.
pub struct References<'e> {
    env: HashMap<&'e str, &'e str>,
}

impl<'e> References<'e> {
    pub fn new(env: &'e [(String, String)]) -> Self {
        Self { env: env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect() }
    }

    /// Replaces every reference of the tree; what refers to nothing becomes a problem.
    pub fn resolve(&self, tree: &mut Node, problems: &mut Vec<Problem>) {
        self.resolve_below(tree, &mut Vec::new(), problems);
    }

    fn resolve_below(&self, node: &mut Node, path: &mut Vec<Step>, problems: &mut Vec<Problem>) {
        match &mut node.kind {
            Kind::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push(Step::Index(index));
                    self.resolve_below(item, path, problems);
                    path.pop();
                }
            }
            Kind::Map(entries) => {
                for (key, entry) in entries {
                    path.push(Step::Key(key.clone()));
                    self.resolve_below(entry, path, problems);
                    path.pop();
                }
            }
            Kind::Scalar(Value::String(text)) if text.contains("${") => match self.expand(text) {
                Ok(expanded) => {
                    if expanded.referred {
                        node.by_reference = true;
                        // A value from outside may stand for a number or a boolean where one is asked for.
                        node.otherwise = tree::parse_inline(&expanded.text)
                            .filter(|value| value.is_number() || value.is_boolean() || value.is_null());
                    }
                    node.kind = Kind::Scalar(Value::String(expanded.text));
                }
                Err(message) => {
                    problems.push(Problem { path: dotted(path), origin: Some(node.origin.to_string()), message });
                }
            },
            Kind::Scalar(_) => {}
        }
    }

    fn expand(&self, text: &str) -> Result<Expanded, String> {
        let mut expanded = Expanded { text: String::with_capacity(text.len()), referred: false };
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if let Some(before) = rest[..start].strip_suffix('$') {
                expanded.text.push_str(before);
                expanded.text.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            let end = rest[start..].find('}').ok_or("a reference is not closed: `}` is missing")? + start;
            expanded.text.push_str(&rest[..start]);
            expanded.text.push_str(&self.look_up(&rest[start + 2..end])?);
            expanded.referred = true;
            rest = &rest[end + 1..];
        }
        expanded.text.push_str(rest);
        Ok(expanded)
    }

    fn look_up(&self, reference: &str) -> Result<String, String> {
        match reference.split_once(':') {
            Some(("env", variable)) => {
                let (name, default) =
                    variable.split_once(":-").map_or((variable, None), |(name, default)| (name, Some(default)));
                let set = self.env.get(name).filter(|value| !value.is_empty());
                set.copied()
                    .or(default)
                    .map(str::to_owned)
                    .ok_or_else(|| format!("environment variable {name} is not set, or empty"))
            }
            Some(("file", path)) => std::fs::read_to_string(path)
                .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                .map_err(|error| format!("cannot read file {path}: {error}")),
            _ => Err("unknown reference; write `${env:NAME}` or `${file:/path}`, and `$${` for a literal `${`".into()),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Expanded {
    text: String,
    referred: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<Expanded, String> {
        let env = [("HOST".to_owned(), "db".to_owned()), ("EMPTY".to_owned(), String::new())];
        References::new(&env).expand(text)
    }

    #[test]
    fn references_are_replaced_where_they_stand() {
        assert_eq!(expand("pg://${env:HOST}:5432/${env:NAME:-ttf}").unwrap().text, "pg://db:5432/ttf");
        assert_eq!(expand("${env:EMPTY:-none}").unwrap().text, "none");
        assert_eq!(expand("${env:NAME:-}").unwrap().text, "");
    }

    #[test]
    fn an_escaped_reference_is_text() {
        assert_eq!(expand("a $${env:HOST} $5").unwrap(), Expanded { text: "a ${env:HOST} $5".into(), referred: false });
    }

    #[test]
    fn a_reference_to_nothing_names_what_is_missing() {
        assert_eq!(expand("${env:NAME}").unwrap_err(), "environment variable NAME is not set, or empty");
        assert_eq!(expand("${env:EMPTY}").unwrap_err(), "environment variable EMPTY is not set, or empty");
        assert!(expand("${file:/no/such}").unwrap_err().starts_with("cannot read file /no/such: "));
        assert!(expand("${HOST}").unwrap_err().starts_with("unknown reference"));
        assert!(expand("${env:HOST").unwrap_err().contains("not closed"));
    }

    #[test]
    fn a_file_is_read_without_its_last_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\nline two\r\n").unwrap();
        assert_eq!(expand(&format!("${{file:{}}}", file.path().display())).unwrap().text, "s3cret\nline two");
    }
}
