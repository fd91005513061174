//! Finds personal data and secrets in texts, by their form alone. Every detector is a hand-written scanner behind one
//! pass over the bytes that tells which of them have anything to look for; most texts end there.
//!
//! What each one takes and leaves is said in `schemas/testdata/privacy/README.md` and held to the vectors beside it,
//! which the clients' detectors are held to as well. When in doubt they leave a find out that would often be wrong
//! (order numbers, versions, times): who needs more certainty names the field in the policy.

mod card;
mod email;
mod ip;
mod national_id;
mod phone;
mod secret;
mod signals;

use std::ops::Range;

use self::signals::Signals;
pub use self::{
    card::is_card_number,
    ip::network_of,
    secret::{SecretScanner, names_a_secret},
};
use super::config::Detector;

/// Something that was found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    pub detector: Detector,
    /// Bytes of the text.
    pub range: Range<usize>,
}

/// The order in which detectors look; what overlaps an earlier one's find is no find.
const ORDER: [Detector; 6] =
    [Detector::Secret, Detector::Email, Detector::Card, Detector::NationalId, Detector::Ip, Detector::Phone];

/// The detectors that are switched on.
#[derive(Debug, Clone)]
pub struct Detectors {
    on: [bool; 6],
    secrets: SecretScanner,
}

impl Detectors {
    pub fn new(on: impl IntoIterator<Item = Detector>) -> Self {
        let mut detectors = Self { on: [false; 6], secrets: SecretScanner::of_known_prefixes() };
        on.into_iter().for_each(|detector| detectors.on[detector as usize] = true);
        detectors
    }

    pub fn is_on(&self, detector: Detector) -> bool {
        self.on[detector as usize]
    }

    pub fn is_any_on(&self) -> bool {
        self.on.contains(&true)
    }

    /// Everything that is found in a text, by place, without overlaps.
    pub fn find(&self, text: &str) -> Vec<Find> {
        let mut finds = Vec::new();
        let signals = Signals::of(text.as_bytes());
        for detector in ORDER {
            if !self.is_on(detector) || !signals.may_hold(detector) {
                continue;
            }
            let mut take = |range: Range<usize>| {
                let overlaps = |find: &Find| find.range.start < range.end && range.start < find.range.end;
                if !finds.iter().any(overlaps) {
                    finds.push(Find { detector, range });
                }
            };
            match detector {
                Detector::Secret => self.secrets.find(text, &mut take),
                Detector::Email => email::find(text, &mut take),
                Detector::Card => card::find(text.as_bytes(), &mut take),
                Detector::NationalId => national_id::find(text.as_bytes(), &mut take),
                Detector::Ip => ip::find(text, &mut take),
                Detector::Phone => phone::find(text.as_bytes(), &mut take),
            }
        }
        finds.sort_unstable_by_key(|find| find.range.start);
        finds
    }
}

/// One spelling for all that mean the same, so that their hashes are equal.
pub fn one_spelling(detector: Detector, found: &str) -> String {
    match detector {
        Detector::Email => found.to_lowercase().replace("%40", "@"),
        Detector::Phone | Detector::Card => found.chars().filter(char::is_ascii_digit).collect(),
        Detector::NationalId => {
            found.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
        }
        Detector::Ip | Detector::Secret => found.to_owned(),
    }
}

/// The byte at a place, 0 outside the text.
fn at(bytes: &[u8], index: usize) -> u8 {
    bytes.get(index).copied().unwrap_or(0)
}

/// The byte in front of a place, 0 at the start.
fn before(bytes: &[u8], index: usize) -> u8 {
    index.checked_sub(1).map_or(0, |index| at(bytes, index))
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// True when a number or an id may start here: it does not go on from something in front of it.
fn starts_apart(bytes: &[u8], start: usize) -> bool {
    let front = before(bytes, start);
    !is_word(front) && front != b'-' && front != b'.'
}

/// True when a number or an id may end here: it does not go on.
fn ends_apart(bytes: &[u8], end: usize) -> bool {
    let next = at(bytes, end);
    let goes_on = matches!(next, b'-' | b'.') && at(bytes, end + 1).is_ascii_digit();
    !is_word(next) && !goes_on
}

#[cfg(test)]
mod tests;
