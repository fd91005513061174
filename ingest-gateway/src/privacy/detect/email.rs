//! E-mail addresses, also as they stand in URLs (`ada%40example.com`).

use std::ops::Range;

const MAX_LOCAL: usize = 64;
const TLD_LENGTHS: std::ops::RangeInclusive<usize> = 2..=24;
/// `logo@2x.png` is a picture.
const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "gif", "svg", "webp"];

pub fn find(text: &str, take: &mut impl FnMut(Range<usize>)) {
    let mut from = 0;
    for (place, _) in text.match_indices(['@', '%']) {
        let sign = &text[place..];
        let domain = match sign.as_bytes()[0] {
            b'@' => place + 1,
            _ if sign.starts_with("%40") => place + 3,
            _ => continue,
        };
        if place < from {
            continue;
        }
        let found =
            local_part(&text[from..place]).and_then(|start| Some(from + start..domain + host(&text[domain..])?));
        if let Some(range) = found {
            from = range.end;
            take(range);
        }
    }
}

/// Where the local part starts that ends with this text.
fn local_part(text: &str) -> Option<usize> {
    if text.ends_with('.') {
        return None;
    }
    let is_sign = |c: char| matches!(c, '.' | '_' | '%' | '+' | '\'' | '-');
    let taken = text.char_indices().rev().take(MAX_LOCAL).take_while(|(_, c)| c.is_alphanumeric() || is_sign(*c));
    let start = taken.last()?.0;
    let local = text[start..].trim_start_matches(is_sign);
    (!local.is_empty()).then(|| text.len() - local.len())
}

/// Length of the host name that this text starts with.
fn host(text: &str) -> Option<usize> {
    let mut best = None;
    let mut start = 0;
    loop {
        let label = &text[start..];
        let end = label.find(|c: char| !c.is_alphanumeric() && c != '-').unwrap_or(label.len());
        let label = &label[..end];
        if label.is_empty() || label.starts_with('-') {
            break;
        }
        if start > 0 {
            let letters = label.find(|c: char| !c.is_alphabetic()).unwrap_or(label.len());
            let goes_on = label[letters..].chars().next().is_some_and(char::is_alphanumeric);
            if !goes_on && TLD_LENGTHS.contains(&label[..letters].chars().count()) {
                best = Some(start..start + letters);
            }
        }
        if label.ends_with('-') || !text[start + end..].starts_with('.') {
            break;
        }
        start += end + 1;
    }
    best.filter(|tld| !PICTURES.iter().any(|picture| text[tld.clone()].eq_ignore_ascii_case(picture)))
        .map(|tld| tld.end)
}
