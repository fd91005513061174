//! When a receiver may be told something: as fast as its provider allows, not while it wants quiet, and hardly ever
//! while it fails. Pure: the time comes in as an argument.

use std::time::{Duration, Instant};

use crate::{config::DeliveryConfig, receivers::Pace};

/// What [`Gate::take`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// One notification may be sent; tell the gate what came of it.
    Go,
    /// Not before then: the pace, or a wish of the receiver.
    Wait(Instant),
    /// The receiver fails; one notification may be tried then.
    Closed(Instant),
}

/// Whether the receiver is believed to work.
#[derive(Debug, Clone, Copy)]
enum Breaker {
    Closed {
        /// In a row.
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One notification is on its way to find out.
    Trying {
        since: Instant,
        pause: Duration,
    },
}

/// See the [module](self).
#[derive(Debug)]
pub struct Gate {
    config: DeliveryConfig,
    pace: Option<Pace>,
    /// The theoretical time of the next notification (GCRA: <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>).
    next: Instant,
    quiet_until: Option<Instant>,
    breaker: Breaker,
    failing_since: Option<Instant>,
    is_dead: bool,
}

impl Gate {
    /// A receiver that is believed to work. What was sent before the start is not known: the pace begins as if the burst
    /// had been used up just now, so that a process that is started again and again stays within it.
    pub fn new(config: DeliveryConfig, pace: Option<Pace>, now: Instant) -> Self {
        let next = pace.map_or(now, |pace| now + pace.every * pace.burst);
        Self {
            config,
            pace,
            next,
            quiet_until: None,
            breaker: Breaker::Closed { failures: 0 },
            failing_since: None,
            is_dead: false,
        }
    }

    /// Whether a notification may be sent now; if so it is counted.
    pub fn take(&mut self, now: Instant) -> Pass {
        let trying = match self.breaker {
            Breaker::Closed { .. } => None,
            Breaker::Open { until, .. } if now < until => return Pass::Closed(until),
            Breaker::Open { pause, .. } => Some(pause),
            Breaker::Trying { since, pause } => {
                return Pass::Closed((since + pause).max(now + Duration::from_millis(50)));
            }
        };
        if let Some(until) = self.quiet_until.filter(|until| now < *until) {
            return Pass::Wait(until);
        }
        if let Some(at) = self.paced_until(now) {
            return Pass::Wait(at);
        }
        if let Some(pause) = trying {
            self.breaker = Breaker::Trying { since: now, pause };
        }
        self.charge(now);
        Pass::Go
    }

    /// When the pace allows the next one; `None`: now.
    fn paced_until(&self, now: Instant) -> Option<Instant> {
        let pace = self.pace?;
        let at = self.next.checked_sub(pace.every * pace.burst.saturating_sub(1))?;
        (now < at).then_some(at)
    }

    /// Counts a notification that is sent without asking.
    pub fn charge(&mut self, now: Instant) {
        if let Some(pace) = self.pace {
            self.next = self.next.max(now) + pace.every;
        }
    }

    /// Nothing was to be sent after all.
    pub fn give_back(&mut self, now: Instant) {
        if let Some(pace) = self.pace {
            self.next = self.next.checked_sub(pace.every).unwrap_or(now);
        }
        if let Breaker::Trying { pause, .. } = self.breaker {
            self.breaker = Breaker::Open { until: now, pause };
        }
    }

    /// It has answered. True when it had been left alone: it works again.
    pub fn answered(&mut self) -> bool {
        let was_left_alone = self.is_dead || !matches!(self.breaker, Breaker::Closed { .. });
        self.breaker = Breaker::Closed { failures: 0 };
        self.failing_since = None;
        self.is_dead = false;
        was_left_alone
    }

    /// It has failed; `wants_quiet` when it said for how long.
    pub fn failed(&mut self, now: Instant, wants_quiet: Option<Duration>) {
        self.failing_since.get_or_insert(now);
        if let Some(pause) = wants_quiet {
            let until = now + pause;
            self.quiet_until = Some(self.quiet_until.map_or(until, |known| known.max(until)));
        }
        self.breaker = match self.breaker {
            // Who says when to come back is alive.
            Breaker::Closed { failures } if wants_quiet.is_some() => Breaker::Closed { failures },
            Breaker::Closed { failures } if failures + 1 < self.config.break_after => {
                Breaker::Closed { failures: failures + 1 }
            }
            Breaker::Closed { .. } => self.open(now, self.config.break_pause.as_std()),
            Breaker::Trying { pause, .. } => self.open(now, pause * 2),
            // Others that were under way when it was opened.
            open @ Breaker::Open { .. } => open,
        };
    }

    /// It takes nothing until somebody mends it. True when that is news.
    pub fn died(&mut self, now: Instant) -> bool {
        self.failing_since.get_or_insert(now);
        let pause = match self.breaker {
            Breaker::Closed { .. } => self.config.break_pause.as_std(),
            Breaker::Trying { pause, .. } => pause * 2,
            Breaker::Open { pause, .. } => pause,
        };
        self.breaker = self.open(now, pause);
        !std::mem::replace(&mut self.is_dead, true)
    }

    fn open(&self, now: Instant, pause: Duration) -> Breaker {
        let pause = pause.min(self.config.longest_pause.as_std());
        Breaker::Open { until: now + pause, pause }
    }

    /// When another may stand in for it: at once when it is dead, later when it only fails. `None`: it works.
    pub fn stand_in_from(&self) -> Option<Instant> {
        let since = self.failing_since?;
        Some(if self.is_dead { since } else { since + self.config.fallback_after.as_std() })
    }

    /// Until when it is left alone; `None`: it is not.
    pub fn left_alone_until(&self) -> Option<Instant> {
        match self.breaker {
            Breaker::Closed { .. } => None,
            Breaker::Open { until, .. } => Some(until),
            Breaker::Trying { since, pause } => Some(since + pause),
        }
    }
}

#[cfg(test)]
mod tests {
    use service_kit::config::HumanDuration;

    use super::*;

    const CONFIG: DeliveryConfig = DeliveryConfig {
        break_after: 3,
        break_pause: HumanDuration::from_secs(5),
        longest_pause: HumanDuration::from_secs(20),
        fallback_after: HumanDuration::from_secs(60),
    };

    fn gate(pace: Option<Pace>) -> (Gate, Instant) {
        let now = Instant::now();
        (Gate::new(CONFIG, pace, now), now)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_never_lets_more_through_than_the_pace_and_the_burst() {
        let pace = Pace { every: Duration::from_millis(600), burst: 10 };
        let (mut gate, begin) = gate(Some(pace));
        let mut taken = Vec::new();
        // A minute of rest first, so that the burst is there.
        for step in 60_000..180_000 {
            let now = begin + Duration::from_millis(step);
            if gate.take(now) == Pass::Go {
                taken.push(step);
            }
        }
        for (index, from) in taken.iter().enumerate() {
            let in_a_minute = taken[index..].iter().filter(|at| **at < from + 60_000).count();
            assert!(in_a_minute <= 110, "{in_a_minute} in the minute from {from}");
        }
        assert!(taken.len() >= 200, "and as many as it allows: {}", taken.len());
    }

    #[test]
    fn the_burst_is_not_there_at_the_start() {
        let (mut gate, now) = gate(Some(Pace { every: seconds(1), burst: 5 }));
        assert_eq!(gate.take(now), Pass::Wait(now + seconds(1)));
        assert_eq!(gate.take(now + seconds(1)), Pass::Go);
        let rested = now + seconds(60);
        assert_eq!((0..10).filter(|_| gate.take(rested) == Pass::Go).count(), 5);
    }

    #[test]
    fn what_was_given_back_may_be_taken_again() {
        let (mut gate, start) = gate(Some(Pace::per_minute(1)));
        let now = start + seconds(60);
        assert_eq!(gate.take(now), Pass::Go);
        gate.give_back(now);
        assert_eq!(gate.take(now), Pass::Go);
        assert_eq!(gate.take(now), Pass::Wait(now + seconds(60)));
    }

    #[test]
    fn after_failures_in_a_row_it_is_left_alone_longer_and_longer() {
        let (mut gate, mut now) = gate(None);
        for _ in 0..3 {
            assert_eq!(gate.take(now), Pass::Go);
            gate.failed(now, None);
        }
        for pause in [5, 10, 20, 20] {
            assert_eq!(gate.take(now), Pass::Closed(now + seconds(pause)));
            now += seconds(pause);
            assert_eq!(gate.take(now), Pass::Go, "one finds out");
            assert!(matches!(gate.take(now), Pass::Closed(_)), "… and only one");
            gate.failed(now, None);
        }
        now += seconds(20);
        assert_eq!(gate.take(now), Pass::Go);
        assert!(gate.answered(), "it works again");
        assert_eq!(gate.take(now), Pass::Go);
        assert!(!gate.answered(), "that is no news");
    }

    #[test]
    fn one_answer_between_failures_keeps_it_open() {
        let (mut gate, now) = gate(None);
        for _ in 0..5 {
            gate.failed(now, None);
            gate.failed(now, None);
            gate.answered();
        }
        assert_eq!(gate.take(now), Pass::Go);
    }

    #[test]
    fn who_wants_quiet_gets_it_and_is_not_left_alone_longer() {
        let (mut gate, now) = gate(None);
        for _ in 0..10 {
            gate.failed(now, Some(seconds(7)));
        }
        assert_eq!(gate.take(now), Pass::Wait(now + seconds(7)));
        assert_eq!(gate.take(now + seconds(7)), Pass::Go);
    }

    #[test]
    fn another_stands_in_at_once_for_the_dead_and_later_for_the_failing() {
        let (mut failing, now) = gate(None);
        assert_eq!(failing.stand_in_from(), None);
        failing.failed(now, None);
        failing.failed(now + seconds(9), None);
        assert_eq!(failing.stand_in_from(), Some(now + seconds(60)));
        assert!(failing.died(now + seconds(10)), "that is news");
        assert!(!failing.died(now + seconds(11)), "that is not");
        assert_eq!(failing.stand_in_from(), Some(now));
        failing.answered();
        assert_eq!(failing.stand_in_from(), None);
    }
}
