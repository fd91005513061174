//! The definitions that journeys are judged by, remembered in the log: every process that starts, on whichever
//! machine and with whatever volume, holds what it is to run against them.
//!
//! One record for each version of each journey, all in partition 0 of [`topics::TTF_JOURNEYS`], which is compacted. Of
//! two processes that load one version for the first time with different content, the one whose record comes first is
//! right.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use stream_runtime::log::{Isolation, Log, NewRecord, Position, TopicPartition};
use telemetry_schemas::{EventTime, topics};

use crate::journey::{
    DefinitionErrors, JourneyDefinition,
    changes::{Changes, Remembered, VersionId},
};

/// Bound of one question to the log.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bound of reading everything that is remembered.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done when a version is not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// The process does not start.
    Refuse,
    /// A warning, and from now on it is what it is now (development).
    Adopt,
}

/// Holds `definitions` against what is remembered and remembers what is new. Returns the versions that are remembered
/// and not defined any more. Blocks.
///
/// # Errors
/// [`DefinitionErrors`] when a definition is not what it was; others when the log does not answer.
pub fn settle(
    log: &dyn Log,
    definitions: &[JourneyDefinition],
    on_change: OnChange,
    now: EventTime,
) -> anyhow::Result<Vec<VersionId>> {
    let mut remembered = recall(log)?;
    let mut changes = Changes::between(&remembered, definitions, now);
    if !changes.refused.is_empty() && on_change == OnChange::Refuse {
        return Err(DefinitionErrors(changes.refused).into());
    }
    let mut written: Vec<Remembered> = Vec::new();
    for problem in &changes.refused {
        tracing::warn!(path = problem.path, "{}; going on with it as it is now", problem.message);
    }
    let replaced = changes.refused.iter().filter_map(|problem| index_of(&problem.path));
    let corrected = changes.corrected.iter().inspect(|(index, what)| {
        let JourneyDefinition { id, version, .. } = &definitions[*index];
        tracing::warn!(journey = id, version, "definition was changed in place: {}", what.join("; "));
    });
    let mut replacing: Vec<usize> = corrected.map(|(index, _)| *index).chain(replaced).collect();
    replacing.sort_unstable();
    replacing.dedup();
    written.extend(replacing.iter().map(|index| Remembered::of(&definitions[*index], now, true)));
    let new = changes.new.iter().filter(|index| !replacing.contains(index));
    written.extend(new.map(|index| Remembered::of(&definitions[*index], now, false)));
    if !written.is_empty() {
        write(log, &written)?;
        // Somebody else may have been faster.
        remembered = recall(log)?;
        changes = Changes::between(&remembered, definitions, now);
        if !changes.refused.is_empty() && on_change == OnChange::Refuse {
            // Compaction would keep the later one.
            let first = remembered.into_iter().filter(|known| written.iter().any(|it| it.id() == known.id()));
            write(log, &first.map(|known| Remembered { replaces: true, ..known }).collect::<Vec<_>>())?;
            return Err(DefinitionErrors(changes.refused).into());
        }
    }
    for VersionId { journey, version } in &changes.unloaded {
        tracing::info!(journey, version, "a version that was loaded before is not configured; journeys of it rest");
    }
    Ok(changes.unloaded)
}

/// The index in `journeys[3].stages[0].target`.
fn index_of(path: &str) -> Option<usize> {
    path.strip_prefix("journeys[")?.split(']').next()?.parse().ok()
}

/// Everything that is remembered. Blocks.
///
/// # Errors
/// When the log does not answer in time.
pub fn recall(log: &dyn Log) -> anyhow::Result<Vec<Remembered>> {
    let at = TopicPartition::new(topics::TTF_JOURNEYS, 0);
    let reading = || format!("cannot read the definitions in force from {at}");
    let end = log.end_offset(&at, Isolation::ReadUncommitted, TIMEOUT).with_context(reading)?;
    let start = log.start_offset(&at, TIMEOUT).with_context(reading)?;
    let mut known: BTreeMap<VersionId, Remembered> = BTreeMap::new();
    if start >= end {
        return Ok(Vec::new());
    }
    let mut reader = log.reader(Isolation::ReadCommitted)?;
    reader.assign(&[(at.clone(), Position::Beginning)]).with_context(reading)?;
    let deadline = Instant::now() + PATIENCE;
    while reader.position(&at).is_none_or(|position| position < end) {
        let polled = reader.poll(1_000, Duration::from_millis(100), &mut |record| {
            let Some(value) = record.value else { return };
            match serde_json::from_slice::<Remembered>(value) {
                Ok(told) => take(&mut known, told),
                Err(error) => tracing::warn!(offset = record.offset, %error, "a definition in {at} is not readable"),
            }
        });
        match polled {
            Ok(_) => {}
            Err(error) if error.is_retriable() => tracing::debug!(%error, "the definitions in force"),
            Err(error) => return Err(anyhow::Error::new(error).context(reading())),
        }
        if Instant::now() > deadline {
            bail!("{}: not within {} s", reading(), PATIENCE.as_secs());
        }
    }
    Ok(known.into_values().collect())
}

/// The first record of a version counts until one says that it replaces it.
fn take(known: &mut BTreeMap<VersionId, Remembered>, told: Remembered) {
    let Some(id) = told.id() else { return };
    if told.replaces || !known.contains_key(&id) {
        known.insert(id, told);
    }
}

fn write(log: &dyn Log, remembered: &[Remembered]) -> anyhow::Result<()> {
    let publisher = log.publisher()?;
    for one in remembered {
        let Some(id) = one.id() else { continue };
        let key = format!("{}\u{1f}{}", id.journey, id.version);
        let record = NewRecord::new(topics::TTF_JOURNEYS, key, serde_json::to_vec(one)?).with_partition(0);
        futures::executor::block_on(publisher.publish(record)?)
            .with_context(|| format!("cannot remember version {} of journey `{}`", id.version, id.journey))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::testing::{NINE, at, onboarding};

    #[test]
    fn of_two_first_loads_the_one_that_comes_first_is_right_and_a_replacement_is_later() {
        let mut other = onboarding();
        other.total.target = "1m".parse().unwrap();
        let told = |definition, minute, replaces| Remembered::of(definition, at(minute), replaces);
        let mut known = BTreeMap::new();
        take(&mut known, Remembered::of(&onboarding(), NINE, false));
        take(&mut known, told(&other, 1, false));
        assert_eq!(known.values().next(), Some(&Remembered::of(&onboarding(), NINE, false)));
        take(&mut known, told(&other, 2, true));
        assert_eq!(known.into_values().collect::<Vec<_>>(), [told(&other, 2, true)]);
    }
}
