//! This machine's clock next to those of others.

use axum::http::{HeaderMap, header::DATE};
use telemetry_schemas::EventTime;

use super::report::Part;

/// An HTTP date has no fractions of a second.
const UNNOTICED_MS: i64 = 2_000;
/// As the default grace of a deadline.
const HARMFUL_MS: i64 = 5_000;

pub fn compare(part: &mut Part, theirs_ms: i64, ours_ms: i64) {
    let skew = ours_ms - theirs_ms;
    let found = format!("{:+.1} s against it", skew as f64 / 1_000.0);
    let todo = "synchronise both with NTP (chronyc tracking, timedatectl)";
    match skew.abs() {
        ..UNNOTICED_MS => part.ok("clock", found),
        UNNOTICED_MS..HARMFUL_MS => part.warning("clock", found, todo),
        _ => part.wrong("clock", format!("{found}: deadlines are judged early or late"), todo),
    }
}

/// The time in the header `Date`, in milliseconds since 1970.
pub fn date_of(headers: &HeaderMap) -> Option<i64> {
    parse(headers.get(DATE)?.to_str().ok()?)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parse(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    EventTime::parse(&format!("{year}-{month:02}-{day}T{time}Z")).ok().map(|at| at.0)
}

#[cfg(test)]
mod tests {
    use super::{super::report::Status, *};

    #[test]
    fn a_clock_that_is_off_by_more_than_a_deadlines_grace_is_wrong() {
        for (skew, status) in [
            (0, Status::Ok),
            (-1_900, Status::Ok),
            (3_000, Status::Warning),
            (-5_000, Status::Wrong),
            (60_000, Status::Wrong),
        ] {
            let mut part = Part::new("redis");
            compare(&mut part, 1_000_000, 1_000_000 + skew);
            assert_eq!(part.checks[0].status, status, "{skew}");
        }
    }

    #[test]
    fn an_http_date_is_read() {
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(parse("yesterday"), None);
    }
}
