//! One pass over a text that rules out most detectors.

use super::Detector;

const AT: u8 = 1;
const PERCENT: u8 = 2;
const COLON: u8 = 4;
const PLUS: u8 = 8;
const DOT: u8 = 16;
const DIGIT: u8 = 32;
const EQUALS: u8 = 64;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    classes[b'@' as usize] = AT;
    classes[b'%' as usize] = PERCENT;
    classes[b':' as usize] = COLON;
    classes[b'+' as usize] = PLUS;
    classes[b'.' as usize] = DOT;
    classes[b'=' as usize] = EQUALS;
    let mut digit = b'0';
    while digit <= b'9' {
        classes[digit as usize] = DIGIT;
        digit += 1;
    }
    classes
};

/// Which characters that matter a text has.
#[derive(Debug, Clone, Copy)]
pub struct Signals {
    seen: u8,
    digits: usize,
    length: usize,
}

/// The shortest texts with an e-mail address (`a@b.cc`), the password of a URL (`://a:b@`), and a key or token by its
/// prefix (`xoxb-` and ten more).
const MIN_EMAIL: usize = 6;
const MIN_PASSWORD: usize = 7;
const MIN_TOKEN: usize = 15;

impl Signals {
    pub fn of(text: &[u8]) -> Self {
        let mut seen = 0;
        let mut digits = 0;
        for byte in text {
            let class = CLASSES[usize::from(*byte)];
            seen |= class;
            digits += usize::from(class == DIGIT);
        }
        Self { seen, digits, length: text.len() }
    }

    /// False when the text cannot hold what this detector looks for.
    pub fn may_hold(&self, detector: Detector) -> bool {
        let has = |class: u8| self.seen & class != 0;
        match detector {
            Detector::Email => self.length >= MIN_EMAIL && (has(AT) || has(PERCENT)),
            Detector::Secret => {
                self.length >= MIN_TOKEN || (self.length >= MIN_PASSWORD && (has(COLON) || has(EQUALS)))
            }
            Detector::Card => self.digits >= 13,
            Detector::NationalId => self.digits >= 6,
            Detector::Ip => has(COLON) || (has(DOT) && self.digits >= 4),
            Detector::Phone => self.digits >= 10 || (has(PLUS) && self.digits >= 8),
        }
    }
}
