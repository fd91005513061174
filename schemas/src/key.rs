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

    /// Reads a key; the inverse of [`Self::to_bytes`] for ids without control characters.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        RecordKeyRef::parse(bytes).map(RecordKeyRef::to_owned)
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

/// A [`RecordKey`] that borrows from the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordKeyRef<'a> {
    pub tenant: &'a str,
    pub is_user: bool,
    /// Of the user or, where there is none, the anonymous id.
    pub id: &'a str,
}

impl<'a> RecordKeyRef<'a> {
    /// See [`RecordKey::parse`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(bytes).map_err(|_| KeyError)?;
        let mut parts = text.split(SEPARATOR);
        let (Some(tenant), Some(kind), Some(id), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyError);
        };
        match kind {
            "u" => Ok(Self { tenant, is_user: true, id }),
            "a" => Ok(Self { tenant, is_user: false, id }),
            _ => Err(KeyError),
        }
    }

    /// The user's id, when the key is a user's.
    pub fn user_id(&self) -> Option<&'a str> {
        self.is_user.then_some(self.id)
    }

    pub fn to_owned(self) -> RecordKey {
        if self.is_user { RecordKey::user(self.tenant, self.id) } else { RecordKey::anonymous(self.tenant, self.id) }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_tenant_kind_and_id_behind_separators() {
        assert_eq!(RecordKey::user("acme", "u-1").to_bytes(), b"acme\x1fu\x1fu-1");
        assert_eq!(RecordKey::anonymous("acme", "a-1").to_bytes(), b"acme\x1fa\x1fa-1");
        assert_eq!(RecordKey::user("acme", "u-1").user_id(), Some("u-1"));
        assert_eq!(RecordKey::anonymous("acme", "a-1").user_id(), None);
    }

    #[test]
    fn other_bytes_are_refused() {
        let others: [&[u8]; 7] =
            [b"", b"acme", b"acme\x1fu", b"acme\x1fx\x1f1", b"acme\x1fu\x1f1\x1f2", b"acme:u:1", b"\xff\x1fu\x1f1"];
        for bytes in others {
            assert_eq!(RecordKey::parse(bytes), Err(KeyError), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn keys_come_back(tenant in "[^\\p{Cc}]{0,20}", id in "[^\\p{Cc}]{0,20}", is_user in any::<bool>()) {
            let key = if is_user { RecordKey::user(tenant, id) } else { RecordKey::anonymous(tenant, id) };
            prop_assert_eq!(RecordKey::parse(&key.to_bytes()), Ok(key));
        }

        #[test]
        fn different_people_have_different_keys(a in ("[a-z]{1,2}", "[au]{1,2}"), b in ("[a-z]{1,2}", "[au]{1,2}")) {
            let [key_a, key_b] = [&a, &b].map(|(tenant, id)| RecordKey::user(tenant, id).to_bytes());
            prop_assert_eq!(key_a == key_b, a == b);
            prop_assert_ne!(RecordKey::user(&a.0, &a.1).to_bytes(), RecordKey::anonymous(&a.0, &a.1).to_bytes());
        }
    }
}
