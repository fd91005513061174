use super::*;
use crate::cohorts::rows::{BreachRow, Interner};

const NOW: EventTime = EventTime(1_800_000_000_000);
const MINUTE: i64 = 60_000;
const TARGET: Millis = Millis(60 * MINUTE);

fn plan() -> Plan {
    Plan { windows: [24, 7 * 24].map(|hours| Window::of(Millis(hours * 60 * MINUTE))).to_vec(), segment_values: 2 }
}

fn ago(minutes: i64) -> EventTime {
    EventTime(NOW.0 - minutes * MINUTE)
}

fn row(stage: &str, signed_up: EventTime, course: Course, segments: &str) -> StageRow {
    let mut names = Interner::default();
    StageRow {
        tenant: "acme".into(),
        journey: "onboarding".into(),
        stage: stage.into(),
        signup_at: signed_up,
        target: Some(TARGET),
        course,
        segments: names.segments(segments),
    }
}

fn took(minutes: i64) -> Course {
    Course::Completed(Millis(minutes * MINUTE))
}

fn of(rows: Vec<StageRow>) -> CohortRows {
    CohortRows { stages: rows, breaches: Vec::new() }
}

fn find<'a>(cohorts: &'a [CohortSummary], stage: &str, window: &str, value: Option<&str>) -> &'a CohortSummary {
    let found: Vec<_> = cohorts
        .iter()
        .filter(|cohort| cohort.stage == stage && cohort.window == window && cohort.segment_value.as_deref() == value)
        .collect();
    assert_eq!(found.len(), 1, "{stage} {window} {value:?}: {found:?}");
    found[0]
}

#[test]
fn windows_are_called_as_people_write_them() {
    let name = |minutes: i64| Window::of(Millis(minutes * MINUTE)).name;
    assert_eq!([name(24 * 60), name(7 * 24 * 60), name(90), name(36 * 60)], ["24h", "7d", "90m", "36h"]);
}

#[test]
fn every_signup_of_the_window_counts_and_no_other() {
    let signups = [(23 * 60, 30), (25 * 60, 30), (6 * 24 * 60, 90)];
    let rows = signups.map(|(at, minutes)| row(TOTAL, ago(at), took(minutes), "{}")).to_vec();
    let cohorts = evaluate(&of(rows), &plan(), NOW);
    assert_eq!(find(&cohorts, TOTAL, "24h", None).started, 1);
    let week = find(&cohorts, TOTAL, "7d", None);
    assert_eq!((week.started, week.completed, week.within_target), (3, 3, 2));
    assert_eq!((week.median_ms, week.p90_ms), (Some(Millis(30 * MINUTE)), Some(Millis(90 * MINUTE))));
    assert_eq!(week.evaluated_at, NOW);
}

#[test]
fn a_cohort_that_has_no_signup_in_a_shorter_window_shows_nought_there() {
    let cohorts = evaluate(&of(vec![row(TOTAL, ago(2 * 24 * 60), took(5), "{}")]), &plan(), NOW);
    let day = find(&cohorts, TOTAL, "24h", None);
    assert_eq!((day.started, day.median_ms, day.efficiency_score), (0, None, None));
}

#[test]
fn reached_completed_and_skipped_are_told_apart() {
    let rows = vec![
        row("one", ago(100), took(5), "{}"),
        row("one", ago(100), took(61), "{}"),
        row("one", ago(100), Course::Open(ago(100)), "{}"),
        row("one", ago(100), Course::Skipped, "{}"),
        row("one", ago(100), Course::NotReached, "{}"),
    ];
    let cohorts = evaluate(&of(rows), &plan(), NOW);
    let stage = find(&cohorts, "one", "24h", None);
    assert_eq!((stage.started, stage.reached, stage.completed, stage.within_target), (5, 4, 2, 1));
    // At risk 3, 2, 1: who skipped the stage is not in the curve.
    assert_eq!(stage.median_ms, Some(Millis(61 * MINUTE)));
    assert_eq!(stage.p90_ms, None);
}

#[test]
fn who_is_on_the_way_is_censored_now() {
    let rows = vec![row(TOTAL, ago(90), took(30), "{}"), row(TOTAL, ago(90), Course::Open(ago(90)), "{}")];
    let cohorts = evaluate(&of(rows), &plan(), NOW);
    assert_eq!(find(&cohorts, TOTAL, "24h", None).efficiency_score, Some(50.0));
    let rows = vec![row(TOTAL, ago(90), took(30), "{}"), row(TOTAL, ago(20), Course::Open(ago(20)), "{}")];
    let cohorts = evaluate(&of(rows), &plan(), NOW);
    assert_eq!(find(&cohorts, TOTAL, "24h", None).efficiency_score, Some(100.0), "seen for 20 min only");
}

#[test]
fn each_attempt_is_held_against_its_own_target() {
    let mut quick = row(TOTAL, ago(600), took(45), "{}");
    quick.target = Some(Millis(30 * MINUTE));
    let rows = vec![quick, row(TOTAL, ago(600), took(90), "{}")];
    let cohorts = evaluate(&of(rows), &plan(), NOW);
    let total = find(&cohorts, TOTAL, "24h", None);
    assert_eq!((total.efficiency_score, total.within_target), (Some(75.0), 0));
    let mut unknown = row(TOTAL, ago(600), took(45), "{}");
    unknown.target = None;
    let cohorts = evaluate(&of(vec![unknown]), &plan(), NOW);
    assert_eq!(find(&cohorts, TOTAL, "24h", None).efficiency_score, None);
}

#[test]
fn the_values_with_most_signups_get_figures_of_their_own() {
    let plans = ["free", "free", "free", "pro", "pro", "team", "edu"];
    let rows = plans.map(|plan| row(TOTAL, ago(10), took(1), &format!("{{\"plan\":\"{plan}\"}}"))).to_vec();
    let cohorts = evaluate(&of(rows), &plan(), NOW);
    assert_eq!(find(&cohorts, TOTAL, "24h", None).started, 7);
    assert_eq!(find(&cohorts, TOTAL, "24h", Some("free")).started, 3);
    assert_eq!(find(&cohorts, TOTAL, "24h", Some("pro")).started, 2);
    assert_eq!(cohorts.len(), 6, "two windows of everyone and of two values");
    assert!(
        cohorts.iter().all(|cohort| cohort.segment_value.is_none() || cohort.segment_name.as_deref() == Some("plan"))
    );
}

#[test]
fn open_breaches_count_for_the_whole_way_and_for_the_stage_one_is_in() {
    let mut rows = of(vec![
        row(TOTAL, ago(100), Course::Open(ago(100)), "{}"),
        row("one", ago(100), took(5), "{}"),
        row("two", ago(100), Course::Open(ago(95)), "{}"),
    ]);
    let breach = |at| BreachRow {
        tenant: "acme".into(),
        journey: "onboarding".into(),
        stage: Some("two".into()),
        signup_at: at,
        segments: Interner::default().segments("{}"),
    };
    rows.breaches = vec![breach(ago(100)), breach(ago(100)), breach(ago(3 * 24 * 60))];
    let cohorts = evaluate(&rows, &plan(), NOW);
    let open = |stage, window| find(&cohorts, stage, window, None).breaches_open;
    assert_eq!([open(TOTAL, "24h"), open("one", "24h"), open("two", "24h")], [2, 0, 2]);
    assert_eq!([open(TOTAL, "7d"), open("two", "7d")], [3, 3]);
}
