//! When a route may speak, by the time intervals it names.

use telemetry_schemas::EventTime;

use super::intervals::TimeInterval;

/// When a route may speak: in one of its active intervals, where it has any, and in none of its mute intervals.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hours {
    pub active: Vec<TimeInterval>,
    pub mute: Vec<TimeInterval>,
}

/// Why a route may not speak now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// None of its active intervals holds.
    NotActive,
    /// This interval holds.
    Muted(String),
}

/// Nothing that opens later than this is looked for at once.
const HORIZON_DAYS: i64 = 9;

impl Hours {
    /// Whether it may speak.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, at: EventTime) -> Result<(), Closed> {
        if let Some(muted) = self.mute.iter().find(|interval| interval.contains(at)) {
            return Err(Closed::Muted(muted.name.clone()));
        }
        if !self.active.is_empty() && !self.active.iter().any(|interval| interval.contains(at)) {
            return Err(Closed::NotActive);
        }
        Ok(())
    }

    /// The first instant after `now` at which it may speak, or one until which it may not.
    pub fn opens_after(&self, now: EventTime) -> EventTime {
        let specs = || self.active.iter().chain(&self.mute).flat_map(|interval| &interval.time_intervals);
        let mut candidates: Vec<EventTime> =
            (0..=HORIZON_DAYS).flat_map(|days| specs().flat_map(move |spec| spec.boundaries(now, days))).collect();
        candidates.retain(|at| *at > now);
        candidates.sort_unstable();
        let last = candidates.last().copied();
        let opens = candidates.into_iter().find(|at| self.check(*at).is_ok());
        opens.or(last).unwrap_or(EventTime(now.0 + 86_400_000))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::intervals::tests::{OFFICE, at, interval},
        *,
    };

    #[test]
    fn it_is_known_when_a_route_may_speak_again() {
        let hours = Hours { active: vec![interval(OFFICE)], mute: vec![interval(r#"{"dates": ["2026-11-23"]}"#)] };
        assert_eq!(hours.check(at("2026-11-23T12:00:00Z")), Err(Closed::Muted("i".to_owned())));
        assert_eq!(hours.check(at("2026-11-24T03:00:00Z")), Err(Closed::NotActive));
        assert_eq!(hours.check(at("2026-11-24T12:00:00Z")), Ok(()));
        assert_eq!(
            hours.opens_after(at("2026-11-20T18:00:00Z")),
            at("2026-11-24T08:00:00Z"),
            "over weekend and holiday"
        );
        assert_eq!(hours.opens_after(at("2026-11-24T07:30:00Z")), at("2026-11-24T08:00:00Z"));
    }

    /// The night in which clocks go forward has no 02:30.
    #[test]
    fn a_time_that_the_clocks_jump_over_is_none() {
        let spec = r#"{"times": [{"start_time": "02:30", "end_time": "05:00"}], "location": "Europe/Berlin"}"#;
        let hours = Hours { active: vec![interval(spec)], mute: Vec::new() };
        let opens = hours.opens_after(at("2026-03-29T00:30:00Z"));
        assert_eq!(opens, at("2026-03-29T01:30:00Z"), "03:30 by the new time, where 02:30 would have been");
        assert!(hours.check(opens).is_ok());
    }
}
