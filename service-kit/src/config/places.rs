//! Where each value of a configuration was set, for checks that come after it was read.

use super::{
    error::Problem,
    tree::{Node, Step},
};

/// Knows where every value was set.
#[derive(Debug, Clone)]
pub struct Places(pub(super) Node);

impl Places {
    /// Where the value at `path` (`journeys[0].stages[2].from`) was set: `file:line:column`, an environment variable or
    /// the command line. Of a value that was left out, where the section is that lacks it.
    pub fn origin(&self, path: &str) -> String {
        let steps = steps(path);
        let nearest = (0..=steps.len()).rev().find_map(|length| self.0.at(&steps[..length]));
        nearest.unwrap_or(&self.0).origin.to_string()
    }

    /// A problem with the value at `path`.
    pub fn problem(&self, path: impl Into<String>, message: impl Into<String>) -> Problem {
        let path = path.into();
        Problem { origin: Some(self.origin(&path)), path, message: message.into() }
    }
}

/// The steps of a path as people write it. A key that holds a dot is not found; its section is.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, mut indices) = part.split_at(part.find('[').unwrap_or(part.len()));
        if !key.is_empty() {
            steps.push(Step::Key(key.to_owned()));
        }
        while let Some((index, rest)) = indices.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            let Ok(index) = index.parse() else { return steps };
            steps.push(Step::Index(index));
            indices = rest;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use crate::config::{Sources, load_with_places};

    #[test]
    fn a_value_is_found_where_it_was_set_and_a_missing_one_where_it_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ttf.yaml");
        std::fs::write(&file, "lists:\n  - name: a\n    to:\n      - x\n      - y\nother: 1\n").unwrap();
        let sources =
            Sources::new("other: 0\nkept: 7\n").with_file(&file).with_environment([("TELEMETRY__OTHER", "2")]);
        let (value, places): (serde_json::Value, _) = load_with_places(sources).unwrap();
        assert_eq!(value["other"], 2);
        let name = file.display().to_string();
        assert_eq!(places.origin("lists[0].to[1]"), format!("{name}:5:9"));
        assert_eq!(places.origin("lists[0].name"), format!("{name}:2:5"));
        assert_eq!(places.origin("lists[0].from.deeper"), places.origin("lists[0]"));
        assert_eq!(places.origin("other"), "environment variable TELEMETRY__OTHER");
        assert_eq!(places.origin("kept"), "built-in defaults:2:1");
        let problem = places.problem("lists[0].to[1]", "is wrong");
        assert_eq!(problem.to_string(), format!("lists[0].to[1] ({name}:5:9): is wrong"));
    }
}
