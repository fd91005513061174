//! The state that the events of a window make, and which deadlines of it are to be judged.

use telemetry_schemas::{
    BreachLevel, BreachStatus, EventTime,
    state::{AttemptState, DeadlineState, JourneyState},
};

use super::{Terms, User};
use crate::{
    journey::{Journeys, UserState, apply, lifetime},
    processor::Input,
};

/// Takes one input into account. Erasures must be read before events: the marker keeps out what was received before
/// it, so that what an erasure forgot does not come back.
pub fn take(journeys: &Journeys, state: &mut Option<UserState>, input: &Input<'_>, now: EventTime) {
    match input {
        Input::Event(event) => {
            apply::apply(journeys, state, event, now.0);
        }
        Input::Erasure(erasure) => {
            apply::erase(state, erasure.erased_at, now.0);
        }
    }
}

/// A recomputed state with what time has done to it.
#[derive(Debug, Clone, Default)]
pub struct Judged {
    /// `None` when the events say nothing of the user.
    pub state: Option<JourneyState>,
    /// Its time is over: the processor keeps no state of it any more.
    pub expired: bool,
    /// Deadlines and abandonments that have come due since the processor last judged: it will judge them itself.
    pub pending: u64,
}

/// Lets time pass over the recomputed facts.
///
/// What was due by `sure_until` is judged; what came due since, or of a user who was written since, is judged only
/// where the processor has done so, too.
/// So a replay takes no page away that the processor still owes, and adds none: what it judges for the first time is
/// late. A level that somebody may have been told of keeps that, so that its end is told as well.
pub(super) fn judge(journeys: &Journeys, user: &User, terms: &Terms) -> Judged {
    let Some(fresh) = &user.fresh else { return Judged::default() };
    let passed = |until: EventTime| {
        let mut state = UserState::from(fresh.clone());
        lifetime::pass_time(journeys, &mut state, until, terms.now);
        state
    };
    // What was written since may have come in too late to be judged.
    let is_settled = user.known.as_ref().is_none_or(|known| known.written_at <= terms.sure_until);
    let surely = passed(if is_settled { terms.sure_until.min(terms.now) } else { EventTime(i64::MIN) });
    let mut by_now = passed(terms.now);
    let mut pending = 0;
    for (attempt, sure) in by_now.kept.attempts.iter_mut().zip(&surely.kept.attempts) {
        let known = user.known.as_ref().and_then(|known| {
            known.state.attempts.iter().find(|other| same_attempt(other, &attempt.journey, &attempt.attempt))
        });
        let known_judged = |level: BreachLevel| known.and_then(|known| judged(known, level));
        let (journey, id) = (attempt.journey.to_string(), attempt.attempt.to_string());
        attempt.deadlines.retain_mut(|deadline| {
            if judged(sure, deadline.level).is_none() && known_judged(deadline.level).is_none() {
                pending += 1;
                return false;
            }
            let before = known_judged(deadline.level);
            let was_told = before.is_some_and(|before| !before.late)
                || user.breaches.iter().any(|breach| {
                    breach.journey == journey
                        && breach.attempt == id
                        && breach.level == deadline.level
                        && breach.status == BreachStatus::Firing
                        && !breach.late
                });
            deadline.late = !was_told;
            deadline.detected_at = before.map_or(terms.now, |before| before.detected_at);
            true
        });
        if attempt.abandoned && !sure.abandoned && !known.is_some_and(|known| known.abandoned) {
            attempt.abandoned = false;
            pending += 1;
        }
    }
    Judged { expired: by_now.expired, state: Some(by_now.kept), pending }
}

fn judged(attempt: &AttemptState, level: BreachLevel) -> Option<&DeadlineState> {
    attempt.deadlines.iter().find(|judged| judged.level == level)
}

pub(super) fn same_attempt(attempt: &AttemptState, journey: &str, id: &str) -> bool {
    attempt.journey == *journey && attempt.attempt == *id
}
