//! Whether a group's receiver is told something now, and why. Pure.

use telemetry_schemas::{
    BreachLevel, BreachStatus, EventTime, Millis,
    alert::{AlertInstance, AlertState},
};

use super::state;

/// Why a receiver is told, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The group's first alarm.
    FirstNotification,
    /// Its highest level is higher than what was told.
    LevelRaised,
    /// Others than those told of have missed a deadline.
    AlertsAdded,
    /// Nothing is new, but it is time to say it again.
    RepeatIntervalElapsed,
    /// All that was told is over.
    Resolved,
    /// The receiver knows all of it.
    NothingNew,
    /// All is over, and nothing was ever told of it: nothing needs to be.
    ResolvedBeforeNotified,
    /// Nothing has been heard of it for so long that nobody waits for its end.
    Forgotten,
    /// Who was told is no receiver any more.
    ReceiverGone,
    /// The group holds so much already that a breach was left out of it.
    GroupFull,
}

impl Reason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstNotification => "first_notification",
            Self::LevelRaised => "level_raised",
            Self::AlertsAdded => "alerts_added",
            Self::RepeatIntervalElapsed => "repeat_interval_elapsed",
            Self::Resolved => "resolved",
            Self::NothingNew => "nothing_new",
            Self::ResolvedBeforeNotified => "resolved_before_notified",
            Self::Forgotten => "forgotten",
            Self::ReceiverGone => "receiver_gone",
            Self::GroupFull => "group_full",
        }
    }

    /// Whether a notification is written.
    pub const fn notifies(self) -> bool {
        matches!(
            self,
            Self::FirstNotification
                | Self::LevelRaised
                | Self::AlertsAdded
                | Self::RepeatIntervalElapsed
                | Self::Resolved
        )
    }

    /// Whether nothing more needs to be known of the group.
    pub const fn ends_group(self) -> bool {
        matches!(self, Self::Resolved | Self::ResolvedBeforeNotified | Self::Forgotten | Self::ReceiverGone)
    }
}

/// The highest level that is firing; `None` when none is.
pub fn firing_level(group: &AlertState) -> Option<BreachLevel> {
    firing(group).map(|alert| alert.breach.level).max()
}

/// Decides for a group whose time to be looked at has come.
pub fn decide(group: &AlertState, now: EventTime, repeat: Option<Millis>, forget_after: Millis) -> Reason {
    let (level, told) = match (firing_level(group), group.notified.first()) {
        (None, None) => return Reason::ResolvedBeforeNotified,
        (None, Some(_)) => return Reason::Resolved,
        (Some(_), None) => return Reason::FirstNotification,
        (Some(level), Some(told)) => (level, told),
    };
    if level > told.level {
        return Reason::LevelRaised;
    }
    if firing(group).any(|alert| !is_known(group, alert)) {
        return Reason::AlertsAdded;
    }
    if state::forget_at(group, forget_after).is_some_and(|at| now >= at) {
        return Reason::Forgotten;
    }
    if repeat.is_some_and(|interval| now >= told.at.plus(interval)) {
        return Reason::RepeatIntervalElapsed;
    }
    Reason::NothingNew
}

fn firing(group: &AlertState) -> impl Iterator<Item = &AlertInstance> {
    group.alerts.iter().filter(|alert| alert.breach.status == BreachStatus::Firing)
}

/// Whether the receiver knows of whom this alert is about: a second level is not a second person.
fn is_known(group: &AlertState, alert: &AlertInstance) -> bool {
    group
        .alerts
        .iter()
        .any(|other| state::is_same_attempt(&other.breach, &alert.breach) && state::was_told(group, other))
}
