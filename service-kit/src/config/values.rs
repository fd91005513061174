//! Values people write with units, and values nobody may read back.

use std::{fmt, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Unexpected, Visitor},
};

/// Units of [`HumanDuration`] in milliseconds, largest first. A year is 365 days.
const DURATION_UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of [`ByteSize`] in bytes, largest first; those with an `i` are powers of 1024, the others of 1000.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// A span of time, written `200ms`, `30s`, `5m`, `2h`, `14d`, `2w`, `1y` or several together (`1h30m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HumanDuration {
    millis: i64,
}

impl HumanDuration {
    /// `millis` below zero count as zero.
    pub const fn from_millis(millis: i64) -> Self {
        Self { millis: if millis < 0 { 0 } else { millis } }
    }

    pub const fn from_secs(secs: u32) -> Self {
        Self { millis: secs as i64 * 1_000 }
    }

    /// Milliseconds, never negative.
    pub const fn millis(self) -> i64 {
        self.millis
    }

    pub const fn as_std(self) -> Duration {
        Duration::from_millis(self.millis.unsigned_abs())
    }
}

impl From<HumanDuration> for Duration {
    fn from(duration: HumanDuration) -> Self {
        duration.as_std()
    }
}

/// A text that is not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct UnitError {
    expected: &'static str,
}

impl FromStr for HumanDuration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = UnitError { expected: Self::EXPECTED };
        let mut rest = text.trim();
        let mut millis = 0_i64;
        let mut smallest = i64::MAX;
        if rest.is_empty() {
            return Err(error);
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(error.clone())?;
            let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
            let count: i64 = rest[..digits].parse().map_err(|_| error.clone())?;
            let unit = rest[digits..unit_end].trim();
            let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or(error.clone())?;
            // `30s5m` and `5m5m` are slips, not durations.
            if *factor >= smallest {
                return Err(error);
            }
            smallest = *factor;
            millis = count.checked_mul(*factor).and_then(|part| millis.checked_add(part)).ok_or(error.clone())?;
            rest = &rest[unit_end..];
        }
        Ok(Self { millis })
    }
}

impl fmt::Display for HumanDuration {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis == 0 {
            return f.write_str("0s");
        }
        let whole = DURATION_UNITS.iter().find(|(name, factor)| *name != "w" && self.millis % factor == 0);
        let (name, factor) = whole.expect("every number is divided by one");
        write!(f, "{}{name}", self.millis / factor)
    }
}

/// A number of bytes, written `32KiB`, `5MiB`, `1GB` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize {
    bytes: u64,
}

impl ByteSize {
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// Bytes for use in memory; more than can be addressed counts as all of it.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = UnitError { expected: Self::EXPECTED };
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let count: u64 = text[..digits].parse().map_err(|_| error.clone())?;
        let factor = match text[digits..].trim() {
            "" => 1,
            "kB" => 1_000,
            unit => SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or(error.clone())?.1,
        };
        count.checked_mul(factor).map(Self::from_bytes).ok_or(error)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SIZE_UNITS.iter().find(|(_, factor)| self.bytes != 0 && self.bytes.is_multiple_of(*factor));
        let (name, factor) = whole.unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.bytes / factor)
    }
}

/// Something only its user may see: printed, logged and serialised as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretVisitor;

        /// serde's own words would show the value.
        fn unquoted<E: de::Error>() -> E {
            E::custom("a secret must be text; put it in quotes")
        }

        impl Visitor<'_> for SecretVisitor {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, best by reference: `${env:NAME}` or `${file:/path}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Secret, E> {
                Ok(Secret(text))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
                Err(unquoted())
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(unquoted())
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
                Err(unquoted())
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                Err(unquoted())
            }
        }

        deserializer.deserialize_any(SecretVisitor)
    }
}

/// Reads text with a unit, or a plain number where that has a meaning.
struct UnitVisitor<T> {
    expected: &'static str,
    plain: Option<fn(u64) -> T>,
}

impl<T: FromStr> Visitor<'_> for UnitVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        match self.plain {
            Some(plain) => Ok(plain(number)),
            None => Err(E::invalid_type(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

impl HumanDuration {
    const EXPECTED: &str = "a duration such as `200ms`, `30s`, `5m`, `2h`, `14d` or `1y`";
}

impl ByteSize {
    const EXPECTED: &str = "a size such as `512B`, `32KiB`, `5MiB` or `1GiB`";
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor { expected: Self::EXPECTED, plain: None })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor { expected: Self::EXPECTED, plain: Some(Self::from_bytes) })
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_with_units() {
        for (text, millis, printed) in [
            ("200ms", 200, "200ms"),
            ("30s", 30_000, "30s"),
            ("90s", 90_000, "90s"),
            ("60m", 3_600_000, "1h"),
            ("1h30m", 5_400_000, "90m"),
            ("14d", 14 * 86_400_000, "14d"),
            ("2w", 14 * 86_400_000, "14d"),
            ("1y", 365 * 86_400_000, "1y"),
            ("400d", 400 * 86_400_000, "400d"),
            ("0s", 0, "0s"),
        ] {
            let duration: HumanDuration = text.parse().unwrap();
            assert_eq!((duration.millis(), duration.to_string().as_str()), (millis, printed), "{text}");
            assert_eq!(duration.as_std().as_millis(), u128::from(millis.unsigned_abs()));
            assert_eq!(duration.to_string().parse::<HumanDuration>().unwrap(), duration);
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "5", "5 minutes", "m", "-5m", "1.5h", "30s5m", "5m5m", "9999999999999y", "5M"] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_read_and_print_with_units() {
        for (text, bytes, printed) in [
            ("32KiB", 32 * 1024, "32KiB"),
            ("5MiB", 5 * 1024 * 1024, "5MiB"),
            ("500KB", 500_000, "500KB"),
            ("1500", 1500, "1500B"),
            ("1GiB", 1 << 30, "1GiB"),
            ("0", 0, "0B"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, printed), "{text}");
            assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
        }
        for text in ["", "KiB", "-1KiB", "1.5MiB", "5 mb", "99999999TiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert_eq!(serde_json::from_str::<ByteSize>("4096").unwrap().bytes(), 4096);
    }

    #[test]
    fn a_secret_is_only_exposed_on_purpose() {
        let secret: Secret = serde_json::from_str("\"hunter2\"").unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        let refused = serde_json::from_str::<Secret>("123456").unwrap_err().to_string();
        assert!(!refused.contains("123456"), "{refused}");
    }
}
