//! What the alerter keeps and sends: `AlertState`, `Notification` (the outbox), `AlertCommand`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    breach::{BreachLevel, BreachStatus, TtfBreach},
    byte_string,
    time::EventTime,
};

/// State of one alert group. The key is the group's key, `ttf:{tenant}:{journey}:{group}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AlertState {
    pub group_key: String,
    /// The labels the group is formed by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub alerts: Vec<AlertInstance>,
    /// Per receiver: what it was last told.
    #[serde(default)]
    pub notified: Vec<Notified>,
    pub acknowledged_by: Option<String>,
    pub silenced_until: Option<EventTime>,
    /// When the group is to be looked at again (`group_wait`, `group_interval`, `repeat_interval`).
    pub next_flush_at: Option<EventTime>,
    /// Counts the notifications written; part of their deterministic ids.
    #[serde(default)]
    pub sequence: i64,
    pub acknowledged_at: Option<EventTime>,
    /// A higher level than this ends the acknowledgement.
    pub acknowledged_level: Option<BreachLevel>,
    pub assigned_to: Option<String>,
    pub silenced_by: Option<String>,
    pub silence_comment: Option<String>,
    /// Of a silence that is kept under a key of its own: which alerts it silences.
    #[serde(default)]
    pub silence_matchers: Vec<String>,
    pub silence_starts_at: Option<EventTime>,
    /// From when on escalation steps are counted.
    pub first_told_at: Option<EventTime>,
    /// Escalation steps taken.
    #[serde(default)]
    pub escalated: i64,
    /// Alerts the group had no room for, not even as a hash.
    #[serde(default)]
    pub left_out: i64,
    /// How many of them the receivers were told of.
    #[serde(default)]
    pub left_out_told: i64,
    /// When an alert came last that is not listed.
    pub left_out_at: Option<EventTime>,
    /// Who is late and not listed, in order: eight bytes each, a hash of whom it is about and flags.
    #[serde(default, with = "byte_string")]
    pub unlisted: Vec<u8>,
    /// Likewise those that are over since the receivers were told of them.
    #[serde(default, with = "byte_string")]
    pub unlisted_ended: Vec<u8>,
    /// Of an alert that is kept under a key of its own: the groups it went to.
    #[serde(default)]
    pub routed_to: Vec<String>,
    /// The latest decisions, the oldest first.
    #[serde(default)]
    pub history: Vec<Decided>,
}

/// What was decided about a group, or done to it; the same again and again is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub at: EventTime,
    pub last_at: EventTime,
    #[serde(default = "once")]
    pub times: i64,
    /// `first_notification`, `silenced`, ….
    pub reason: String,
    /// The receivers that were told; none: nobody was.
    #[serde(default)]
    pub told: Vec<String>,
    /// By whom, until when, because of what.
    #[serde(default)]
    pub detail: String,
}

fn once() -> i64 {
    1
}

/// One user's breach inside a group: its latest status by level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertInstance {
    pub breach: TtfBreach,
    pub received_at: EventTime,
    /// When a receiver was first told of it; `None`: never.
    pub told_at: Option<EventTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notified {
    pub receiver: String,
    pub level: BreachLevel,
    pub status: BreachStatus,
    pub at: EventTime,
    /// Hash of what was told, so that the same content is not told twice.
    pub fingerprint: String,
}

/// One entry of the outbox: to be delivered to one receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Deterministic; the provider's idempotency key where there is one.
    pub notification_id: String,
    pub group_key: String,
    pub tenant: String,
    pub journey: String,
    pub receiver: String,
    pub level: BreachLevel,
    pub status: BreachStatus,
    /// Why it was sent: `first_notification`, `level_raised`, `resolved`, ….
    pub reason: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub alerts: Vec<TtfBreach>,
    pub created_at: EventTime,
    pub acknowledged_by: Option<String>,
    pub assigned_to: Option<String>,
    /// Attempts that are late and not listed, for want of room.
    #[serde(default)]
    pub left_out: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertAction {
    Ack,
    Silence,
    Unsilence,
    Assign,
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCommand {
    pub command_id: String,
    pub group_key: String,
    pub action: AlertAction,
    pub by: String,
    pub at: EventTime,
    pub until: Option<EventTime>,
    pub comment: Option<String>,
    /// Which alerts a silence silences, each a matcher such as `level="warning"`; none: the group.
    #[serde(default)]
    pub matchers: Vec<String>,
    /// When a silence begins; `None`: at once.
    pub starts_at: Option<EventTime>,
    pub assignee: Option<String>,
}
