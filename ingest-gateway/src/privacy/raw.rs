//! Bytes that are no JSON, as they go to the rejected topic: what a policy can protect without knowing the structure.

use std::borrow::Cow;

use super::{
    config::Detector,
    detect::names_a_secret,
    policy::{MASK, Policy},
};

/// The longest name of a field that is looked for.
const MAX_NAME: usize = 128;

/// More bytes than one in so many that are no UTF-8: this is no text.
const TEXT_SHARE: usize = 16;

impl Policy {
    /// The bytes with everything masked that a detector finds, or that stands under a name with a rule. `None` when
    /// they cannot be looked at (compressed, UTF-16, any property that is not on a list): nothing of them may be
    /// written.
    pub fn apply_to_raw(&self, raw: &[u8]) -> Option<Vec<u8>> {
        if self.rules().is_empty() && self.property_lists().is_empty() && !self.detectors.is_any_on() {
            return Some(raw.to_vec());
        }
        if raw.contains(&0) || self.property_lists().allow.is_some() {
            return None;
        }
        let mut redacted = Vec::with_capacity(raw.len());
        let mut strange = 0;
        for chunk in raw.utf8_chunks() {
            let text = self.fields_masked(unescaped(chunk.valid()));
            redacted.extend_from_slice(self.masked(&text).as_bytes());
            redacted.extend_from_slice(chunk.invalid());
            strange += chunk.invalid().len();
        }
        (strange <= raw.len() / TEXT_SHARE).then_some(redacted)
    }

    /// Masks what stands after `"name":` for every name with a rule. Quotes are not counted: in a text that is no JSON
    /// nobody knows which of them open and which close.
    fn fields_masked<'t>(&self, text: Cow<'t, str>) -> Cow<'t, str> {
        let bytes = text.as_bytes();
        let mut masked = String::new();
        let (mut kept_to, mut from) = (0, 0);
        while let Some(open) = bytes[from..].iter().position(|byte| *byte == b'"').map(|place| from + place) {
            from = open + 1;
            let name_end = bytes[from..].iter().take(MAX_NAME).position(|byte| *byte == b'"').map(|place| from + place);
            let Some(close) = name_end else { continue };
            let after = skip_space(bytes, close + 1);
            if bytes.get(after) != Some(&b':') || !self.is_masked_name(&text[from..close]) {
                continue;
            }
            let value = skip_space(bytes, after + 1);
            let end = value_end(bytes, value);
            if end > value {
                masked.push_str(&text[kept_to..value]);
                masked.push('"');
                masked.push_str(MASK);
                masked.push('"');
                kept_to = end;
                from = end;
            }
        }
        if kept_to == 0 {
            return text;
        }
        masked.push_str(&text[kept_to..]);
        Cow::Owned(masked)
    }

    fn is_masked_name(&self, name: &str) -> bool {
        self.rules().iter().any(|rule| rule.segments.last().is_some_and(|last| last == name))
            || self.property_lists().deny.contains(name)
            || (self.detectors.is_on(Detector::Secret) && names_a_secret(name))
    }
}

fn skip_space(text: &[u8], from: usize) -> usize {
    from + text[from.min(text.len())..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Where a value ends that starts here, or the text.
fn value_end(text: &[u8], start: usize) -> usize {
    match text.get(start) {
        None => start,
        Some(b'"') => string_end(text, start),
        Some(b'{' | b'[') => {
            let (mut depth, mut at) = (0_usize, start);
            while at < text.len() {
                match text[at] {
                    b'"' => at = string_end(text, at) - 1,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            at
        }
        Some(_) => {
            let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
            text[start..].iter().position(is_end).map_or(text.len(), |place| start + place)
        }
    }
}

fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// Escapes of plain characters undone (`\u0040`, `\/`), so that they hide nothing; those that would change the structure stay.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains("\\u00") && !text.contains("\\/") {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find('\\') {
        plain.push_str(&rest[..place]);
        rest = &rest[place..];
        let code =
            rest.get(2..6).filter(|_| rest[1..].starts_with('u')).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) if (0x20..0x7f).contains(&code) && !matches!(code, b'"' | b'\\') => {
                plain.push(char::from(code));
                rest = &rest[6..];
            }
            _ if rest.starts_with("\\/") => {
                plain.push('/');
                rest = &rest[2..];
            }
            _ => {
                // The escape and what it escapes stay together.
                let next = rest[1..].chars().next().map_or(1, |c| 1 + c.len_utf8());
                plain.push_str(&rest[..next]);
                rest = &rest[next..];
            }
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}
