//! `X-Ttf-Signature: t=<unix seconds>,v1=<hex of HMAC-SHA256>` over `<t>.<body>`: the time is signed, too, so that a
//! receiver can refuse what was recorded and sent again.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header's value.
pub fn sign(secret: &[u8], unix_seconds: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(format!("{unix_seconds}.").as_bytes());
    mac.update(body);
    format!("t={unix_seconds},v1={}", hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::sign;

    /// printf '1767225600.{"a":1}' | openssl dgst -sha256 -hmac secret
    #[test]
    fn it_is_what_openssl_makes_of_it() {
        assert_eq!(
            sign(b"secret", 1_767_225_600, br#"{"a":1}"#),
            "t=1767225600,v1=96a067a1c95eb143fc00b9097bcfcbcd5456adda508c443ff219748e764dbed7"
        );
    }
}
