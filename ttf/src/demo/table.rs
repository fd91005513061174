//! The demo's table, made from records alone. Pure.

use std::collections::{BTreeMap, HashMap};

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use sink_archiver::cohorts::curve::{Curve, Observation};
use telemetry_schemas::{BreachLevel, EventTime, JourneyStatus, Millis, TtfRecord};
use ttf_processor::JourneyDefinition;

use crate::tail::duration;

/// What is known of one stage over all users.
struct Figures {
    entered: usize,
    reached: usize,
    within: usize,
    /// Users whose outcome against the target is known: arrived, or over it already.
    judged: usize,
    /// Those still on their way count (Kaplan–Meier); `None` when the curve does not reach one half.
    median: Option<Millis>,
}

/// How many milestones a record knows of, signup included.
pub fn milestones_reached(record: &TtfRecord) -> usize {
    1 + record.stages.iter().filter(|stage| stage.to_at.is_some()).count()
}

pub fn render(
    definition: &JourneyDefinition,
    known: &HashMap<String, TtfRecord>,
    sent: usize,
    of: usize,
    now_ms: i64,
) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_header([
        "stage",
        "entered",
        "reached",
        "median",
        "target",
        "within target",
    ]);
    for column in 1..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let rows = definition.stages.iter().map(|stage| (stage.id.as_str(), stage.target.millis()));
    for (id, target_ms) in rows.chain([("total", definition.total.target.millis())]) {
        let figures = figures(&observations(known, id, now_ms), Millis(target_ms));
        table.add_row([
            id.to_owned(),
            figures.entered.to_string(),
            figures.reached.to_string(),
            figures.median.map_or("–".to_owned(), |median| duration(median.0)),
            duration(target_ms),
            if figures.judged == 0 {
                "–".to_owned()
            } else {
                format!("{:.0} %", 100.0 * figures.within as f64 / figures.judged as f64)
            },
        ]);
    }
    let open = open_breaches(known);
    let level = |level: BreachLevel| open.get(&level).copied().unwrap_or(0);
    format!(
        "{table}\nsigned up {sent} of {of}, known to the pipe {}; open breaches: {} warning, {} critical, {} escalation\n\
         medians count those still on their way (Kaplan–Meier)",
        known.len(),
        level(BreachLevel::Warning),
        level(BreachLevel::Critical),
        level(BreachLevel::Escalation),
    )
}

/// How long each user has been in a stage, or took to pass it.
fn observations(known: &HashMap<String, TtfRecord>, stage: &str, now_ms: i64) -> Vec<Observation> {
    let since = |from: EventTime| open(EventTime(now_ms).since(from));
    known
        .values()
        .filter_map(|record| {
            if stage == "total" {
                return Some(record.total_ms.map_or_else(|| since(record.signup_at), completed));
            }
            let stage = record.stages.iter().find(|result| result.id == stage)?;
            match (stage.from_at, stage.duration_ms) {
                (_, Some(took)) => Some(completed(took)),
                (Some(from), None) if stage.to_at.is_none() => Some(since(from)),
                _ => None,
            }
        })
        .collect()
}

/// Arrived after this time.
fn completed(took: Millis) -> Observation {
    Observation { time: took.0 as f64, completed: true }
}

/// On the way for this time.
fn open(elapsed: Millis) -> Observation {
    Observation { completed: false, ..completed(elapsed) }
}

fn figures(observations: &[Observation], target: Millis) -> Figures {
    let target = target.0 as f64;
    let count = |matches: &dyn Fn(&Observation) -> bool| observations.iter().filter(|seen| matches(seen)).count();
    let reached = count(&|seen| seen.completed);
    let overdue = count(&|seen| !seen.completed && seen.time > target);
    let median = Curve::of(observations.to_vec()).and_then(|curve| curve.quantile(0.5));
    Figures {
        entered: observations.len(),
        reached,
        within: count(&|seen| seen.completed && seen.time <= target),
        judged: reached + overdue,
        median: median.map(|time| Millis(time as i64)),
    }
}

/// Open journeys by the highest deadline they have missed.
fn open_breaches(known: &HashMap<String, TtfRecord>) -> BTreeMap<BreachLevel, usize> {
    let mut open = BTreeMap::new();
    for record in known.values().filter(|record| record.status == JourneyStatus::InProgress) {
        if let Some(level) = record.breach_level {
            *open.entry(level).or_default() += 1;
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_does_not_improve_when_slow_users_are_still_on_their_way() {
        let completers = [1, 2, 3].map(|took| completed(Millis(took)));
        let mut all = completers.to_vec();
        all.extend([open(Millis(10)); 2]);
        assert_eq!(figures(&completers, Millis(10)).median, Some(Millis(2)));
        assert_eq!(figures(&all, Millis(10)).median, Some(Millis(3)));
    }

    #[test]
    fn those_over_the_target_count_against_it_before_they_arrive() {
        let seen = [completed(Millis(5)), completed(Millis(20)), open(Millis(30)), open(Millis(1))];
        let figures = figures(&seen, Millis(10));
        assert_eq!((figures.entered, figures.reached, figures.within, figures.judged), (4, 2, 1, 3));
    }
}
