//! Instants as RFC 3339 writes them (`2026-11-23T09:30:00.123Z`), and nothing else.
//!
//! General parsers take more (week dates, zone names in brackets) than the schema's `date-time` does; the gateway must
//! take exactly what the schema takes.

use telemetry_schemas::time::EventTime;

/// Parses an RFC 3339 `date-time`. Fractions finer than a millisecond are cut off; a leap second counts as the last
/// millisecond of its minute. `None` when it is none.
pub fn parse(text: &str) -> Option<EventTime> {
    let bytes = text.as_bytes();
    let year = number(bytes, 0, 4)?;
    let month = number(bytes, 5, 2)?;
    let day = number(bytes, 8, 2)?;
    let hour = number(bytes, 11, 2)?;
    let minute = number(bytes, 14, 2)?;
    let second = number(bytes, 17, 2)?;
    let separated = bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't')
        && bytes[13] == b':'
        && bytes[16] == b':';
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !separated || !in_range {
        return None;
    }
    let (millis, rest) = fraction(&bytes[19..])?;
    let offset_minutes = offset(rest)?;

    let minute_of_day = hour * 60 + minute - offset_minutes;
    let leap = second == 60;
    if leap && minute_of_day.rem_euclid(24 * 60) != 23 * 60 + 59 {
        return None;
    }
    let millis_of_minute = if leap { 59_999 } else { second * 1_000 + millis };
    Some(EventTime((days_from_civil(year, month, day) * 24 * 60 + minute_of_day) * 60_000 + millis_of_minute))
}

fn number(bytes: &[u8], from: usize, digits: usize) -> Option<i64> {
    bytes
        .get(from..from + digits)?
        .iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// Milliseconds of an optional `.fraction`, and what follows it.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = bytes.split_first() else {
        return Some((0, bytes));
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let millis =
        (0..3).fold(0, |millis, place| millis * 10 + if place < count { i64::from(digits[place] - b'0') } else { 0 });
    Some((millis, &digits[count..]))
}

/// Minutes east of UTC.
fn offset(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let hours = number(bytes, 1, 2).filter(|hours| *hours <= 23)?;
            let minutes = number(bytes, 4, 2).filter(|minutes| *minutes <= 59)?;
            let east = hours * 60 + minutes;
            Some(if *sign == b'+' { east } else { -east })
        }
        _ => None,
    }
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html#days_from_civil>).
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_rfc_allows_is_read() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(EventTime(0)));
        assert_eq!(parse("2026-11-23T09:30:00.1239Z"), EventTime::parse("2026-11-23T09:30:00.123Z").ok());
        assert_eq!(parse("2026-11-23t09:30:00+02:00"), EventTime::parse("2026-11-23T07:30:00Z").ok());
        assert_eq!(parse("2016-12-31T23:59:60Z"), EventTime::parse("2016-12-31T23:59:59.999Z").ok());
        assert_eq!(parse("2016-12-31T15:59:60-08:00"), EventTime::parse("2016-12-31T23:59:59.999Z").ok());
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T09:30:00",
            "2026-11-23 09:30:00Z",
            "2026-11-23T09:30Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2026-11-23T09:30:00.Z",
            "2026-11-23T09:30:00+0200",
            "2026-11-23T09:30:00+24:00",
            "2026-11-23T09:30:60Z",
            "2026-11-23T09:30:00Z[UTC]",
            "1700000000",
            "２026-11-23T09:30:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_calendar_library(ms in -62_000_000_000_000_i64..250_000_000_000_000) {
            let text = EventTime(ms).to_rfc3339();
            prop_assert_eq!(parse(&text), Some(EventTime(ms)));
        }
    }
}
