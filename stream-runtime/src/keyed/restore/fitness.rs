//! Whether a store that was found can be used. Pure.

use crate::keyed::store::{ChangelogId, Meta};

/// What a store is held against.
pub struct Current<'a> {
    pub cluster_id: &'a str,
    pub topic_id: &'a str,
    /// What the changelog partition itself says.
    pub changelog: &'a ChangelogId,
    pub start: i64,
    pub end: i64,
    pub now_ms: i64,
    pub delete_retention_ms: i64,
}

/// Why a store cannot be used as it is.
pub fn unusable(meta: Option<&Meta>, current: &Current<'_>) -> Option<&'static str> {
    let Some(meta) = meta else { return Some("it is new, damaged, or was being wiped") };
    if !meta.is_readable() {
        return Some("it has another layout");
    }
    if meta.cluster_id != current.cluster_id || meta.topic_id != current.topic_id {
        return Some("it belongs to another cluster or topic");
    }
    if meta.changelog != *current.changelog {
        return Some("the changelog is another one than it was made from");
    }
    if meta.changelog_position > current.end {
        return Some("it is ahead of the changelog");
    }
    // With nothing after the position there is nothing to have missed, whatever its age.
    if meta.changelog_position < current.end {
        if meta.changelog_position < current.start {
            return Some("the changelog no longer reaches back to it");
        }
        if current.now_ms - meta.written_at_ms > current.delete_retention_ms {
            return Some("it is older than the changelog keeps deletions");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(id: &str) -> ChangelogId {
        ChangelogId::Marked(id.to_owned())
    }

    fn meta(position: i64, written_at_ms: i64) -> Meta {
        Meta {
            changelog: marked("one"),
            changelog_position: position,
            written_at_ms,
            ..Meta::new("cluster".into(), "topic".into(), String::new())
        }
    }

    fn current(changelog: &ChangelogId) -> Current<'_> {
        Current {
            cluster_id: "cluster",
            topic_id: "topic",
            changelog,
            start: 10,
            end: 20,
            now_ms: 1_000,
            delete_retention_ms: 100,
        }
    }

    #[test]
    fn a_store_is_used_only_when_the_tail_of_its_changelog_completes_it() {
        let changelog = marked("one");
        let current = current(&changelog);
        assert_eq!(unusable(Some(&meta(15, 950)), &current), None);
        assert!(unusable(None, &current).is_some());
        assert!(unusable(Some(&meta(9, 950)), &current).is_some(), "compacted or deleted away");
        assert!(unusable(Some(&meta(21, 950)), &current).is_some(), "the log was truncated");
        assert!(unusable(Some(&meta(15, 899)), &current).is_some(), "deletions may be missed");
        assert_eq!(unusable(Some(&meta(20, 0)), &current), None, "nothing came after it");
        let elsewhere = Meta { topic_id: "other".into(), ..meta(15, 950) };
        assert!(unusable(Some(&elsewhere), &current).is_some());
        let older = Meta { layout: 1, ..meta(15, 950) };
        assert!(unusable(Some(&older), &current).is_some());
    }

    #[test]
    fn a_store_is_used_only_with_the_changelog_it_was_made_from() {
        use ChangelogId::{Empty, Unmarked};
        let with = |ours: &ChangelogId, theirs: &ChangelogId| {
            let meta = Meta { changelog: ours.clone(), ..meta(15, 950) };
            unusable(Some(&meta), &current(theirs))
        };
        let ids = [Empty, Unmarked, marked("one"), marked("two")];
        for (ours, theirs) in ids.iter().flat_map(|ours| ids.iter().map(move |theirs| (ours, theirs))) {
            assert_eq!(with(ours, theirs).is_none(), ours == theirs, "{ours:?} {theirs:?}");
        }
    }
}
