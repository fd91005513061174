//! What `/metrics` says of what was committed.

use service_kit::config::MetricsConfig;

use super::{attempts::with_second_version, driver::Driver};
use crate::journey::testing::{EventExt, at, event, onboarding};

/// Lines of this metric that are not zero.
fn lines(driver: &Driver, name: &str) -> Vec<String> {
    let text = driver.metrics.render();
    let ours = |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
    text.lines().filter(ours).filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect()
}

#[test]
fn journeys_are_counted_once_and_shown_in_their_stage() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("signup", at(0)).in_attempt("second")]);
    driver.say([event("project_created", at(1)), event("signup", at(-1)).with_id("earlier")]);
    assert_eq!(lines(&driver, "ttf_journeys_started_total"), [r#"ttf_journeys_started_total{journey="onboarding"} 2"#]);
    assert_eq!(
        lines(&driver, "ttf_journeys_in_progress"),
        [
            r#"ttf_journeys_in_progress{journey="onboarding",stage="first_project_to_first_agent"} 1"#,
            r#"ttf_journeys_in_progress{journey="onboarding",stage="signup_to_first_project"} 1"#,
        ]
    );
    driver.say([event("first_success", at(50))]);
    driver.say([event("first_success", at(40)).with_id("earlier")]);
    assert_eq!(
        lines(&driver, "ttf_journeys_completed_total"),
        [r#"ttf_journeys_completed_total{journey="onboarding"} 1"#]
    );
    assert_eq!(lines(&driver, "ttf_total_seconds_sum"), [r#"ttf_total_seconds_sum{journey="onboarding"} 3060"#]);
}

#[test]
fn an_aborted_transaction_is_not_counted() {
    let mut driver = Driver::onboarding();
    driver.event(event("signup", at(0))).abort();
    driver.event(event("signup", at(0))).abort();
    assert_eq!(lines(&driver, "ttf_journeys_started_total"), [""; 0]);
    driver.say([event("signup", at(0))]);
    assert_eq!(lines(&driver, "ttf_journeys_started_total").len(), 1);
}

#[test]
fn gauges_start_from_what_is_stored_and_leave_with_it() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    driver.pass(at(130));
    let driver = driver.restarted(&[onboarding()]);
    assert_eq!(lines(&driver, "ttf_journeys_started_total"), [""; 0], "that was counted before");
    assert_eq!(lines(&driver, "ttf_journeys_in_progress").len(), 1);
    assert_eq!(
        lines(&driver, "ttf_breaches_open"),
        [
            r#"ttf_breaches_open{journey="onboarding",level="critical"} 1"#,
            r#"ttf_breaches_open{journey="onboarding",level="warning"} 1"#,
        ]
    );
    driver.close();
    assert_eq!(lines(&driver, "ttf_breaches_open"), [""; 0]);
    assert_eq!(lines(&driver, "ttf_journeys_in_progress"), [""; 0]);
}

#[test]
fn open_journeys_are_counted_by_version_and_those_of_none_that_is_loaded_rest() {
    let mut driver = Driver::new(&with_second_version());
    driver.say([event("signup", at(0)), event("signup", at(60)).in_attempt("new"), event("agent_created", at(1))]);
    driver.say([event("agent_created", at(2)).in_attempt("held: its signup is not known")]);
    let open = |version: i32| format!(r#"ttf_journeys_open{{journey="onboarding",version="{version}"}} 1"#);
    assert_eq!(lines(&driver, "ttf_journeys_open"), [open(1), open(2)]);
    assert_eq!(
        lines(&driver, "ttf_journey_effective_from_timestamp_seconds"),
        [r#"ttf_journey_effective_from_timestamp_seconds{journey="onboarding",version="2"} 1767607200"#]
    );
    driver.say([event("first_success", at(70)).in_attempt("new")]);
    assert_eq!(lines(&driver, "ttf_journeys_open"), [open(1)]);

    let driver = driver.restarted(&with_second_version()[..1]);
    assert_eq!(lines(&driver, "ttf_journeys_open"), [""; 0]);
    assert_eq!(
        lines(&driver, "ttf_journeys_resting"),
        [r#"ttf_journeys_resting{journey="unknown",version="unknown"} 1"#]
    );
    driver.close();
    assert_eq!(lines(&driver, "ttf_journeys_resting"), [""; 0]);
}

#[test]
fn breaches_are_counted_when_judged_and_closed_when_resolved_or_erased() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0)), event("signup", at(0)).in_attempt("second")]);
    driver.pass(at(76));
    driver.say([event("first_success", at(77))]);
    assert_eq!(lines(&driver, "ttf_breaches_total"), [r#"ttf_breaches_total{journey="onboarding",level="warning"} 2"#]);
    assert_eq!(lines(&driver, "ttf_breaches_open"), [r#"ttf_breaches_open{journey="onboarding",level="warning"} 1"#]);
    driver.erasure(at(90));
    driver.commit();
    assert_eq!(lines(&driver, "ttf_breaches_open"), [""; 0]);
}

#[test]
fn stage_durations_have_buckets_around_their_target_and_the_chosen_segment() {
    let labels = MetricsConfig { segment_by: Some("plan".to_owned()), segment_values: vec!["team".to_owned()] };
    let mut driver = Driver::labelled(&[onboarding()], labels);
    driver.say([
        event("signup", at(0)).with_segment("plan", "team"),
        event("project_created", at(6)),
        event("agent_created", at(8)),
        event("signup", at(0)).in_attempt("second").with_segment("plan", "someone's own"),
        event("project_created", at(1)).in_attempt("second"),
    ]);
    let text = driver.metrics.render();
    let stage: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("ttf_stage_duration_seconds") && line.contains("signup_to_first_project"))
        .filter(|line| line.contains("team"))
        .collect();
    insta::assert_snapshot!("stage_duration_seconds", stage.join("\n"));
    assert!(text.contains(r#"segment="other",stage="signup_to_first_project""#), "{text}");
    assert_eq!(lines(&driver, "ttf_stage_within_target_total").len(), 2);
    assert!(
        text.contains(r#"ttf_stage_target_seconds{journey="onboarding",stage="signup_to_first_project"} 300"#)
            && text.contains(r#"ttf_stage_target_seconds{journey="onboarding",stage="total"} 3600"#)
    );
}
