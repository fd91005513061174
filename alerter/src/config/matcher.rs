//! Matchers in Alertmanager's notation: `level="critical"`, `level!="warning"`, `tenant=~"acme|umbrella"`,
//! `journey!~"trial.*"`. Regular expressions are anchored at both ends.

use std::{collections::BTreeMap, fmt, str::FromStr};

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How a matcher holds a label's value against its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Matches,
    MatchesNot,
}

impl Comparison {
    /// Longest first, so that `=~` is not read as `=`.
    const ALL: [Self; 4] = [Self::Matches, Self::MatchesNot, Self::NotEqual, Self::Equal];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
        }
    }
}

/// One condition on one label. A label that is not there counts as empty.
#[derive(Debug, Clone)]
pub struct Matcher {
    pub label: String,
    pub comparison: Comparison,
    pub value: String,
    /// Set when `comparison` needs one.
    pattern: Option<Regex>,
}

/// A text that is no matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    #[error("`{0}` is no matcher; expected a label, one of = != =~ !~, and a value, such as `level=\"critical\"`")]
    Form(String),
    #[error("`{matcher}` is no matcher: {reason}")]
    Pattern { matcher: String, reason: String },
}

impl Matcher {
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        let is_match = |pattern: &Option<Regex>| pattern.as_ref().is_some_and(|pattern| pattern.is_match(value));
        match self.comparison {
            Comparison::Equal => value == self.value,
            Comparison::NotEqual => value != self.value,
            Comparison::Matches => is_match(&self.pattern),
            Comparison::MatchesNot => !is_match(&self.pattern),
        }
    }
}

impl FromStr for Matcher {
    type Err = MatcherError;

    fn from_str(text: &str) -> Result<Self, MatcherError> {
        let form = || MatcherError::Form(text.to_owned());
        let at = text.find(['=', '!']).ok_or_else(form)?;
        let (label, rest) = (text[..at].trim(), &text[at..]);
        let comparison =
            Comparison::ALL.into_iter().find(|candidate| rest.starts_with(candidate.as_str())).ok_or_else(form)?;
        let value = unquote(rest[comparison.as_str().len()..].trim()).ok_or_else(form)?;
        if label.is_empty() || !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(form());
        }
        let pattern = match comparison {
            Comparison::Equal | Comparison::NotEqual => None,
            Comparison::Matches | Comparison::MatchesNot => {
                let anchored = format!("^(?:{value})$");
                let reason = |error: regex::Error| {
                    let reason = error.to_string();
                    reason.lines().last().unwrap_or_default().trim().to_owned()
                };
                Some(
                    Regex::new(&anchored)
                        .map_err(|error| MatcherError::Pattern { matcher: text.to_owned(), reason: reason(error) })?,
                )
            }
        };
        Ok(Self { label: label.to_owned(), comparison, value, pattern })
    }
}

/// A bare word, or text in double quotes with `\"`, `\\` and `\n`.
fn unquote(text: &str) -> Option<String> {
    let Some(quoted) = text.strip_prefix('"') else {
        return (!text.is_empty() && !text.contains(['"', ',', '{', '}', '=', '~', '!', ' '])).then(|| text.to_owned());
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return characters.as_str().is_empty().then_some(value),
            '\\' => match characters.next()? {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                // A regular expression's own escape, such as `\d`.
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(f, "{}{}\"{value}\"", self.label, self.comparison.as_str())
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.label, self.comparison, &self.value) == (&other.label, other.comparison, &other.value)
    }
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(text: &str) -> Matcher {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn matches(text: &str, value: &str) -> bool {
        matcher(text).matches(&BTreeMap::from([("level".to_owned(), value.to_owned())]))
    }

    #[test]
    fn four_comparisons() {
        assert!(matches(r#"level="critical""#, "critical"));
        assert!(!matches(r#"level="critical""#, "warning"));
        assert!(matches("level = critical", "critical"));
        assert!(matches(r#"level!="critical""#, "warning"));
        assert!(matches(r#"level=~"critical|escalation""#, "escalation"));
        assert!(!matches(r#"level=~"critical|escalation""#, "critical2"), "anchored at both ends");
        assert!(matches(r#"level!~"w.*""#, "critical"));
        assert!(!matches(r#"level!~"w.*""#, "warning"));
        assert!(matches(r#"level=~"\w+""#, "warning"), "escapes of the expression stay");
        assert!(matches("other=~\".*\"", "warning"), "a label that is not there counts as empty");
        assert!(!matches("other=x", "warning"));
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        for text in [r#"level="critical""#, r#"a!="x \" y""#, r#"b=~"\\d+|\n""#, r#"c!~"""#] {
            let read = matcher(text);
            assert_eq!(matcher(&read.to_string()), read, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "level", "level=", "=x", "level==", r#"level="x"#, r#"level="x"y"#, "le vel=x", "level~x", "a=b c"]
        {
            let refused = text.parse::<Matcher>();
            assert!(matches!(refused, Err(MatcherError::Form(_))), "{text}: {refused:?}");
        }
        let error = r#"level=~"(""#.parse::<Matcher>().expect_err("no expression");
        assert_eq!(error.to_string(), r#"`level=~"("` is no matcher: error: unclosed group"#);
    }
}
