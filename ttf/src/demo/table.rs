//! The demo's table, made from records alone. Pure.

use std::collections::{BTreeMap, HashMap};

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};
use telemetry_schemas::{BreachLevel, JourneyStatus, TtfRecord};
use ttf_processor::JourneyDefinition;

use crate::tail::duration;

/// What is known of one stage over all users.
struct Figures {
    entered: usize,
    reached: usize,
    within: usize,
    /// Users whose outcome against the target is known: arrived, or over it already.
    judged: usize,
    median_ms: Option<i64>,
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
        let figures = figures(&observations(known, id, now_ms), target_ms);
        table.add_row([
            id.to_owned(),
            figures.entered.to_string(),
            figures.reached.to_string(),
            figures.median_ms.map_or("–".to_owned(), duration),
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

/// How long each user has been in a stage, and whether they arrived.
fn observations(known: &HashMap<String, TtfRecord>, stage: &str, now_ms: i64) -> Vec<(i64, bool)> {
    known
        .values()
        .filter_map(|record| {
            if stage == "total" {
                return Some(match record.total_ms {
                    Some(total) => (total.0, true),
                    None => (now_ms - record.signup_at.0, false),
                });
            }
            let stage = record.stages.iter().find(|result| result.id == stage)?;
            match (stage.from_at, stage.duration_ms) {
                (_, Some(duration)) => Some((duration.0, true)),
                (Some(from), None) if stage.to_at.is_none() => Some((now_ms - from.0, false)),
                _ => None,
            }
        })
        .collect()
}

fn figures(observations: &[(i64, bool)], target_ms: i64) -> Figures {
    let arrived = observations.iter().filter(|(_, arrived)| *arrived).count();
    let within = observations.iter().filter(|(time, arrived)| *arrived && *time <= target_ms).count();
    let overdue = observations.iter().filter(|(time, arrived)| !*arrived && *time > target_ms).count();
    Figures {
        entered: observations.len(),
        reached: arrived,
        within,
        judged: arrived + overdue,
        median_ms: kaplan_meier_median(observations),
    }
}

/// The first time at which the Kaplan–Meier estimate of "not there yet" is at or below one half.
/// <https://en.wikipedia.org/wiki/Kaplan%E2%80%93Meier_estimator>
fn kaplan_meier_median(observations: &[(i64, bool)]) -> Option<i64> {
    let mut sorted = observations.to_vec();
    // At the same time arrivals come before those who are lost from sight.
    sorted.sort_by_key(|(time, arrived)| (*time, !*arrived));
    let mut survival = 1.0;
    for (index, (time, arrived)) in sorted.iter().enumerate() {
        if *arrived {
            survival *= 1.0 - 1.0 / (sorted.len() - index) as f64;
            if survival <= 0.5 + f64::EPSILON {
                return Some(*time);
            }
        }
    }
    None
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
        let completers = [(1, true), (2, true), (3, true)];
        let with_waiting = [(1, true), (2, true), (3, true), (10, false), (10, false), (10, false)];
        assert_eq!(kaplan_meier_median(&completers), Some(2));
        assert_eq!(kaplan_meier_median(&with_waiting), Some(3));
        assert_eq!(kaplan_meier_median(&[(1, true), (10, false), (10, false)]), None);
    }

    #[test]
    fn those_over_the_target_count_against_it_before_they_arrive() {
        let figures = figures(&[(5, true), (20, true), (30, false), (1, false)], 10);
        assert_eq!((figures.entered, figures.reached, figures.within, figures.judged), (4, 2, 1, 3));
    }
}
