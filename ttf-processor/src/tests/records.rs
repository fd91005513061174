//! How records are numbered, and what they look like.

use telemetry_schemas::{EventTime, Millis, json};

use super::driver::Driver;
use crate::journey::{
    Emission,
    testing::{DAY, EventExt, NINE, at, event},
};

#[test]
fn one_record_for_each_journey_and_transaction_with_its_last_state() {
    let mut driver = Driver::onboarding();
    let said = driver.say([event("signup", at(0)), event("project_created", at(1)), event("agent_created", at(2))]);
    assert_eq!(said.len(), 1);
    assert_eq!(driver.last().revision, 1);
    driver.say([event("workflow_created", at(3)), event("first_success", at(4))]);
    assert_eq!(driver.last().revision, 2);
    assert_eq!(driver.last().total_ms, Some(Millis::from_minutes(4)));
}

#[test]
fn an_aborted_transaction_leaves_no_trace() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    driver.event(event("project_created", at(1))).abort();
    driver.say([event("project_created", at(1))]);
    let revisions: Vec<_> = driver.records.iter().map(|record| record.revision).collect();
    assert_eq!(revisions, [1, 2]);
}

#[test]
fn ids_are_the_same_whenever_the_same_is_said() {
    let say = || {
        let mut driver = Driver::onboarding();
        driver.say([event("signup", at(0))]);
        driver.pass(at(80));
        (driver.last().record_id.clone(), driver.breaches[0].breach_id.clone())
    };
    assert_eq!(say(), say());
}

#[test]
fn a_replay_into_fresh_state_has_a_higher_generation() {
    let generation_at = |now: EventTime| {
        let mut driver = Driver::onboarding();
        driver.now = now;
        driver.say([event("signup", at(0))]);
        driver.last().generation
    };
    assert!(generation_at(NINE.plus(Millis(DAY))) > generation_at(NINE));
}

#[test]
fn a_record_looks_like_this() {
    let mut driver = Driver::onboarding();
    driver.say([
        event("signup", at(0)).with_segment("plan", "team").with_release("1.4.2"),
        event("project_created", at(4)),
        event("workflow_created", at(40)),
    ]);
    insta::assert_json_snapshot!("in_progress", json::to_json(driver.last()));
    driver.pass(at(121));
    driver.say([event("first_success", at(130))]);
    insta::assert_json_snapshot!("completed", json::to_json(driver.last()));
    insta::assert_json_snapshot!("firing", json::to_json(&driver.breaches[0]));
    insta::assert_json_snapshot!("resolved", json::to_json(driver.breaches.last().unwrap()));
}

#[test]
fn the_record_comes_before_the_breaches_it_goes_with() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    let said = driver.pass(at(130));
    let kinds: Vec<_> = said.iter().map(|it| matches!(it, Emission::Record(_))).collect();
    assert_eq!(kinds, [true, false, false]);
}
