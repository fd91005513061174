//! Which key the erasure ledger is hashed with.

use super::DatabaseError;
use crate::erasure::LedgerKey;

/// Setting: the generated key.
pub(super) const KEY: &str = "erasure_ledger_key";
/// Setting: the fingerprint of a configured key, so that another one is noticed.
pub(super) const FINGERPRINT: &str = "erasure_ledger_key_fingerprint";

/// What to do, given what is configured and what the database keeps.
pub(super) enum Choice {
    Use(LedgerKey),
    /// Keep this setting (unless somebody else was first), then look again.
    Keep(&'static str, String),
}

/// A ledger hashed with another key would not know anybody: such a key is refused.
pub(super) fn choose(
    configured: Option<&str>,
    stored_key: Option<String>,
    stored_fingerprint: Option<String>,
) -> Result<Choice, DatabaseError> {
    let refused = |why: &str| Err(DatabaseError::Fatal(format!("archive.erasure_key {why}")));
    match (configured, stored_key, stored_fingerprint) {
        (Some(key), None, None) => Ok(Choice::Keep(FINGERPRINT, LedgerKey::new(key).fingerprint())),
        (Some(key), stored, fingerprint) => {
            let key_of_ledger = stored.map(|stored| LedgerKey::new(&stored).fingerprint()).or(fingerprint);
            let key = LedgerKey::new(key);
            if key_of_ledger.as_ref() == Some(&key.fingerprint()) {
                return Ok(Choice::Use(key));
            }
            refused("is not the key this database's erasure ledger was written with")
        }
        (None, Some(stored), _) => Ok(Choice::Use(LedgerKey::new(&stored))),
        (None, None, None) => Ok(Choice::Keep(KEY, hex::encode(rand::random::<[u8; 32]>()))),
        (None, None, Some(_)) => {
            refused("is missing; this database's erasure ledger was written with a configured key")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(configured: Option<&str>, key: Option<&str>, fingerprint: Option<String>) -> Option<String> {
        match choose(configured, key.map(str::to_owned), fingerprint) {
            Ok(Choice::Use(key)) => Some(key.fingerprint()),
            _ => None,
        }
    }

    #[test]
    fn a_fresh_database_keeps_a_generated_key_or_the_fingerprint_of_the_configured_one() {
        let Ok(Choice::Keep(KEY, key)) = choose(None, None, None) else { panic!("keeps a key") };
        assert_eq!(key.len(), 64);
        assert_eq!(used(None, Some(&key), None), Some(LedgerKey::new(&key).fingerprint()));
        let Ok(Choice::Keep(FINGERPRINT, fingerprint)) = choose(Some("k"), None, None) else { panic!("fingerprint") };
        assert_eq!(used(Some("k"), None, Some(fingerprint.clone())), Some(fingerprint));
    }

    #[test]
    fn another_key_or_a_missing_one_is_refused() {
        let fingerprint = Some(LedgerKey::new("k").fingerprint());
        assert!(choose(Some("other"), None, fingerprint.clone()).is_err());
        assert!(choose(Some("other"), Some("generated".to_owned()), None).is_err());
        assert!(choose(None, None, fingerprint).is_err());
    }
}
