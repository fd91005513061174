//! Rows → summaries: which cohorts there are, and their figures. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use telemetry_schemas::{
    cohort::CohortSummary,
    time::{EventTime, Millis},
};

use super::{
    curve::{Curve, Observation},
    rows::{CohortRows, Course, Segments, StageRow, TOTAL},
};

/// A window of signups, and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub name: String,
    pub length: Millis,
}

impl Window {
    /// `24h`, `7d`: whole days from two days on, below that whole hours, else what is whole.
    pub fn of(length: Millis) -> Self {
        const MINUTE: i64 = 60_000;
        const HOUR: i64 = 60 * MINUTE;
        const DAY: i64 = 24 * HOUR;
        let name = match length.0 {
            days if days >= 2 * DAY && days % DAY == 0 => format!("{}d", days / DAY),
            hours if hours % HOUR == 0 => format!("{}h", hours / HOUR),
            minutes if minutes % MINUTE == 0 => format!("{}m", minutes / MINUTE),
            millis => format!("{millis}ms"),
        };
        Self { name, length }
    }
}

/// What is to be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub windows: Vec<Window>,
    /// Values of one segment that get cohorts of their own: those with most signups.
    pub segment_values: usize,
}

impl Plan {
    /// The longest window; the others lie in it.
    pub fn longest(&self) -> Millis {
        self.windows.iter().map(|window| window.length).max().unwrap_or(Millis(0))
    }
}

/// The part of a cohort's identity that stages and windows share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Group {
    tenant: Arc<str>,
    journey: Arc<str>,
    segment: Option<(Arc<str>, Arc<str>)>,
}

/// The figures of every cohort with a signup in the longest window, at `now`.
pub fn evaluate(rows: &CohortRows, plan: &Plan, now: EventTime) -> Vec<CohortSummary> {
    let chosen = choose_segments(rows, plan);
    let mut tallies: HashMap<Group, HashMap<Arc<str>, Vec<Tally>>> = HashMap::new();
    for row in &rows.stages {
        for group in groups(&row.tenant, &row.journey, &row.segments, &chosen) {
            let windows = tallies
                .entry(group)
                .or_default()
                .entry(Arc::clone(&row.stage))
                .or_insert_with(|| vec![Tally::default(); plan.windows.len()]);
            for (window, tally) in plan.windows.iter().zip(windows) {
                if now.since(row.signup_at) < window.length {
                    tally.add(row, now);
                }
            }
        }
    }
    for row in &rows.breaches {
        for group in groups(&row.tenant, &row.journey, &row.segments, &chosen) {
            let Some(stages) = tallies.get_mut(&group) else { continue };
            let total = stages.contains_key(TOTAL).then(|| Arc::from(TOTAL));
            for stage in total.iter().chain(&row.stage) {
                let Some(windows) = stages.get_mut(stage) else { continue };
                for (window, tally) in plan.windows.iter().zip(windows) {
                    if now.since(row.signup_at) < window.length {
                        tally.breaches_open += 1;
                    }
                }
            }
        }
    }
    let mut summaries = Vec::new();
    for (group, stages) in tallies {
        for (stage, windows) in stages {
            for (window, tally) in plan.windows.iter().zip(windows) {
                summaries.push(tally.summary(&group, &stage, window, now));
            }
        }
    }
    summaries
}

/// By tenant, journey and segment.
type BySegment<T> = HashMap<(Arc<str>, Arc<str>, Arc<str>), T>;
type Chosen = BySegment<Vec<Arc<str>>>;

/// By tenant, journey and segment: its values with most signups. Of values with as many, the first by name.
fn choose_segments(rows: &CohortRows, plan: &Plan) -> Chosen {
    let mut counts: BySegment<BTreeMap<Arc<str>, u64>> = HashMap::new();
    for row in rows.stages.iter().filter(|row| &*row.stage == TOTAL) {
        for (name, value) in row.segments.iter() {
            let key = (Arc::clone(&row.tenant), Arc::clone(&row.journey), Arc::clone(name));
            *counts.entry(key).or_default().entry(Arc::clone(value)).or_default() += 1;
        }
    }
    counts
        .into_iter()
        .map(|(key, values)| {
            let mut values: Vec<(Arc<str>, u64)> = values.into_iter().collect();
            values.sort_by_key(|(_, signups)| std::cmp::Reverse(*signups));
            values.truncate(plan.segment_values);
            (key, values.into_iter().map(|(value, _)| value).collect())
        })
        .collect()
}

/// Everyone, and each chosen segment value the attempt has.
fn groups<'a>(
    tenant: &'a Arc<str>,
    journey: &'a Arc<str>,
    segments: &'a Segments,
    chosen: &'a Chosen,
) -> impl Iterator<Item = Group> + 'a {
    let group = |segment| Group { tenant: Arc::clone(tenant), journey: Arc::clone(journey), segment };
    let own = segments.iter().filter_map(move |(name, value)| {
        let values = chosen.get(&(Arc::clone(tenant), Arc::clone(journey), Arc::clone(name)))?;
        values.contains(value).then(|| group(Some((Arc::clone(name), Arc::clone(value)))))
    });
    std::iter::once(group(None)).chain(own)
}

/// What is counted of one cohort.
#[derive(Debug, Clone, Default)]
struct Tally {
    started: i64,
    reached: i64,
    completed: i64,
    within_target: i64,
    breaches_open: i64,
    /// Time observed in milliseconds, the target it is held against, and whether it ended in completion.
    observed: Vec<(i64, Option<Millis>, bool)>,
}

impl Tally {
    fn add(&mut self, row: &StageRow, now: EventTime) {
        self.started += 1;
        match row.course {
            Course::NotReached => {}
            Course::Skipped => self.reached += 1,
            Course::Open(since) => {
                self.reached += 1;
                self.observed.push((now.since(since).0, row.target, false));
            }
            Course::Completed(took) => {
                self.reached += 1;
                self.completed += 1;
                self.within_target += i64::from(row.target.is_some_and(|target| took <= target));
                self.observed.push((took.0, row.target, true));
            }
        }
    }

    fn summary(&self, group: &Group, stage: &str, window: &Window, now: EventTime) -> CohortSummary {
        let times = self.observed.iter().map(|(time, _, completed)| (*time as f64, *completed));
        let curve = Curve::of(times.map(|(time, completed)| Observation { time, completed }).collect());
        let quantile = |p| curve.as_ref().and_then(|curve| curve.quantile(p)).map(|time| Millis(time as i64));
        let (segment_name, segment_value) = group
            .segment
            .as_ref()
            .map_or((None, None), |(name, value)| (Some(name.to_string()), Some(value.to_string())));
        CohortSummary {
            tenant: group.tenant.to_string(),
            journey: group.journey.to_string(),
            stage: stage.to_owned(),
            window: window.name.clone(),
            segment_name,
            segment_value,
            started: self.started,
            reached: self.reached,
            completed: self.completed,
            within_target: self.within_target,
            median_ms: quantile(0.5),
            p90_ms: quantile(0.9),
            efficiency_score: self.efficiency(),
            breaches_open: self.breaches_open,
            evaluated_at: now,
        }
    }

    /// Each time is taken as a multiple of its own target: versions of a journey may differ in it. With one target for all
    /// it is the same as in its own unit. `None` when a target is not known.
    fn efficiency(&self) -> Option<f64> {
        let scaled: Option<Vec<Observation>> = self
            .observed
            .iter()
            .map(|(time, target, completed)| {
                let target = target.filter(|target| target.0 > 0)?;
                Some(Observation { time: *time as f64 / target.0 as f64, completed: *completed })
            })
            .collect();
        Curve::of(scaled?)?.efficiency(1.0)
    }
}

#[cfg(test)]
mod tests;
