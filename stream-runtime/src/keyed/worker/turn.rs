//! Whose turn it is, when each shall have one within an interval: one after the other, so that no moment has all.

use std::time::{Duration, Instant};

/// Gives every partition a turn within an interval.
#[derive(Debug, Default)]
pub struct Turn {
    /// When turns were given last.
    at: Option<Instant>,
    /// Who had the last one.
    last: Option<i32>,
}

impl Turn {
    /// Those of `partitions` (ascending) whose turn has come since the last call.
    pub fn take(&mut self, interval: Duration, partitions: impl ExactSizeIterator<Item = i32> + Clone) -> Vec<i32> {
        let now = Instant::now();
        let waited = now.duration_since(*self.at.get_or_insert(now));
        let due = due(waited, interval, partitions.len());
        if due == 0 {
            return Vec::new();
        }
        self.at = Some(now);
        let is_before = |partition: &i32| self.last.is_some_and(|last| *partition <= last);
        let after = partitions.clone().skip_while(is_before);
        let turn: Vec<i32> = after.chain(partitions.take_while(is_before)).take(due).collect();
        self.last = turn.last().copied();
        turn
    }
}

/// How many of `all` have had to wait long enough after `waited`.
fn due(waited: Duration, interval: Duration, all: usize) -> usize {
    let shares = waited.as_nanos().saturating_mul(all as u128);
    shares.checked_div(interval.as_nanos()).map_or(all, |due| usize::try_from(due).unwrap_or(all).min(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_gets_its_share_of_the_interval() {
        assert_eq!(due(SECOND / 5, SECOND, 4), 0);
        assert_eq!(due(SECOND / 4, SECOND, 4), 1);
        assert_eq!(due(SECOND * 3 / 4, SECOND, 4), 3);
        assert_eq!(due(SECOND * 9, SECOND, 4), 4);
        assert_eq!(due(SECOND, Duration::MAX, 4), 0);
        assert_eq!(due(SECOND, SECOND, 0), 0);
    }

    #[test]
    fn without_an_interval_it_is_always_everybodys_turn() {
        let mut turn = Turn::default();
        for _ in 0..2 {
            assert_eq!(turn.take(Duration::ZERO, [1, 2, 5].into_iter()).len(), 3);
        }
    }

    #[test]
    fn turns_go_round() {
        let two_of_three = Duration::from_secs(30);
        let mut turn = Turn::default();
        let mut taken = Vec::new();
        for _ in 0..3 {
            turn.at = Instant::now().checked_sub(Duration::from_secs(20));
            taken.push(turn.take(two_of_three, [1, 2, 5].into_iter()));
        }
        assert_eq!(taken, [vec![1, 2], vec![5, 1], vec![2, 5]]);
    }
}
