//! Inputs that go first: while a task has not read all that such an input held a moment ago, its other inputs are
//! held back.
//!
//! This orders what nothing else orders: records of different topics. It matters after a start and after an outage,
//! when one input may lie hours behind another; at the end of both, the order is that of arrival.

use std::time::{Duration, Instant};

use super::{Codec, KeyedProcessor, Worker};
use crate::{
    log::{Isolation, TopicPartition},
    positions::InputPosition,
};

/// What is to be done about a task's other inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Keep,
    /// The first inputs have records to be read: hold the others back.
    Hold,
    /// They are read: let the others go on.
    LetGo,
    /// Nothing of them was read for too long: let the others go on all the same.
    Overrule,
}

/// How a task's first inputs stand. Pure: what is read from the clock and the log comes in as arguments.
#[derive(Debug, Default)]
pub(super) struct Precedence {
    /// Where the first inputs ended when they were last asked for.
    ends: Vec<i64>,
    asked: Option<Instant>,
    /// `ends` was asked for before anything else was read: whatever lies before it comes first.
    fresh: bool,
    /// Since when the others are held back and nothing of the first inputs was read, and how far these were read.
    held: Option<(Instant, Vec<i64>)>,
    /// The others were let go too early; until the first inputs are caught up they are not held back again.
    overruled: bool,
}

impl Precedence {
    /// True when the ends are to be asked for.
    fn wants_ends(&self, now: Instant, interval: Duration, reached: &[i64]) -> bool {
        // What was asked for a moment ago is judged before it is replaced.
        self.held.is_none()
            && self.asked.is_none_or(|at| now.duration_since(at) >= interval && self.is_reached(reached))
    }

    /// Notes the ends; `None`: the log did not answer.
    fn asked(&mut self, now: Instant, ends: Option<Vec<i64>>) {
        self.fresh = self.asked.is_none();
        self.asked = Some(now);
        if let Some(ends) = ends {
            self.ends = ends;
        }
    }

    fn is_reached(&self, reached: &[i64]) -> bool {
        self.ends.iter().zip(reached).all(|(end, reached)| reached >= end)
    }

    fn turn(&mut self, now: Instant, interval: Duration, patience: Duration, reached: &[i64]) -> Turn {
        if self.is_reached(reached) {
            self.overruled = false;
            self.fresh = false;
            return if self.held.take().is_some() { Turn::LetGo } else { Turn::Keep };
        }
        match &mut self.held {
            Some((since, at)) if *at != reached => {
                (*since, *at) = (now, reached.to_vec());
                Turn::Keep
            }
            Some((since, _)) if now.duration_since(*since) >= patience => {
                self.held = None;
                self.overruled = true;
                Turn::Overrule
            }
            // At the end of a live input there is always something on its way; only what stays unread counts.
            None if !self.overruled
                && (self.fresh || self.asked.is_some_and(|at| now.duration_since(at) >= interval)) =>
            {
                self.held = Some((now, reached.to_vec()));
                Turn::Hold
            }
            Some(_) | None => Turn::Keep,
        }
    }

    /// What was read is read again: asks anew before anything else is.
    pub(super) fn start_over(&mut self) {
        self.asked = None;
    }

    fn is_holding(&self) -> bool {
        self.held.is_some()
    }
}

impl<P: KeyedProcessor, C: Codec<P>> Worker<P, C> {
    /// Pauses and resumes the inputs that wait for others.
    pub(super) fn mind_precedence(&mut self) -> anyhow::Result<()> {
        let shared = self.shared.clone();
        let options = &shared.options;
        if options.first_inputs.is_empty() {
            return Ok(());
        }
        if self.stale_since.is_some() {
            // Everything is paused, and resumed together.
            self.precedence.clear();
            return Ok(());
        }
        let now = Instant::now();
        let (mut hold, mut let_go): (Vec<TopicPartition>, Vec<TopicPartition>) = (Vec::new(), Vec::new());
        let Self { tasks, precedence, subscription, .. } = self;
        for task in tasks.values().filter(|task| task.is_active()) {
            let precedence = precedence.entry(task.partition).or_default();
            let is_first = |input: &&InputPosition| options.first_inputs.iter().any(|name| **name == *input.at.topic);
            let first: Vec<&InputPosition> = task.inputs.iter().filter(is_first).collect();
            let reached: Vec<i64> = first.iter().map(|input| input.reached(&**subscription)).collect();
            if precedence.wants_ends(now, options.first_interval, &reached) {
                // What a sender has not committed yet comes when it comes.
                let ends: Result<Vec<i64>, _> = first
                    .iter()
                    .map(|input| shared.log.end_offset(&input.at, Isolation::ReadCommitted, super::QUERY_TIMEOUT))
                    .collect();
                precedence.asked(now, ends.ok());
            }
            let turn = precedence.turn(now, options.first_interval, options.first_patience, &reached);
            let others = || task.inputs.iter().filter(|input| !is_first(input)).map(|input| input.at.clone());
            match turn {
                Turn::Keep => continue,
                Turn::Hold => hold.extend(others()),
                Turn::LetGo => let_go.extend(others()),
                Turn::Overrule => {
                    tracing::error!(
                        partition = task.partition,
                        inputs = options.first_inputs.join(", "),
                        "nothing was read of the inputs that go first for {} s; the others go on without them",
                        options.first_patience.as_secs()
                    );
                    shared.metrics.first_inputs_overruled.inc();
                    let_go.extend(others());
                }
            }
            let held_back = shared.metrics.inputs_held_back.with_label_values(&[&task.partition.to_string()]);
            held_back.set(i64::from(precedence.is_holding()));
        }
        if !hold.is_empty() {
            self.tolerating_rebalance(|worker| worker.subscription.pause(&hold))?;
        }
        if !let_go.is_empty() {
            self.tolerating_rebalance(|worker| worker.subscription.resume(&let_go))?;
        }
        Ok(())
    }

    /// The partition's inputs were resumed, or are gone: nothing of it is held back.
    pub(super) fn forget_precedence(&mut self, partition: i32) {
        if self.precedence.remove(&partition).is_some() {
            // The series may be gone already.
            let _ = self.shared.metrics.inputs_held_back.remove_label_values(&[&partition.to_string()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_secs(30);

    struct Bench {
        precedence: Precedence,
        start: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { precedence: Precedence::default(), start: Instant::now() }
        }

        fn at(&mut self, seconds: u64, reached: i64, end: i64) -> Turn {
            let now = self.start + Duration::from_secs(seconds);
            if self.precedence.wants_ends(now, INTERVAL, &[reached]) {
                self.precedence.asked(now, Some(vec![end]));
            }
            self.precedence.turn(now, INTERVAL, PATIENCE, &[reached])
        }
    }

    #[test]
    fn what_lies_before_the_end_at_the_start_is_read_first() {
        let mut bench = Bench::new();
        assert_eq!(bench.at(0, 3, 10), Turn::Hold);
        assert_eq!(bench.at(0, 9, 10), Turn::Keep);
        assert_eq!(bench.at(0, 10, 25), Turn::LetGo, "what has come meanwhile does not hold the others back for ever");
    }

    #[test]
    fn an_input_that_is_read_as_it_comes_holds_nothing_back() {
        let mut bench = Bench::new();
        for second in 0..60 {
            let end = i64::try_from(second).unwrap() * 100;
            assert_eq!(bench.at(second, end - 5, end), if second == 0 { Turn::Hold } else { Turn::Keep });
            let expected = if second == 0 { Turn::LetGo } else { Turn::Keep };
            assert_eq!(bench.at(second, end, end), expected);
        }
    }

    #[test]
    fn what_stays_unread_for_an_interval_holds_the_others_back() {
        let mut bench = Bench::new();
        assert_eq!(bench.at(0, 0, 0), Turn::Keep);
        assert_eq!(bench.at(1, 0, 50), Turn::Keep);
        assert_eq!(bench.at(2, 20, 90), Turn::Hold);
        assert_eq!(bench.at(3, 50, 90), Turn::LetGo);
    }

    #[test]
    fn an_input_that_does_not_move_is_overruled_once_until_it_has_caught_up() {
        let mut bench = Bench::new();
        assert_eq!(bench.at(0, 0, 10), Turn::Hold);
        assert_eq!(bench.at(20, 1, 10), Turn::Keep, "it moves, so there is patience with it");
        assert_eq!(bench.at(49, 1, 10), Turn::Keep);
        assert_eq!(bench.at(50, 1, 10), Turn::Overrule);
        assert_eq!(bench.at(100, 1, 10), Turn::Keep);
        assert_eq!(bench.at(101, 10, 10), Turn::Keep);
        assert_eq!(bench.at(102, 10, 20), Turn::Keep);
        assert_eq!(bench.at(104, 10, 20), Turn::Hold);
    }

    #[test]
    fn a_rollback_asks_anew() {
        let mut bench = Bench::new();
        assert_eq!(bench.at(0, 10, 10), Turn::Keep);
        bench.precedence.start_over();
        assert_eq!(bench.at(0, 4, 10), Turn::Hold);
    }
}
