//! Whether the events of the window alone can tell how a user stands.
//!
//! A state is a minimum over its events. What it holds and the window does not bear out was said by an event that was
//! not read, or by none. Which of the two can be told where that event would have to lie in the window.

use serde::Serialize;
use telemetry_schemas::{EventTime, JourneyStatus, Millis, TtfRecord, state::JourneyState};

use super::{
    User, Window,
    facts::{Fact, facts},
    recompute::Judged,
};
use crate::journey::Journeys;

/// An event may lie this far in the future of its reception, at most: the gateway refuses others.
pub const MAX_AHEAD: Millis = Millis(86_400_000);

/// Why a user cannot be recomputed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Something was, or may have been, received before the window.
    BeforeWindow,
    /// Something was received behind the window's end.
    AfterWindow,
    /// Events came while the user was being erased: the processor read them before the request and forgot them with
    /// the rest, and they stay forgotten.
    Erased,
    /// The user has an attempt of a journey that the configuration does not define.
    UndefinedJourney,
}

impl GapReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeforeWindow => "before_window",
            Self::AfterWindow => "after_window",
            Self::Erased => "erased",
            Self::UndefinedJourney => "undefined_journey",
        }
    }
}

/// What the window lacks of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    pub reason: GapReason,
    /// Even so the window shows something that the processor's state should have and has not.
    pub contradicted: bool,
}

/// What keeps this user from being recomputed; `None` when the window tells everything.
pub(super) fn gap(journeys: &Journeys, user: &User, judged: &Judged, window: Window) -> Option<Gap> {
    let fresh = judged.state.as_ref().map(facts).unwrap_or_default();
    let known_state = user.known.as_ref().map(|known| &known.state);
    let known = known_state.map(facts).unwrap_or_default();
    if attempts_of(user).any(|journey| journeys.get(journey).is_none()) {
        return Some(Gap { reason: GapReason::UndefinedJourney, contradicted: false });
    }

    let has_more = fresh.iter().any(|(place, fact)| known.get(place).is_none_or(|known| fact < known));
    let erased_at = |state: Option<&JourneyState>| state.and_then(|state| state.erased_at);
    let marker = erased_at(judged.state.as_ref());
    if has_more && marker.is_some() && marker == erased_at(known_state) {
        return Some(Gap { reason: GapReason::Erased, contradicted: false });
    }

    let unborne = known
        .iter()
        .filter(|(place, fact)| fresh.get(*place).is_none_or(|fresh| *fact < fresh))
        .map(|(_, fact): (_, &Fact)| fact.at);
    let emitted = user.records.iter().filter(|record| !is_in(known_state, record)).flat_map(|record| {
        let there = record.status != JourneyStatus::Erased && !is_in(judged.state.as_ref(), record);
        there.then(|| times(record)).into_iter().flatten()
    });
    let reason = unborne.chain(emitted).find_map(|at| outside(window, at))?;
    Some(Gap { reason, contradicted: has_more })
}

fn attempts_of(user: &User) -> impl Iterator<Item = &str> {
    let known = user.known.iter().flat_map(|known| known.state.attempts.iter()).map(|attempt| &*attempt.journey);
    let open = user.records.iter().filter(|record| record.status != JourneyStatus::Erased);
    known.chain(open.map(|record| record.journey.as_str()))
}

fn is_in(state: Option<&JourneyState>, record: &TtfRecord) -> bool {
    state.is_some_and(|state| {
        state.attempts.iter().any(|attempt| super::recompute::same_attempt(attempt, &record.journey, &record.attempt))
    })
}

fn times(record: &TtfRecord) -> impl Iterator<Item = EventTime> {
    std::iter::once(record.signup_at).chain(record.stages.iter().filter_map(|stage| stage.to_at))
}

/// Why an event of this time may be one that was not read. An event from well within the window was received in it.
fn outside(window: Window, at: EventTime) -> Option<GapReason> {
    if window.from.is_some_and(|from| at < from.plus(MAX_AHEAD)) {
        return Some(GapReason::BeforeWindow);
    }
    window.cut_short.then_some(GapReason::AfterWindow)
}
