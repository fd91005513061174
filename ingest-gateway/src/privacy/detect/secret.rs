//! Secrets: keys and tokens by the prefixes their issuers give them, and values that are called secrets.

use std::ops::Range;

use aho_corasick::{AhoCorasick, Match, MatchKind, packed};

use super::{at, before};

/// What must follow a prefix.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tail {
    /// At least so many characters of a set; all that follow belong to it.
    Chars { set: fn(u8) -> bool, min: usize },
    /// As many of [`is_token`], one of them a digit.
    WithDigit { min: usize },
    /// Parts of [`is_token`], each at least so long, with dots between them.
    Parts(&'static [usize]),
    /// A private key in PEM, to its end.
    Pem,
    /// The value after `Bearer `.
    Bearer,
    /// The password of a URL, after `://`.
    Url,
    /// The value after `password=`.
    Value,
}

const fn is_capital(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

const fn is_snake(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

const fn is_bearer(byte: u8) -> bool {
    is_token(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/' | b'=')
}

const fn plain(min: usize) -> Tail {
    Tail::Chars { set: is_plain, min }
}

const fn token(min: usize) -> Tail {
    Tail::Chars { set: is_token, min }
}

const AWS: Tail = Tail::Chars { set: is_capital, min: 16 };

pub(super) const PREFIXES: [(&str, Tail); 37] = [
    ("AKIA", AWS),
    ("ASIA", AWS),
    ("ghp_", plain(36)),
    ("gho_", plain(36)),
    ("ghu_", plain(36)),
    ("ghs_", plain(36)),
    ("ghr_", plain(36)),
    ("github_pat_", Tail::Chars { set: is_snake, min: 22 }),
    ("glpat-", token(20)),
    ("npm_", plain(36)),
    ("pypi-", token(40)),
    ("AIza", token(35)),
    ("whsec_", token(16)),
    ("xoxa-", token(10)),
    ("xoxb-", token(10)),
    ("xoxp-", token(10)),
    ("xoxr-", token(10)),
    ("xoxs-", token(10)),
    ("sk-", Tail::WithDigit { min: 20 }),
    ("sk_live_", plain(16)),
    ("sk_test_", plain(16)),
    ("rk_live_", plain(16)),
    ("rk_test_", plain(16)),
    ("SG.", Tail::Parts(&[16, 16])),
    ("eyJ", Tail::Parts(&[8, 8, 0])),
    ("-----BEGIN ", Tail::Pem),
    ("Bearer ", Tail::Bearer),
    ("://", Tail::Url),
    ("password=", Tail::Value),
    ("passwd=", Tail::Value),
    ("pwd=", Tail::Value),
    ("secret=", Tail::Value),
    ("token=", Tail::Value),
    ("api_key=", Tail::Value),
    ("apikey=", Tail::Value),
    ("access_key=", Tail::Value),
    ("accesskey=", Tail::Value),
];

/// Names whose values are secrets, whatever they look like.
const NAMES: [&str; 16] = [
    "password",
    "passwd",
    "pwd",
    "secret",
    "clientsecret",
    "apikey",
    "apisecret",
    "accesskey",
    "secretkey",
    "accesstoken",
    "refreshtoken",
    "authtoken",
    "idtoken",
    "authorization",
    "privatekey",
    "passphrase",
];

/// True when what is under this name is a secret: `password`, `apiKey`, `client-secret`.
pub fn names_a_secret(name: &str) -> bool {
    const LONGEST: usize = 16;
    // Most names end here: no secret's name starts otherwise.
    let starts_like_one =
        name.as_bytes().first().is_some_and(|first| b"pscari_-".contains(&first.to_ascii_lowercase()));
    if !starts_like_one || !(3..=LONGEST).contains(&name.len()) || !name.is_ascii() {
        return false;
    }
    let mut plain = [0; LONGEST];
    let mut length = 0;
    for byte in name.bytes().filter(|byte| !matches!(byte, b'_' | b'-')) {
        plain[length] = byte.to_ascii_lowercase();
        length += 1;
    }
    NAMES.iter().any(|name| name.as_bytes() == &plain[..length])
}

/// Looks for all prefixes at once.
#[derive(Debug, Clone)]
pub struct SecretScanner {
    /// Compares many bytes at a time; `None` where the processor cannot.
    vectors: Option<packed::Searcher>,
    automaton: AhoCorasick,
}

impl SecretScanner {
    /// # Panics
    /// Never: the prefixes are constants that a test has built.
    pub fn of_known_prefixes() -> Self {
        let prefixes = PREFIXES.map(|(prefix, _)| prefix);
        let vectors =
            packed::Config::new().match_kind(packed::MatchKind::LeftmostLongest).builder().extend(prefixes).build();
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(prefixes);
        Self { vectors, automaton: automaton.expect("37 short constants make an automaton") }
    }

    pub fn find(&self, text: &str, take: &mut impl FnMut(Range<usize>)) {
        match &self.vectors {
            Some(vectors) if text.len() >= vectors.minimum_len() => tails(text, vectors.find_iter(text), take),
            _ => tails(text, self.automaton.find_iter(text), take),
        }
    }
}

/// Takes the prefixes that are followed by what makes them a secret.
fn tails(text: &str, hits: impl Iterator<Item = Match>, take: &mut impl FnMut(Range<usize>)) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for hit in hits {
        if hit.start() < from {
            continue;
        }
        let (_, tail) = PREFIXES[hit.pattern().as_usize()];
        let is_apart =
            matches!(tail, Tail::Url | Tail::Pem | Tail::Bearer) || !before(bytes, hit.start()).is_ascii_alphanumeric();
        if let Some(range) = tail.range(bytes, hit.start(), hit.end()).filter(|_| is_apart) {
            from = range.end;
            take(range);
        }
    }
}

impl Tail {
    /// What is secret of a text whose prefix stands from `start` to `end`.
    fn range(self, text: &[u8], start: usize, end: usize) -> Option<Range<usize>> {
        match self {
            Self::Chars { set, min } => run(text, end, set, min).map(|end| start..end),
            Self::WithDigit { min } => {
                let close = run(text, end, is_token, min)?;
                text[end..close].iter().any(u8::is_ascii_digit).then_some(start..close)
            }
            Self::Parts(parts) => {
                let mut close = run(text, end, is_token, parts[0])?;
                for min in &parts[1..] {
                    if at(text, close) != b'.' {
                        return None;
                    }
                    close = run(text, close + 1, is_token, *min)?;
                }
                Some(start..close)
            }
            Self::Pem => pem(text, start, end),
            Self::Bearer => run(text, end, is_bearer, 16).map(|close| end..close),
            Self::Url => {
                let is_part = |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'/' | b'@');
                let colon = run(text, end, |byte| is_part(byte) && byte != b':', 1)?;
                let close = run(text, colon + 1, is_part, 1)?;
                (at(text, colon) == b':' && at(text, close) == b'@').then_some(colon + 1..close)
            }
            Self::Value => {
                let is_part =
                    |byte: u8| !byte.is_ascii_whitespace() && !matches!(byte, b'&' | b'"' | b'\'' | b'<' | b',' | b';');
                run(text, end, is_part, 4).map(|close| end..close)
            }
        }
    }
}

/// The end of a run of such bytes, when it is long enough.
fn run(text: &[u8], start: usize, set: impl Fn(u8) -> bool, min: usize) -> Option<usize> {
    let length = text.get(start..)?.iter().take_while(|byte| set(**byte)).count();
    (length >= min).then_some(start + length)
}

fn pem(text: &[u8], start: usize, end: usize) -> Option<Range<usize>> {
    const PRIVATE: &[u8] = b"PRIVATE KEY-----";
    let label = run(text, end, |byte| byte.is_ascii_uppercase() || matches!(byte, b' '), 0)?;
    let words = &text[end..(label + 5).min(text.len())];
    if !words.ends_with(PRIVATE) {
        return None;
    }
    let find =
        |from: usize, wanted: &[u8]| text[from..].windows(wanted.len()).position(|w| w == wanted).map(|at| from + at);
    let close = find(label + 5, b"-----END ")
        .and_then(|close| find(close + 9, b"-----"))
        .map_or(text.len(), |dashes| dashes + 5);
    Some(start..close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_spelling() {
        for name in ["password", "API_KEY", "apiKey", "client-secret", "Access_Token"] {
            assert!(names_a_secret(name), "{name}");
        }
        for name in
            ["", "passwords", "token_count", "my_password", "secretary", "pässwort", "a-very-long-name-of-a-password"]
        {
            assert!(!names_a_secret(name), "{name}");
        }
    }
}
