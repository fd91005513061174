//! Keyed hashes, pseudonyms and sealed values. Every tenant has keys of its own, derived from the configured secrets,
//! so that the same address hashes differently for each and no tenant's seal opens with another's key.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use rand::Rng;
use service_kit::config::Secret;
use sha2::Sha256;

use super::config::{PrivacyConfig, PrivacyKey};

/// Between the parts of what is hashed: no id may hold it.
const SEPARATOR: char = '\u{1f}';
const HASH_HEX: usize = 32;
const NONCE_BYTES: usize = 24;
/// In front of a sealed value: what it is sealed with.
const SEAL_VERSION: &str = "x1";

/// The secrets of all tenants.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    shared: Vec<Key>,
    of_tenants: BTreeMap<String, Vec<Key>>,
}

#[derive(Debug, Clone)]
struct Key {
    id: String,
    secret: Secret,
}

/// Why a sealed value cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("this is no sealed value")]
    Malformed,
    #[error("the key it was sealed with is not configured any more")]
    UnknownKey,
    #[error("it was sealed for another tenant or field, or was changed")]
    Damaged,
}

impl Keyring {
    pub fn new(config: &PrivacyConfig) -> Self {
        let keys = |keys: &[PrivacyKey]| -> Vec<Key> {
            keys.iter().map(|key| Key { id: key.id.clone(), secret: key.secret.clone() }).collect()
        };
        let of_tenants = config.tenant_keys.iter().map(|(tenant, own)| (tenant.clone(), keys(own))).collect();
        Self { shared: keys(&config.keys), of_tenants }
    }

    fn of(&self, tenant: &str) -> &[Key] {
        self.of_tenants.get(tenant).unwrap_or(&self.shared)
    }

    /// The value under the tenant's newest key, as `hash:<key id>:<32 hex digits>`; `None` without a key.
    pub fn hash(&self, tenant: &str, value: &str) -> Option<String> {
        let key = self.of(tenant).first()?;
        Some(format!("hash:{}:{}", key.id, short_mac(&key.derived("hash", tenant), value)))
    }

    /// What stands for a user's id; `None` without a key.
    pub fn user_pseudonym(&self, tenant: &str, user_id: &str) -> Option<String> {
        self.pseudonym(tenant, user_id)
    }

    /// What stands for a visitor's id; `None` without a key.
    pub fn visitor_pseudonym(&self, tenant: &str, anonymous_id: &str) -> Option<String> {
        self.pseudonym(tenant, &format!("a{SEPARATOR}{anonymous_id}"))
    }

    /// Made with the oldest key, so that a new one in front of it parts nobody from their past.
    fn pseudonym(&self, tenant: &str, id: &str) -> Option<String> {
        let key = self.of(tenant).last()?;
        Some(format!("p_{}", short_mac(&key.derived("pseudonym", tenant), id)))
    }

    /// Encrypts a value (XChaCha20-Poly1305, a nonce at random), bound to its tenant and field, as
    /// `x1.<key id>.<base64url of nonce and ciphertext>`; `None` without a key.
    pub fn seal(&self, tenant: &str, path: &str, value: &str) -> Option<String> {
        let key = self.of(tenant).first()?;
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill(&mut nonce);
        let aad = bound_to(tenant, path);
        let payload = Payload { msg: value.as_bytes(), aad: aad.as_bytes() };
        let ciphertext = key.cipher(tenant).encrypt(&XNonce::from(nonce), payload).ok()?;
        let sealed = [&nonce[..], &ciphertext].concat();
        Some(format!("{SEAL_VERSION}.{}.{}", key.id, BASE64.encode(sealed)))
    }

    /// Opens what [`Keyring::seal`] made, with whichever of the tenant's keys it was made.
    pub fn open(&self, tenant: &str, path: &str, sealed: &str) -> Result<String, OpenError> {
        let mut parts = sealed.splitn(3, '.');
        let (Some(SEAL_VERSION), Some(id), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(OpenError::Malformed);
        };
        let bytes = BASE64.decode(text).map_err(|_| OpenError::Malformed)?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError::Malformed)?;
        let key = self.of(tenant).iter().find(|key| key.id == id).ok_or(OpenError::UnknownKey)?;
        let aad = bound_to(tenant, path);
        let payload = Payload { msg: ciphertext, aad: aad.as_bytes() };
        let opened = key.cipher(tenant).decrypt(&XNonce::from(*nonce), payload).map_err(|_| OpenError::Damaged)?;
        String::from_utf8(opened).map_err(|_| OpenError::Damaged)
    }
}

impl Key {
    fn derived(&self, purpose: &str, tenant: &str) -> [u8; 32] {
        mac(self.secret.expose().as_bytes(), &format!("ttf {purpose} v1{SEPARATOR}{tenant}"))
    }

    fn cipher(&self, tenant: &str) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.derived("seal", tenant).into())
    }
}

/// True for texts that [`Keyring::hash`] made, so that hashing twice is hashing once.
pub fn is_hash(text: &str) -> bool {
    let parts = text.strip_prefix("hash:").and_then(|rest| rest.split_once(':'));
    parts.is_some_and(|(id, mac)| is_key_id(id) && is_short_mac(mac))
}

/// True for texts that are a pseudonym by their form.
pub fn is_pseudonym(text: &str) -> bool {
    text.strip_prefix("p_").is_some_and(is_short_mac)
}

/// What a key may be called.
pub fn is_key_id(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

fn is_short_mac(text: &str) -> bool {
    text.len() == HASH_HEX && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn bound_to(tenant: &str, path: &str) -> String {
    format!("{tenant}{SEPARATOR}{path}")
}

fn short_mac(key: &[u8], value: &str) -> String {
    hex::encode(&mac(key, value)[..HASH_HEX / 2])
}

/// # Panics
/// Never: HMAC takes keys of any length.
fn mac(key: &[u8], value: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(value.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(ids: &[&str]) -> Keyring {
        let key = |id: &&str| PrivacyKey { id: (*id).to_owned(), secret: Secret::new(format!("secret of {id}")) };
        Keyring::new(&PrivacyConfig { keys: ids.iter().map(key).collect(), ..PrivacyConfig::default() })
    }

    #[test]
    fn what_is_sealed_opens_for_its_tenant_and_field_alone() {
        let keys = keyring(&["k1"]);
        let sealed = keys.seal("acme", "properties.email", "ada@example.com").unwrap();
        assert!(!sealed.contains("ada@"), "{sealed}");
        assert_eq!(keys.open("acme", "properties.email", &sealed).unwrap(), "ada@example.com");
        assert_eq!(keys.open("other", "properties.email", &sealed), Err(OpenError::Damaged));
        assert_eq!(keys.open("acme", "properties.phone", &sealed), Err(OpenError::Damaged));
        assert_ne!(keys.seal("acme", "properties.email", "ada@example.com").unwrap(), sealed, "a nonce is used twice");
    }

    #[test]
    fn a_changed_or_made_up_seal_does_not_open() {
        let keys = keyring(&["k1"]);
        let sealed = keys.seal("acme", "p", "ada").unwrap();
        let last = if sealed.ends_with('A') { "B" } else { "A" };
        let changed = format!("{}{last}", &sealed[..sealed.len() - 1]);
        assert!(keys.open("acme", "p", &changed).is_err());
        for (text, why) in
            [("", OpenError::Malformed), ("x1.k1.AAAA", OpenError::Malformed), ("x9.k1.AAAA", OpenError::Malformed)]
        {
            assert_eq!(keys.open("acme", "p", text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_new_key_changes_hashes_keeps_pseudonyms_and_opens_old_seals() {
        let (old, new) = (keyring(&["k1"]), keyring(&["k2", "k1"]));
        let sealed = old.seal("acme", "p", "ada").unwrap();
        assert_eq!(new.open("acme", "p", &sealed).unwrap(), "ada");
        assert_ne!(new.hash("acme", "ada"), old.hash("acme", "ada"));
        assert_eq!(new.user_pseudonym("acme", "ada"), old.user_pseudonym("acme", "ada"));
        assert_eq!(keyring(&["k2"]).open("acme", "p", &sealed), Err(OpenError::UnknownKey));
    }

    #[test]
    fn a_tenant_may_have_keys_of_its_own() {
        let own = PrivacyKey { id: "own".into(), secret: Secret::new("acme's own secret") };
        let config = PrivacyConfig { tenant_keys: [("acme".to_owned(), vec![own])].into(), ..PrivacyConfig::default() };
        let keys = Keyring::new(&config);
        assert!(keys.hash("acme", "ada").is_some_and(|hash| hash.starts_with("hash:own:") && is_hash(&hash)));
        assert_eq!(keys.hash("other", "ada"), None);
    }

    #[test]
    fn forms_are_told_from_other_texts() {
        let mac = "0123456789abcdef0123456789abcdef";
        assert!(is_hash(&format!("hash:k1:{mac}")) && is_pseudonym(&format!("p_{mac}")));
        for text in [
            "hash:k1:0123",
            "hash::0123456789abcdef0123456789abcdef",
            "p_x",
            "",
            "hash:k 1:0123456789abcdef0123456789abcdef",
        ] {
            assert!(!is_hash(text) && !is_pseudonym(text), "{text}");
        }
    }
}
