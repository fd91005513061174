//! Ids in logs: recognisable within one process, meaningless outside it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

/// SipHash under a random key that lives as long as the process, so a log line cannot be traced back to a person by
/// hashing guesses, while lines of one process about one id can be matched.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A short keyed hash of an id, 12 hexadecimal digits, for logs and error messages.
pub fn hash_id(id: &str) -> String {
    format!("{:012x}", KEY.hash_one(id) >> 16)
}

#[cfg(test)]
mod tests {
    use super::hash_id;

    #[test]
    fn one_id_has_one_hash_and_another_has_another() {
        let hash = hash_id("user-1");
        assert_eq!(hash, hash_id("user-1"));
        assert_ne!(hash, hash_id("user-2"));
        assert_eq!(hash.len(), 12);
        assert!(hash.bytes().all(|digit| digit.is_ascii_hexdigit()), "{hash}");
    }
}
