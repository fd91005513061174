//! Deadlines, abandonment and the end of a state: what the passing of time does.

use telemetry_schemas::{
    BreachLevel::{self, Critical, Escalation, Warning},
    BreachReason, BreachStatus, EventTime, JourneyStatus, Millis, TtfBreach,
};

use super::driver::Driver;
use crate::journey::testing::{DAY, EventExt, NINE, at, event};

const GRACE: Millis = Millis(5_000);

/// Level, status, reason.
fn said(breaches: &[TtfBreach]) -> Vec<(BreachLevel, BreachStatus, Option<BreachReason>)> {
    breaches.iter().map(|breach| (breach.level, breach.status, breach.reason)).collect()
}

fn judged(minutes: i64) -> EventTime {
    at(minutes).plus(GRACE)
}

#[test]
fn a_deadline_is_judged_only_when_everything_received_until_its_grace_is_known() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    assert_eq!(driver.next_due(), Some(judged(75)));
    assert_eq!(driver.pass(judged(75).plus(Millis(-1))), []);
    driver.pass(judged(75));
    assert_eq!(said(&driver.breaches), [(Warning, BreachStatus::Firing, None)]);
    let breach = &driver.breaches[0];
    assert_eq!((breach.due_at, breach.threshold_ms, breach.late), (at(75), Millis::from_minutes(75), false));
    assert_eq!(breach.detected_at, judged(75));
    assert_eq!(breach.current_stage.as_deref(), Some("signup_to_first_project"));
    assert_eq!(driver.last().breach_level, Some(Warning));
    assert_eq!(breach.record_revision, driver.last().revision);
}

#[test]
fn events_of_a_fast_clock_do_not_prove_that_a_deadline_passed() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("dashboard_opened", at(1_000)), event("project_created", at(900))]);
    assert_eq!(driver.breaches, []);
    assert_eq!(driver.next_due(), Some(judged(75)));
}

#[test]
fn the_levels_follow_one_another() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    for (minutes, level) in [(75, Warning), (120, Critical), (180, Escalation)] {
        driver.pass(judged(minutes));
        assert_eq!(driver.breaches.last().map(|breach| breach.level), Some(level));
        assert_eq!(driver.last().breach_level, Some(level));
    }
    assert_eq!(driver.breaches.len(), 3);
    assert_eq!(driver.next_due(), Some(NINE.plus(Millis(14 * DAY)).plus(GRACE)), "then the abandonment");
}

#[test]
fn success_in_time_is_never_a_breach() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("first_success", at(75))]);
    driver.pass(at(500));
    assert_eq!(driver.breaches, []);
    assert_eq!(driver.last().breach_level, None);
}

#[test]
fn success_after_the_deadline_resolves_the_breach() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    driver.pass(judged(120));
    driver.say([event("first_success", at(121))]);
    assert_eq!(
        said(&driver.breaches[2..]),
        [
            (Warning, BreachStatus::Resolved, Some(BreachReason::Completed)),
            (Critical, BreachStatus::Resolved, Some(BreachReason::Completed)),
        ]
    );
    assert_eq!(driver.last().status, JourneyStatus::Completed);
    assert_eq!(driver.last().breach_level, Some(Critical));
}

#[test]
fn a_late_event_that_shows_success_in_time_revises_the_breach() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    driver.pass(judged(75));
    driver.say([event("first_success", at(74)).received(at(80))]);
    assert_eq!(said(&driver.breaches[1..]), [(Warning, BreachStatus::Resolved, Some(BreachReason::Revised))]);
    assert_eq!(driver.last().breach_level, None);
}

#[test]
fn a_missed_deadline_whose_success_is_known_already_goes_straight_to_resolved() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("first_success", at(80))]);
    assert_eq!(driver.last().breach_level, Some(Warning), "by event time it is clear before it is judged");
    assert_eq!(driver.breaches, []);
    driver.pass(judged(75));
    assert_eq!(said(&driver.breaches), [(Warning, BreachStatus::Resolved, Some(BreachReason::Completed))]);
    assert_eq!(driver.records.len(), 1, "the record says nothing new");
}

#[test]
fn a_deadline_found_long_after_it_was_due_is_late() {
    for (found, late) in [(at(75).plus(Millis(DAY)), false), (at(75).plus(Millis(DAY + 1)), true)] {
        let mut driver = Driver::onboarding();
        driver.say([event("signup", at(0))]);
        driver.pass(found);
        assert_eq!(driver.breaches[0].late, late, "{found}");
        driver.say([event("first_success", at(4_000))]);
        let resolved = driver.breaches.iter().find(|breach| breach.status == BreachStatus::Resolved);
        assert_eq!(resolved.map(|breach| breach.late), Some(late), "its resolution says so too");
    }
}

#[test]
fn an_earlier_signup_can_turn_a_kept_deadline_into_a_missed_one() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("first_success", at(70))]);
    driver.pass(judged(75));
    assert_eq!(driver.breaches, []);
    driver.say([event("signup", at(-10)).with_id("earlier").received(at(80))]);
    assert_eq!(driver.next_due(), Some(judged(65)));
    driver.pass(at(81));
    assert_eq!(said(&driver.breaches), [(Warning, BreachStatus::Resolved, Some(BreachReason::Completed))]);
}

#[test]
fn an_earlier_signup_moves_what_an_open_breach_says() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    driver.pass(judged(75));
    driver.say([event("signup", at(-10)).with_id("earlier").received(at(80))]);
    assert_eq!(said(&driver.breaches[1..]), [(Warning, BreachStatus::Firing, None)]);
    assert_eq!((driver.breaches[1].signup_at, driver.breaches[1].due_at), (at(-10), at(65)));
}

#[test]
fn every_breach_has_an_id_of_its_own() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    driver.pass(judged(180));
    driver.say([event("first_success", at(190))]);
    driver.say([event("first_success", at(100)).with_id("earlier")]);
    let mut ids: Vec<_> = driver.breaches.iter().map(|breach| &breach.breach_id).collect();
    assert_eq!(ids.len(), 8, "three fire, three complete, two are revised");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 8);
}

#[test]
fn a_journey_without_success_for_two_weeks_is_abandoned_until_success_comes_after_all() {
    let mut driver = Driver::onboarding();
    let fortnight = NINE.plus(Millis(14 * DAY)).plus(GRACE);
    driver.say([event("signup", at(0)), event("project_created", at(1))]);
    driver.pass(fortnight.plus(Millis(-1)));
    assert_eq!(driver.last().status, JourneyStatus::InProgress);
    driver.pass(fortnight);
    assert_eq!(driver.last().status, JourneyStatus::Abandoned);
    assert_eq!(driver.last().current_stage.as_deref(), Some("first_project_to_first_agent"));

    driver.say([event("first_success", NINE.plus(Millis(20 * DAY)))]);
    assert_eq!(driver.last().status, JourneyStatus::Completed);
    assert_eq!(driver.last().efficiency_score, Some(0.0));
}

#[test]
fn abandonment_counts_from_signup_and_not_from_the_last_step() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("project_created", NINE.plus(Millis(13 * DAY)))]);
    driver.pass(NINE.plus(Millis(14 * DAY)).plus(GRACE));
    assert_eq!(driver.last().status, JourneyStatus::Abandoned);
}

#[test]
fn a_state_is_forgotten_after_its_time_to_live() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("first_success", at(10))]);
    let midnight = NINE.plus(Millis(15 * 60 * 60_000));
    let end = midnight.plus(Millis(430 * DAY));
    assert_eq!(driver.next_due(), Some(end), "from the last day on which anything was received");
    driver.pass(end.plus(Millis(-1)));
    assert!(driver.state().is_some());
    assert_eq!(driver.pass(end), [], "nothing is said about it");
    assert!(driver.state().is_none());
}

#[test]
fn a_user_who_returns_after_expiry_starts_anew_under_new_ids() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    let old = driver.last().clone();
    driver.pass(NINE.plus(Millis(440 * DAY)));
    driver.say([event("signup", NINE.plus(Millis(441 * DAY)))]);
    let new = driver.last();
    assert_eq!((old.revision, new.revision), (1, 1));
    assert!(new.generation > old.generation);
    assert_ne!(new.record_id, old.record_id);
}

#[test]
fn a_replay_older_than_the_time_to_live_still_says_what_there_is_to_say() {
    let mut driver = Driver::onboarding();
    driver.now = NINE.plus(Millis(1_000 * DAY));
    driver.event(event("signup", at(0))).event(event("project_created", at(3)));
    driver.pass(driver.now);
    assert_eq!(driver.last().status, JourneyStatus::Abandoned);
    assert_eq!(said(&driver.breaches).len(), 3);
    assert!(driver.breaches.iter().all(|breach| breach.late));
    assert!(driver.state().is_none());
}
