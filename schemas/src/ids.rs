//! Deterministic ids, pseudonyms, and ids for events that came without one.
//!
//! A deterministic id is the first 128 bits of SHA-256 over its parts, each preceded by its length
//! (8 bytes, big endian), in hex: the same facts always give the same id, so that sinks can be idempotent.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::{
    breach::{BreachLevel, BreachStatus},
    time::EventTime,
};

/// One attempt of one user's journey, in one generation of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptIdentity<'a> {
    pub tenant: &'a str,
    pub journey: &'a str,
    pub user_id: &'a str,
    /// `""` for the default attempt.
    pub attempt: &'a str,
    /// Grows with each replay into fresh state.
    pub generation: i32,
}

/// Id of the record that this revision of an attempt emits.
pub fn record_id(attempt: &AttemptIdentity<'_>, revision: i64) -> String {
    digest("record", &attempt_parts(attempt), &[&revision.to_be_bytes()])
}

/// Id of a breach that this revision of an attempt emits.
pub fn breach_id(attempt: &AttemptIdentity<'_>, level: BreachLevel, status: BreachStatus, revision: i64) -> String {
    digest(
        "breach",
        &attempt_parts(attempt),
        &[level.as_str().as_bytes(), status.as_str().as_bytes(), &revision.to_be_bytes()],
    )
}

/// Id of the `sequence`-th notification of an alert group, for one receiver.
pub fn notification_id(group_key: &str, receiver: &str, sequence: i64) -> String {
    digest("notification", &[group_key.as_bytes(), receiver.as_bytes()], &[&sequence.to_be_bytes()])
}

/// Stands for a user where the user's id may not be: 128 bits of HMAC-SHA256 under a secret key, in hex.
pub fn pseudonym(key: &[u8], tenant: &str, user_id: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in [tenant, user_id] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    hex::encode(&mac.finalize().into_bytes()[..16])
}

/// A new `UUIDv7` for an event that came without an id; ids sort by `received_at`.
pub fn new_event_id(received_at: EventTime) -> String {
    let millis = u64::try_from(received_at.0).unwrap_or(0);
    let nanos = (millis % 1_000) as u32 * 1_000_000;
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, millis / 1_000, nanos)).to_string()
}

fn attempt_parts(attempt: &AttemptIdentity<'_>) -> [Vec<u8>; 5] {
    let AttemptIdentity { tenant, journey, user_id, attempt, generation } = *attempt;
    [tenant.into(), journey.into(), user_id.into(), attempt.into(), generation.to_be_bytes().to_vec()]
}

fn digest(kind: &str, identity: &[impl AsRef<[u8]>], rest: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    let parts = std::iter::once(kind.as_bytes()).chain(identity.iter().map(AsRef::as_ref)).chain(rest.iter().copied());
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ATTEMPT: AttemptIdentity<'static> =
        AttemptIdentity { tenant: "acme", journey: "onboarding", user_id: "u-1", attempt: "", generation: 0 };

    /// Ids live in sinks for years: the function may never change.
    #[test]
    fn ids_stay_what_they_are() {
        assert_eq!(record_id(&ATTEMPT, 1), "7ca6a98797aecd77704e82f6eb57d0a3");
        assert_eq!(
            breach_id(&ATTEMPT, BreachLevel::Warning, BreachStatus::Firing, 1),
            "f5e400f8b863ae0e06b73d3feb985f4b"
        );
        assert_eq!(notification_id("ttf:acme:onboarding:all", "slack", 1), "0a0844b94498c6dbb569c638db5330d8");
        assert_eq!(pseudonym(b"key", "acme", "u-1"), "6b0f119828f1d0c7627bd0133e0afbfc");
    }

    #[test]
    fn each_part_counts() {
        let mut ids = vec![
            record_id(&ATTEMPT, 1),
            record_id(&ATTEMPT, 2),
            record_id(&AttemptIdentity { tenant: "acm", ..ATTEMPT }, 1),
            record_id(&AttemptIdentity { tenant: "acmeo", journey: "nboarding", ..ATTEMPT }, 1),
            record_id(&AttemptIdentity { user_id: "u-", attempt: "1", ..ATTEMPT }, 1),
            record_id(&AttemptIdentity { attempt: "2", ..ATTEMPT }, 1),
            record_id(&AttemptIdentity { generation: 1, ..ATTEMPT }, 1),
            breach_id(&ATTEMPT, BreachLevel::Warning, BreachStatus::Firing, 1),
            breach_id(&ATTEMPT, BreachLevel::Critical, BreachStatus::Firing, 1),
            breach_id(&ATTEMPT, BreachLevel::Warning, BreachStatus::Resolved, 1),
            breach_id(&ATTEMPT, BreachLevel::Warning, BreachStatus::Firing, 2),
            notification_id("a", "b", 1),
            notification_id("ab", "", 1),
            notification_id("a", "b", 2),
            pseudonym(b"key", "acme", "u-1"),
            pseudonym(b"yek", "acme", "u-1"),
            pseudonym(b"key", "acmeu", "-1"),
        ];
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn event_ids_are_version_7_and_carry_the_time() {
        let id: uuid::Uuid = new_event_id(EventTime(1_795_425_330_250)).parse().expect("a UUID");
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_timestamp().expect("it has one").to_unix(), (1_795_425_330, 250_000_000));
        assert_ne!(new_event_id(EventTime(0)), new_event_id(EventTime(0)));
        assert!(new_event_id(EventTime(-5)) < new_event_id(EventTime(5)));
    }

    proptest! {
        #[test]
        fn moving_a_border_between_parts_changes_the_id(text in "[a-z]{2,12}", a in 0_usize..12, b in 0_usize..12) {
            let (a, b) = (a.min(text.len()), b.min(text.len()));
            let id = |at: usize| {
                record_id(&AttemptIdentity { user_id: &text[..at], attempt: &text[at..], ..ATTEMPT }, 1)
            };
            prop_assert_eq!(id(a) == id(b), a == b);
        }
    }
}
