//! What waits in a partition, from what is known about it. Pure.

/// The first visible record that is not processed, as a look at the log has found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    Record {
        offset: i64,
        timestamp_ms: i64,
    },
    /// There is none up to the end: what lies there are markers and aborted records.
    Nothing,
}

/// How far a partition is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Offsets between what is processed and the end.
    pub records: i64,
    /// When nothing waited, the last time that was known.
    pub caught_up_ms: Option<i64>,
    /// The oldest record that waits is not older than this; `None` when nothing waits.
    since_ms: Option<i64>,
}

/// What is known of a partition at one instant.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub next: i64,
    pub end: i64,
    pub front: Option<Front>,
    pub last_record_ms: Option<i64>,
    /// Since when we look at the partition, or when nothing waited last.
    pub caught_up_ms: Option<i64>,
    pub now_ms: i64,
}

impl Behind {
    pub fn of(known: Known) -> Self {
        let Known { next, end, front, last_record_ms, caught_up_ms, now_ms } = known;
        let (records, told_ms) = match front {
            Some(Front::Nothing) => (0, None),
            Some(Front::Record { offset, timestamp_ms }) => (end - offset.max(next), Some(timestamp_ms)),
            None => (end - next, None),
        };
        if records <= 0 {
            return Self { records: 0, caught_up_ms: Some(now_ms), since_ms: None };
        }
        // Without a look at it: it came after we had everything, and after the last record we know.
        let bound_ms = caught_up_ms.max(last_record_ms).unwrap_or(now_ms);
        Self { records, caught_up_ms, since_ms: Some(told_ms.unwrap_or(bound_ms)) }
    }

    /// Age of the oldest record that waits, at most; 0 when none does.
    pub fn age_ms(&self, now_ms: i64) -> i64 {
        self.since_ms.map_or(0, |since_ms| (now_ms - since_ms).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        Known { next: 5, end: 8, front: None, last_record_ms: None, caught_up_ms: None, now_ms: 10_000 }
    }

    #[test]
    fn age_counts_from_the_last_moment_nothing_waited() {
        let behind = Behind::of(Known { end: 5, ..known() });
        assert_eq!((behind.records, behind.caught_up_ms, behind.age_ms(12_000)), (0, Some(10_000), 0));
        let behind = Behind::of(Known { caught_up_ms: behind.caught_up_ms, now_ms: 15_000, ..known() });
        assert_eq!((behind.records, behind.age_ms(15_000)), (3, 5_000));
        assert_eq!(behind.age_ms(20_000), 10_000, "it grows while nobody processes");
    }

    #[test]
    fn age_counts_from_the_last_record_processed_when_nothing_was_ever_caught_up() {
        // A process that takes over a backlog knows the time of what was committed last.
        let behind = Behind::of(Known { last_record_ms: Some(2_000), ..known() });
        assert_eq!(behind.age_ms(10_000), 8_000);
    }

    #[test]
    fn a_look_at_the_first_record_tells_exactly() {
        let front = Some(Front::Record { offset: 7, timestamp_ms: 1_000 });
        let behind = Behind::of(Known { front, caught_up_ms: Some(9_000), ..known() });
        assert_eq!((behind.records, behind.age_ms(10_000)), (1, 9_000));
    }

    #[test]
    fn transaction_markers_are_nothing_that_waits() {
        let behind = Behind::of(Known { front: Some(Front::Nothing), ..known() });
        assert_eq!((behind.records, behind.age_ms(99_000), behind.caught_up_ms), (0, 0, Some(10_000)));
    }
}
