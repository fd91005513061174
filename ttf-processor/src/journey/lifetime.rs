//! What the passing of time does to a user's state: deadlines are judged, journeys are labelled abandoned,
//! and in the end the state is forgotten.

use telemetry_schemas::{
    EventTime,
    state::{AttemptState, JourneyState},
};

use super::{
    deadlines,
    plan::{Journeys, Version},
    snapshot::success_at,
};

/// 2020-01-01T00:00:00Z: generations are seconds since then, which fit an `i32` until 2088.
const GENERATION_EPOCH_S: i64 = 1_577_836_800;

/// What is known of a user while a transaction is being put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserState {
    /// What is stored.
    pub kept: JourneyState,
    /// Its time is over: it is deleted once the transaction has emitted what there was to say. Not stored.
    pub expired: bool,
}

impl UserState {
    /// A state that begins now. Its generation is the time of its beginning, so that a replay into fresh state, or
    /// a return after expiry, gets a higher one than any before it.
    pub fn begin(now_ms: i64) -> Self {
        Self {
            kept: JourneyState { generation: Self::generation_after(0, now_ms), ..JourneyState::default() },
            expired: false,
        }
    }

    /// The generation of a state that begins now where one of `generation` was before.
    pub(crate) fn generation_after(generation: i32, now_ms: i64) -> i32 {
        let seconds = now_ms.div_euclid(1_000) - GENERATION_EPOCH_S;
        let by_clock = i32::try_from(seconds.max(0)).unwrap_or(i32::MAX);
        by_clock.max(generation.saturating_add(1))
    }
}

impl From<JourneyState> for UserState {
    fn from(kept: JourneyState) -> Self {
        Self { kept, expired: false }
    }
}

/// When this state wants to be looked at next.
pub fn next_due(journeys: &Journeys, user: &UserState) -> Option<EventTime> {
    if user.expired {
        return None;
    }
    let of_attempts = user.kept.attempts.iter().filter_map(|attempt| {
        let version = journeys.version(&attempt.journey, attempt.journey_version)?;
        deadlines::next_due(version, attempt).into_iter().chain(abandonment_due(version, attempt)).min()
    });
    of_attempts.chain([expiry(journeys, &user.kept)]).min()
}

/// Does what is due when everything received up to `complete_until` is known.
pub fn pass_time(journeys: &Journeys, user: &mut UserState, complete_until: EventTime, now: EventTime) {
    for attempt in &mut user.kept.attempts {
        let Some(version) = journeys.version(&attempt.journey, attempt.journey_version) else { continue };
        deadlines::judge(version, attempt, complete_until, now);
        if abandonment_due(version, attempt).is_some_and(|due| due <= complete_until) {
            attempt.abandoned = true;
        }
    }
    if expiry(journeys, &user.kept) <= complete_until {
        user.expired = true;
    }
}

/// When the attempt is to be labelled abandoned; `None` when it is already, or has succeeded, or has not begun.
fn abandonment_due(version: &Version, attempt: &AttemptState) -> Option<EventTime> {
    if attempt.abandoned || success_at(version, attempt).is_some() {
        return None;
    }
    let signup_at = attempt.milestones.get(version.start())?.at;
    Some(signup_at.plus(version.abandon_after).plus(version.grace))
}

fn expiry(journeys: &Journeys, kept: &JourneyState) -> EventTime {
    kept.last_received_at.plus(journeys.state_ttl)
}
