//! The wall clock, read at the edge only; domain code takes time as a parameter.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 when the machine's clock stands before it.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_clock_counts_milliseconds() {
        let (year_2020, year_2200) = (1_577_836_800_000, 7_258_118_400_000);
        let now = super::now_ms();
        assert!((year_2020..year_2200).contains(&now), "{now}");
    }
}
