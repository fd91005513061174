//! Keeps values out of error messages: they can be personal data.

/// The text with everything inside double quotes left out; serde quotes the strings it did not expect.
pub(crate) fn without_values(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        kept.push(c);
        if c != '"' {
            continue;
        }
        kept.push('…');
        while let Some(inside) = chars.next() {
            match inside {
                '\\' => drop(chars.next()),
                '"' => {
                    kept.push('"');
                    break;
                }
                _ => {}
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_left_out() {
        assert_eq!(
            without_values(r#"invalid type: string "ada@\"example\".org", expected i64, not "x""#),
            r#"invalid type: string "…", expected i64, not "…""#
        );
        assert_eq!(without_values("missing field `tenant`"), "missing field `tenant`");
        assert_eq!(without_values(r#"cut off "ada"#), r#"cut off "…"#);
    }
}
