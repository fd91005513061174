//! Segments, experiments and release.

use telemetry_schemas::EventType;

use super::driver::Driver;
use crate::journey::testing::{EventExt, at, event, onboarding};

fn with_experiments() -> Driver {
    let mut definition = onboarding();
    definition.experiments = vec!["new_editor".to_owned()];
    definition.segments.push("locale".to_owned());
    Driver::new(&[definition])
}

#[test]
fn only_listed_names_are_taken() {
    let mut driver = with_experiments();
    driver.say([event("signup", at(0))
        .with_segment("plan", "team")
        .with_segment("email", "someone@example.org")
        .with_experiment("new_editor", "b")
        .with_experiment("other", "a")]);
    let record = driver.last();
    assert_eq!(record.segments.keys().collect::<Vec<_>>(), ["plan"]);
    assert_eq!(record.experiments.keys().collect::<Vec<_>>(), ["new_editor"]);
}

#[test]
fn the_value_of_the_earliest_event_wins_then_the_lower_id() {
    let plan = |id: &str, minute: i64, value: &str| {
        event("dashboard_opened", at(minute)).with_id(id).with_segment("plan", value).with_release(value)
    };
    let told = [plan("b", 1, "second"), plan("a", 1, "first"), plan("0", 2, "third")];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut driver = Driver::onboarding();
        driver.say([event("signup", at(0))]);
        for index in order {
            driver.say([told[index].clone()]);
        }
        assert_eq!(driver.last().segments["plan"], "first");
        assert_eq!(driver.last().release.as_deref(), Some("first"));
    }
}

#[test]
fn segments_come_from_context_then_properties_then_the_context_s_own_values() {
    let mut driver = with_experiments();
    let mut told = event("signup", at(0))
        .with_segment("plan", "from context")
        .with_property("plan", "from properties")
        .with_property("company_size", 42)
        .with_property("channel", serde_json::json!(["no", "scalar"]));
    told.context.locale = Some("de-CH".to_owned());
    driver.say([told]);
    let segments: Vec<_> = driver.last().segments.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(segments, [("company_size", "42"), ("locale", "de-CH"), ("plan", "from context")]);
}

#[test]
fn what_identify_tells_holds_for_every_attempt_even_one_that_begins_later() {
    let mut driver = Driver::onboarding();
    driver.say([event("identify", at(5)).of_type(EventType::Identify).with_property("plan", "team")]);
    driver.say([event("signup", at(0)), event("signup", at(60)).in_attempt("second")]);
    assert!(driver.records.iter().all(|record| record.segments["plan"] == "team"));
    // An event of the journey itself that happened earlier knows better.
    driver.say([event("project_created", at(2)).with_property("plan", "free")]);
    assert_eq!(driver.records.len(), 3);
    assert_eq!((driver.last().attempt.as_str(), driver.last().segments["plan"].as_str()), ("", "free"));
}

#[test]
fn what_an_event_of_one_attempt_tells_says_nothing_of_another() {
    let mut driver = Driver::onboarding();
    driver.say([
        event("signup", at(0)),
        event("signup", at(60)).in_attempt("second"),
        event("page", at(61)).of_type(EventType::Page).in_attempt("second").with_segment("plan", "team"),
    ]);
    assert!(driver.records[0].segments.is_empty());
    assert_eq!(driver.records[1].segments["plan"], "team");
}

#[test]
fn without_consent_only_the_milestone_is_taken() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)).with_segment("plan", "team").with_release("2").without_consent()]);
    assert!(driver.last().segments.is_empty());
    assert_eq!(driver.last().release, None);
}

#[test]
fn empty_and_overlong_values_are_not_taken() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)).with_segment("plan", "").with_segment("channel", &"x".repeat(201))]);
    assert!(driver.last().segments.is_empty());
}

#[test]
fn a_user_cannot_have_attempts_without_end() {
    let mut driver = Driver::onboarding();
    for attempt in 0..1_010 {
        driver.event(event("signup", at(0)).in_attempt(&attempt.to_string()));
    }
    driver.commit();
    assert_eq!(driver.records.len(), 1_000);
    assert!(driver.metrics.render().contains("ttf_attempts_refused_total 10\n"));
}
