//! The efficiency score: how close a user, or a cohort of them, comes to the target.
//!
//! A user's score is 100 up to the target `T`, falls linearly to 0 at `3T`, and is 0 without success. A cohort's is
//! the mean of that over *all* its signups; those still on their way are handled as censored observations with the
//! Kaplan–Meier estimate (<https://en.wikipedia.org/wiki/Kaplan%E2%80%93Meier_estimator>), since a mean over
//! completers alone would rise when slow users give up.

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

/// The scores an open journey can still come to: `[0, u(elapsed)]`.
pub fn open_range(elapsed: Millis, target: Millis) -> (f64, f64) {
    (0.0, efficiency(elapsed, target))
}

/// One signup of a cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// Succeeded this long after signup.
    Completed(Millis),
    /// Has been on the way for this long, without success so far.
    Open(Millis),
}

/// The completion curve `F(t)`: the share of signups that succeed within `t`, by Kaplan–Meier.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionCurve {
    /// (time, F from this time on), ascending; before the first it is 0.
    steps: Vec<(Millis, f64)>,
}

impl CompletionCurve {
    /// `None` without any signup.
    pub fn of(observations: &[Observation]) -> Option<Self> {
        if observations.is_empty() {
            return None;
        }
        // At equal times completions come before censorings: who left at `t` was still at risk at `t`.
        let mut sorted: Vec<(Millis, bool)> = observations
            .iter()
            .map(|observation| match *observation {
                Observation::Completed(at) => (at, false),
                Observation::Open(at) => (at, true),
            })
            .collect();
        sorted.sort_unstable();
        let mut at_risk = sorted.len();
        let mut open = 1.0;
        let mut steps = Vec::new();
        for same_time in sorted.chunk_by(|a, b| a.0 == b.0) {
            let completed = same_time.iter().filter(|(_, censored)| !censored).count();
            if completed > 0 {
                open *= 1.0 - completed as f64 / at_risk as f64;
                steps.push((same_time[0].0, 1.0 - open));
            }
            at_risk -= same_time.len();
        }
        Some(Self { steps })
    }

    /// The share of signups that succeed within `t`.
    pub fn completed_within(&self, t: Millis) -> f64 {
        let after = self.steps.partition_point(|(at, _)| *at <= t);
        if after == 0 { 0.0 } else { self.steps[after - 1].1 }
    }

    /// The time within which the share `p` (0–1) succeeds; `None` when the curve does not get there.
    pub fn quantile(&self, p: f64) -> Option<Millis> {
        // The tolerance keeps sums such as 0.1 + 0.2 from missing a share by rounding.
        self.steps.iter().find(|(_, share)| *share >= p - 1e-9).map(|(at, _)| *at)
    }

    /// `E = 100/(τ−T) · ∫_T^τ F(t) dt` with `τ = 3T`: the mean of [`efficiency`] over all signups.
    pub fn efficiency(&self, target: Millis) -> f64 {
        let (from, to) = (target, Millis(target.0.saturating_mul(3)));
        let mut area = 0.0;
        let (mut at, mut share) = (from, self.completed_within(from));
        for (step, reached) in self.steps.iter().filter(|(step, _)| *step > from && *step < to) {
            area += share * (step.0 - at.0) as f64;
            (at, share) = (*step, *reached);
        }
        area += share * (to.0 - at.0) as f64;
        100.0 * area / (to.0 - from.0) as f64
    }
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

    #[test]
    fn an_open_journey_can_still_come_to_anything_up_to_its_score_now() {
        assert_eq!(open_range(minutes(30), TARGET), (0.0, 100.0));
        assert_eq!(open_range(minutes(120), TARGET), (0.0, 50.0));
    }

    #[test]
    fn without_censoring_the_cohort_s_score_is_the_mean_over_all_signups() {
        let totals = [20, 59, 60, 61, 90, 120, 150, 181, 400].map(minutes);
        let curve = CompletionCurve::of(&totals.map(Observation::Completed)).unwrap();
        let mean = totals.iter().map(|total| efficiency(*total, TARGET)).sum::<f64>() / totals.len() as f64;
        is(curve.efficiency(TARGET), mean);
    }

    #[test]
    fn who_gives_up_lowers_the_score_of_the_cohort() {
        let fast = Observation::Completed(minutes(30));
        let slow = Observation::Completed(minutes(150));
        let gave_up = Observation::Open(minutes(10_000));
        let with = |third| CompletionCurve::of(&[fast, fast, third]).unwrap().efficiency(TARGET);
        assert!(with(slow) > with(gave_up), "a mean over completers alone would rise here");
        is(with(gave_up), 200.0 / 3.0);
    }

    #[test]
    fn who_is_on_the_way_counts_for_as_long_as_known() {
        // The textbook example: at risk 4, 3, 1; one leaves unseen after the first.
        let curve = CompletionCurve::of(&[
            Observation::Completed(minutes(10)),
            Observation::Completed(minutes(20)),
            Observation::Open(minutes(25)),
            Observation::Completed(minutes(90)),
        ])
        .unwrap();
        is(curve.completed_within(minutes(9)), 0.0);
        is(curve.completed_within(minutes(10)), 0.25);
        is(curve.completed_within(minutes(89)), 0.5);
        is(curve.completed_within(minutes(90)), 1.0);
        assert_eq!(curve.quantile(0.5), Some(minutes(20)));
        assert_eq!(curve.quantile(0.9), Some(minutes(90)));
        is(curve.efficiency(TARGET), 0.25 * 50.0 + 0.75 * 100.0);
    }

    #[test]
    fn a_cohort_of_nobody_has_no_curve_and_one_without_completions_a_flat_one() {
        assert_eq!(CompletionCurve::of(&[]), None);
        let open = CompletionCurve::of(&[Observation::Open(minutes(5))]).unwrap();
        assert_eq!((open.efficiency(TARGET), open.quantile(0.5)), (0.0, None));
    }
}
