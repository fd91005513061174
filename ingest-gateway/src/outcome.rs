//! What became of each event, and the books that are kept of it: every event that came in ends in exactly one
//! counted outcome.

use serde::Serialize;

use crate::metrics::EventMetrics;

/// The one fate of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// On the log, acknowledged.
    Accepted,
    /// Taken before under the same identity.
    Duplicate,
    /// Against the rules; its bytes and the reasons are on the rejected topic.
    Rejected,
    /// Over a limit of its sender.
    Limited,
    /// Not acknowledged by the log: the sender keeps it and comes again.
    Retry,
}

impl Outcome {
    /// In the order of their discriminants.
    pub const ALL: [Self; 5] = [Self::Accepted, Self::Duplicate, Self::Rejected, Self::Limited, Self::Retry];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
            Self::Limited => "limited",
            Self::Retry => "retry",
        }
    }
}

/// The open account of a request's events. Whatever has no outcome when it is closed (a panic, a task that was
/// stopped) counts as [`Outcome::Retry`], because no sender was told anything else.
#[derive(Debug)]
pub struct Tally {
    metrics: EventMetrics,
    tenant: String,
    source: &'static str,
    open: usize,
    /// By outcome; added to the metrics in one go.
    counted: [u64; Outcome::ALL.len()],
}

impl Tally {
    /// Counts `events` as received.
    pub fn open(metrics: &EventMetrics, tenant: &str, source: &'static str, events: usize) -> Self {
        metrics.received(tenant, source, events as u64);
        Self {
            metrics: metrics.clone(),
            tenant: tenant.to_owned(),
            source,
            open: events,
            counted: [0; Outcome::ALL.len()],
        }
    }

    pub fn count(&mut self, outcome: Outcome) {
        debug_assert!(self.open > 0, "more outcomes than events");
        self.open = self.open.saturating_sub(1);
        self.counted[outcome as usize] += 1;
    }

    /// Counts a rejection under its reason, the code of its first violation.
    pub fn reject(&mut self, reason: &'static str) {
        self.count(Outcome::Rejected);
        self.metrics.rejected(&self.tenant, reason);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.counted[Outcome::Retry as usize] += self.open as u64;
        for (outcome, events) in Outcome::ALL.into_iter().zip(self.counted).filter(|(_, events)| *events > 0) {
            self.metrics.outcomes(&self.tenant, self.source, outcome, events);
        }
    }
}
