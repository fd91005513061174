//! The exactly-once keyed runtime: read → change keyed state → write, each input applied once, whatever crashes.
//!
//! A [`KeyedProcessor`] is pure. Timers are not set by hand: they are a function of the state
//! ([`KeyedProcessor::next_due`]), so that they can never disagree with it and a restore rebuilds them.

pub mod changelog;
mod due;
mod inputs;
mod marker;
mod metrics;
mod options;
mod overlay;
mod poison;
mod restore;
mod run;
mod scan;
pub mod simulation;
mod store;
mod task;
pub mod test_driver;
mod timers;
mod worker;

pub use marker::is_marker;
pub use options::{Clock, KeyedOptions, RuntimeConfig, ordinal};
pub(crate) use run::Shared;
pub use run::run;

use crate::log::{NewRecord, RecordRef};

/// The fail points that a commit passes, in this order: every place between two of its effects.
pub const COMMIT_FAIL_POINTS: [&str; 5] = [
    "keyed::after_produce",
    "keyed::before_commit",
    "keyed::after_commit",
    "keyed::before_store",
    "keyed::after_store",
];

/// The domain's side of the runtime: no I/O, no clock.
pub trait KeyedProcessor: Send + Sync + 'static {
    type Key: Send;
    type State: Send;
    /// May borrow from the record it comes from.
    type Input<'a>;
    type Output: Send;

    /// Applies one input to the key's state (`None`: nothing is known of the key; setting it to `None` deletes).
    /// Must be commutative and idempotent where the domain promises so; the runtime applies each input once.
    /// Says whether the state may have changed: what has not is neither compared nor written.
    fn on_record(
        &self,
        ctx: &Context,
        key: &Self::Key,
        state: &mut Option<Self::State>,
        input: Self::Input<'_>,
    ) -> Effect;

    /// Called when [`KeyedProcessor::next_due`] has passed and every record received up to
    /// `complete_until_ms` has been applied: whatever is due at or before that instant may be judged.
    /// Must move `next_due` on.
    fn on_timer(&self, ctx: &Context, key: &Self::Key, state: &mut Option<Self::State>, complete_until_ms: i64);

    /// When this state wants to be looked at next, in milliseconds since the epoch.
    fn next_due(&self, state: &Self::State) -> Option<i64>;

    /// Called once per changed key and transaction, just before its state is written: compares, emits, and may
    /// still stamp the state (a revision).
    fn on_flush(
        &self,
        ctx: &Context,
        key: &Self::Key,
        before: Option<&Self::State>,
        after: &mut Option<Self::State>,
        outputs: &mut Vec<Self::Output>,
    );

    /// Shows a change that is committed, for figures kept in memory: `before` and `after` as `on_flush` left them.
    /// What an aborted transaction did is never shown. Called for every key that was touched and may have changed.
    fn observe_committed(
        &self,
        _partition: i32,
        _key: &Self::Key,
        _before: Option<&Self::State>,
        _after: Option<&Self::State>,
    ) {
    }

    /// Whether stored states are to be shown to [`KeyedProcessor::observe_stored`]: a scan of the store whenever a
    /// partition is opened, on a thread of its own.
    const OBSERVES_STORED: bool = false;

    /// Shows a state that was there when the partition was opened. The partition is being processed meanwhile: changes
    /// of this state may have been shown to [`KeyedProcessor::observe_committed`] already, and every one of them is.
    fn observe_stored(&self, _partition: i32, _key: &Self::Key, _state: &Self::State) {}

    /// Every stored state of the partition was shown: sums over what was shown are right from now on.
    fn observe_complete(&self, _partition: i32) {}

    /// The partition is no longer this process's, or is about to be opened (anew): what was shown of its states so far
    /// is void. Nothing of it is shown between this and its next opening.
    fn observe_closed(&self, _partition: i32) {}
}

/// What an input did to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is as it was.
    Unchanged,
    /// It may differ.
    Changed,
}

/// What a processor may know besides its input.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// Wall clock of the transaction, in milliseconds since the epoch.
    pub now_ms: i64,
}

/// A record that cannot be processed: goes to the rejected topic in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Poison {
    /// A short stable name: `undecodable`, `key_mismatch`, ….
    pub code: &'static str,
    /// What was wrong, without personal data.
    pub message: String,
}

/// Why a record was not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecoded {
    /// It never will be.
    #[error(transparent)]
    Poison(#[from] Poison),
    /// Something else is missing for now (a schema registry is away): the record waits, with all that follow it in
    /// its partition. Says what is missing, without personal data.
    #[error("{0}")]
    NotYet(String),
}

/// How a processor's keys, inputs, states and outputs are written as bytes.
pub trait Codec<P: KeyedProcessor>: Send + Sync + 'static {
    /// Whether all that is needed from elsewhere is there: schemas are registered. Asked until it is so before a
    /// worker joins its group; may block for seconds.
    ///
    /// # Errors
    /// When it never will be: the process ends.
    fn is_ready(&self) -> anyhow::Result<bool> {
        Ok(true)
    }

    /// Decodes a record of an input topic; its key is the key of the state. `Ok(None)`: nothing for us, skip it.
    fn decode<'a>(&self, record: &RecordRef<'a>) -> Result<Option<P::Input<'a>>, Undecoded>;

    /// Decodes a record's key. Called once per key and transaction. A key that begins with a zero byte does not come
    /// here: such keys are the runtime's own.
    fn decode_key(&self, bytes: &[u8]) -> Result<P::Key, Poison>;

    /// The state's bytes, the same in the changelog and in the local store.
    fn encode_state(&self, state: &P::State) -> Vec<u8>;
    fn decode_state(&self, bytes: &[u8]) -> Result<P::State, Poison>;

    /// The records of an output. Deterministic, so that a replay writes the same.
    fn encode_output(&self, output: &P::Output, records: &mut Vec<NewRecord>);

    /// The record that tells of a poison record.
    fn encode_poison(&self, record: &RecordRef<'_>, poison: &Poison, now_ms: i64) -> NewRecord;
}
