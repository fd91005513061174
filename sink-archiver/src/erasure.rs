//! The erasure ledger: who was erased when, remembered only as keyed hashes.
//!
//! Pure: the database keeps the ledger, this module says what it means.

use std::collections::HashMap;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use telemetry_schemas::{BreachReason, Event, JourneyStatus, TtfBreach, TtfRecord, time::EventTime};

/// Key of the ledger's hashes.
#[derive(Clone)]
pub struct LedgerKey {
    secret: Vec<u8>,
    /// Keyed already: that is half the work of a hash.
    mac: Hmac<Sha256>,
}

impl LedgerKey {
    pub fn new(secret: &str) -> Self {
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        Self { secret: secret.as_bytes().to_vec(), mac }
    }

    /// The name under which the ledger knows a user.
    pub fn hash(&self, tenant: &str, user_id: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(tenant.as_bytes());
        mac.update(&[0x1f]);
        mac.update(user_id.as_bytes());
        let mut text = vec![0; 64];
        hex::encode_to_slice(mac.finalize().into_bytes(), &mut text).expect("two digits a byte");
        String::from_utf8(text).expect("digits are ASCII")
    }

    /// Tells two keys apart without telling either.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::new_with_prefix(b"ttf erasure ledger key\x1f").chain_update(&self.secret).finalize();
        hex::encode(&digest[..8])
    }
}

/// The part of the ledger that matters to some users at hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    erased: HashMap<(String, String), EventTime>,
}

impl Ledger {
    /// Notes an erasure; the latest one counts.
    pub fn note(&mut self, tenant: &str, user_id: &str, erased_at: EventTime) {
        let known = self.erased.entry((tenant.to_owned(), user_id.to_owned())).or_insert(erased_at);
        *known = (*known).max(erased_at);
    }

    pub fn is_empty(&self) -> bool {
        self.erased.is_empty()
    }

    pub fn erased_at(&self, tenant: &str, user_id: &str) -> Option<EventTime> {
        if self.erased.is_empty() {
            return None;
        }
        self.erased.get(&(tenant.to_owned(), user_id.to_owned())).copied()
    }

    /// True when this user was erased after `instant`.
    pub fn covers(&self, tenant: &str, user_id: &str, instant: EventTime) -> bool {
        self.erased_at(tenant, user_id).is_some_and(|erased_at| instant < erased_at)
    }

    pub fn forgets_event(&self, event: &Event) -> bool {
        event.user_id.as_deref().is_some_and(|user_id| self.covers(&event.tenant, user_id, event.received_at))
    }

    /// A record that tells of an erasure is not kept either: it names the user.
    pub fn forgets_record(&self, record: &TtfRecord) -> bool {
        record.status == JourneyStatus::Erased || self.covers(&record.tenant, &record.user_id, record.emitted_at)
    }

    pub fn forgets_breach(&self, breach: &TtfBreach) -> bool {
        breach.reason == Some(BreachReason::Erased) || self.covers(&breach.tenant, &breach.user_id, breach.detected_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_before_the_erasure_is_covered() {
        let mut ledger = Ledger::default();
        ledger.note("acme", "ada", EventTime(100));
        assert!(ledger.covers("acme", "ada", EventTime(99)));
        assert!(!ledger.covers("acme", "ada", EventTime(100)));
        assert!(!ledger.covers("acme", "bob", EventTime(99)));
        assert!(!ledger.covers("other", "ada", EventTime(99)));
    }

    #[test]
    fn the_latest_erasure_counts_in_any_order() {
        let mut ledger = Ledger::default();
        ledger.note("acme", "ada", EventTime(200));
        ledger.note("acme", "ada", EventTime(100));
        assert!(ledger.covers("acme", "ada", EventTime(150)));
    }

    #[test]
    fn hashes_need_the_key_and_keep_tenants_apart() {
        let key = LedgerKey::new("one");
        assert_eq!(key.hash("acme", "ada"), LedgerKey::new("one").hash("acme", "ada"));
        assert_ne!(key.hash("acme", "ada"), LedgerKey::new("two").hash("acme", "ada"));
        assert_ne!(key.hash("a", "bc"), key.hash("ab", "c"));
        assert_ne!(key.fingerprint(), LedgerKey::new("two").fingerprint());
    }
}
