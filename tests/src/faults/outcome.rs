//! What came of a trial, and whether everything that was rolled back is explained.

use std::collections::{BTreeMap, BTreeSet};

use telemetry_schemas::{BreachLevel, BreachStatus, TtfBreach, TtfRecord};

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

/// User, journey, attempt.
type Attempt = (String, String, String);

/// A step of a journey: what an output says of it, whoever says it and however often it is tried.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    attempt: Attempt,
    revision: i64,
    /// Of a breach: its level, and whether it is resolved.
    change: Option<(BreachLevel, bool)>,
}

/// Partition and offset.
type Place = (i32, i64);

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
        self.check_revisions_grow()?;
        let steps = places(&self.records, step_of_record);
        let records = explain(&steps, &places(&written.records, step_of_record), &BTreeSet::new())?;
        // What fires in a transaction that is rolled back need not fire again when more is known; but the record it
        // went with comes again.
        let steps: BTreeSet<Step> = steps.into_values().collect();
        let breaches =
            explain(&places(&self.breaches, step_of_breach), &places(&written.breaches, step_of_breach), &steps)?;
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
    committed: &BTreeMap<Place, Step>,
    written: &BTreeMap<Place, Step>,
    instead: &BTreeSet<Step>,
) -> Result<Explained, String> {
    if let Some(place) = committed.keys().find(|place| !written.contains_key(place)) {
        return Err(format!("{place:?} is committed but was not written"));
    }
    let mut committed_at: BTreeMap<&Step, Place> = BTreeMap::new();
    for (place, step) in committed {
        if let Some(first) = committed_at.insert(step, *place) {
            return Err(format!("{step:?} is committed at {first:?} and at {place:?}"));
        }
    }
    let mut explained = Explained::default();
    for (place, step) in written.iter().filter(|(place, _)| !committed.contains_key(place)) {
        explained.aborted += 1;
        match committed_at.get(step) {
            Some(winner) if winner.0 == place.0 => explained.late += usize::from(winner.1 < place.1),
            Some(winner) => return Err(format!("{step:?} was written at {place:?} and committed at {winner:?}")),
            None if instead.contains(&Step { change: None, ..step.clone() }) => {}
            None => return Err(format!("{step:?} was written at {place:?}, and nobody has committed it")),
        }
    }
    Ok(explained)
}

fn places<T>(seen: &[Seen<T>], step: impl Fn(&T) -> Step) -> BTreeMap<Place, Step> {
    seen.iter().map(|seen| ((seen.partition, seen.offset), step(&seen.value))).collect()
}

fn step_of_record(record: &TtfRecord) -> Step {
    let attempt = (record.user_id.clone(), record.journey.clone(), record.attempt.clone());
    Step { attempt, revision: record.revision, change: None }
}

fn step_of_breach(breach: &TtfBreach) -> Step {
    let attempt = (breach.user_id.clone(), breach.journey.clone(), breach.attempt.clone());
    Step {
        attempt,
        revision: breach.record_revision,
        change: Some((breach.level, breach.status == BreachStatus::Resolved)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64, revision: i64, change: Option<(BreachLevel, bool)>) -> (Place, Step) {
        ((0, offset), Step { attempt: Attempt::default(), revision, change })
    }

    fn explained(committed: &[(i64, i64)], aborted: &[(i64, i64)]) -> Result<Explained, String> {
        let committed: BTreeMap<_, _> =
            committed.iter().map(|(offset, revision)| at(*offset, *revision, None)).collect();
        let mut written = committed.clone();
        written.extend(aborted.iter().map(|(offset, revision)| at(*offset, *revision, None)));
        explain(&committed, &written, &BTreeSet::new())
    }

    #[test]
    fn what_was_rolled_back_is_explained_by_what_was_committed_after_it() {
        assert_eq!(explained(&[(5, 1)], &[(3, 1), (4, 1)]), Ok(Explained { aborted: 2, late: 0 }));
    }

    #[test]
    fn what_a_zombie_wrote_after_its_successor_is_counted() {
        assert_eq!(explained(&[(5, 1)], &[(7, 1)]), Ok(Explained { aborted: 1, late: 1 }));
    }

    #[test]
    fn what_nobody_committed_is_lost() {
        assert!(explained(&[(5, 1)], &[(3, 2)]).is_err());
    }

    #[test]
    fn the_same_step_is_not_committed_twice() {
        assert!(explained(&[(5, 1), (6, 1)], &[]).is_err());
    }

    #[test]
    fn a_breach_that_is_not_repeated_is_explained_by_the_record_it_went_with() {
        let firing = Some((BreachLevel::Warning, false));
        let written = BTreeMap::from([at(3, 1, firing)]);
        let steps = BTreeSet::from([at(0, 1, None).1]);
        assert_eq!(explain(&BTreeMap::new(), &written, &steps), Ok(Explained { aborted: 1, late: 0 }));
        assert!(explain(&BTreeMap::new(), &written, &BTreeSet::new()).is_err());
    }
}
