//! What was found, and how it is shown.

use std::fmt::Write as _;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Ok,
    /// Could not be looked at, or need not be there.
    Skipped,
    /// It works, and should be looked at.
    Warning,
    /// It does not work, or loses something.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `kafka`, `database`, …
    pub part: &'static str,
    #[serde(rename = "check")]
    pub name: String,
    pub status: Status,
    pub found: String,
    /// What to do about it.
    pub todo: Option<String>,
}

impl Check {
    fn new(part: &'static str, check: &str, status: Status, found: String, todo: Option<String>) -> Self {
        Self { part, name: check.to_owned(), status, found, todo }
    }
}

/// Collects the checks of one part.
pub struct Part {
    name: &'static str,
    pub checks: Vec<Check>,
}

impl Part {
    pub fn new(name: &'static str) -> Self {
        Self { name, checks: Vec::new() }
    }

    pub fn ok(&mut self, check: &str, found: impl Into<String>) {
        self.checks.push(Check::new(self.name, check, Status::Ok, found.into(), None));
    }

    pub fn skipped(&mut self, check: &str, why: impl Into<String>) {
        self.checks.push(Check::new(self.name, check, Status::Skipped, why.into(), None));
    }

    pub fn warning(&mut self, check: &str, found: impl Into<String>, todo: impl Into<String>) {
        self.checks.push(Check::new(self.name, check, Status::Warning, found.into(), Some(todo.into())));
    }

    pub fn wrong(&mut self, check: &str, found: impl Into<String>, todo: impl Into<String>) {
        self.checks.push(Check::new(self.name, check, Status::Wrong, found.into(), Some(todo.into())));
    }
}

/// Everything that was looked at.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Nothing is wrong; there may be warnings.
    pub healthy: bool,
    pub wrong: usize,
    pub warnings: usize,
    pub checks: Vec<Check>,
}

impl Report {
    pub fn new(checks: Vec<Check>) -> Self {
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        let (wrong, warnings) = (count(Status::Wrong), count(Status::Warning));
        Self { healthy: wrong == 0, wrong, warnings, checks }
    }

    /// Lines for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let width = self.checks.iter().map(|one| one.part.len() + one.name.len() + 2).max().unwrap_or_default();
        for one in &self.checks {
            let mark = match one.status {
                Status::Ok => "ok     ",
                Status::Skipped => "skipped",
                Status::Warning => "WARNING",
                Status::Wrong => "WRONG  ",
            };
            let name = format!("{}: {}", one.part, one.name);
            let _ = writeln!(text, "{mark}  {name:width$}  {}", one.found);
            if let Some(todo) = &one.todo {
                let _ = writeln!(text, "         {:width$}  -> {todo}", "");
            }
        }
        let _ = match (self.wrong, self.warnings) {
            (0, 0) => write!(text, "Nothing is wrong."),
            (0, warnings) => write!(text, "Nothing is wrong; warnings: {warnings}."),
            (wrong, warnings) => write!(text, "Wrong: {wrong}; warnings: {warnings}."),
        };
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_that_is_wrong_is_enough_and_a_warning_is_not() {
        let mut part = Part::new("kafka");
        part.ok("reachable", "3 brokers");
        part.warning("disk", "12 % free", "make room");
        assert!(Report::new(part.checks.clone()).healthy);
        part.wrong("topics", "two are missing", "`ttf topics apply`");
        let report = Report::new(part.checks);
        assert_eq!((report.healthy, report.wrong, report.warnings), (false, 1, 1));
        let text = report.text();
        assert!(text.contains("WRONG    kafka: topics") && text.contains("-> `ttf topics apply`"), "{text}");
        assert!(text.ends_with("Wrong: 1; warnings: 1."), "{text}");
    }
}
