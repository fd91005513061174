//! What was wrong with a configuration, in words for the person who wrote it.

use std::fmt;

/// All that was wrong with a configuration; `Display` is complete and ready to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub problems: Vec<Problem>,
}

/// One thing that was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the key; empty when the problem has no key (an unreadable file).
    pub path: String,
    /// Where it was set: `file:line:column`, an environment variable or the command line.
    pub origin: Option<String>,
    /// What is wrong and what would be right. Never a value that came by reference.
    pub message: String,
}

impl Problem {
    pub(super) fn general(message: String) -> Self {
        Self { path: String::new(), origin: None, message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), &self.origin) {
            ("", None) => write!(f, "{}", self.message),
            ("", Some(origin)) => write!(f, "{origin}: {}", self.message),
            (path, None) => write!(f, "{path}: {}", self.message),
            (path, Some(origin)) => write!(f, "{path} ({origin}): {}", self.message),
        }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "configuration is not valid: {only}"),
            several => {
                write!(f, "configuration is not valid, {} problems:", several.len())?;
                several.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}
