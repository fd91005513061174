//! Which events take part, in which attempt, and in which version of the journey.

use telemetry_schemas::{EventType, Millis};

use super::driver::Driver;
use crate::journey::{
    JourneyDefinition,
    testing::{EventExt, at, event, onboarding},
};

#[test]
fn a_milestone_before_its_signup_is_held_and_no_record_is_emitted_until_then() {
    let mut driver = Driver::onboarding();
    assert_eq!(driver.say([event("project_created", at(5))]), []);
    assert!(driver.state().is_some(), "it is held");
    driver.say([event("signup", at(1))]);
    assert_eq!(driver.records.len(), 1);
    assert_eq!(driver.last().stages[0].duration_ms, Some(Millis::from_minutes(4)));
}

#[test]
fn a_later_signup_in_the_same_attempt_changes_nothing() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    assert_eq!(driver.say([event("signup", at(60)).with_id("again")]), []);
    assert_eq!(driver.last().signup_at, at(0));
}

#[test]
fn events_of_a_journey_id_form_an_attempt_of_their_own() {
    let mut driver = Driver::onboarding();
    driver.say([
        event("signup", at(0)),
        event("project_created", at(2)),
        event("signup", at(100)).in_attempt("second"),
        event("first_success", at(110)).in_attempt("second"),
    ]);
    let [first, second] = &driver.records[..] else { panic!("one record for each attempt") };
    assert_eq!((first.attempt.as_str(), first.signup_at, first.completed_at), ("", at(0), None));
    assert_eq!((second.attempt.as_str(), second.signup_at), ("second", at(100)));
    assert_eq!(second.total_ms, Some(Millis::from_minutes(10)));
    assert_eq!(second.stages[0].to_at, None, "the first attempt's project stays there");
}

#[test]
fn events_without_a_user_and_technical_events_never_take_part() {
    let mut driver = Driver::onboarding();
    for kind in [EventType::Test, EventType::Performance, EventType::Error, EventType::Unknown] {
        assert_eq!(driver.say([event("signup", at(0)).of_type(kind)]), [], "{kind:?}");
    }
    let mut anonymous = event("signup", at(0));
    (anonymous.user_id, anonymous.anonymous_id) = (None, Some("a-1".to_owned()));
    assert_eq!(driver.say([anonymous]), []);
    assert!(driver.state().is_none(), "nothing is kept of them");
}

#[test]
fn every_other_type_can_reach_a_milestone() {
    let kinds = [EventType::Track, EventType::TtfMilestone, EventType::Page, EventType::Identify, EventType::Group];
    for kind in kinds {
        let mut driver = Driver::onboarding();
        driver.say([event("signup", at(0)).of_type(kind)]);
        assert_eq!(driver.records.len(), 1, "{kind:?}");
    }
}

#[test]
fn an_event_that_says_nothing_new_changes_nothing_and_emits_nothing() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)).with_segment("plan", "team")]);
    let stored = driver.state();
    let again = [
        event("signup", at(0)).with_segment("plan", "team"),
        event("dashboard_opened", at(1)),
        event("signup", at(20)).with_segment("plan", "enterprise"),
    ];
    assert_eq!(driver.say(again), []);
    assert_eq!(driver.state(), stored);
}

#[test]
fn property_predicates_decide_what_counts() {
    let mut definition = onboarding();
    definition.milestones[4].events = vec!["run_finished".to_owned()];
    definition.milestones[4].conditions =
        serde_json::from_value(serde_json::json!({"status": ["ok", "warning"], "run.attempt": 1})).unwrap();
    let mut driver = Driver::new(&[definition]);
    driver.say([event("signup", at(0))]);
    let run = |status: &str, attempt: f64| {
        event("run_finished", at(10))
            .with_property("status", status)
            .with_property("run", serde_json::json!({"attempt": attempt}))
    };
    assert_eq!(driver.say([run("failed", 1.0), run("ok", 2.0), event("run_finished", at(5))]), []);
    driver.say([run("warning", 1.0)]);
    assert_eq!(driver.last().completed_at, Some(at(10)));
}

/// Version 2 takes effect at minute 60: a stricter target, one milestone less, an earlier only deadline.
pub(super) fn with_second_version() -> Vec<JourneyDefinition> {
    let mut second = onboarding();
    second.version = 2;
    second.effective_from = Some(at(60));
    second.milestones.remove(2);
    second.stages.remove(2);
    second.stages[1].to = second.milestones[2].id.clone();
    second.stages[1].id = "first_project_to_first_workflow".to_owned();
    second.deadlines.truncate(1);
    second.deadlines[0].after = "30m".parse().unwrap();
    vec![second, onboarding()]
}

#[test]
fn a_journey_belongs_to_the_version_in_force_at_its_signup() {
    let mut driver = Driver::new(&with_second_version());
    driver.say([event("signup", at(59)).in_attempt("old"), event("signup", at(60)).in_attempt("new")]);
    let stages = |index: usize| (driver.records[index].journey_version, driver.records[index].stages.len());
    assert_eq!((stages(0), stages(1)), ((1, 4), (2, 3)));
    // Events after the change still count for an old journey by its own version.
    driver.say([event("agent_created", at(70)).in_attempt("old")]);
    assert_eq!(driver.last().journey_version, 1);
    assert_eq!(driver.last().current_stage.as_deref(), Some("first_agent_to_first_workflow"));
}

#[test]
fn an_earlier_signup_moves_the_journey_to_the_version_of_then() {
    let mut driver = Driver::new(&with_second_version());
    driver.say([event("signup", at(61)), event("agent_created", at(62))]);
    assert_eq!(driver.last().journey_version, 2);
    driver.pass(at(100));
    assert_eq!(driver.breaches.len(), 1, "version 2 is due after 30 minutes");

    driver.say([event("signup", at(50)).with_id("earlier")]);
    assert_eq!(driver.last().journey_version, 1);
    assert_eq!(driver.last().current_stage.as_deref(), Some("first_agent_to_first_workflow"));
    assert_eq!(driver.last().breach_level, None, "version 1 is due after 75 minutes");
    let taken_back = &driver.breaches[1];
    assert_eq!(taken_back.reason, Some(telemetry_schemas::BreachReason::Revised));
    assert_eq!(driver.next_due(), Some(at(125).plus(Millis(5_000))));
}

#[test]
fn a_journey_whose_version_is_not_loaded_any_more_rests() {
    let mut driver = Driver::new(&with_second_version());
    driver.say([event("signup", at(0))]);
    let mut driver = driver.restarted(&with_second_version()[..1]);
    assert_eq!(driver.say([event("project_created", at(70))]), []);
    assert_eq!(driver.pass(at(500)), []);
}
