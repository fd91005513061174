//! National identity and social security numbers whose form or check digits make a find more than a guess.

use std::ops::Range;

use super::{at, ends_apart, starts_apart};

pub fn find(text: &[u8], take: &mut impl FnMut(Range<usize>)) {
    let mut start = 0;
    while start < text.len() {
        let length = (text[start].is_ascii_alphanumeric() && starts_apart(text, start))
            .then(|| id_length(&text[start..]))
            .flatten()
            .filter(|length| ends_apart(text, start + length));
        if let Some(length) = length {
            take(start..start + length);
        }
        start += length.unwrap_or(1);
    }
}

/// Length of the id that this text starts with.
fn id_length(text: &[u8]) -> Option<usize> {
    match text[0] {
        b'0'..=b'9' => {
            us_ssn(text).or_else(|| swiss_ahv(text)).or_else(|| spanish_dni(text)).or_else(|| french_nir(text))
        }
        b'A'..=b'Z' => uk_nino(text).or_else(|| italian_codice_fiscale(text)),
        _ => None,
    }
}

/// Whether the text starts as the form says: `9` is a digit, `A` a capital letter, all else itself.
fn has_form(text: &[u8], form: &[u8]) -> bool {
    text.len() >= form.len()
        && form.iter().zip(text).all(|(form, byte)| match form {
            b'9' => byte.is_ascii_digit(),
            b'A' => byte.is_ascii_uppercase(),
            exact => byte == exact,
        })
}

fn digits(text: &[u8]) -> impl Iterator<Item = u64> {
    text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| u64::from(byte - b'0'))
}

fn number(text: &[u8]) -> u64 {
    digits(text).fold(0, |number, digit| number * 10 + digit)
}

/// <https://www.ssa.gov/employer/randomization.html>
fn us_ssn(text: &[u8]) -> Option<usize> {
    const FORM: &[u8] = b"999-99-9999";
    let is_one = has_form(text, FORM)
        && !matches!(&text[..3], b"000" | b"666")
        && text[0] != b'9'
        && &text[4..6] != b"00"
        && &text[7..11] != b"0000";
    is_one.then_some(FORM.len())
}

/// The number of the Swiss old-age insurance, an EAN-13 that starts with 756.
fn swiss_ahv(text: &[u8]) -> Option<usize> {
    const FORM: &[u8] = b"756.9999.9999.99";
    if !has_form(text, FORM) {
        return None;
    }
    let sum: u64 =
        digits(&text[..FORM.len()]).zip([1, 3].into_iter().cycle()).map(|(digit, weight)| digit * weight).sum();
    sum.is_multiple_of(10).then_some(FORM.len())
}

/// Eight digits and the letter they give modulo 23.
fn spanish_dni(text: &[u8]) -> Option<usize> {
    const FORM: &[u8] = b"99999999A";
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    (has_form(text, FORM) && LETTERS[(number(&text[..8]) % 23) as usize] == text[8]).then_some(FORM.len())
}

/// 13 digits and a key of two: 97 less the number modulo 97.
fn french_nir(text: &[u8]) -> Option<usize> {
    const FORMS: [&[u8]; 2] = [b"9 99 99 99 999 999 99", b"999999999999999"];
    if !matches!(text[0], b'1' | b'2') {
        return None;
    }
    let form = FORMS.into_iter().find(|form| has_form(text, form))?;
    let number = number(&text[..form.len()]);
    (97 - (number / 100) % 97 == number % 100).then_some(form.len())
}

/// <https://www.gov.uk/hmrc-internal-manuals/national-insurance-manual/nim39110>
fn uk_nino(text: &[u8]) -> Option<usize> {
    const FORMS: [&[u8]; 2] = [b"AA999999A", b"AA 99 99 99 A"];
    let form = FORMS.into_iter().find(|form| has_form(text, form))?;
    let is_issued = !b"DFIQUV".contains(&text[0])
        && !b"DFIOQUV".contains(&text[1])
        && !matches!(&text[..2], b"BG" | b"GB" | b"NK" | b"KN" | b"TN" | b"NT" | b"ZZ");
    (is_issued && matches!(at(text, form.len() - 1), b'A'..=b'D')).then_some(form.len())
}

/// Sixteen characters, the last of which follows from the others.
fn italian_codice_fiscale(text: &[u8]) -> Option<usize> {
    const FORM: &[u8] = b"AAAAAA99A99A999A";
    /// By digit, or by letter: what a character in an odd place counts.
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    if !has_form(text, FORM) {
        return None;
    }
    let place = |byte: u8| if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' };
    let sum: u32 = text[..15]
        .iter()
        .enumerate()
        .map(|(index, byte)| {
            let place = place(*byte);
            if index % 2 == 0 { ODD[usize::from(place)] } else { u32::from(place) }
        })
        .sum();
    (sum % 26 == u32::from(text[15] - b'A')).then_some(FORM.len())
}
