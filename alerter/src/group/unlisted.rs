//! Who is late and not listed. What a group has no room for is known by a hash of whom it is about, so that its counts
//! stay exact, the same word twice counts once, and its end is known again. Pure.
//!
//! The entries are kept as they are written: eight bytes each, in order (`AlertState::unlisted`).

use sha2::{Digest, Sha256};
use telemetry_schemas::{BreachLevel, TtfBreach};

const HASH: usize = 7;
const ENTRY: usize = HASH + 1;

/// Flags: the levels that fire, and whether the receivers know of it.
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
const ESCALATION: u8 = 4;
const LEVELS: u8 = WARNING | CRITICAL | ESCALATION;
const TOLD: u8 = 8;

/// Whom an alert is about: one attempt of one user, or what no user's alert is labelled with. With 65 536 of them in a
/// group, two are taken for one with a chance of 3 in 100 000 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject([u8; HASH]);

impl Subject {
    pub fn of(breach: &TtfBreach) -> Self {
        let mut hash = Sha256::new();
        let own = [&*breach.tenant, &*breach.journey, &*breach.user_id, &*breach.attempt, breach.kind.as_str()];
        let labels = breach.labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        for part in own.into_iter().chain(labels) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut subject = [0; HASH];
        subject.copy_from_slice(&hash.finalize()[..HASH]);
        Self(subject)
    }
}

/// One who is late and not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub subject: Subject,
    flags: u8,
}

impl Entry {
    pub fn is_told(self) -> bool {
        self.flags & TOLD != 0
    }

    pub fn level(self) -> BreachLevel {
        match self.flags & LEVELS {
            flags if flags & ESCALATION != 0 => BreachLevel::Escalation,
            flags if flags & CRITICAL != 0 => BreachLevel::Critical,
            _ => BreachLevel::Warning,
        }
    }
}

/// What became of one that is not to be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    New,
    /// It is among them with this level.
    Known,
    /// There are `capacity` of them.
    Full,
}

const fn bit(level: BreachLevel) -> u8 {
    match level {
        BreachLevel::Escalation => ESCALATION,
        BreachLevel::Critical => CRITICAL,
        BreachLevel::Warning | BreachLevel::Unknown => WARNING,
    }
}

/// All of them.
pub fn entries(unlisted: &[u8]) -> impl Iterator<Item = Entry> + '_ {
    unlisted.chunks_exact(ENTRY).map(|entry| Entry { subject: subject(entry), flags: entry[HASH] })
}

pub fn count(unlisted: &[u8]) -> usize {
    unlisted.len() / ENTRY
}

fn subject(entry: &[u8]) -> Subject {
    let mut subject = [0; HASH];
    subject.copy_from_slice(&entry[..HASH]);
    Subject(subject)
}

/// Where it is, or would be.
fn find(unlisted: &[u8], sought: Subject) -> Result<usize, usize> {
    let (mut from, mut to) = (0, count(unlisted));
    while from < to {
        let middle = from.midpoint(to);
        match subject(&unlisted[middle * ENTRY..]).cmp(&sought) {
            std::cmp::Ordering::Equal => return Ok(middle * ENTRY),
            std::cmp::Ordering::Less => from = middle + 1,
            std::cmp::Ordering::Greater => to = middle,
        }
    }
    Err(from * ENTRY)
}

/// Whether it is among them with this level.
pub fn holds(unlisted: &[u8], sought: Subject, level: BreachLevel) -> bool {
    find(unlisted, sought).is_ok_and(|at| unlisted[at + HASH] & bit(level) != 0)
}

/// Whether it is among them, and the receivers know of it.
pub fn is_told(unlisted: &[u8], sought: Subject) -> bool {
    find(unlisted, sought).is_ok_and(|at| unlisted[at + HASH] & TOLD != 0)
}

/// Notes one, unless `capacity` others are there.
pub fn add(unlisted: &mut Vec<u8>, new: Subject, level: BreachLevel, is_told: bool, capacity: usize) -> Added {
    let flags = bit(level) | if is_told { TOLD } else { 0 };
    match find(unlisted, new) {
        Ok(at) => {
            let is_known = unlisted[at + HASH] & bit(level) != 0;
            unlisted[at + HASH] |= flags;
            if is_known { Added::Known } else { Added::New }
        }
        Err(_) if count(unlisted) >= capacity => Added::Full,
        Err(at) => {
            let mut entry = [flags; ENTRY];
            entry[..HASH].copy_from_slice(&new.0);
            unlisted.splice(at..at, entry);
            Added::New
        }
    }
}

/// Takes a level of one away. Whether the receivers knew of it; `None` when it is not among them.
pub fn remove(unlisted: &mut Vec<u8>, gone: Subject, level: BreachLevel) -> Option<bool> {
    let at = find(unlisted, gone).ok()?;
    let flags = unlisted[at + HASH];
    if flags & bit(level) == 0 {
        return None;
    }
    unlisted[at + HASH] &= !bit(level);
    if unlisted[at + HASH] & LEVELS == 0 {
        unlisted.drain(at..at + ENTRY);
    }
    Some(flags & TOLD != 0)
}

/// The receivers know of all of them now.
pub fn tell_all(unlisted: &mut [u8]) {
    for entry in unlisted.chunks_exact_mut(ENTRY) {
        entry[HASH] |= TOLD;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn someone(index: u8) -> Subject {
        Subject([index.wrapping_mul(37), 1, 2, 3, 4, 5, index])
    }

    proptest! {
        /// Held against a map of whom it is about to levels and whether it was told.
        #[test]
        fn it_is_a_map_with_a_bound(
            steps in prop::collection::vec((0..4_u8, 0..12_u8, 0..3_usize, any::<bool>()), 0..80),
        ) {
            const CAPACITY: usize = 8;
            let mut unlisted = Vec::new();
            let mut known: BTreeMap<Subject, (BTreeSet<BreachLevel>, bool)> = BTreeMap::new();
            for (action, index, level, told) in steps {
                let (who, level) = (someone(index), BreachLevel::ALL[level]);
                match action {
                    0 | 1 => {
                        let added = add(&mut unlisted, who, level, told, CAPACITY);
                        if known.len() >= CAPACITY && !known.contains_key(&who) {
                            prop_assert_eq!(added, Added::Full);
                            continue;
                        }
                        let entry = known.entry(who).or_default();
                        entry.1 |= told;
                        let is_new = entry.0.insert(level);
                        prop_assert_eq!(added, if is_new { Added::New } else { Added::Known });
                    }
                    2 => {
                        let removed = remove(&mut unlisted, who, level);
                        let expected = known.get_mut(&who).and_then(|(levels, told)| levels.remove(&level).then_some(*told));
                        prop_assert_eq!(removed, expected);
                        known.retain(|_, (levels, _)| !levels.is_empty());
                    }
                    _ => {
                        tell_all(&mut unlisted);
                        for (_, told) in known.values_mut() {
                            *told = true;
                        }
                    }
                }
                prop_assert_eq!(holds(&unlisted, who, level), known.get(&who).is_some_and(|(levels, _)| levels.contains(&level)));
                prop_assert_eq!(is_told(&unlisted, who), known.get(&who).is_some_and(|(_, told)| *told));
            }
            let kept: Vec<_> = entries(&unlisted).map(|entry| (entry.subject, entry.level(), entry.is_told())).collect();
            let expected: Vec<_> = known
                .iter()
                .map(|(who, (levels, told))| (*who, *levels.last().expect("one at least"), *told))
                .collect();
            prop_assert_eq!(kept, expected);
            prop_assert_eq!(count(&unlisted), known.len());
        }
    }
}
