//! The journey domain as a processor of the keyed runtime.

use std::sync::Arc;

use stream_runtime::keyed::{Context, Effect, KeyedProcessor};
use telemetry_schemas::{EventTime, RecordKey, erasure::Erasure};

use crate::{
    figures::Figures,
    journey::{
        Emission, EventView, Journeys, UserState,
        apply::{self, Applied},
        emit::{self, Speech},
        lifetime,
    },
};

/// One input about one user.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every input is an event, and none is kept")]
pub enum Input<'a> {
    Event(EventView<'a>),
    Erasure(Erasure),
}

/// Keeps the journeys of each user.
pub struct JourneyProcessor {
    journeys: Arc<Journeys>,
    figures: Figures,
}

impl JourneyProcessor {
    pub fn new(journeys: Arc<Journeys>, figures: Figures) -> Self {
        Self { journeys, figures }
    }
}

impl KeyedProcessor for JourneyProcessor {
    type Key = RecordKey;
    type State = UserState;
    type Input<'a> = Input<'a>;
    type Output = Emission;

    const OBSERVES_STORED: bool = true;

    fn on_record(&self, ctx: &Context, _key: &RecordKey, state: &mut Option<UserState>, input: Input<'_>) -> Effect {
        let changed = match input {
            Input::Event(event) => match apply::apply(&self.journeys, state, &event, ctx.now_ms) {
                Applied::Irrelevant | Applied::Erased => false,
                Applied::Taken { changed, refused } => {
                    if refused {
                        self.figures.attempt_refused();
                    }
                    changed
                }
            },
            Input::Erasure(erasure) => apply::erase(state, erasure.erased_at, ctx.now_ms),
        };
        if changed { Effect::Changed } else { Effect::Unchanged }
    }

    fn on_timer(&self, ctx: &Context, _key: &RecordKey, state: &mut Option<UserState>, complete_until_ms: i64) {
        if let Some(user) = state {
            lifetime::pass_time(&self.journeys, user, EventTime(complete_until_ms), EventTime(ctx.now_ms));
        }
    }

    fn next_due(&self, state: &UserState) -> Option<i64> {
        lifetime::next_due(&self.journeys, state).map(|due| due.0)
    }

    fn on_flush(
        &self,
        ctx: &Context,
        key: &RecordKey,
        before: Option<&UserState>,
        after: &mut Option<UserState>,
        outputs: &mut Vec<Emission>,
    ) {
        let (Some(user), Some(user_id)) = (after.as_mut(), key.user_id()) else { return };
        let speech = Speech { tenant: &key.tenant, user_id, now: EventTime(ctx.now_ms) };
        emit::emit(&self.journeys, speech, before.map(|user| &user.kept), &mut user.kept, outputs);
        if user.expired {
            *after = None;
        }
    }

    fn observe_committed(
        &self,
        partition: i32,
        _key: &RecordKey,
        before: Option<&UserState>,
        after: Option<&UserState>,
    ) {
        self.figures.committed(partition, before.map(|user| &user.kept), after.map(|user| &user.kept));
    }

    fn observe_stored(&self, partition: i32, _key: &RecordKey, state: &UserState) {
        self.figures.stored(partition, &state.kept);
    }

    fn observe_complete(&self, partition: i32) {
        self.figures.complete(partition);
    }

    fn observe_closed(&self, partition: i32) {
        self.figures.closed(partition);
    }
}
