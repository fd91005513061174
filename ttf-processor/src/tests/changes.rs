//! What may change from one load of the definitions to the next.

use telemetry_schemas::{EventTime, Millis};

use super::attempts::with_second_version;
use crate::journey::{
    JourneyDefinition,
    changes::{Changes, Remembered, VersionId},
    testing::{NINE, at, onboarding},
};

fn remembered(definitions: &[JourneyDefinition]) -> Vec<Remembered> {
    definitions.iter().map(|it| Remembered::of(it, NINE, false)).collect()
}

/// What comes of a change to the default journey while it is in force.
fn changed(change: impl FnOnce(&mut JourneyDefinition)) -> Changes {
    let mut definition = onboarding();
    change(&mut definition);
    Changes::between(&remembered(&[onboarding()]), &[definition], at(60))
}

fn refused(changes: &Changes) -> Vec<String> {
    changes.refused.iter().map(|it| format!("{}: {}", it.path, it.message)).collect()
}

#[test]
fn the_same_definitions_are_no_change_however_they_are_written() {
    let mut same = onboarding();
    same.total.target = "1h".parse().unwrap();
    same.segments.reverse();
    same.milestones[0].events.reverse();
    let changes = Changes::between(&remembered(&[onboarding()]), &[same], at(60));
    assert_eq!(changes, Changes::default());
}

#[test]
fn what_is_loaded_for_the_first_time_is_taken_as_it_is() {
    let changes = Changes::between(&[], &with_second_version(), at(60 * 24 * 365));
    assert_eq!((changes.new, changes.refused), (vec![0, 1], vec![]));
}

#[test]
fn a_version_in_force_cannot_change_what_its_journeys_are_judged_by() {
    let changes = changed(|it| it.stages[2].target = "20m".parse().unwrap());
    assert_eq!(
        refused(&changes),
        ["journeys[0].stages[2].target: is `20m`, but version 1 of `onboarding` has `15m` since it was loaded at \
             2026-01-05T09:00:00.000Z, and journeys under way are judged by it; put that back, and add the change as the \
             next version with an `effective_from` in the future"]
    );
    assert_eq!(changes.new, [0; 0]);
    let path = |change: fn(&mut JourneyDefinition)| {
        let changes = changed(change);
        assert_eq!(changes.corrected, []);
        changes.refused.iter().map(|it| it.path.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(path(|it| it.total.target = "2h".parse().unwrap()), "journeys[0].total.target");
    assert_eq!(path(|it| it.deadlines.truncate(1)), "journeys[0].deadlines");
    assert_eq!(path(|it| it.deadlines[0].after = "1h".parse().unwrap()), "journeys[0].deadlines[0].after");
    assert_eq!(path(|it| it.abandon_after = "3d".parse().unwrap()), "journeys[0].abandon_after");
    assert_eq!(path(|it| it.segments.push("browser".to_owned())), "journeys[0].segments");
    assert_eq!(path(|it| it.experiments.push("new_editor".to_owned())), "journeys[0].experiments");
    assert_eq!(path(|it| it.effective_from = Some(at(5))), "journeys[0].effective_from");
    assert_eq!(
        path(|it| {
            it.milestones[1].id = "project".to_owned();
            it.stages[0].to = "project".to_owned();
            it.stages[1].from = "project".to_owned();
        }),
        "journeys[0].milestones journeys[0].stages[0].to journeys[0].stages[1].from"
    );
}

#[test]
fn how_events_are_recognised_can_be_corrected_in_place() {
    let changes = changed(|it| {
        it.milestones[0].events.push("registered".to_owned());
        it.milestones[1].conditions = serde_json::from_value(serde_json::json!({ "kind": "real" })).unwrap();
        it.grace = "30s".parse().unwrap();
    });
    assert_eq!(refused(&changes), [""; 0]);
    let [(0, what)] = &changes.corrected[..] else { panic!("{changes:?}") };
    assert_eq!(what.len(), 3, "{what:?}");
    assert!(what[0].starts_with("grace: `5s` → `30s`"), "{what:?}");
    assert!(what.iter().any(|it| it.starts_with("milestones.first_project_created.where: nothing → ")), "{what:?}");
}

#[test]
fn a_version_may_change_until_it_takes_effect() {
    let mut versions = with_second_version();
    let index = versions.iter().position(|it| it.version == 2).unwrap();
    let from = versions[index].effective_from.unwrap();
    let known = remembered(&versions);
    versions[index].total.target = "17m".parse().unwrap();
    let before = Changes::between(&known, &versions, EventTime(from.0 - 1));
    assert_eq!((refused(&before), before.corrected.len()), (vec![], 1));
    let after = Changes::between(&known, &versions, from);
    assert_eq!((after.refused.len(), after.corrected.len()), (1, 0));

    // Nor can one in force be put off, or one to come be put into the past.
    versions[index] = with_second_version()[index].clone();
    versions[index].effective_from = Some(from.plus(Millis(1)));
    assert_eq!(Changes::between(&known, &versions, from).refused.len(), 1);
    versions[index].effective_from = Some(EventTime(from.0 - 10));
    assert_eq!(Changes::between(&known, &versions, EventTime(from.0 - 5)).refused.len(), 1);
}

#[test]
fn a_new_version_takes_effect_after_it_is_loaded_and_stays_when_that_has_passed() {
    let versions = with_second_version();
    let from = versions.iter().find_map(|it| it.effective_from).unwrap();
    let first = remembered(&[onboarding()]);
    let in_time = Changes::between(&first, &versions, EventTime(from.0 - 1));
    assert_eq!((refused(&in_time), in_time.new.len()), (vec![], 1));
    let late = Changes::between(&first, &versions, from);
    let [said] = &refused(&late)[..] else { panic!("{late:?}") };
    assert!(said.contains(".effective_from: ") && said.contains("was never loaded before"), "{said}");
    assert!(said.contains("were judged by version 1 already"), "{said}");
    assert_eq!(Changes::between(&remembered(&versions), &versions, from.plus(Millis(1))), Changes::default());
}

#[test]
fn a_version_that_is_not_defined_any_more_is_named_and_no_mistake() {
    let changes = Changes::between(&remembered(&with_second_version()), &[onboarding()], at(60));
    let second = VersionId { journey: "onboarding".to_owned(), version: 2 };
    assert_eq!((changes.refused, changes.unloaded), (vec![], vec![second]));
}

#[test]
fn what_another_release_knows_more_of_is_no_change() {
    let mut known = remembered(&[onboarding()]);
    known[0].definition["stages"][0]["weight"] = serde_json::json!(3);
    known[0].definition.as_object_mut().unwrap().remove("experiments");
    known[0].definition["colour"] = serde_json::json!("red");
    assert_eq!(Changes::between(&known, &[onboarding()], at(60)), Changes::default());
}
