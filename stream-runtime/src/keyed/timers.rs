//! When a task's timers may fire. Pure: what is read from the clock and the log comes in as arguments.

use super::store::TimerEntry;

/// End offsets of a task's inputs, asked for at a known time.
#[derive(Debug, Clone)]
struct Sample {
    /// Records received up to then lie before the ends.
    complete_until_ms: i64,
    ends: Vec<i64>,
}

/// What a task has to do about its timers now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing is due, or records that may matter are still to be read.
    Wait,
    /// A timer is due: ask for end offsets.
    Sample,
    /// Fire what is due at or before this instant: every record received until then was applied.
    Fire { complete_until_ms: i64 },
}

/// The timers of one task.
#[derive(Debug, Default)]
pub struct Timers {
    /// Timers up to here have fired; the scan goes on behind it, never from the start, which is full of tombstones.
    cursor: Option<TimerEntry>,
    /// Where the cursor was when the transaction began.
    committed_cursor: Option<TimerEntry>,
    /// No timer is due before; exact after a scan, early at worst.
    next_due_ms: Option<i64>,
    sample: Option<Sample>,
    sampled_at_ms: Option<i64>,
}

impl Timers {
    /// Of an index whose first timer is due then.
    pub fn new(next_due_ms: Option<i64>) -> Self {
        Self { next_due_ms, ..Self::default() }
    }

    pub fn cursor(&self) -> Option<&TimerEntry> {
        self.cursor.as_ref()
    }

    pub fn next_due_ms(&self) -> Option<i64> {
        self.next_due_ms
    }

    /// Decides. `reached` are the offsets up to which each input was read, in the order of the sample's ends.
    pub fn judge(&self, now_ms: i64, grace_ms: i64, interval_ms: i64, reached: &[i64]) -> Judgement {
        let Some(due_ms) = self.next_due_ms else { return Judgement::Wait };
        if now_ms < due_ms.saturating_add(grace_ms) {
            return Judgement::Wait;
        }
        if let Some(sample) = self.sample.as_ref().filter(|sample| sample.complete_until_ms >= due_ms) {
            let complete = sample.ends.iter().zip(reached).all(|(end, reached)| reached >= end);
            return if complete {
                Judgement::Fire { complete_until_ms: sample.complete_until_ms }
            } else {
                Judgement::Wait
            };
        }
        let asked_lately = self.sampled_at_ms.is_some_and(|at| (at..at + interval_ms).contains(&now_ms));
        if asked_lately { Judgement::Wait } else { Judgement::Sample }
    }

    /// Notes end offsets that were asked for after `asked_at_ms`; `None`: the log did not answer.
    pub fn sampled(&mut self, asked_at_ms: i64, grace_ms: i64, ends: Option<Vec<i64>>) {
        self.sampled_at_ms = Some(asked_at_ms);
        if let Some(ends) = ends {
            self.sample = Some(Sample { complete_until_ms: asked_at_ms - grace_ms, ends });
        }
    }

    /// Notes that timers up to `last` have fired in the open transaction, and when the next one is due.
    pub fn fired(&mut self, last: Option<TimerEntry>, next_due_ms: Option<i64>) {
        if last.is_some() {
            self.cursor = last;
        }
        self.next_due_ms = next_due_ms;
    }

    /// Notes that the transaction is committed, and the earliest timer it set.
    pub fn committed(&mut self, set: Option<i64>) {
        if let Some(due_ms) = set {
            if self.cursor.as_ref().is_some_and(|cursor| due_ms <= cursor.due_ms()) {
                self.cursor = Some(TimerEntry::before(due_ms));
            }
            self.next_due_ms = Some(self.next_due_ms.map_or(due_ms, |known| known.min(due_ms)));
        }
        self.committed_cursor.clone_from(&self.cursor);
    }

    /// Notes that the transaction was rolled back: what fired in it will fire again.
    pub fn rolled_back(&mut self, next_due_ms: Option<i64>) {
        self.next_due_ms = next_due_ms;
        self.sample = None;
    }

    /// Goes back to where the transaction began; returns the cursor to look for the next due time from.
    pub fn rewind(&mut self) -> Option<&TimerEntry> {
        self.cursor.clone_from(&self.committed_cursor);
        self.cursor.as_ref()
    }
}

/// The earlier of two due times, where there are any.
pub fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: i64 = 5_000;

    fn judge(timers: &Timers, now_ms: i64, reached: &[i64]) -> Judgement {
        timers.judge(now_ms, GRACE, 1_000, reached)
    }

    #[test]
    fn a_timer_waits_for_its_grace_then_for_the_end_that_was_sampled_after_it() {
        let mut timers = Timers::new(Some(10_000));
        assert_eq!(judge(&timers, 14_999, &[7]), Judgement::Wait);
        assert_eq!(judge(&timers, 15_000, &[7]), Judgement::Sample);
        timers.sampled(15_000, GRACE, Some(vec![9]));
        assert_eq!(judge(&timers, 15_001, &[8]), Judgement::Wait);
        assert_eq!(judge(&timers, 60_000, &[9]), Judgement::Fire { complete_until_ms: 10_000 });
    }

    #[test]
    fn a_sample_from_before_the_due_time_is_no_proof() {
        let mut timers = Timers::new(Some(10_000));
        timers.sampled(14_000, GRACE, Some(vec![0]));
        assert_eq!(judge(&timers, 15_000, &[0]), Judgement::Sample);
    }

    #[test]
    fn the_log_is_asked_once_an_interval_and_again_when_it_did_not_answer() {
        let mut timers = Timers::new(Some(0));
        timers.sampled(20_000, GRACE, None);
        assert_eq!(judge(&timers, 20_999, &[0]), Judgement::Wait);
        assert_eq!(judge(&timers, 21_000, &[0]), Judgement::Sample);
        assert_eq!(judge(&timers, 19_000, &[0]), Judgement::Sample, "a clock set back does not stop the timers");
    }

    #[test]
    fn every_input_must_have_been_read() {
        let mut timers = Timers::new(Some(0));
        timers.sampled(20_000, GRACE, Some(vec![3, 4]));
        assert_eq!(judge(&timers, 20_000, &[3, 3]), Judgement::Wait);
        assert_eq!(judge(&timers, 20_000, &[3, 4]), Judgement::Fire { complete_until_ms: 15_000 });
    }
}
