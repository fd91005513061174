//! Forgetting a user.

use telemetry_schemas::{BreachReason, BreachStatus, EventTime, JourneyStatus, Millis};

use super::driver::Driver;
use crate::journey::testing::{DAY, EventExt, NINE, at, event};

fn erased_at_100() -> Driver {
    let mut driver = Driver::onboarding();
    driver.say([
        event("signup", at(0)).with_segment("plan", "team"),
        event("signup", at(10)).in_attempt("second"),
        event("first_success", at(15)).in_attempt("second"),
    ]);
    driver.pass(at(76));
    driver.erasure(at(100));
    driver.commit();
    driver
}

#[test]
fn an_erasure_leaves_nothing_but_its_marker() {
    let driver = erased_at_100();
    let kept = driver.state().expect("the marker stays").kept;
    assert_eq!(kept.erased_at, Some(at(100)));
    assert!(kept.attempts.is_empty() && kept.segments.is_empty() && kept.release.is_none());
}

#[test]
fn an_erasure_is_said_of_every_attempt_and_resolves_what_is_open() {
    let driver = erased_at_100();
    let erased: Vec<_> = driver.records.iter().filter(|record| record.status == JourneyStatus::Erased).collect();
    assert_eq!(erased.iter().map(|record| record.attempt.as_str()).collect::<Vec<_>>(), ["", "second"]);
    for record in erased {
        assert!(record.stages.is_empty() && record.segments.is_empty() && record.cause_event_id.is_none());
    }
    let last = driver.breaches.last().unwrap();
    assert_eq!((last.status, last.reason), (BreachStatus::Resolved, Some(BreachReason::Erased)));
    assert!(last.segments.is_empty());
    assert_eq!(driver.breaches.len(), 2);
}

#[test]
fn events_received_before_the_erasure_are_dropped_and_later_ones_start_anew() {
    let mut driver = erased_at_100();
    let generation = driver.last().generation;
    assert_eq!(driver.say([event("signup", at(0)).received(at(99))]), []);
    driver.say([event("signup", at(90)).received(at(100))]);
    let record = driver.last();
    assert_eq!((record.status, record.signup_at, record.revision), (JourneyStatus::InProgress, at(90), 1));
    assert!(record.generation > generation);
}

#[test]
fn an_erasure_and_a_new_signup_in_one_transaction_are_both_said() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    driver.erasure(at(100)).event(event("signup", at(101)));
    driver.commit();
    let told: Vec<_> = driver.records.iter().map(|record| (record.status, record.signup_at)).collect();
    assert_eq!(told[1..], [(JourneyStatus::Erased, at(0)), (JourneyStatus::InProgress, at(101))]);
}

#[test]
fn the_same_erasure_again_or_an_older_one_changes_nothing() {
    let mut driver = erased_at_100();
    driver.say([event("signup", at(101))]);
    let stored = driver.state();
    for again in [at(100), at(50)] {
        driver.erasure(again);
        assert_eq!(driver.commit(), []);
        assert_eq!(driver.state(), stored);
    }
}

#[test]
fn an_erasure_of_an_unknown_user_keeps_older_events_out() {
    let mut driver = Driver::onboarding();
    driver.erasure(at(10));
    assert_eq!(driver.commit(), []);
    assert_eq!(driver.say([event("signup", at(5))]), []);
}

#[test]
fn the_marker_goes_in_the_end_too() {
    let mut driver = Driver::onboarding();
    driver.erasure(at(10));
    driver.commit();
    driver.pass(EventTime(NINE.0 + 431 * DAY).plus(Millis(1)));
    assert!(driver.state().is_none());
}
