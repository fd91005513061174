//! Replay: what the journeys come to when they are worked out from the events again, held against what was emitted.
//! Pure: reading, writing and progress are the command's (`ttf replay`); `docs/replay.md` says in words what is
//! decided here.
//!
//! - [`recompute`]: the state that the events of a window make, and which deadlines of it are to be judged.
//! - [`coverage`]: whether the window alone can tell how a user stands.
//! - [`compare`]: two records, breaches or states → the fields that differ.
//! - [`examine`]: everything known of one user → a verdict.
//! - [`correct`]: the fresh state of a user that differs, and what is to be said about it.
//! - [`report`]: the sum over all users.

pub mod compare;
pub mod correct;
pub mod coverage;
pub mod examine;
mod facts;
pub mod recompute;
pub mod report;

use telemetry_schemas::{EventTime, RecordKey, TtfBreach, TtfRecord, state::JourneyState};

pub use compare::FieldDiff;
pub use correct::{Correction, correct};
pub use coverage::{Gap, GapReason};
pub use examine::{Class, Examined, Finding, Verdict, examine};
pub use report::{Report, Showing};

/// Everything there is about one user.
#[derive(Debug, Clone)]
pub struct User {
    pub key: RecordKey,
    /// What the processor keeps, when it keeps anything.
    pub known: Option<Known>,
    /// The facts that the events of the window make; nothing of it is judged yet.
    pub fresh: Option<JourneyState>,
    /// The last record emitted for each attempt.
    pub records: Vec<TtfRecord>,
    /// The last breach emitted for each level of each attempt.
    pub breaches: Vec<TtfBreach>,
}

/// A state as the changelog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub state: JourneyState,
    /// When the transaction that wrote it was put together.
    pub written_at: EventTime,
}

/// What holds for every user of a partition.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// As of when the recomputation judges.
    pub now: EventTime,
    /// Up to here the processor has surely seen everything and judged what was due; what is due later, and not
    /// judged, is its business still.
    pub sure_until: EventTime,
    pub window: Window,
    /// No record or breach has left its topic by age.
    pub outputs_complete: bool,
    /// The processor was at work meanwhile: who was written at or after this instant cannot be held against a view
    /// that is older. `None` when nothing moved.
    pub moving_since: Option<EventTime>,
}

/// Which events were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Events received before this instant were not read; `None` when every event there ever was has been.
    pub from: Option<EventTime>,
    /// Events that the processor has processed lie behind the window's end.
    pub cut_short: bool,
}

impl User {
    /// When something about this user was last written.
    fn last_written(&self) -> EventTime {
        let known = self.known.iter().map(|known| known.written_at);
        let records = self.records.iter().map(|record| record.emitted_at);
        let breaches = self.breaches.iter().map(|breach| breach.detected_at);
        known.chain(records).chain(breaches).max().unwrap_or(EventTime(i64::MIN))
    }

    fn user_id(&self) -> &str {
        self.key.user_id().unwrap_or_default()
    }
}
