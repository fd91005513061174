//! What of a partition was delivered, as it is committed: the next offset, and behind it, in the offset's metadata,
//! those that were settled out of turn: `settled:12,14-17`.

use std::{collections::BTreeSet, fmt::Write as _};

/// Kafka keeps 4 096 bytes of metadata with an offset.
const MAX_METADATA: usize = 4_000;

const PREFIX: &str = "settled:";

/// Everything before `next` is settled, and these behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    pub next: i64,
    pub settled: BTreeSet<i64>,
}

impl Progress {
    /// The metadata. What does not fit is left out from the end: it would be delivered again after a restart.
    pub fn metadata(&self) -> String {
        let mut text = String::new();
        let mut offsets = self.settled.iter().copied().peekable();
        while let Some(first) = offsets.next() {
            let mut last = first;
            while let Some(next) = offsets.next_if(|next| *next == last + 1) {
                last = next;
            }
            let length = text.len();
            text.push_str(if text.is_empty() { PREFIX } else { "," });
            // Writing to a string cannot fail.
            let _ = if first == last { write!(text, "{first}") } else { write!(text, "{first}-{last}") };
            if text.len() > MAX_METADATA {
                text.truncate(length);
                break;
            }
        }
        text
    }

    /// What was committed; metadata of another form says nothing.
    pub fn read(next: i64, metadata: &str) -> Self {
        let mut settled = BTreeSet::new();
        for range in metadata.strip_prefix(PREFIX).into_iter().flat_map(|ranges| ranges.split(',')) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) else { continue };
            // Never more than one commit can have held.
            if first >= next && last - first <= 1_000_000 {
                settled.extend(first..=last);
            }
        }
        Self { next, settled }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_are_written_as_ranges() {
        let progress = Progress { next: 10, settled: [12, 14, 15, 16, 17].into() };
        assert_eq!(progress.metadata(), "settled:12,14-17");
        assert_eq!(Progress { next: 10, settled: BTreeSet::new() }.metadata(), "");
    }

    #[test]
    fn other_metadata_says_nothing() {
        for metadata in ["", "1767225600000", "settled:", "settled:x-y,-", "settled:9"] {
            assert_eq!(Progress::read(10, metadata), Progress { next: 10, settled: BTreeSet::new() }, "{metadata}");
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let settled: BTreeSet<i64> = (0..5_000).map(|offset| 1_000_000 + offset * 2).collect();
        let progress = Progress { next: 1_000_000, settled };
        let metadata = progress.metadata();
        assert!(metadata.len() <= MAX_METADATA && metadata.len() > MAX_METADATA - 20, "{}", metadata.len());
        let read = Progress::read(progress.next, &metadata);
        assert!(read.settled.len() > 400);
        assert!(read.settled.iter().eq(progress.settled.iter().take(read.settled.len())));
    }

    proptest! {
        #[test]
        fn it_comes_back(next in 0_i64..1_000, ahead in prop::collection::btree_set(0_i64..200, 0..60)) {
            let progress = Progress { next, settled: ahead.into_iter().map(|offset| next + offset).collect() };
            prop_assert_eq!(Progress::read(next, &progress.metadata()), progress);
        }
    }
}
