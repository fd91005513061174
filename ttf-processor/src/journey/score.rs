//! The efficiency score of a user: 100 up to the target `T`, falling linearly to 0 at `3T`, 0 without success. A
//! cohort's is the archiver's.

use telemetry_schemas::Millis;

/// `u(t)`: the score of a user who took `total`.
///
/// ```
/// # use telemetry_schemas::Millis;
/// # use ttf_processor::journey::score::efficiency;
/// let target = Millis::from_minutes(60);
/// assert_eq!(efficiency(Millis::from_minutes(45), target), 100.0);
/// assert_eq!(efficiency(Millis::from_minutes(90), target), 75.0);
/// assert_eq!(efficiency(Millis::from_minutes(180), target), 0.0);
/// ```
pub fn efficiency(total: Millis, target: Millis) -> f64 {
    let (t, target) = (total.0 as f64, target.0 as f64);
    (100.0 * (3.0 * target - t) / (2.0 * target)).clamp(0.0, 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Millis = Millis::from_minutes(60);

    fn minutes(minutes: i64) -> Millis {
        Millis::from_minutes(minutes)
    }

    fn is(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-9, "{actual} is not {expected}");
    }

    #[test]
    fn the_score_falls_from_the_target_to_three_times_the_target() {
        for (total, score) in
            [(0, 100.0), (60, 100.0), (75, 87.5), (120, 50.0), (179, 100.0 / 120.0), (180, 0.0), (9_999, 0.0)]
        {
            is(efficiency(minutes(total), TARGET), score);
        }
    }
}
