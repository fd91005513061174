//! Runs the processor over the stored bytes of one user, the way the runtime does.

use std::sync::Arc;

use service_kit::{Metrics, config::MetricsConfig};
use stream_runtime::keyed::{Codec as _, Context, Effect, KeyedProcessor};
use telemetry_schemas::{Codec, Event, EventTime, RecordKey, TtfBreach, TtfRecord, erasure::Erasure};

use crate::{
    codec::JourneyCodec,
    figures::Figures,
    journey::{Emission, EventView, JourneyDefinition, Journeys, UserState, testing},
    processor::{Input, JourneyProcessor},
};

/// Where the user's key belongs.
const PARTITION: i32 = 0;

pub struct Driver {
    processor: JourneyProcessor,
    codec: JourneyCodec,
    key: RecordKey,
    /// What is committed.
    stored: Option<Vec<u8>>,
    /// The state within an open transaction.
    #[allow(clippy::option_option, reason = "no transaction is not the same as a transaction without a state")]
    open: Option<Option<UserState>>,
    /// Wall clock.
    pub now: EventTime,
    pub metrics: Metrics,
    /// Everything committed so far.
    pub records: Vec<TtfRecord>,
    pub breaches: Vec<TtfBreach>,
}

impl Driver {
    pub fn new(definitions: &[JourneyDefinition]) -> Self {
        Self::labelled(definitions, MetricsConfig { segment_by: None, segment_values: Vec::new() })
    }

    pub fn labelled(definitions: &[JourneyDefinition], labels: MetricsConfig) -> Self {
        let journeys = Arc::new(Journeys::new(definitions).expect("the definitions are sound"));
        let metrics = Metrics::default();
        let figures = Figures::new(&metrics, journeys.clone(), labels).expect("the registry is empty");
        let processor = JourneyProcessor::new(journeys, figures);
        processor.observe_complete(PARTITION);
        Self {
            processor,
            codec: JourneyCodec::new(Codec::without_registry()),
            key: RecordKey::user("default", "u-1"),
            stored: None,
            open: None,
            now: testing::NINE,
            metrics,
            records: Vec::new(),
            breaches: Vec::new(),
        }
    }

    pub fn onboarding() -> Self {
        Self::new(&[testing::onboarding()])
    }

    /// The same stored state in a new process.
    pub fn restarted(self, definitions: &[JourneyDefinition]) -> Self {
        let mut fresh = Self::new(definitions);
        (fresh.stored, fresh.now) = (self.stored, self.now);
        (fresh.records, fresh.breaches) = (self.records, self.breaches);
        fresh.processor.observe_closed(PARTITION);
        if let Some(stored) = fresh.state() {
            fresh.processor.observe_stored(PARTITION, &fresh.key, &stored);
        }
        fresh.processor.observe_complete(PARTITION);
        fresh
    }

    /// The partition goes to another process.
    pub fn close(&self) {
        self.processor.observe_closed(PARTITION);
    }

    pub fn state(&self) -> Option<UserState> {
        self.stored.as_ref().map(|bytes| self.codec.decode_state(bytes).expect("what was encoded decodes"))
    }

    pub fn next_due(&self) -> Option<EventTime> {
        self.processor.next_due(&self.state()?).map(EventTime)
    }

    pub fn event(&mut self, event: Event) -> &mut Self {
        self.now = self.now.max(event.received_at);
        self.input(Input::Event(EventView::of(&event)))
    }

    pub fn erasure(&mut self, erased_at: EventTime) -> &mut Self {
        self.now = self.now.max(erased_at);
        self.input(Input::Erasure(Erasure {
            erasure_id: "e-1".to_owned(),
            tenant: "default".to_owned(),
            user_id: "u-1".to_owned(),
            erased_at,
            requested_by: "tests".to_owned(),
            reason: None,
        }))
    }

    fn input(&mut self, input: Input<'_>) -> &mut Self {
        let ctx = Context { now_ms: self.now.0 };
        let mut state = self.take_open();
        let before = state.clone();
        let effect = self.processor.on_record(&ctx, &self.key, &mut state, input);
        assert_eq!(effect == Effect::Unchanged, state == before, "what may have changed is told");
        self.open = Some(state);
        self
    }

    /// Everything received up to `complete_until` is known: what is due fires.
    pub fn timers(&mut self, complete_until: EventTime) -> &mut Self {
        self.now = self.now.max(complete_until);
        let ctx = Context { now_ms: self.now.0 };
        let mut state = self.take_open();
        let mut last = None;
        while let Some(due) = state.as_ref().and_then(|state| self.processor.next_due(state)) {
            if due > complete_until.0 {
                break;
            }
            assert_ne!(last, Some(due), "a timer that fired must move on");
            last = Some(due);
            self.processor.on_timer(&ctx, &self.key, &mut state, complete_until.0);
        }
        self.open = Some(state);
        self
    }

    /// Commits what is open and returns what it said.
    pub fn commit(&mut self) -> Vec<Emission> {
        let Some(mut after) = self.open.take() else { return Vec::new() };
        let before = self.state();
        let mut outputs = Vec::new();
        self.processor.on_flush(&Context { now_ms: self.now.0 }, &self.key, before.as_ref(), &mut after, &mut outputs);
        self.processor.observe_committed(PARTITION, &self.key, before.as_ref(), after.as_ref());
        self.stored = after.map(|state| self.codec.encode_state(&state));
        for output in &outputs {
            match output {
                Emission::Record(record) => self.records.push(record.clone()),
                Emission::Breach(breach) => self.breaches.push(breach.clone()),
            }
        }
        outputs
    }

    /// The transaction fails after its outputs were made: nothing of it stays.
    pub fn abort(&mut self) {
        let Some(mut after) = self.open.take() else { return };
        let before = self.state();
        let ctx = Context { now_ms: self.now.0 };
        self.processor.on_flush(&ctx, &self.key, before.as_ref(), &mut after, &mut Vec::new());
    }

    /// One transaction with these events.
    pub fn say(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Emission> {
        for event in events {
            self.event(event);
        }
        self.commit()
    }

    /// One transaction with what is due by then.
    pub fn pass(&mut self, complete_until: EventTime) -> Vec<Emission> {
        self.timers(complete_until);
        self.commit()
    }

    pub fn last(&self) -> &TtfRecord {
        self.records.last().expect("a record was emitted")
    }

    fn take_open(&mut self) -> Option<UserState> {
        match self.open.take() {
            Some(state) => state,
            None => self.state(),
        }
    }
}
