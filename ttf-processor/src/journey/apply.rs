//! How an event or an erasure changes what is known of a user.
//!
//! Every change is a minimum over (event time, event id), or a maximum, so that neither the order of arrival nor
//! a repetition can matter. What is stored are facts; what follows from them is worked out by
//! [`super::snapshot`] and [`super::deadlines`].

use std::cmp::Ordering;

use telemetry_schemas::{
    EventTime, EventType,
    state::{AttemptState, Attribute, ByName, EventId, JourneyState, Occurrence},
};

use super::{
    lifetime::UserState,
    matching::{self, Kind, Told},
    plan::{Journey, Journeys},
    view::EventView,
};

/// More attempts of one user than this are not begun: a state must stay small enough to be one record.
pub const MAX_ATTEMPTS: usize = 1_000;

const DAY_MS: i64 = 86_400_000;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// It says nothing that any journey wants to know.
    Irrelevant,
    /// It was received before the user was erased.
    Erased,
    /// It was taken into account.
    Taken {
        /// Whether it said anything new.
        changed: bool,
        /// It would have begun an attempt beyond [`MAX_ATTEMPTS`].
        refused: bool,
    },
}

/// Takes one event into account. `now_ms` only numbers the generation of a state that begins here.
pub fn apply(journeys: &Journeys, state: &mut Option<UserState>, event: &EventView<'_>, now_ms: i64) -> Applied {
    if event.user_id.is_none() || !matching::type_takes_part(event.event_type) || journeys.all().is_empty() {
        return Applied::Irrelevant;
    }
    let erased_at = state.as_ref().and_then(|user| user.kept.erased_at);
    if erased_at.is_some_and(|erased_at| event.received_at < erased_at) {
        return Applied::Erased;
    }
    let told = matching::told(&journeys.wanted, event);
    let mut reached = matching::milestones(journeys, event).peekable();
    if told.is_empty() && reached.peek().is_none() {
        return Applied::Irrelevant;
    }

    let mut changed = state.as_ref().is_none_or(|user| user.expired);
    let mut refused = false;
    let user = state.get_or_insert_with(|| UserState::begin(now_ms));
    user.expired = false;
    let kept = &mut user.kept;
    let last_received_at = kept.last_received_at.max(end_of_day(event.received_at));
    changed |= last_received_at != kept.last_received_at;
    kept.last_received_at = last_received_at;
    if event.event_type == EventType::Identify {
        for value in &told {
            changed |= keep_for_user(kept, value, event);
        }
    } else {
        for journey in journeys.all() {
            let mut wanted = told.iter().filter(|value| wants(journey, value)).peekable();
            if wanted.peek().is_none() {
                continue;
            }
            match attempt_of(kept, journey, event, &mut changed) {
                Some(attempt) => wanted.for_each(|value| changed |= keep_for_attempt(attempt, value, event)),
                None => refused = true,
            }
        }
    }
    for reach in reached {
        let journey = &journeys.all()[reach.journey];
        match attempt_of(kept, journey, event, &mut changed) {
            Some(attempt) => {
                if reach_milestone(attempt, &reach.milestone, event) {
                    changed = true;
                    if reach.milestone == journey.start {
                        settle_version(journey, attempt, event.timestamp);
                    }
                }
            }
            None => refused = true,
        }
    }
    Applied::Taken { changed, refused }
}

/// Forgets the user but for the marker that keeps older events out. False when it changed nothing, as when it is
/// applied again.
pub fn erase(state: &mut Option<UserState>, erased_at: EventTime, now_ms: i64) -> bool {
    let user = state.get_or_insert_with(|| UserState::begin(now_ms));
    if user.kept.erased_at.is_some_and(|known| known >= erased_at) {
        return false;
    }
    *user = UserState {
        kept: JourneyState {
            generation: UserState::generation_after(user.kept.generation, now_ms),
            erased_at: Some(erased_at),
            last_received_at: user.kept.last_received_at.max(end_of_day(erased_at)),
            ..JourneyState::default()
        },
        expired: false,
    };
    true
}

fn wants(journey: &Journey, value: &Told<'_>) -> bool {
    match value.kind {
        Kind::Segment => journey.wanted.segments.contains(value.name),
        Kind::Experiment => journey.wanted.experiments.contains(value.name),
        Kind::Release => true,
    }
}

/// The attempt this event belongs to; `None` when it would be one too many.
fn attempt_of<'a>(
    kept: &'a mut JourneyState,
    journey: &Journey,
    event: &EventView<'_>,
    changed: &mut bool,
) -> Option<&'a mut AttemptState> {
    let id = event.journey_id.unwrap_or("");
    let known = kept.attempts.iter().position(|known| known.attempt == id && known.journey == journey.id);
    let index = match known {
        Some(index) => index,
        None if kept.attempts.len() >= MAX_ATTEMPTS => return None,
        None => {
            *changed = true;
            kept.attempts.push(AttemptState {
                journey: journey.id.as_str().into(),
                attempt: id.into(),
                ..AttemptState::default()
            });
            kept.attempts.len() - 1
        }
    };
    kept.attempts.get_mut(index)
}

/// True when this occurrence is the earliest now.
fn reach_milestone(attempt: &mut AttemptState, milestone: &str, event: &EventView<'_>) -> bool {
    match attempt.milestones.get_mut(milestone) {
        Some(known) if order(event, known.at, &known.event_id).is_ge() => return false,
        Some(known) => *known = occurrence(event),
        None => {
            attempt.milestones.insert(milestone.into(), occurrence(event));
        }
    }
    true
}

/// The attempt belongs to the version in force at its signup. When an earlier signup moves it to another version,
/// what was judged by the deadlines of the former one is judged anew.
fn settle_version(journey: &Journey, attempt: &mut AttemptState, signup_at: EventTime) {
    let version = journey.version_at(signup_at).version;
    if attempt.journey_version == version {
        return;
    }
    attempt.journey_version = version;
    attempt.deadlines.clear();
    attempt.abandoned = false;
}

/// True when it says something new; so do the functions below.
fn keep_for_user(kept: &mut JourneyState, value: &Told<'_>, event: &EventView<'_>) -> bool {
    match value.kind {
        Kind::Segment => keep_named(&mut kept.segments, value, event),
        Kind::Experiment => keep_named(&mut kept.experiments, value, event),
        Kind::Release => keep_earliest(&mut kept.release, value, event),
    }
}

fn keep_for_attempt(attempt: &mut AttemptState, value: &Told<'_>, event: &EventView<'_>) -> bool {
    match value.kind {
        Kind::Segment => keep_named(&mut attempt.segments, value, event),
        Kind::Experiment => keep_named(&mut attempt.experiments, value, event),
        Kind::Release => keep_earliest(&mut attempt.release, value, event),
    }
}

fn keep_named(known: &mut ByName<Attribute>, value: &Told<'_>, event: &EventView<'_>) -> bool {
    match known.get_mut(value.name) {
        Some(known) if !is_earlier(value, event, known) => return false,
        Some(known) => *known = attribute(value, event),
        None => {
            known.insert(value.name.into(), attribute(value, event));
        }
    }
    true
}

fn keep_earliest(known: &mut Option<Attribute>, value: &Told<'_>, event: &EventView<'_>) -> bool {
    let is_new = known.as_ref().is_none_or(|known| is_earlier(value, event, known));
    if is_new {
        *known = Some(attribute(value, event));
    }
    is_new
}

/// By event time, then event id.
fn order(event: &EventView<'_>, at: EventTime, event_id: &EventId) -> Ordering {
    event.timestamp.cmp(&at).then_with(|| event_id.cmp_text(event.event_id).reverse())
}

/// By event time, then event id; the value itself decides between two events that share both.
fn is_earlier(value: &Told<'_>, event: &EventView<'_>, known: &Attribute) -> bool {
    order(event, known.at, &known.event_id).then_with(|| (*value.value).cmp(known.value.as_str())).is_lt()
}

fn attribute(value: &Told<'_>, event: &EventView<'_>) -> Attribute {
    Attribute { value: (&*value.value).into(), at: event.timestamp, event_id: event.event_id.into() }
}

fn occurrence(event: &EventView<'_>) -> Occurrence {
    Occurrence { at: event.timestamp, event_id: event.event_id.into() }
}

/// The midnight (UTC) at or after `at`.
fn end_of_day(at: EventTime) -> EventTime {
    EventTime(at.0.saturating_add(DAY_MS - 1).div_euclid(DAY_MS).saturating_mul(DAY_MS))
}
