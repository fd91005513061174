//! Durations, order and anomalies.

use telemetry_schemas::{Anomaly, JourneyStatus, Millis, TtfRecord};

use super::driver::Driver;
use crate::journey::testing::{EventExt, MINUTE, NINE, at, event};

fn stage<'a>(record: &'a TtfRecord, id: &str) -> &'a telemetry_schemas::StageResult {
    record.stages.iter().find(|stage| stage.id == id).expect("the stage is in every record")
}

#[test]
fn a_whole_journey_is_measured_stage_by_stage() {
    let mut driver = Driver::onboarding();
    driver.say([
        event("signup", at(0)),
        event("project_created", at(4)),
        event("agent_created", at(16)),
        event("workflow_created", at(30)),
        event("workflow_succeeded", at(50)),
    ]);

    let record = driver.last();
    let durations: Vec<_> = record.stages.iter().map(|stage| stage.duration_ms.map(|it| it.0 / MINUTE)).collect();
    assert_eq!(durations, [Some(4), Some(12), Some(14), Some(20)]);
    let met: Vec<_> = record.stages.iter().map(|stage| stage.met).collect();
    assert_eq!(met, [Some(true), Some(false), Some(true), Some(true)]);
    assert!(record.stages.iter().all(|stage| stage.anomaly.is_none()));
    assert_eq!(record.total_ms, Some(Millis::from_minutes(50)));
    assert_eq!(record.status, JourneyStatus::Completed);
    assert_eq!(record.completed_at, Some(at(50)));
    assert_eq!(record.current_stage, None);
    assert_eq!(record.efficiency_score, Some(100.0));
    assert_eq!(record.breach_level, None);
}

#[test]
fn a_stage_that_takes_exactly_its_target_is_met() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("project_created", at(5))]);
    assert_eq!(driver.last().stages[0].met, Some(true));

    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("project_created", at(5).plus(Millis(1)))]);
    assert_eq!(driver.last().stages[0].met, Some(false));
}

#[test]
fn the_first_occurrence_of_each_milestone_wins_whatever_arrives_when() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("project_created", at(30))]);
    driver.say([event("project_created", at(40))]);
    assert_eq!(driver.records.len(), 1, "a later occurrence changes nothing");
    driver.say([event("first_project_created", at(3))]);
    assert_eq!(stage(driver.last(), "signup_to_first_project").duration_ms, Some(Millis::from_minutes(3)));
}

#[test]
fn equal_times_are_decided_by_event_id() {
    for ids in [["a", "b"], ["b", "a"]] {
        let mut driver = Driver::onboarding();
        driver.say(ids.map(|id| event("signup", at(0)).with_id(id)));
        assert_eq!(driver.last().cause_event_id.as_deref(), Some("a"));
    }
}

#[test]
fn up_to_two_seconds_out_of_order_is_simultaneous() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("project_created", NINE.plus(Millis(-2_000)))]);
    let first = &driver.last().stages[0];
    assert_eq!((first.duration_ms, first.met, first.anomaly), (Some(Millis(0)), Some(true), None));
}

#[test]
fn more_than_two_seconds_out_of_order_is_zero_and_said_so() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("project_created", NINE.plus(Millis(-2_001)))]);
    let first = &driver.last().stages[0];
    assert_eq!((first.duration_ms, first.anomaly), (Some(Millis(0)), Some(Anomaly::OutOfOrder)));
    assert_eq!((first.from_at, first.to_at), (Some(NINE), Some(NINE.plus(Millis(-2_001)))), "the times stay as told");
}

#[test]
fn a_success_before_signup_completes_the_journey_in_no_time() {
    let mut driver = Driver::onboarding();
    driver.say([event("first_success", at(-10)), event("signup", at(0))]);
    let record = driver.last();
    assert_eq!(record.status, JourneyStatus::Completed);
    assert_eq!(record.total_ms, Some(Millis(0)));
    assert_eq!(record.completed_at, Some(at(-10)));
}

#[test]
fn the_total_is_success_minus_signup_and_not_the_sum_of_stages() {
    let mut driver = Driver::onboarding();
    // The agent came before the project: the stages add up to more than the whole way.
    driver.say([
        event("signup", at(0)),
        event("agent_created", at(2)),
        event("project_created", at(10)),
        event("workflow_created", at(20)),
        event("first_success", at(25)),
    ]);
    let record = driver.last();
    let sum: i64 = record.stages.iter().filter_map(|stage| stage.duration_ms).map(|it| it.0).sum();
    assert_eq!(sum, 33 * MINUTE);
    assert_eq!(record.total_ms, Some(Millis::from_minutes(25)));
}

#[test]
fn a_missing_milestone_with_a_later_one_present_is_skipped() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("agent_created", at(9))]);
    let record = driver.last();
    for skipped in ["signup_to_first_project", "first_project_to_first_agent"] {
        let stage = stage(record, skipped);
        assert_eq!((stage.duration_ms, stage.met, stage.anomaly), (None, None, Some(Anomaly::Skipped)), "{skipped}");
    }
    for ahead in ["first_agent_to_first_workflow", "first_workflow_to_first_success"] {
        let stage = stage(record, ahead);
        assert_eq!((stage.duration_ms, stage.met, stage.anomaly), (None, None, None), "{ahead}");
    }
    assert_eq!(record.current_stage.as_deref(), Some("first_agent_to_first_workflow"));
}

#[test]
fn the_current_stage_starts_at_the_furthest_milestone_reached() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    assert_eq!(driver.last().current_stage.as_deref(), Some("signup_to_first_project"));
    driver.say([event("workflow_created", at(3))]);
    assert_eq!(driver.last().current_stage.as_deref(), Some("first_workflow_to_first_success"));
    driver.say([event("project_created", at(4))]);
    assert_eq!(driver.last().current_stage.as_deref(), Some("first_workflow_to_first_success"));
}

#[test]
fn a_late_journey_is_completed_with_the_level_it_missed_and_a_lower_score() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("first_success", at(130))]);
    let record = driver.last();
    assert_eq!(record.status, JourneyStatus::Completed);
    assert_eq!(record.breach_level, Some(telemetry_schemas::BreachLevel::Critical));
    let score = record.efficiency_score.expect("a completed journey has a score");
    assert!((score - 41.666_666_666_666_67).abs() < 1e-9, "{score}");
}

#[test]
fn the_cause_is_the_event_of_the_latest_milestone() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)).with_id("one"), event("agent_created", at(9)).with_id("two")]);
    assert_eq!(driver.last().cause_event_id.as_deref(), Some("two"));
    driver.say([event("project_created", at(5)).with_id("three")]);
    assert_eq!(driver.last().cause_event_id.as_deref(), Some("two"), "arrived last, happened earlier");
}
