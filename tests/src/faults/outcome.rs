//! What came of a trial, and whether everything that was rolled back is explained.

use std::collections::{BTreeMap, BTreeSet};

use telemetry_schemas::{TtfBreach, TtfRecord};

/// A message and where it lies.
#[derive(Debug, Clone)]
pub struct Seen<T> {
    pub partition: i32,
    pub offset: i64,
    pub value: T,
}

/// Everything the processors put out about the users of a trial, by partition and offset.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    pub records: Vec<Seen<TtfRecord>>,
    pub breaches: Vec<Seen<TtfBreach>>,
}

/// How much was rolled back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Explained {
    /// Records and breaches that were written and never committed.
    pub aborted: usize,
    /// Those among them that came after the commit of what took their place: only a zombie writes such.
    pub late: usize,
}

/// What an output says, whoever says it: the user, the attempt, and the revision or the change of a level.
type Identity = (String, String, String, String);

impl Outcome {
    pub fn record_values(&self) -> Vec<TtfRecord> {
        self.records.iter().map(|seen| seen.value.clone()).collect()
    }

    pub fn breach_values(&self) -> Vec<TtfBreach> {
        self.breaches.iter().map(|seen| seen.value.clone()).collect()
    }

    /// Holds `self`, what is committed, against everything that was written: what is only in the latter was rolled
    /// back, and then somebody must have committed the same step of the same journey.
    pub fn explain(&self, written: &Self) -> Result<Explained, String> {
        let records = explain(&places(&self.records, record_identity), &places(&written.records, record_identity))?;
        let breaches = explain(&places(&self.breaches, breach_identity), &places(&written.breaches, breach_identity))?;
        self.check_revisions_grow()?;
        Ok(Explained { aborted: records.aborted + breaches.aborted, late: records.late + breaches.late })
    }

    /// Each committed revision of a journey lies behind the one before it, in one partition.
    fn check_revisions_grow(&self) -> Result<(), String> {
        let mut last: BTreeMap<(&str, &str, &str), (i32, i64)> = BTreeMap::new();
        for seen in &self.records {
            let record = &seen.value;
            let key = (record.user_id.as_str(), record.journey.as_str(), record.attempt.as_str());
            let (partition, revision) = *last.entry(key).or_insert((seen.partition, 0));
            if partition != seen.partition || record.revision != revision + 1 {
                return Err(format!(
                    "revision {} of {key:?} in partition {} follows revision {revision} in partition {partition}",
                    record.revision, seen.partition
                ));
            }
            last.insert(key, (seen.partition, record.revision));
        }
        Ok(())
    }
}

fn explain(
    committed: &BTreeMap<(i32, i64), Identity>,
    written: &BTreeMap<(i32, i64), Identity>,
) -> Result<Explained, String> {
    if let Some(place) = committed.keys().find(|place| !written.contains_key(place)) {
        return Err(format!("{place:?} is committed but was not written"));
    }
    let mut of_identity: BTreeMap<&Identity, BTreeSet<(i32, i64)>> = BTreeMap::new();
    for (place, identity) in committed {
        of_identity.entry(identity).or_default().insert(*place);
    }
    if let Some((identity, places)) = of_identity.iter().find(|(_, places)| places.len() > 1) {
        return Err(format!("{identity:?} is committed at {places:?}"));
    }
    let mut explained = Explained::default();
    for (place, identity) in written.iter().filter(|(place, _)| !committed.contains_key(place)) {
        let Some(instead) = of_identity.get(identity).and_then(BTreeSet::first) else {
            return Err(format!("{identity:?} was written at {place:?}, and nobody has committed it"));
        };
        if instead.0 != place.0 {
            return Err(format!("{identity:?} was written at {place:?} and committed at {instead:?}"));
        }
        explained.aborted += 1;
        explained.late += usize::from(instead.1 < place.1);
    }
    Ok(explained)
}

fn places<T>(seen: &[Seen<T>], identity: impl Fn(&T) -> Identity) -> BTreeMap<(i32, i64), Identity> {
    seen.iter().map(|seen| ((seen.partition, seen.offset), identity(&seen.value))).collect()
}

fn record_identity(record: &TtfRecord) -> Identity {
    (record.user_id.clone(), record.journey.clone(), record.attempt.clone(), record.revision.to_string())
}

/// A level may fire and be resolved again and again, so the revision of the record it goes with belongs to it.
fn breach_identity(breach: &TtfBreach) -> Identity {
    let change = format!("{:?} {:?} at revision {}", breach.level, breach.status, breach.record_revision);
    (breach.user_id.clone(), breach.journey.clone(), breach.attempt.clone(), change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64, revision: &str) -> ((i32, i64), Identity) {
        ((0, offset), (String::new(), String::new(), String::new(), revision.to_owned()))
    }

    fn explained(committed: &[(i64, &str)], aborted: &[(i64, &str)]) -> Result<Explained, String> {
        let committed: BTreeMap<_, _> = committed.iter().map(|(offset, revision)| at(*offset, revision)).collect();
        let mut written = committed.clone();
        written.extend(aborted.iter().map(|(offset, revision)| at(*offset, revision)));
        explain(&committed, &written)
    }

    #[test]
    fn what_was_rolled_back_is_explained_by_what_was_committed_after_it() {
        assert_eq!(explained(&[(5, "1")], &[(3, "1"), (4, "1")]), Ok(Explained { aborted: 2, late: 0 }));
    }

    #[test]
    fn what_a_zombie_wrote_after_its_successor_is_counted() {
        assert_eq!(explained(&[(5, "1")], &[(7, "1")]), Ok(Explained { aborted: 1, late: 1 }));
    }

    #[test]
    fn what_nobody_committed_is_lost() {
        assert!(explained(&[(5, "1")], &[(3, "2")]).is_err());
    }

    #[test]
    fn the_same_step_is_not_committed_twice() {
        assert!(explained(&[(5, "1"), (6, "1")], &[]).is_err());
    }
}
