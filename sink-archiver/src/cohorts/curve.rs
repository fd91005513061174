//! The completion curve of a cohort, by the Kaplan–Meier estimator
//! (<https://en.wikipedia.org/wiki/Kaplan%E2%80%93Meier_estimator>), and what is read off it.
//!
//! Conventions, those of the Python package lifelines, which the tests hold it against: at equal times completions come
//! before censorings; a quantile is the first time at which the curve has reached it; after the last observation the
//! curve stays where it is.

/// Up to this much a share that is summed from fractions may miss the one asked for.
const ROUNDING: f64 = 1e-9;

/// One member of a cohort, observed for `time` (any unit, the same for all; below 0 counts as 0).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    pub time: f64,
    /// Completed at `time`; else on the way for that long, and not seen any further.
    pub completed: bool,
}

/// `F(t)`: the share that completes within `t`.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// (time, `F` from this time on), ascending; before the first it is 0.
    steps: Vec<(f64, f64)>,
    /// The longest time anybody was observed.
    seen_until: f64,
}

impl Curve {
    /// `None` without any observation.
    pub fn of(mut observations: Vec<Observation>) -> Option<Self> {
        for observation in &mut observations {
            observation.time = observation.time.max(0.0);
        }
        observations.sort_unstable_by(|a, b| a.time.total_cmp(&b.time));
        let seen_until = observations.last()?.time;
        let mut at_risk = observations.len();
        let mut open = 1.0;
        let mut steps = Vec::new();
        for same_time in observations.chunk_by(|a, b| a.time.total_cmp(&b.time).is_eq()) {
            let completed = same_time.iter().filter(|observation| observation.completed).count();
            if completed > 0 {
                open *= 1.0 - completed as f64 / at_risk as f64;
                steps.push((same_time[0].time, 1.0 - open));
            }
            at_risk -= same_time.len();
        }
        Some(Self { steps, seen_until })
    }

    /// `F(t)`.
    pub fn within(&self, t: f64) -> f64 {
        let after = self.steps.partition_point(|(at, _)| *at <= t);
        if after == 0 { 0.0 } else { self.steps[after - 1].1 }
    }

    /// The first time at which the share `p` (0–1) has completed; `None` when the curve does not get there.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        self.steps.iter().find(|(_, share)| *share >= p - ROUNDING).map(|(at, _)| *at)
    }

    /// `E = 100/(τ−T) · ∫_T^τ F(t) dt` with `τ = 3T`: 0 to 100. `None` while nothing is known of it: nobody was observed
    /// for as long as `target`, and not everybody has completed.
    pub fn efficiency(&self, target: f64) -> Option<f64> {
        let reached_all = self.steps.last().is_some_and(|(_, share)| *share >= 1.0 - ROUNDING);
        if target <= 0.0 || (self.seen_until < target && !reached_all) {
            return None;
        }
        let (from, to) = (target, 3.0 * target);
        let mut area = 0.0;
        let (mut at, mut share) = (from, self.within(from));
        for (step, reached) in self.steps.iter().filter(|(step, _)| *step > from && *step < to) {
            area += share * (step - at);
            (at, share) = (*step, *reached);
        }
        area += share * (to - at);
        Some((100.0 * area / (to - from)).clamp(0.0, 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(time: f64) -> Observation {
        Observation { time, completed: true }
    }

    fn open(time: f64) -> Observation {
        Observation { time, completed: false }
    }

    #[test]
    fn who_is_on_the_way_counts_for_as_long_as_known() {
        let curve = Curve::of(vec![done(10.0), done(20.0), open(25.0), done(90.0)]).unwrap();
        let shares: Vec<f64> = [9.0, 10.0, 89.0, 90.0].map(|t| curve.within(t)).to_vec();
        assert_eq!(shares, [0.0, 0.25, 0.5, 1.0]);
        assert_eq!((curve.quantile(0.5), curve.quantile(0.9)), (Some(20.0), Some(90.0)));
        assert_eq!(curve.efficiency(60.0), Some(87.5));
    }

    #[test]
    fn who_leaves_at_the_time_of_a_completion_was_still_at_risk() {
        let curve = Curve::of(vec![done(10.0), open(10.0), done(20.0)]).unwrap();
        assert!((curve.within(10.0) - 1.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn without_censoring_the_score_is_the_mean_of_the_users_scores() {
        let times = [20.0, 59.0, 60.0, 61.0, 90.0, 120.0, 150.0, 181.0, 400.0];
        let user = |t: f64| (100.0 * (180.0 - t) / 120.0).clamp(0.0, 100.0);
        let mean = times.iter().map(|t| user(*t)).sum::<f64>() / times.len() as f64;
        let score = Curve::of(times.map(done).to_vec()).unwrap().efficiency(60.0).unwrap();
        assert!((score - mean).abs() < 1e-9, "{score} is not {mean}");
    }

    #[test]
    fn nothing_is_said_of_the_score_before_anybody_was_seen_up_to_the_target() {
        assert_eq!(Curve::of(Vec::new()), None);
        assert_eq!(Curve::of(vec![open(5.0), done(3.0), open(59.0)]).unwrap().efficiency(60.0), None);
        assert_eq!(Curve::of(vec![open(60.0)]).unwrap().efficiency(60.0), Some(0.0));
        assert_eq!(Curve::of(vec![done(3.0), done(4.0)]).unwrap().efficiency(60.0), Some(100.0));
        assert_eq!(Curve::of(vec![open(60.0)]).unwrap().quantile(0.5), None);
    }

    #[test]
    fn a_clock_that_runs_ahead_counts_as_no_time() {
        assert!((Curve::of(vec![done(-3.0), open(-1.0)]).unwrap().within(0.0) - 0.5).abs() < 1e-12);
    }
}
