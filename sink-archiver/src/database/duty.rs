//! Work that one process does for all that share a database.

use async_trait::async_trait;

/// What is to be done by one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Evaluating the cohorts.
    Cohorts,
    /// Deleting what is past its retention.
    Retention,
    /// Refreshing the roll-ups.
    Rollups,
}

impl Duty {
    /// The second half of its advisory lock in PostgreSQL; the first is that of all locks here. 1 and 2 are taken by the
    /// writers and the migrations.
    pub(super) fn lock(self) -> i32 {
        match self {
            Self::Cohorts => 3,
            Self::Retention => 4,
            Self::Rollups => 5,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cohorts => "cohorts",
            Self::Retention => "retention",
            Self::Rollups => "rollups",
        }
    }
}

/// A duty that is ours until this is dropped, or the connection behind it is lost.
#[async_trait]
pub trait Held: Send + Sync {
    /// False once it is lost: another process may have it.
    async fn is_held(&self) -> bool;
}
