//! Payment card numbers: an issuer's range, a length it issues, and Luhn's check (ISO/IEC 7812-1).

use std::ops::Range;

use super::{at, ends_apart, starts_apart};

/// How card numbers are written in groups, longest first.
const GROUPINGS: [&[usize]; 4] = [&[4, 4, 4, 4, 3], &[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4]];

pub fn find(text: &[u8], take: &mut impl FnMut(Range<usize>)) {
    let mut start = 0;
    while start < text.len() {
        if !text[start].is_ascii_digit() {
            start += 1;
            continue;
        }
        let end = run_end(text, start);
        match number_at(text, start, end).filter(|_| starts_apart(text, start)) {
            Some(end) => {
                take(start..end);
                start = end;
            }
            None => start = end,
        }
    }
}

/// True when a whole number is a card's.
pub fn is_card_number(number: u64) -> bool {
    let digits = number.to_string();
    is_card(digits.as_bytes())
}

fn run_end(text: &[u8], start: usize) -> usize {
    start + text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The end of the card number that starts with this run of digits.
fn number_at(text: &[u8], start: usize, end: usize) -> Option<usize> {
    if is_card(&text[start..end]) && ends_apart(text, end) {
        return Some(end);
    }
    if end - start != 4 {
        return None;
    }
    let separator = at(text, end);
    if !matches!(separator, b' ' | b'-') {
        return None;
    }
    GROUPINGS.into_iter().find_map(|grouping| {
        let mut digits = text[start..end].to_vec();
        let mut end = end;
        for length in &grouping[1..] {
            let group = end + 1;
            if at(text, end) != separator || run_end(text, group.min(text.len())) != group + length {
                return None;
            }
            end = group + length;
            digits.extend_from_slice(&text[group..end]);
        }
        (is_card(&digits) && ends_apart(text, end)).then_some(end)
    })
}

fn is_card(digits: &[u8]) -> bool {
    (13..=19).contains(&digits.len()) && is_issued(digits) && passes_luhn(digits)
}

fn is_issued(digits: &[u8]) -> bool {
    let first =
        |count: usize| digits[..count].iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    let (two, three, four) = (first(2), first(3), first(4));
    match digits.len() {
        13 => two / 10 == 4,
        14 => (300..=305).contains(&three) || matches!(two, 36 | 38 | 39),
        15 => matches!(two, 34 | 37),
        length => {
            let is_16_only = (51..=55).contains(&two) || (2221..=2720).contains(&four);
            (matches!(length, 16 | 19) && two / 10 == 4)
                || (length == 16 && is_16_only)
                || four == 6011
                || (644..=649).contains(&three)
                || matches!(two, 62 | 65)
                || (3528..=3589).contains(&four)
        }
    }
}

fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(digit - b'0')) {
            (0, digit) => digit,
            (_, digit @ 0..=4) => digit * 2,
            (_, digit) => digit * 2 - 9,
        })
        .sum();
    sum.is_multiple_of(10)
}
