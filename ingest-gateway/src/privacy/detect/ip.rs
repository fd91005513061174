//! IP addresses. Version numbers look like them; what stands in front tells most of them apart.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use super::{at, before, ends_apart, is_word, starts_apart};

pub fn find(text: &str, take: &mut impl FnMut(Range<usize>)) {
    let bytes = text.as_bytes();
    let mut start = 0;
    // Every address has a `:`, or a `.` after a digit: only runs around those are looked at.
    while let Some(sign) = bytes[start..].iter().position(|byte| matches!(byte, b':' | b'.')).map(|place| start + place)
    {
        if bytes[sign] == b'.' && !before(bytes, sign).is_ascii_digit() {
            start = sign + 1;
            continue;
        }
        let from = sign - bytes[start..sign].iter().rev().take_while(|byte| is_part(**byte)).count();
        let to = sign + bytes[sign..].iter().take_while(|byte| is_part(**byte)).count();
        match v6(text, from, to) {
            Some(range) => take(range),
            None => v4(text, from, to, take),
        }
        start = to;
    }
}

/// The network an address belongs to: /24 for IPv4, /48 for IPv6.
pub fn network_of(address: &str) -> Option<String> {
    Some(match address.trim().parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string()
        }
    })
}

/// What an address can be made of.
const fn is_part(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || byte == b':' || byte == b'.'
}

fn v6(text: &str, start: usize, end: usize) -> Option<Range<usize>> {
    let run = text[start..end].trim_end_matches('.');
    let colons = run.bytes().filter(|byte| *byte == b':').count();
    if colons < 2 || is_word(before(text.as_bytes(), start)) || is_word(at(text.as_bytes(), end)) {
        return None;
    }
    let groups: usize =
        run.split(':').filter(|group| !group.is_empty()).map(|group| 1 + usize::from(group.contains('.'))).sum();
    let address = run.parse::<Ipv6Addr>().ok()?;
    (groups >= 3 && !address.is_loopback() && !address.is_unspecified()).then(|| start..start + run.len())
}

/// Addresses within a run of characters that can be part of one.
fn v4(text: &str, from: usize, to: usize, take: &mut impl FnMut(Range<usize>)) {
    let bytes = text.as_bytes();
    let mut start = from;
    while start < to {
        let is_start = bytes[start].is_ascii_digit() && starts_apart(bytes, start);
        if !is_start {
            start += 1;
            continue;
        }
        let length = bytes[start..to].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
        let run = text[start..start + length].trim_end_matches('.');
        let end = start + run.len();
        // `Chrome/120.0.0.0` is a version, `http://198.51.100.7` is an address.
        let is_version = before(bytes, start) == b'/' && (start < 2 || bytes[start - 2] != b'/');
        let is_address =
            run.parse::<Ipv4Addr>().is_ok_and(|address| !address.is_loopback() && !address.is_unspecified());
        if is_address && !is_version && ends_apart(bytes, end) && at(bytes, end) != b'-' {
            take(start..end);
        }
        start += length;
    }
}
