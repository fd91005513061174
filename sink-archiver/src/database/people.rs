//! People as the object archive knows them: by random pseudonyms.

use telemetry_schemas::time::EventTime;

use crate::erasure::Ledger;

/// What kind of id stands for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectKind {
    User,
    Anonymous,
}

impl SubjectKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "u",
            Self::Anonymous => "a",
        }
    }
}

impl SubjectKind {
    /// Of the name the database keeps.
    pub(super) fn parse(name: &str) -> Self {
        if name == Self::User.as_str() { Self::User } else { Self::Anonymous }
    }
}

/// What becomes of people without a pseudonym.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Leave,
}

/// Somebody who needs a pseudonym.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Person {
    pub tenant: String,
    pub kind: SubjectKind,
    pub id: String,
}

/// What is known of a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Set when the user was erased.
    pub erased_at: Option<EventTime>,
    /// `None` only when everything asked about came before the erasure.
    pub pseudonym: Option<String>,
}

/// A random 128-bit pseudonym: nothing leads from it back to the person but the mapping in the database.
pub(super) fn new_pseudonym() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// Databases refuse NUL in text; such an id can have no row and needs no pseudonym.
pub(super) fn storable(person: &Person) -> bool {
    !person.tenant.contains('\0') && !person.id.contains('\0')
}

/// False when everything about the person came before their erasure: a new mapping would name them again.
pub(super) fn needs_pseudonym(ledger: &Ledger, person: &Person, newest: EventTime) -> bool {
    person.kind == SubjectKind::Anonymous || !ledger.covers(&person.tenant, &person.id, newest)
}
