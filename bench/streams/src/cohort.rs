//! Who does what when: users on their way to first value, as one stream of events in the order in which they arrive.
//!
//! The mix (see `bench/README.md` for why):
//! - signups are spread evenly over `span`; each user goes on from one milestone to the next with the chances in
//!   [`GOES_ON`], after an exponential time of about half the stage's target;
//! - the rest of a user's events are not milestones; how many there are is heavy-tailed (Pareto), so that a few users
//!   send a lot, and they lie anywhere between the signup and an hour after the last milestone;
//! - half of the users are identified once; one event in fifty is a performance figure, which no journey takes;
//! - one event in fifty arrives up to ten minutes late, one in a hundred arrives twice.
//!
//! Every user has a random generator of their own, so a user's events do not depend on how many others there are.

use std::{cmp::Reverse, collections::BinaryHeap};

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Chances to reach the next milestone.
const GOES_ON: [f64; 4] = [0.85, 0.8, 0.8, 0.8];
/// Mean times from milestone to milestone, in milliseconds.
const STAGE_MEANS: [f64; 4] = [150_000.0, 300_000.0, 450_000.0, 900_000.0];
/// Milestones of a user on average: the signup, and those that [`GOES_ON`] leads to.
const MEAN_MILESTONES: f64 = 1.0 + 0.85 * (1.0 + 0.8 * (1.0 + 0.8 * (1.0 + 0.8)));
const IDENTIFIED: f64 = 0.5;
const PERFORMANCE: f64 = 0.02;
const LATE: f64 = 0.02;
const LATE_MS: i64 = 600_000;
const TWICE: f64 = 0.01;
/// Shape of the Pareto distribution, and where it is cut off, in multiples of its smallest value.
const SHAPE: f64 = 1.2;
const CUT: f64 = 200.0;
const AFTERWARDS_MS: i64 = 3_600_000;

#[derive(Debug, Clone, Copy)]
pub struct Cohort {
    pub users: u64,
    /// Mean; at least the milestones.
    pub events_per_user: f64,
    pub seed: u64,
    /// When the first signup is, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Between the first and the last signup.
    pub span_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The milestone of this index.
    Milestone(u8),
    Identify,
    Performance,
    /// Anything else; the number picks a name.
    Other(u8),
}

/// One arrival of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub user: u64,
    pub kind: Kind,
    /// Event time.
    pub at_ms: i64,
    pub received_ms: i64,
    /// Different for each event of a user; the same when it arrives again.
    pub number: u32,
}

impl Cohort {
    /// Every arrival, in order of `received_ms`. Holds the events of those users only who are on their way.
    pub fn arrivals(self) -> Arrivals {
        Arrivals { cohort: self, next_user: 0, waiting: BinaryHeap::new(), users: Vec::new(), free: Vec::new() }
    }

    fn signup_ms(self, user: u64) -> i64 {
        self.start_ms + (self.span_ms as f64 * user as f64 / self.users as f64) as i64
    }

    /// One user's arrivals, in no order.
    fn of_user(self, user: u64) -> Vec<Arrival> {
        let mut rng = SmallRng::seed_from_u64(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(user));
        let signup = self.signup_ms(user);
        let mut arrivals = Vec::new();
        let mut number = 0;
        let mut add = |rng: &mut SmallRng, kind: Kind, at_ms: i64| {
            let delay =
                rng.random_range(20..2_000) + if rng.random_bool(LATE) { rng.random_range(0..LATE_MS) } else { 0 };
            let arrival = Arrival { user, kind, at_ms, received_ms: at_ms + delay, number };
            arrivals.push(arrival);
            if rng.random_bool(TWICE) {
                arrivals
                    .push(Arrival { received_ms: arrival.received_ms + rng.random_range(1_000..60_000), ..arrival });
            }
            number += 1;
        };
        let mut at = signup;
        add(&mut rng, Kind::Milestone(0), at);
        if rng.random_bool(IDENTIFIED) {
            add(&mut rng, Kind::Identify, at + 500);
        }
        for (stage, (chance, mean)) in GOES_ON.into_iter().zip(STAGE_MEANS).enumerate() {
            if !rng.random_bool(chance) {
                break;
            }
            at += (-mean * (1.0 - rng.random::<f64>()).ln()) as i64;
            add(&mut rng, Kind::Milestone(stage as u8 + 1), at);
        }
        let active_ms = at - signup + AFTERWARDS_MS;
        for _ in 0..self.others(&mut rng) {
            let kind = if rng.random_bool(PERFORMANCE) { Kind::Performance } else { Kind::Other(rng.random()) };
            // Most of it happens early on.
            let share = rng.random::<f64>();
            let at = signup + (share * share * active_ms as f64) as i64;
            add(&mut rng, kind, at);
        }
        arrivals
    }

    /// How many events of a user are neither milestones nor `identify`.
    fn others(self, rng: &mut SmallRng) -> u64 {
        let mean = (self.events_per_user / (1.0 + TWICE) - MEAN_MILESTONES - IDENTIFIED).max(0.0);
        // The mean of a Pareto distribution that begins at 1 and is cut off at CUT.
        let mean_of_one = SHAPE / (SHAPE - 1.0) * (1.0 - CUT.powf(1.0 - SHAPE)) / (1.0 - CUT.powf(-SHAPE));
        let share = 1.0 - rng.random::<f64>() * (1.0 - CUT.powf(-SHAPE));
        let wanted = mean / mean_of_one * share.powf(-1.0 / SHAPE);
        // Rounded by chance, so that the mean stays.
        wanted as u64 + u64::from(rng.random_bool(wanted.fract()))
    }
}

/// See [`Cohort::arrivals`].
pub struct Arrivals {
    cohort: Cohort,
    next_user: u64,
    /// (when, place in `users`): the next arrival of each user on their way.
    waiting: BinaryHeap<Reverse<(i64, usize)>>,
    /// What is still to come of each, the next one last.
    users: Vec<Vec<Arrival>>,
    free: Vec<usize>,
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        // Nobody's events arrive before the signup: who signs up later cannot come first.
        while self.next_user < self.cohort.users
            && self.waiting.peek().is_none_or(|Reverse((next, _))| self.cohort.signup_ms(self.next_user) <= *next)
        {
            self.admit();
        }
        let Reverse((_, place)) = self.waiting.pop()?;
        let arrival = self.users[place].pop()?;
        match self.users[place].last() {
            Some(next) => self.waiting.push(Reverse((next.received_ms, place))),
            None => self.free.push(place),
        }
        Some(arrival)
    }
}

impl Arrivals {
    fn admit(&mut self) {
        let mut arrivals = self.cohort.of_user(self.next_user);
        self.next_user += 1;
        arrivals.sort_unstable_by_key(|arrival| Reverse((arrival.received_ms, arrival.number)));
        let Some(first) = arrivals.last().map(|arrival| arrival.received_ms) else { return };
        let place = self.free.pop().unwrap_or_else(|| {
            self.users.push(Vec::new());
            self.users.len() - 1
        });
        self.users[place] = arrivals;
        self.waiting.push(Reverse((first, place)));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn cohort(users: u64) -> Cohort {
        Cohort { users, events_per_user: 20.0, seed: 1, start_ms: 1_000_000, span_ms: 3_600_000 }
    }

    #[test]
    fn arrivals_come_in_order_and_are_those_of_every_user() {
        let cohort = cohort(300);
        let arrivals: Vec<Arrival> = cohort.arrivals().collect();
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.received_ms));
        let mut by_user: BTreeMap<u64, usize> = BTreeMap::new();
        for arrival in &arrivals {
            *by_user.entry(arrival.user).or_default() += 1;
        }
        let alone: BTreeMap<u64, usize> = (0..300).map(|user| (user, cohort.of_user(user).len())).collect();
        assert_eq!(by_user, alone);
    }

    #[test]
    fn the_same_seed_makes_the_same_events_and_another_others() {
        let first: Vec<Arrival> = cohort(50).arrivals().collect();
        assert_eq!(cohort(50).arrivals().collect::<Vec<_>>(), first);
        assert_ne!(Cohort { seed: 2, ..cohort(50) }.arrivals().collect::<Vec<_>>(), first);
    }

    #[test]
    fn the_mix_is_as_described() {
        let users = 20_000;
        let arrivals: Vec<Arrival> = cohort(users).arrivals().collect();
        let share =
            |of: &dyn Fn(&Arrival) -> bool| arrivals.iter().filter(|arrival| of(arrival)).count() as f64 / users as f64;
        let near =
            |actual: f64, expected: f64| assert!((actual / expected - 1.0).abs() < 0.05, "{actual} is not {expected}");
        near(share(&|_| true), 20.0);
        near(share(&|arrival| matches!(arrival.kind, Kind::Milestone(_))), MEAN_MILESTONES * (1.0 + TWICE));
        near(share(&|arrival| arrival.kind == Kind::Milestone(4)), 0.85 * 0.8 * 0.8 * 0.8 * (1.0 + TWICE));
        near(share(&|arrival| arrival.kind == Kind::Identify), IDENTIFIED * (1.0 + TWICE));
    }
}
