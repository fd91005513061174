use telemetry_schemas::{
    BreachLevel, EventTime, Millis,
    alert::{AlertInstance, AlertState},
};

use super::*;
use crate::{
    route::all_labels,
    testing::{NOW, breach, config},
};

fn silence(id: &str, matcher: &str, from: i64, until: i64) -> AlertState {
    AlertState {
        group_key: format!("silence:{id}"),
        silence_matchers: vec![matcher.to_owned()],
        silence_starts_at: Some(NOW.plus(Millis::from_secs(from))),
        silenced_until: Some(NOW.plus(Millis::from_secs(until))),
        silenced_by: Some("ada".to_owned()),
        ..AlertState::default()
    }
}

fn group(breaches: Vec<telemetry_schemas::TtfBreach>) -> AlertState {
    let alerts = breaches.into_iter().map(|breach| AlertInstance { breach, received_at: NOW, told_at: None }).collect();
    AlertState { group_key: "ttf:acme:onboarding:1".to_owned(), alerts, ..AlertState::default() }
}

#[test]
fn a_silence_holds_from_its_start_until_its_end_for_what_matches() {
    let mut mutes = Mutes::default();
    let state = silence("s-1", r#"segment_plan="team""#, 10, 60);
    mutes.observe("silence:s-1", Some(&state));
    let labels = all_labels(&breach("u-1", BreachLevel::Warning));
    let at = |seconds| NOW.plus(Millis::from_secs(seconds));
    assert_eq!(mutes.check(&labels, at(9)), None);
    let muted = mutes.check(&labels, at(10)).expect("it holds");
    assert_eq!((muted.until(), muted.describe().contains("silence s-1 by ada")), (Some(at(60)), true));
    assert_eq!(mutes.check(&labels, at(60)), None);
    let other = telemetry_schemas::TtfBreach {
        segments: std::collections::BTreeMap::new(),
        ..breach("u-1", BreachLevel::Warning)
    };
    assert_eq!(mutes.check(&all_labels(&other), at(10)), None);
    mutes.observe("silence:s-1", None);
    assert_eq!(mutes.check(&labels, at(10)), None);
}

#[test]
fn of_two_silences_the_one_counts_that_lasts_longer() {
    let mut mutes = Mutes::default();
    for (id, until) in [("a", 60), ("b", 600), ("c", 300)] {
        mutes.observe(&format!("silence:{id}"), Some(&silence(id, "tenant=acme", 0, until)));
    }
    let labels = all_labels(&breach("u-1", BreachLevel::Warning));
    let muted = mutes.check(&labels, NOW).expect("silenced");
    assert_eq!(muted.until(), Some(NOW.plus(Millis::from_secs(600))));
}

#[test]
fn a_silence_that_cannot_be_read_silences_nothing() {
    let mut mutes = Mutes::default();
    mutes.observe("silence:s-1", Some(&silence("s-1", "level=~\"(\"", 0, 60)));
    mutes.observe("silence:s-2", Some(&AlertState { silence_matchers: Vec::new(), ..silence("s-2", "a=b", 0, 60) }));
    assert_eq!(mutes.check(&all_labels(&breach("u-1", BreachLevel::Warning)), NOW), None);
}

#[test]
fn a_source_inhibits_what_agrees_with_it_and_nothing_else_and_never_its_like() {
    let config = config(
        "inhibit_rules:
  - { name: worst-first, source_matchers: ['level=escalation'], target_matchers: ['level=~\"warning|escalation\"'], equal: [journey, segment_plan] }
",
    );
    let mut mutes = Mutes::new(&config);
    let source = breach("u-1", BreachLevel::Escalation);
    mutes.observe("ttf:acme:onboarding:1", Some(&group(vec![source.clone()])));
    let target = breach("u-2", BreachLevel::Warning);
    let muted = mutes.check(&all_labels(&target), NOW).expect("inhibited");
    assert!(muted.describe().starts_with("inhibited by alertname=TtfDeadlineMissed"), "{}", muted.describe());
    assert!(!muted.describe().contains("u-1"), "no user is named");
    assert_eq!(mutes.check(&all_labels(&source), NOW), None, "it does not inhibit itself");
    assert_eq!(mutes.check(&all_labels(&breach("u-3", BreachLevel::Critical)), NOW), None, "no target");
    let elsewhere = telemetry_schemas::TtfBreach { journey: "other".to_owned(), ..target.clone() };
    assert_eq!(mutes.check(&all_labels(&elsewhere), NOW), None);
    mutes
        .observe("ttf:acme:onboarding:1", Some(&group(vec![crate::testing::resolved("u-1", BreachLevel::Escalation)])));
    assert_eq!(mutes.check(&all_labels(&target), NOW), None, "it is over");
}

#[test]
fn a_maintenance_window_holds_while_it_lasts() {
    let config = config(
        "maintenance:
  - { name: move, starts_at: '2026-01-31T09:00:00Z', ends_at: '2026-01-31T10:00:00Z', matchers: [tenant=acme] }
",
    );
    let mutes = Mutes::new(&config);
    let labels = all_labels(&breach("u-1", BreachLevel::Warning));
    assert!(matches!(mutes.check(&labels, NOW), Some(Muted::Maintenance { .. })));
    let end = EventTime::parse("2026-01-31T10:00:00Z").expect("a time");
    assert_eq!(mutes.check(&labels, end), None);
}
