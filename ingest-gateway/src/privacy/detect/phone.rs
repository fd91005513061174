//! Phone numbers: international ones with their `+`, and North American ones by their grouping.

use std::ops::Range;

use super::{at, before, ends_apart, starts_apart};

const MIN_DIGITS: usize = 8;
/// ITU-T E.164.
const MAX_DIGITS: usize = 15;
/// Signs between two digits.
const MAX_SIGNS: usize = 2;

pub fn find(text: &[u8], take: &mut impl FnMut(Range<usize>)) {
    let mut start = 0;
    while start < text.len() {
        let end = match text[start] {
            b'+' => international(text, start),
            b'0'..=b'9' | b'(' => north_american(text, start),
            _ => None,
        };
        if let Some(end) = end {
            take(start..end);
        }
        start = end.unwrap_or(start + 1);
    }
}

fn international(text: &[u8], start: usize) -> Option<usize> {
    let front = before(text, start);
    let first = at(text, start + 1);
    if front.is_ascii_alphanumeric() || front == b'+' || !matches!(first, b'1'..=b'9') {
        return None;
    }
    let (mut digits, mut signs, mut end) = (0, 0, start + 1);
    for (index, byte) in text.iter().enumerate().skip(start + 1) {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                signs = 0;
                end = index + 1;
            }
            b' ' | b'-' | b'.' | b'(' | b')' | b'/' if signs < MAX_SIGNS => signs += 1,
            _ => break,
        }
        if digits > MAX_DIGITS {
            return None;
        }
    }
    (digits >= MIN_DIGITS).then_some(end)
}

fn north_american(text: &[u8], start: usize) -> Option<usize> {
    if !starts_apart(text, start) {
        return None;
    }
    let is_group = |from: usize, length: usize| (from..from + length).all(|index| at(text, index).is_ascii_digit());
    let is_separator = |index: usize| matches!(at(text, index), b'-' | b'.' | b' ');
    let is_code = |from: usize| is_group(from, 3) && at(text, from) >= b'2';
    let exchange = if text[start] == b'(' {
        if !is_code(start + 1) || at(text, start + 4) != b')' {
            return None;
        }
        start + 5 + usize::from(is_separator(start + 5))
    } else {
        if !is_code(start) || !is_separator(start + 3) {
            return None;
        }
        start + 4
    };
    let line = exchange + 4;
    (is_code(exchange) && is_separator(exchange + 3) && is_group(line, 4) && ends_apart(text, line + 4))
        .then_some(line + 4)
}
