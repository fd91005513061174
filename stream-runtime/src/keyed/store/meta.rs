//! What is known about the store of one task.

use serde::{Deserialize, Serialize};

use super::LAYOUT;
use crate::keyed::inputs::InputMarks;

/// Which changelog partition a store was made from. See [`crate::keyed::marker`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangelogId {
    /// There was nothing in it yet.
    Empty,
    /// It does not begin with a marker: an older program began it. Only its name tells which it is.
    Unmarked,
    /// It begins with the marker of this id.
    Marked(String),
}

/// What is known about the store of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub layout: u32,
    pub cluster_id: String,
    /// Identity of the changelog topic, as far as the log tells.
    pub topic_id: String,
    /// Identity of the changelog partition.
    pub changelog: ChangelogId,
    /// Every committed changelog record before this offset is in the store.
    pub changelog_position: i64,
    /// Wall clock of the last change, in milliseconds since the epoch.
    pub written_at_ms: i64,
    /// What the timer index was made with; `None` while it is being made.
    pub timer_fingerprint: Option<String>,
    /// Where the inputs stood at the last change.
    pub inputs: InputMarks,
}

impl Meta {
    /// Of an empty store.
    pub fn new(cluster_id: String, topic_id: String, timer_fingerprint: String) -> Self {
        Self {
            layout: LAYOUT,
            cluster_id,
            topic_id,
            changelog: ChangelogId::Empty,
            changelog_position: 0,
            written_at_ms: 0,
            timer_fingerprint: Some(timer_fingerprint),
            inputs: InputMarks::default(),
        }
    }

    /// True when this build can read the store.
    pub fn is_readable(&self) -> bool {
        self.layout == LAYOUT
    }

    /// The bytes to store.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a description has only strings and numbers")
    }
}
