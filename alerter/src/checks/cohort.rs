//! Whether a cohort does worse than the same cohort before. Pure.
//!
//! What is judged is the share of those who reached a stage and completed it within target. It is held against the
//! baseline's signups that are not in the judged window, by Fisher's exact test at a level divided by the number of
//! cohorts looked at (Bonferroni), and only told when the fall is large enough to matter: with many users even a point
//! is certain. The share of all completions is held against the baseline only where completing takes little of the window;
//! otherwise the signups of the last hours, who could not have completed yet, would look like a fall.

use std::collections::HashMap;

use telemetry_schemas::{BreachKind, BreachLevel, cohort::CohortSummary};

use super::{
    statistics::{Share, fell_by_chance},
    watch::Finding,
};
use crate::config::CohortChecks;

/// Stage of the whole journey.
const TOTAL: &str = "total";
/// Completions are judged where nine of ten take at most this share of the window.
const LONGEST_COMPLETION: i64 = 10;

type CohortKey = (String, String, String, Option<String>, Option<String>);

fn key(cohort: &CohortSummary) -> CohortKey {
    let CohortSummary { tenant, journey, stage, segment_name, segment_value, .. } = cohort;
    (tenant.clone(), journey.clone(), stage.clone(), segment_name.clone(), segment_value.clone())
}

/// What is judged of one cohort.
struct Judged<'a> {
    name: &'static str,
    what: &'static str,
    now: Share,
    before: Share,
    cohort: &'a CohortSummary,
    /// Medians in milliseconds, where slowness is judged.
    medians: Option<(i64, i64)>,
}

/// Looks at all cohorts.
pub fn judge(cohorts: &[CohortSummary], config: &CohortChecks) -> Vec<Finding> {
    let of_window = |window: &str| -> HashMap<CohortKey, &CohortSummary> {
        cohorts.iter().filter(|cohort| cohort.window == window).map(|cohort| (key(cohort), cohort)).collect()
    };
    let (current, baseline) = (of_window(&config.window), of_window(&config.baseline));
    let mut judged = Vec::new();
    for (key, cohort) in &current {
        let Some(before) = baseline.get(key) else { continue };
        // The baseline contains the window.
        let reached = before.reached - cohort.reached;
        if cohort.reached < config.minimum_volume || reached < config.minimum_volume {
            continue;
        }
        let share =
            |now: i64, all: i64| (Share { hits: now, of: cohort.reached }, Share { hits: all - now, of: reached });
        let (now, then) = share(cohort.within_target, before.within_target);
        let on_target = |name, what, medians| Judged { name, what, now, before: then, cohort, medians };
        judged.push(on_target("TtfOnTargetRateLow", "within target", None));
        if cohort.stage != TOTAL && cohort.segment_name.is_none() {
            let medians = cohort.median_ms.zip(before.median_ms).map(|(now, then)| (now.0, then.0));
            judged.push(on_target("TtfStageSlow", "within target", Some(medians.unwrap_or((0, 0)))));
        }
        let window_ms = config
            .window
            .parse::<service_kit::config::HumanDuration>()
            .map_or(0, service_kit::config::HumanDuration::millis);
        if before.p90_ms.is_some_and(|p90| p90.0 * LONGEST_COMPLETION <= window_ms) {
            let (now, then) = share(cohort.completed, before.completed);
            judged.push(Judged {
                name: "TtfCompletionRateLow",
                what: "completed",
                now,
                before: then,
                cohort,
                medians: None,
            });
        }
    }
    #[allow(clippy::cast_precision_loss)]
    let level = config.significance / judged.len().max(1) as f64;
    judged.iter().filter_map(|judged| finding(judged, level, config)).collect()
}

fn finding(judged: &Judged<'_>, level: f64, config: &CohortChecks) -> Option<Finding> {
    let (now, before) = (judged.now.rate()?, judged.before.rate()?);
    let cohort = judged.cohort;
    let chance = fell_by_chance(judged.now, judged.before);
    let fell = before - now >= config.minimum_drop && chance < level;
    #[allow(clippy::cast_precision_loss)]
    let is_slow = judged.medians.is_none_or(|(now, then)| then > 0 && now as f64 >= then as f64 * config.slow_factor);
    let of = match (&cohort.segment_name, &cohort.segment_value) {
        (Some(name), Some(value)) => format!(" of {name} {value}"),
        _ => String::new(),
    };
    let slow = match judged.medians {
        Some((now, then)) if then > 0 => format!(", median {} s after {} s", now / 1_000, then / 1_000),
        _ => String::new(),
    };
    let percent = |rate: f64| format!("{:.0} %", rate * 100.0);
    let summary = format!(
        "Journey {}, {}{of}: {} {} in the last {}, {} before ({} of {} users{slow})",
        cohort.journey,
        if cohort.stage == TOTAL { "first value".to_owned() } else { format!("stage {}", cohort.stage) },
        percent(now),
        judged.what,
        cohort.window,
        percent(before),
        judged.now.hits,
        judged.now.of,
    );
    let level = if cohort.segment_name.is_none() { BreachLevel::Critical } else { BreachLevel::Warning };
    let mut finding = Finding::new(BreachKind::Cohort, judged.name, fell && is_slow, summary)
        .of(&cohort.tenant, &cohort.journey)
        .level(level)
        .label("window", &cohort.window)
        .label("stage", &cohort.stage)
        .note("value", percent(now))
        .note("baseline", percent(before))
        .note("users", judged.now.of.to_string())
        .note("chance", format!("{chance:.2e}"));
    if let (Some(name), Some(value)) = (&cohort.segment_name, &cohort.segment_value) {
        finding.segments.insert(name.clone(), value.clone());
        finding = finding.label("group", &format!("{name}={value}"));
    }
    finding.stage = (cohort.stage != TOTAL).then(|| cohort.stage.clone());
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cohort;

    fn config() -> CohortChecks {
        crate::testing::config("").checks.cohorts.expect("on by default")
    }

    fn bad(cohorts: &[CohortSummary]) -> Vec<String> {
        let mut names: Vec<_> = judge(cohorts, &config())
            .into_iter()
            .filter(|finding| finding.is_bad)
            .map(|finding| finding.labels["alertname"].clone())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_fall_that_is_large_and_certain_is_told_with_its_figures() {
        let cohorts =
            [cohort("24h", "total", Some("pro"), 100, 40, 600), cohort("7d", "total", Some("pro"), 700, 520, 600)];
        assert_eq!(bad(&cohorts), ["TtfCompletionRateLow", "TtfOnTargetRateLow"]);
        let findings = judge(&cohorts, &config());
        let told = findings.iter().find(|finding| finding.labels["alertname"] == "TtfOnTargetRateLow").expect("judged");
        assert_eq!(
            told.annotations["summary"],
            "Journey onboarding, first value of plan pro: 40 % within target in the last 24h, 80 % before (40 of 100 users)"
        );
        assert_eq!((told.level, told.segments["plan"].as_str()), (BreachLevel::Warning, "pro"));
    }

    #[test]
    fn three_users_a_small_fall_and_a_rise_are_not_told() {
        for (now, all) in
            [((3, 0), (703, 560)), ((29, 0), (729, 560)), ((10_000, 7_500), (70_000, 55_500)), ((100, 90), (700, 520))]
        {
            let cohorts =
                [cohort("24h", "total", None, now.0, now.1, 600), cohort("7d", "total", None, all.0, all.1, 600)];
            assert_eq!(bad(&cohorts), Vec::<String>::new(), "{now:?}");
        }
    }

    /// Among a hundred cohorts one looks bad by chance at one per cent.
    #[test]
    fn the_more_cohorts_are_looked_at_the_surer_a_fall_must_be() {
        let one = |segment: &str| {
            [cohort("24h", "s", Some(segment), 60, 36, 36_000), cohort("7d", "s", Some(segment), 660, 516, 36_000)]
        };
        assert_eq!(bad(&one("pro")), ["TtfOnTargetRateLow"]);
        let many: Vec<_> = (0..100).flat_map(|index| one(&format!("p-{index}"))).collect();
        assert_eq!(bad(&many), Vec::<String>::new());
    }

    #[test]
    fn a_stage_that_is_slow_for_everyone_is_told_and_one_that_is_not_slower_is_not() {
        let slow = |median| [cohort("24h", "s", None, 200, 80, median), cohort("7d", "s", None, 1_400, 1_040, 600)];
        assert!(bad(&slow(900)).contains(&"TtfStageSlow".to_owned()));
        assert!(!bad(&slow(800)).contains(&"TtfStageSlow".to_owned()));
    }

    #[test]
    fn completions_that_take_much_of_the_window_are_not_held_against_those_of_a_week() {
        let cohorts = [cohort("24h", "s", Some("a"), 100, 40, 5_000), cohort("7d", "s", Some("a"), 700, 520, 5_000)];
        assert_eq!(bad(&cohorts), ["TtfOnTargetRateLow"]);
    }
}
