//! What can go wrong on a log, classed by what to do about it.

use super::TopicPartition;

/// An error outside transactions.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The broker is away or slow; the same call may work later.
    #[error("log is not available: {0}")]
    Unavailable(String),
    /// Too much is in flight; come back later.
    #[error("publish queue is full")]
    QueueFull,
    #[error("topic `{0}` does not exist; create it with `ttf topics apply`")]
    UnknownTopic(String),
    #[error("offset {offset} of {at} is out of range (kept: {start}..{end})")]
    OffsetOutOfRange { at: TopicPartition, offset: i64, start: i64, end: i64 },
    #[error("record of {size} bytes is larger than the log takes ({limit})")]
    TooLarge { size: usize, limit: usize },
    /// Another process took this member's place (Kafka: FENCED_INSTANCE_ID).
    #[error("replaced by another process: {0}")]
    Replaced(String),
    /// Asked for something the log cannot do, or the configuration is wrong.
    #[error("{0}")]
    Invalid(String),
    /// What is stored cannot be right.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// Not to be recovered from in this process.
    #[error("{0}")]
    Fatal(String),
}

impl LogError {
    /// True when the same call may work later.
    pub fn is_retriable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::QueueFull)
    }
}

/// What to do after a transactional call failed. See `DESIGN.md` beside [`crate::keyed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The same call with the same arguments again, bounded.
    Retry,
    /// Whether it was committed is not known: new producer, `init`, drop the overlay, restore and seek anew.
    Indeterminate,
    /// Certainly not committed: abort, drop the overlay, seek to the committed offsets, go on.
    RollBack,
    /// The group has moved on: roll back and wait for the rebalance.
    Stale,
    /// Another producer has this transactional id (or the transaction timed out).
    Fenced,
    /// Another process runs as this member: exit non-zero.
    Replaced,
    /// Exit non-zero.
    Fatal,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Indeterminate => "indeterminate",
            Self::RollBack => "roll_back",
            Self::Stale => "stale",
            Self::Fenced => "fenced",
            Self::Replaced => "replaced",
            Self::Fatal => "fatal",
        }
    }
}

/// A transactional call that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("transaction failed ({}): {message}", verdict.as_str())]
pub struct TransactionError {
    pub verdict: Verdict,
    pub message: String,
}

impl TransactionError {
    pub fn new(verdict: Verdict, message: impl Into<String>) -> Self {
        Self { verdict, message: message.into() }
    }
}
