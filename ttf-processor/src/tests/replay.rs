//! What the processor emitted, held against what its events make of it anew.

use std::collections::BTreeMap;

use proptest::prelude::*;
use telemetry_schemas::{
    BreachLevel, BreachReason, BreachStatus, Event, EventTime, JourneyStatus, Millis, RecordKey, TtfBreach, TtfRecord,
    erasure::Erasure,
};

use super::driver::Driver;
use crate::{
    journey::{
        Emission, EventView, JourneyDefinition, Journeys, UserState, lifetime,
        testing::{DAY, EventExt, at, event, journeys, onboarding},
    },
    processor::Input,
    replay::{
        Class, Correction, Examined, Finding, GapReason, Known, Report, Showing, Terms, User, Verdict, Window, correct,
        examine, recompute,
    },
};

const WHOLE: Window = Window { from: None, cut_short: false };

fn terms(now: EventTime) -> Terms {
    Terms { now, sure_until: now, window: WHOLE, outputs_complete: true, moving_since: None }
}

/// The last record of each attempt and the last breach of each level.
fn latest(records: &[TtfRecord], breaches: &[TtfBreach]) -> (Vec<TtfRecord>, Vec<TtfBreach>) {
    let records: BTreeMap<_, _> =
        records.iter().map(|record| ((&record.journey, &record.attempt), record.clone())).collect();
    let breaches: BTreeMap<_, _> =
        breaches.iter().map(|breach| ((&breach.journey, &breach.attempt, breach.level), breach.clone())).collect();
    (records.into_values().collect(), breaches.into_values().collect())
}

fn recomputed(journeys: &Journeys, erased_at: Option<EventTime>, events: &[Event]) -> Option<UserState> {
    let mut state = None;
    if let Some(erased_at) = erased_at {
        let erasure = Erasure {
            erasure_id: "e".to_owned(),
            tenant: "default".to_owned(),
            user_id: "u-1".to_owned(),
            erased_at,
            requested_by: "tests".to_owned(),
            reason: None,
        };
        recompute::take(journeys, &mut state, &Input::Erasure(erasure), erased_at);
    }
    for event in events {
        recompute::take(journeys, &mut state, &Input::Event(EventView::of(event)), event.received_at);
    }
    state
}

/// All there is about the user of a driver, recomputed from `events`.
fn user_with(driver: &Driver, definitions: &[JourneyDefinition], erased: Option<EventTime>, events: &[Event]) -> User {
    let (records, breaches) = latest(&driver.records, &driver.breaches);
    User {
        key: RecordKey::user("default", "u-1"),
        known: driver.state().map(|state| Known { state: state.kept, written_at: driver.now }),
        fresh: recomputed(&journeys(definitions), erased, events).map(|state| state.kept),
        records,
        breaches,
    }
}

fn user_of(driver: &Driver, events: &[Event]) -> User {
    user_with(driver, &[onboarding()], None, events)
}

fn looked_at(user: &User, terms: &Terms) -> Examined {
    examine(&journeys(&[onboarding()]), user, terms)
}

fn fields(finding: &Finding) -> Vec<&str> {
    finding.fields.iter().map(|field| field.field.as_str()).collect()
}

fn stricter() -> JourneyDefinition {
    let mut definition = onboarding();
    definition.stages[0].target = "1m".parse().unwrap();
    definition.deadlines[0].after = "30m".parse().unwrap();
    definition
}

/// Two milestones, the second too late for its stage.
fn two_steps() -> [Event; 2] {
    [event("signup", at(0)).with_segment("plan", "pro"), event("first_project_created", at(3))]
}

#[test]
fn another_target_differs_in_exactly_the_fields_it_bears_on() {
    let mut driver = Driver::onboarding();
    driver.say(two_steps());
    driver.pass(at(40));
    let terms = terms(at(40));
    assert_eq!(looked_at(&user_of(&driver, &two_steps()), &terms).verdict, Verdict::Equal);

    let definitions = [stricter()];
    let user = user_with(&driver, &definitions, None, &two_steps());
    let examined = examine(&journeys(&definitions), &user, &terms);
    assert_eq!(examined.verdict, Verdict::Differs);
    assert_eq!(
        fields(&examined.findings[0]),
        [
            "breaches.warning",
            "breach_level",
            "stages.signup_to_first_project.met",
            "stages.signup_to_first_project.target_ms",
            "state.deadlines.warning",
        ]
    );
    let mut report = Report::default();
    report.count(&user, &examined, Showing { examples: 1, ids: false });
    assert_eq!((report.users.differ, report.fields["breach_level"]), (1, 1));
    assert_ne!(report.examples[0].user, "u-1", "ids are hashed");
    assert!(report.has_differences());
}

#[test]
fn a_wrong_record_a_wrong_state_a_lost_and_an_invented_one_are_told_apart() {
    let mut driver = Driver::onboarding();
    driver.say(two_steps());
    let terms = terms(at(10));
    let right = user_of(&driver, &two_steps());

    let mut wrong = right.clone();
    wrong.records[0].segments.insert("plan".to_owned(), "free".to_owned());
    let examined = looked_at(&wrong, &terms);
    assert_eq!((examined.verdict, fields(&examined.findings[0])), (Verdict::Differs, vec!["segments.plan"]));

    let mut wrong = right.clone();
    wrong.known.as_mut().unwrap().state.attempts[0].milestones.remove("first_project_created");
    let examined = looked_at(&wrong, &terms);
    assert_eq!(examined.verdict, Verdict::Differs);
    let expected = ["state.milestones.first_project_created.at", "state.milestones.first_project_created.event_id"];
    assert_eq!(fields(&examined.findings[0]), expected);

    let lost = User { records: Vec::new(), ..right.clone() };
    assert_eq!(looked_at(&lost, &terms).findings[0].class, Class::Missing);
    let expired = Terms { outputs_complete: false, ..terms };
    assert_eq!(looked_at(&lost, &expired).verdict, Verdict::Equal, "the state shows that it was told");

    let stateless = User { known: None, ..right.clone() };
    let examined = looked_at(&stateless, &terms);
    assert_eq!(examined.verdict, Verdict::Differs);
    assert_eq!(examined.findings.last().map(fields), Some(vec!["state"]));

    let mut invented = right.clone();
    invented.records.push(TtfRecord { attempt: "made up".to_owned(), ..right.records[0].clone() });
    let examined = looked_at(&invented, &terms);
    let classes: Vec<_> = examined.findings.iter().map(|finding| finding.class).collect();
    assert_eq!((examined.verdict, classes), (Verdict::Differs, vec![Class::Equal, Class::Extra]));
}

#[test]
fn what_the_window_cannot_tell_is_left_alone() {
    let mut driver = Driver::onboarding();
    driver.say(two_steps());
    let late = [event("first_agent_created", at(2 * 1_440))];
    driver.say(late.clone());
    let of = |window: Window, events: &[Event]| {
        looked_at(&user_of(&driver, events), &Terms { window, ..terms(at(3 * 1_440)) }).verdict
    };
    let gap = |verdict: Verdict| match verdict {
        Verdict::Incomplete(gap) => Some((gap.reason, gap.contradicted)),
        _ => None,
    };
    let from = Window { from: Some(at(1_440)), cut_short: false };
    assert_eq!(gap(of(from, &late)), Some((GapReason::BeforeWindow, false)));
    assert_eq!(of(WHOLE, &late), Verdict::Differs, "with every event read, what none of them says is wrong");
    let cut = Window { from: None, cut_short: true };
    assert_eq!(gap(of(cut, &two_steps())), Some((GapReason::AfterWindow, false)));
    let unknown = [late[0].clone(), event("first_workflow_created", at(2 * 1_440 + 5))];
    assert_eq!(gap(of(from, &unknown)), Some((GapReason::BeforeWindow, true)), "the window alone shows a loss");
    let moving = Terms { moving_since: Some(driver.now), ..terms(at(3 * 1_440)) };
    assert_eq!(looked_at(&user_of(&driver, &late), &moving).verdict, Verdict::Moving);
    let before = Terms { moving_since: Some(driver.now.plus(Millis(1))), ..moving };
    assert_eq!(looked_at(&user_of(&driver, &late), &before).verdict, Verdict::Differs);
}

#[test]
fn an_erased_user_stays_erased_and_starts_anew_with_later_events() {
    let mut driver = Driver::onboarding();
    driver.say(two_steps());
    driver.erasure(at(20));
    driver.commit();
    let terms = terms(at(60));
    let erased = |driver: &Driver, events: &[Event]| user_with(driver, &[onboarding()], Some(at(20)), events);
    assert_eq!(driver.last().status, JourneyStatus::Erased);
    assert_eq!(looked_at(&erased(&driver, &two_steps()), &terms).verdict, Verdict::Equal);

    let mut forgotten = erased(&driver, &two_steps());
    forgotten.records[0] = driver.records[0].clone();
    let examined = looked_at(&forgotten, &terms);
    assert_eq!((examined.verdict, fields(&examined.findings[0])), (Verdict::Differs, vec!["status"]));

    let again = [event("signup", at(30))];
    driver.say(again.clone());
    let events = [&two_steps()[..], &again].concat();
    assert_eq!(looked_at(&erased(&driver, &events), &terms).verdict, Verdict::Equal);
    let forgotten_with_the_rest = [&events[..], &[event("first_project_created", at(21))]].concat();
    let verdict = looked_at(&erased(&driver, &forgotten_with_the_rest), &terms).verdict;
    assert!(matches!(verdict, Verdict::Incomplete(gap) if gap.reason == GapReason::Erased), "{verdict:?}");
}

#[test]
fn a_deadline_that_the_processor_still_owes_is_left_to_it() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    let user = user_of(&driver, &[event("signup", at(0))]);
    let stopped_early = Terms { sure_until: at(74), ..terms(at(90)) };
    let examined = looked_at(&user, &stopped_early);
    assert_eq!((examined.verdict, examined.judged.pending), (Verdict::Equal, 1));
    let just_written = Terms { sure_until: driver.now.plus(Millis(-1)), ..terms(at(90)) };
    assert_eq!(looked_at(&user, &just_written).verdict, Verdict::Equal, "it may not have come to it");
    let examined = looked_at(&user, &terms(at(90)));
    assert_eq!(examined.verdict, Verdict::Differs, "it was at work when the deadline passed and did not judge it");

    let mut wrong = user.clone();
    wrong.records[0].segments.insert("plan".to_owned(), "free".to_owned());
    let correction = corrected(&[onboarding()], &wrong, &stopped_early);
    let due = next_due(&[onboarding()], correction.state.as_ref());
    assert_eq!(due, Some(at(75).plus(Millis(5_000))), "the processor judges it, and pages");
    assert!(breaches(&correction).is_empty());
}

#[test]
fn the_end_of_what_was_told_is_told_and_nothing_else() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    driver.pass(at(76));
    assert!(!driver.breaches[0].late);
    let in_time = [event("signup", at(0)), event("first_success", at(70))];
    let correction = corrected(&[onboarding()], &user_of(&driver, &in_time), &terms(at(200)));
    let ends = breaches(&correction);
    let said = (ends[0].status, ends[0].reason, ends[0].late);
    assert_eq!((ends.len(), said), (1, (BreachStatus::Resolved, Some(BreachReason::Revised), false)));

    let too_late = [event("signup", at(0)), event("first_success", at(130))];
    let correction = corrected(&[onboarding()], &user_of(&driver, &too_late), &terms(at(200)));
    let said: Vec<_> = breaches(&correction).iter().map(|breach| (breach.level, breach.reason, breach.late)).collect();
    let completed = Some(BreachReason::Completed);
    assert_eq!(
        said,
        [(BreachLevel::Warning, completed, false), (BreachLevel::Critical, completed, true)],
        "the warning was told, the critical one never was"
    );
}

#[test]
fn what_no_event_bears_out_is_taken_back_in_its_own_generation() {
    let mut driver = Driver::onboarding();
    driver.say(two_steps());
    let mut invented = user_of(&driver, &two_steps());
    let record = TtfRecord { attempt: "made up".to_owned(), revision: 7, ..invented.records[0].clone() };
    invented.records.push(record.clone());
    let correction = corrected(&[onboarding()], &invented, &terms(at(10)));
    let Emission::Record(taken_back) = &correction.emissions[0] else { panic!("a record comes first") };
    assert_eq!((taken_back.status, taken_back.revision), (JourneyStatus::Erased, 8));
    assert_eq!((taken_back.generation, &*taken_back.attempt), (record.generation, "made up"));
    assert_ne!(taken_back.record_id, record.record_id);
}

fn corrected(definitions: &[JourneyDefinition], user: &User, terms: &Terms) -> Correction {
    let journeys = journeys(definitions);
    let examined = examine(&journeys, user, terms);
    assert_eq!(examined.verdict, Verdict::Differs);
    correct(&journeys, user, &examined.judged, terms.now)
}

fn next_due(definitions: &[JourneyDefinition], state: Option<&UserState>) -> Option<EventTime> {
    state.and_then(|state| lifetime::next_due(&journeys(definitions), state))
}

fn breaches(correction: &Correction) -> Vec<TtfBreach> {
    correction
        .emissions
        .iter()
        .filter_map(|emission| match emission {
            Emission::Breach(breach) => Some(breach.clone()),
            Emission::Record(_) => None,
        })
        .collect()
}

/// The user once the correction is written.
fn after(user: &User, correction: &Correction, now: EventTime) -> User {
    let (mut records, mut breaches) = (user.records.clone(), user.breaches.clone());
    for emission in &correction.emissions {
        match emission {
            Emission::Record(record) => records.push(record.clone()),
            Emission::Breach(breach) => breaches.push(breach.clone()),
        }
    }
    let (records, breaches) = latest(&records, &breaches);
    let known = correction.state.clone().map(|state| Known { state: state.kept, written_at: now });
    User { known, records, breaches, ..user.clone() }
}

/// Events of two attempts, in and out of order, with gaps.
fn some_events() -> impl Strategy<Value = Vec<Event>> {
    let names = ["signup", "first_project_created", "first_agent_created", "first_workflow_created", "first_success"];
    let one = (0..names.len(), 0_i64..400, any::<bool>(), prop::option::of(prop::sample::select(vec!["pro", "free"])));
    prop::collection::vec(one, 1..12).prop_map(move |all| {
        all.into_iter()
            .enumerate()
            .map(|(number, (name, minute, second, plan))| {
                let mut event = event(names[name], at(minute)).with_id(&format!("e{number}"));
                if second {
                    event = event.in_attempt("second");
                }
                if let Some(plan) = plan {
                    event = event.with_segment("plan", plan);
                }
                event
            })
            .collect()
    })
}

/// The processor's life: the events as they come, time passing in between.
fn lived(definition: &JourneyDefinition, events: &[Event], passes: &[i64], until: EventTime) -> Driver {
    let mut driver = Driver::new(std::slice::from_ref(definition));
    for (number, event) in events.iter().enumerate() {
        driver.say([event.clone()]);
        if let Some(minute) = passes.get(number) {
            driver.pass(at(*minute));
        }
    }
    driver.pass(until);
    driver
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_the_processor_went_through_the_same_events_make_the_same(
        events in some_events(),
        order in any::<prop::sample::Index>(),
        passes in prop::collection::vec(0_i64..500, 0..12),
    ) {
        let until = at(600);
        let driver = lived(&onboarding(), &events, &passes, until);
        let mut others = events.clone();
        others.rotate_left(order.index(events.len()));
        others.reverse();
        let examined = looked_at(&user_of(&driver, &others), &terms(until));
        prop_assert_eq!(examined.verdict, Verdict::Equal, "{:?}", examined.findings);
    }

    #[test]
    fn a_correction_makes_it_equal_under_a_higher_generation_and_pages_nobody(
        events in some_events(),
        processed in any::<prop::sample::Index>(),
        passes in prop::collection::vec(0_i64..500, 0..12),
        also_stricter in any::<bool>(),
        days in 0_i64..20,
    ) {
        // What was emitted lacks events, and may be by another definition.
        let until = at(600).plus(Millis(days * DAY));
        let driver = lived(&onboarding(), &events[..=processed.index(events.len())], &passes, until);
        let definitions = [if also_stricter { stricter() } else { onboarding() }];
        let user = user_with(&driver, &definitions, None, &events);
        let (journeys, terms) = (journeys(&definitions), terms(until));
        let examined = examine(&journeys, &user, &terms);
        prop_assume!(examined.verdict == Verdict::Differs);
        let correction = correct(&journeys, &user, &examined.judged, until);
        for breach in breaches(&correction) {
            prop_assert!(breach.late || breach.status == BreachStatus::Resolved, "{breach:?}");
        }
        let generation = |user: &User| user.known.as_ref().map_or(0, |known| known.state.generation);
        let right = after(&user, &correction, until);
        prop_assert!(generation(&right) > generation(&user));
        let ids: std::collections::BTreeSet<_> = driver.records.iter().map(|record| &record.record_id).collect();
        for record in right.records.iter().filter(|record| record.generation > generation(&user)) {
            prop_assert!(!ids.contains(&record.record_id));
        }
        let again = examine(&journeys, &right, &terms);
        prop_assert_eq!(again.verdict, Verdict::Equal, "{:?}", again.findings);
        let next = next_due(&definitions, correction.state.as_ref());
        prop_assert!(next.is_none_or(|due| due > until), "nothing is left that would fire at once");
    }
}
