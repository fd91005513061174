//! What is remembered of the definitions, over starts and on several processes.

use std::time::Duration;

use stream_runtime::log::{Cleanup, Log, TopicSpec, embedded::EmbeddedLog};
use telemetry_schemas::{EventTime, Millis, topics};

use super::attempts::with_second_version;
use crate::{
    in_force::{OnChange, recall, settle},
    journey::{
        DefinitionErrors, JourneyDefinition,
        changes::{Remembered, VersionId},
        testing::{NINE, at, onboarding},
    },
};

fn log() -> EmbeddedLog {
    let log = EmbeddedLog::in_memory();
    let spec = TopicSpec { cleanup: Cleanup::Compact, ..TopicSpec::new(topics::TTF_JOURNEYS, 3) };
    log.create_topics(&[spec], Duration::from_secs(5)).unwrap();
    log
}

fn start(log: &EmbeddedLog, definitions: &[JourneyDefinition], now: EventTime) -> Result<Vec<VersionId>, String> {
    settle(log, definitions, OnChange::Refuse, now).map_err(|error| {
        let errors = error.downcast::<DefinitionErrors>().expect("the log answers");
        errors.0.iter().map(|it| it.path.clone()).collect::<Vec<_>>().join(" ")
    })
}

fn impatient() -> JourneyDefinition {
    let mut changed = onboarding();
    changed.total.target = "1m".parse().unwrap();
    changed
}

#[test]
fn a_changed_definition_is_refused_by_every_later_start_until_it_is_put_back() {
    let log = log();
    assert_eq!(start(&log, &[onboarding()], NINE), Ok(vec![]));
    assert_eq!(start(&log, &[onboarding()], at(1)), Ok(vec![]));
    for _ in 0..2 {
        assert_eq!(start(&log, &[impatient()], at(2)), Err("journeys[0].total.target".to_owned()));
    }
    assert_eq!(start(&log, &[onboarding()], at(3)), Ok(vec![]));
    assert_eq!(recall(&log).unwrap(), [Remembered::of(&onboarding(), NINE, false)], "nothing was written since");
}

#[test]
fn processes_of_both_sides_of_a_rolling_upgrade_start_in_any_order() {
    let (log, from) = (log(), at(60));
    let (old, new) = ([onboarding()], with_second_version());
    let second = VersionId { journey: "onboarding".to_owned(), version: 2 };
    assert_eq!(start(&log, &old, NINE), Ok(vec![]));
    assert_eq!(start(&log, &new, at(30)), Ok(vec![]));
    assert_eq!(start(&log, &old, at(31)), Ok(vec![second]), "an old one restarts");
    assert_eq!(start(&log, &new, from.plus(Millis(1))), Ok(vec![]), "its instant may pass");
    assert_eq!(recall(&log).unwrap().len(), 2);
}

#[test]
fn in_development_a_changed_definition_is_adopted_and_stays() {
    let log = log();
    assert_eq!(start(&log, &[onboarding()], NINE), Ok(vec![]));
    settle(&log, &[impatient()], OnChange::Adopt, at(1)).unwrap();
    assert_eq!(start(&log, &[impatient()], at(2)), Ok(vec![]));
    assert_eq!(start(&log, &[onboarding()], at(3)), Err("journeys[0].total.target".to_owned()));
}

#[test]
fn a_correction_is_remembered_and_no_obstacle_on_the_way_back() {
    let log = log();
    let mut corrected = onboarding();
    corrected.milestones[0].events.push("registered".to_owned());
    for definitions in [[onboarding()], [corrected.clone()], [onboarding()], [corrected.clone()]] {
        assert_eq!(start(&log, &definitions, NINE), Ok(vec![]));
    }
    assert_eq!(recall(&log).unwrap(), [Remembered::of(&corrected, NINE, true)]);
}
