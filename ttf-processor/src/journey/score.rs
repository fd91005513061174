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
