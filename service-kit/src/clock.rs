//! The wall clock, read at the edge only; domain code takes time as a parameter.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 when the machine's clock stands before it.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_agrees_with_jiff() {
        let ours = super::now_ms();
        let theirs = jiff::Timestamp::now().as_millisecond();
        assert!((theirs - ours).abs() < 60_000, "{ours} against {theirs}");
    }
}
