//! A silence: alerts that match are not told while it lasts.

use telemetry_schemas::{EventTime, alert::AlertState};

use crate::{
    config::Matcher,
    route::{Labels, SILENCE_PREFIX},
};

/// One silence.
#[derive(Debug, Clone, PartialEq)]
pub struct Silence {
    pub id: String,
    pub matchers: Vec<Matcher>,
    pub starts_at: EventTime,
    pub ends_at: EventTime,
    pub by: String,
    pub comment: String,
}

impl Silence {
    /// The silence a state is; `None` when it is none, or one this release cannot read: then it silences nothing.
    pub fn read(state: &AlertState) -> Option<Self> {
        let id = state.group_key.strip_prefix(SILENCE_PREFIX)?;
        let matchers: Result<Vec<Matcher>, _> = state.silence_matchers.iter().map(|text| text.parse()).collect();
        let matchers = matchers.ok().filter(|matchers| !matchers.is_empty())?;
        Some(Self {
            id: id.to_owned(),
            matchers,
            starts_at: state.silence_starts_at.unwrap_or(EventTime(i64::MIN)),
            ends_at: state.silenced_until?,
            by: state.silenced_by.clone().unwrap_or_default(),
            comment: state.silence_comment.clone().unwrap_or_default(),
        })
    }

    pub fn is_active(&self, now: EventTime) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels))
    }
}
