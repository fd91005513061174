//! The order of arrival, repetition, the cutting into transactions, timers and crashes cannot change a result.

use proptest::prelude::*;
use telemetry_schemas::{Event, EventTime, EventType, Millis, TtfBreach};

use super::{attempts::with_second_version, driver::Driver};
use crate::{
    journey::{
        JourneyDefinition,
        testing::{DAY, EventExt, MINUTE, NINE, event},
    },
    oracle,
};

/// Names that matter, one that does not, and aliases.
pub(super) const NAMES: [&str; 9] = [
    "signup",
    "Signed Up",
    "project_created",
    "first_project_created",
    "agent_created",
    "workflow_created",
    "first_success",
    "first_success",
    "dashboard_opened",
];

/// Minutes after nine at which things tend to be decided.
const MINUTES: [i64; 16] = [-20, -1, 0, 1, 5, 15, 30, 59, 60, 74, 75, 90, 120, 180, 181, 300];

#[derive(Debug, Clone)]
enum Step {
    Event(Box<Event>),
    /// What is due fires, everything received up to so many minutes after nine being known.
    Timers(i64),
    Commit,
    /// The transaction fails and is done over.
    Crash,
}

pub(super) fn definitions() -> Vec<JourneyDefinition> {
    let mut definitions = with_second_version();
    for definition in &mut definitions {
        definition.experiments = vec!["editor".to_owned()];
        let success = definition.milestones.len() - 1;
        definition.milestones[success].conditions =
            serde_json::from_value(serde_json::json!({"status": ["ok", "warning"]})).expect("conditions are an object");
    }
    // A second journey over the same events: signup to success, nothing between.
    let mut short = definitions[1].clone();
    short.id = "short".to_owned();
    short.milestones.drain(1..4);
    short.stages.truncate(1);
    short.stages[0].to = "first_success".to_owned();
    short.segments = vec!["channel".to_owned()];
    short.grace = "2m".parse().expect("a duration");
    definitions.push(short);
    definitions
}

fn an_event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        6 => Just(EventType::Track),
        2 => Just(EventType::TtfMilestone),
        2 => Just(EventType::Identify),
        1 => Just(EventType::Page),
        1 => Just(EventType::Group),
        1 => Just(EventType::Test),
    ];
    let when = (
        prop_oneof![8 => prop::sample::select(&MINUTES[..]), 1 => Just(15 * 24 * 60)],
        prop::sample::select(&[-2_001_i64, -2_000, -1, 0, 0, 1, 2_000][..]),
    );
    let told = (
        prop::option::of(prop::sample::select(&["team", "free"][..])),
        prop::option::of(prop::sample::select(&["web", ""][..])),
        prop::option::of(prop::sample::select(&["a", "b"][..])),
        prop::option::of(prop::sample::select(&["1.0", "2.0"][..])),
        prop::sample::select(&["ok", "warning", "failed"][..]),
        prop::bool::weighted(0.1),
    );
    (prop::sample::select(&NAMES[..]), kind, when, prop::sample::select(&["1", "2", "3"][..]), 0..3_u8, told).prop_map(
        |(name, kind, (minute, offset), id, attempt, (plan, channel, variant, release, status, refused))| {
            let mut event = event(name, NINE.plus(Millis(minute * MINUTE + offset)))
                .of_type(kind)
                .with_id(id)
                .with_property("status", status);
            event.received_at = event.timestamp.plus(Millis::from_minutes(1));
            if attempt == 0 {
                event.journey_id = Some("again".to_owned());
            }
            event.properties.extend(plan.map(|plan| ("plan".to_owned(), plan.into())));
            event.context.segments.extend(channel.map(|channel| ("channel".to_owned(), channel.to_owned())));
            event.context.experiments.extend(variant.map(|variant| ("editor".to_owned(), variant.to_owned())));
            event.context.release = release.map(str::to_owned);
            if refused { event.without_consent() } else { event }
        },
    )
}

/// Events, and one way in which they may arrive: shuffled, some twice, cut and interrupted at will.
fn an_arrival() -> impl Strategy<Value = (Vec<Event>, Vec<Step>)> {
    prop::collection::vec(an_event(), 1..14).prop_flat_map(|events| {
        let twice = prop::sample::subsequence(events.clone(), 0..=events.len());
        let others = prop::collection::vec(
            prop_oneof![
                3 => Just(Step::Commit),
                1 => Just(Step::Crash),
                2 => prop::sample::select(&MINUTES[..]).prop_map(Step::Timers),
                1 => Just(Step::Timers(15 * 24 * 60)),
            ],
            0..8,
        );
        (Just(events), twice, others).prop_flat_map(|(events, twice, others)| {
            let steps: Vec<Step> =
                events.iter().cloned().chain(twice).map(|event| Step::Event(Box::new(event))).chain(others).collect();
            (Just(events), Just(steps).prop_shuffle())
        })
    })
}

/// Lets it all happen; in the end everything due by `until` is judged.
fn happen(steps: &[Step], definitions: &[JourneyDefinition], until: EventTime) -> Driver {
    let mut driver = Driver::new(definitions);
    let mut open: Vec<&Step> = Vec::new();
    for step in steps {
        match step {
            Step::Event(event) => drop(driver.event(Event::clone(event))),
            Step::Timers(minute) => drop(driver.timers(NINE.plus(Millis::from_minutes(*minute)))),
            Step::Commit => {
                driver.commit();
                open.clear();
                continue;
            }
            Step::Crash => {
                driver.abort();
                driver = driver.restarted(definitions);
                for step in &open {
                    match step {
                        Step::Event(event) => drop(driver.event(Event::clone(event))),
                        Step::Timers(minute) => drop(driver.timers(NINE.plus(Millis::from_minutes(*minute)))),
                        Step::Commit | Step::Crash => unreachable!("these are not kept open"),
                    }
                }
                continue;
            }
        }
        open.push(step);
    }
    driver.pass(until);
    driver
}

fn check(driver: &Driver, definitions: &[JourneyDefinition], events: &[Event], until: EventTime) -> Result<(), String> {
    let expected = oracle::expected(definitions, events, until);
    for record in &driver.records {
        if !expected.iter().any(|it| (&it.journey, &it.attempt) == (&record.journey, &record.attempt)) {
            return Err(format!("nothing was expected of attempt `{}` of `{}`", record.attempt, record.journey));
        }
    }
    for journey in &expected {
        let records: Vec<_> = driver
            .records
            .iter()
            .filter(|it| (&it.journey, &it.attempt) == (&journey.journey, &journey.attempt))
            .collect();
        let revisions: Vec<_> = records.iter().map(|record| record.revision).collect();
        if revisions != (1..=records.len() as i64).collect::<Vec<_>>() {
            return Err(format!("revisions are {revisions:?}"));
        }
        let last = records.last().ok_or_else(|| format!("no record of {journey:#?}"))?;
        journey.check_record(last)?;
        let of_journey = |it: &&TtfBreach| (&it.journey, &it.attempt) == (&journey.journey, &journey.attempt);
        journey.check_breaches(driver.breaches.iter().filter(of_journey))?;
    }
    let unstamped = |record: &telemetry_schemas::TtfRecord| {
        let mut record = record.clone();
        (record.revision, record.emitted_at, record.record_id) = (0, EventTime(0), String::new());
        record
    };
    for pair in driver.records.windows(2) {
        if unstamped(&pair[0]) == unstamped(&pair[1]) {
            return Err(format!("said twice: {:#?}", pair[1]));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_order_cut_repetition_and_crash_comes_to_what_the_oracle_says(
        (events, steps) in an_arrival(),
        until in prop::sample::select(&[-30, 0, 30, 75, 90, 122, 181, 500, 15 * 24 * 60][..]),
    ) {
        let until = NINE.plus(Millis::from_minutes(until));
        // Timers that fired on the way knew everything up to their time: the end may not know less.
        let until = steps.iter().fold(until, |until, step| match step {
            Step::Timers(minute) => until.max(NINE.plus(Millis::from_minutes(*minute))),
            _ => until,
        });
        let definitions = definitions();
        let driver = happen(&steps, &definitions, until);
        if let Err(difference) = check(&driver, &definitions, &events, until) {
            return Err(TestCaseError::fail(difference));
        }
    }

    #[test]
    fn what_is_stored_survives_being_written_and_read((_, steps) in an_arrival()) {
        let definitions = definitions();
        let driver = happen(&steps, &definitions, NINE.plus(Millis(DAY)));
        let state = driver.state();
        prop_assert_eq!(driver.restarted(&definitions).state(), state);
    }
}

#[test]
fn the_oracle_can_tell_right_from_wrong() {
    let definitions = definitions();
    let events = [event("signup", NINE), event("first_success", NINE.plus(Millis::from_minutes(80)))]
        .map(|event| event.with_property("status", "ok"));
    let until = NINE.plus(Millis(DAY));
    let mut driver = Driver::new(&definitions);
    driver.say(events.clone());
    driver.pass(until);
    assert_eq!(check(&driver, &definitions, &events, until), Ok(()));
    assert!(check(&driver, &definitions, &events[..1], until).is_err(), "a completion too many");
    assert!(check(&driver, &definitions, &[], until).is_err(), "a journey too many");
    driver.breaches.clear();
    assert!(check(&driver, &definitions, &events, until).is_err(), "a breach too few");
}
