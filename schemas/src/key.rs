//! Record keys: `tenant 0x1F u 0x1F user_id`, or `tenant 0x1F a 0x1F anonymous_id` without a user.

use std::fmt;

/// Separates the parts of a key; ids with control characters never get this far.
pub const SEPARATOR: char = '\u{1f}';

/// Whom a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    User(String),
    Anonymous(String),
}

/// The key of every record that is about one person.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    pub tenant: String,
    pub subject: Subject,
}

/// A key that is not of the agreed form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record key is not `tenant 0x1F u|a 0x1F id` in UTF-8")]
pub struct KeyError;

impl RecordKey {
    pub fn user(tenant: impl Into<String>, user_id: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), subject: Subject::User(user_id.into()) }
    }

    pub fn anonymous(tenant: impl Into<String>, anonymous_id: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), subject: Subject::Anonymous(anonymous_id.into()) }
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(bytes).map_err(|_| KeyError)?;
        let mut parts = text.splitn(3, SEPARATOR);
        let (Some(tenant), Some(kind), Some(id)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError);
        };
        match kind {
            "u" => Ok(Self::user(tenant, id)),
            "a" => Ok(Self::anonymous(tenant, id)),
            _ => Err(KeyError),
        }
    }

    /// The user's id, when the key is a user's.
    pub fn user_id(&self) -> Option<&str> {
        match &self.subject {
            Subject::User(id) => Some(id),
            Subject::Anonymous(_) => None,
        }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id) = match &self.subject {
            Subject::User(id) => ('u', id),
            Subject::Anonymous(id) => ('a', id),
        };
        write!(f, "{}{SEPARATOR}{kind}{SEPARATOR}{id}", self.tenant)
    }
}
