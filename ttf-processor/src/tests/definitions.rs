//! Journeys as they are written.

use telemetry_schemas::{BreachLevel, Millis};

use super::attempts::with_second_version;
use crate::{
    check,
    journey::{JourneyDefinition, testing},
};

/// What is wrong with the default journey after a change.
fn problems(change: impl FnOnce(&mut JourneyDefinition)) -> String {
    let mut definition = testing::onboarding();
    change(&mut definition);
    check(&[definition]).expect_err("the change is a mistake").to_string()
}

#[test]
fn the_default_journey_is_the_one_promised() {
    let journeys = testing::journeys(&testing::default_journeys());
    let version = journeys.version("onboarding", 1).expect("version 1 is loaded");
    let stages: Vec<_> = version.stages.iter().map(|stage| (stage.id.as_str(), stage.target.0 / 60_000)).collect();
    assert_eq!(
        stages,
        [
            ("signup_to_first_project", 5),
            ("first_project_to_first_agent", 10),
            ("first_agent_to_first_workflow", 15),
            ("first_workflow_to_first_success", 30)
        ]
    );
    let deadlines: Vec<_> =
        version.deadlines.iter().map(|deadline| (deadline.level, deadline.after.0 / 60_000)).collect();
    assert_eq!(deadlines, [(BreachLevel::Warning, 75), (BreachLevel::Critical, 120), (BreachLevel::Escalation, 180)]);
    assert_eq!(version.target, Millis::from_minutes(60));
    assert_eq!(version.grace, Millis::from_secs(5));
    assert_eq!(version.max_alert_lateness, Millis(testing::DAY));
    assert_eq!(version.abandon_after, Millis(14 * testing::DAY));
    assert_eq!(journeys.state_ttl, Millis(430 * testing::DAY));
}

#[test]
fn what_is_left_out_has_the_default_s_value() {
    let yaml = "
id: short
version: 1
milestones: [{ id: start, events: [start] }, { id: goal, events: [goal], where: { plan: [team, 2, true] } }]
stages: [{ id: start_to_goal, from: start, to: goal, target: 1h30m }]
total: { target: 90m }
";
    let short: JourneyDefinition = serde_saphyr::from_str(yaml).unwrap();
    check(std::slice::from_ref(&short)).unwrap();
    let default = testing::onboarding();
    assert_eq!(
        (short.grace, short.max_alert_lateness, short.abandon_after, short.state_ttl),
        (default.grace, default.max_alert_lateness, default.abandon_after, default.state_ttl)
    );
    assert!(short.deadlines.is_empty() && short.segments.is_empty());
}

#[test]
fn a_definition_survives_being_written_and_read() {
    for definition in with_second_version() {
        let text = serde_json::to_string(&definition).unwrap();
        let read: JourneyDefinition = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        assert_eq!(read.effective_from, definition.effective_from);
    }
}

#[test]
fn an_unknown_milestone_in_a_stage_is_named_with_those_that_exist() {
    let said = problems(|definition| definition.stages[1].to = "first_agent".to_owned());
    assert_eq!(
        said,
        "journeys[0].stages[1].to: unknown milestone `first_agent` (known: signup, first_project_created, \
         first_agent_created, first_workflow_created, first_success)"
    );
}

#[test]
fn stages_lead_from_each_milestone_to_the_next() {
    assert!(problems(|it| it.stages.swap(0, 1)).contains("should be `signup`"));
    assert!(problems(|it| drop(it.stages.pop())).contains("has 3 stages for 5 milestones"));
    assert!(problems(|it| it.stages[0].id = "total".to_owned()).contains("cannot name a stage"));
    assert!(problems(|it| it.stages[0].target = "0s".parse().unwrap()).contains("longer than zero"));
}

#[test]
fn names_are_unique_and_plain() {
    assert!(problems(|it| it.milestones[1].id = "signup".to_owned()).contains("`signup` is used twice"));
    assert!(problems(|it| it.stages[1].id = it.stages[0].id.clone()).contains("is used twice"));
    assert!(problems(|it| it.segments.push("plan".to_owned())).contains("`plan` is listed twice"));
    assert!(problems(|it| it.id = "on boarding".to_owned()).contains("journeys[0].id"));
}

#[test]
fn a_journey_needs_a_first_and_a_last_milestone_that_events_can_reach() {
    assert!(problems(|it| it.milestones.truncate(1)).contains("at least a first and a last"));
    assert!(problems(|it| it.milestones[2].events.clear()).contains("at least one event name"));
    let nested = serde_json::json!({"plan": {"name": "team"}});
    assert!(
        problems(|it| it.milestones[2].conditions = serde_json::from_value(nested).unwrap()).contains("where.plan")
    );
}

#[test]
fn deadlines_ascend_and_come_before_abandonment() {
    assert!(problems(|it| it.deadlines.swap(0, 1)).contains("in the order warning, critical, escalation"));
    assert!(problems(|it| it.deadlines[1].after = it.deadlines[0].after).contains("longer than the deadline before"));
    assert!(problems(|it| it.deadlines[1].level = BreachLevel::Warning).contains("each level once"));
    assert!(problems(|it| it.deadlines[0].level = BreachLevel::Unknown).contains("must be warning"));
    assert!(problems(|it| it.abandon_after = "2h".parse().unwrap()).contains("longer than the last deadline"));
    assert!(problems(|it| it.state_ttl = "14d".parse().unwrap()).contains("longer than `abandon_after`"));
}

#[test]
fn a_newer_version_takes_effect_later_and_keeps_the_meaning_of_milestones() {
    assert!(check(&with_second_version()).is_ok());
    let wrong = |change: fn(&mut JourneyDefinition, &mut JourneyDefinition)| {
        let mut versions = with_second_version();
        let (second, first) = versions.split_at_mut(1);
        change(&mut first[0], &mut second[0]);
        check(&versions).expect_err("the change is a mistake").to_string()
    };
    assert!(wrong(|_, second| second.effective_from = None).contains("journeys[0].effective_from: is needed"));
    assert!(wrong(|first, second| first.effective_from = second.effective_from).contains("must be later than"));
    assert!(wrong(|_, second| second.version = 1).contains("has version 1 twice"));
    assert!(wrong(|_, second| second.version = 0).contains("must be 1 or more"));
    assert!(wrong(|_, second| second.milestones[1].events.push("x".to_owned())).contains("change both alike"));
    assert!(
        wrong(|_, second| {
            second.milestones[0].id = "activated".to_owned();
            second.stages[0].from = "activated".to_owned();
        })
        .contains("what starts a journey is the same in all versions")
    );
}

#[test]
fn no_journey_at_all_is_a_mistake() {
    let said = check(&[]).expect_err("nothing would be measured").to_string();
    assert!(said.starts_with("journeys: has no journey"), "{said}");
}

#[test]
fn every_mistake_is_reported_at_once() {
    let said = problems(|it| {
        it.version = 0;
        it.stages[3].to = "x".to_owned();
    });
    assert_eq!(said.matches("journeys[0].").count(), 2, "{said}");
}

#[test]
fn unknown_keys_and_bad_instants_are_errors() {
    let with = |line: &str| {
        let yaml = format!("{{id: a, version: 1, milestones: [], stages: [], total: {{target: 1h}}, {line}}}");
        serde_saphyr::from_str::<JourneyDefinition>(&yaml).map(drop)
    };
    assert!(with("grace: 1s").is_ok());
    assert!(with("gracious: 1s").is_err());
    assert!(with("effective_from: tomorrow").unwrap_err().to_string().contains("not an RFC 3339 instant"));
}
