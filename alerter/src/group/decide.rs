//! Whether a group's receivers are told something now, and why. Pure.
//!
//! Two steps: what there is to tell ([`wanted`]), and whether something keeps it back ([`held`]). The end of what was told
//! is always told: an incident somewhere that nobody closes is worse than a message at night.

use std::collections::HashSet;

use telemetry_schemas::{
    BreachLevel, BreachStatus, EventTime, Millis,
    alert::{AlertInstance, AlertState},
};

use super::{
    state,
    unlisted::{self, Subject},
};
use crate::{
    config::{Closed, Hours},
    mutes::Muted,
    route::{Step, Timing},
};

/// Why a receiver is told, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The group's first alarm.
    FirstNotification,
    /// Its highest level is higher than what was told.
    LevelRaised,
    /// Others than those told of have missed a deadline.
    AlertsAdded,
    /// Nobody has acknowledged it for so long that others are told.
    Escalated,
    /// Nothing is new, but it is time to say it again.
    RepeatIntervalElapsed,
    /// Somebody has taken it.
    Acknowledged,
    /// Somebody was given it.
    Assigned,
    /// All that was told is over.
    Resolved,
    /// What was missed while the pipeline was in trouble, in one word.
    CaughtUp,
    /// The receiver knows all of it.
    NothingNew,
    /// Somebody has taken it: no repeats, no escalation, no more of the same.
    HeldByAcknowledgement,
    /// A silence matches all of it.
    Silenced,
    /// A maintenance window matches all of it.
    InMaintenance,
    /// A more telling alert fires.
    Inhibited,
    /// None of the route's active time intervals holds.
    OutsideActiveTime,
    /// One of the route's mute time intervals holds.
    MutedByTimeInterval,
    /// All is over, and nothing was ever told of it: nothing needs to be.
    ResolvedBeforeNotified,
    /// Nothing has been heard of it for so long that nobody waits for its end.
    Forgotten,
    /// Who was told is no receiver any more.
    ReceiverGone,
    /// The group lists so much already that a breach is only counted.
    GroupFull,
    /// It was found too long after it was due to be told.
    Late,
    /// A command about something that is not open.
    CommandIgnored,
}

impl Reason {
    pub const ALL: [Self; 22] = [
        Self::FirstNotification,
        Self::LevelRaised,
        Self::AlertsAdded,
        Self::Escalated,
        Self::RepeatIntervalElapsed,
        Self::Acknowledged,
        Self::Assigned,
        Self::Resolved,
        Self::CaughtUp,
        Self::NothingNew,
        Self::HeldByAcknowledgement,
        Self::Silenced,
        Self::InMaintenance,
        Self::Inhibited,
        Self::OutsideActiveTime,
        Self::MutedByTimeInterval,
        Self::ResolvedBeforeNotified,
        Self::Forgotten,
        Self::ReceiverGone,
        Self::GroupFull,
        Self::Late,
        Self::CommandIgnored,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FirstNotification => "first_notification",
            Self::LevelRaised => "level_raised",
            Self::AlertsAdded => "alerts_added",
            Self::Escalated => "escalated",
            Self::RepeatIntervalElapsed => "repeat_interval_elapsed",
            Self::Acknowledged => "acknowledged",
            Self::Assigned => "assigned",
            Self::Resolved => "resolved",
            Self::CaughtUp => "caught_up",
            Self::NothingNew => "nothing_new",
            Self::HeldByAcknowledgement => "held_by_acknowledgement",
            Self::Silenced => "silenced",
            Self::InMaintenance => "in_maintenance",
            Self::Inhibited => "inhibited",
            Self::OutsideActiveTime => "outside_active_time",
            Self::MutedByTimeInterval => "muted_by_time_interval",
            Self::ResolvedBeforeNotified => "resolved_before_notified",
            Self::Forgotten => "forgotten",
            Self::ReceiverGone => "receiver_gone",
            Self::GroupFull => "group_full",
            Self::Late => "late",
            Self::CommandIgnored => "command_ignored",
        }
    }

    /// What it means, for those who ask why.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::FirstNotification => "told for the first time, group_wait after the first alarm",
            Self::LevelRaised => "told again: the level is higher than what was told",
            Self::AlertsAdded => "told again: there are others than those told of",
            Self::Escalated => "told to more receivers: nobody acknowledged it",
            Self::RepeatIntervalElapsed => "told again: repeat_interval has passed without an end",
            Self::Acknowledged => "somebody has taken it",
            Self::Assigned => "somebody was given it",
            Self::Resolved => "told that all of it is over",
            Self::CaughtUp => "one summary of what was found too late to be told one by one",
            Self::NothingNew => "not told: the receivers know all of it",
            Self::HeldByAcknowledgement => "not told: somebody has taken it, and it is no worse than then",
            Self::Silenced => "not told: a silence matches",
            Self::InMaintenance => "not told: a maintenance window matches",
            Self::Inhibited => "not told: a more telling alert fires",
            Self::OutsideActiveTime => "not told yet: none of the route's active time intervals holds",
            Self::MutedByTimeInterval => "not told yet: one of the route's mute time intervals holds",
            Self::ResolvedBeforeNotified => "never told: it was over before anybody had been told",
            Self::Forgotten => "dropped: nothing was heard of it for forget_after",
            Self::ReceiverGone => "dropped: its receiver was taken out of the configuration",
            Self::GroupFull => "counted, not listed: the group lists as many alerts as a record holds",
            Self::Late => "counted, not told: it was found too long after it was due",
            Self::CommandIgnored => "a command about something that is not open changed nothing",
        }
    }

    /// Whether a notification is written.
    pub const fn notifies(self) -> bool {
        matches!(
            self,
            Self::FirstNotification
                | Self::LevelRaised
                | Self::AlertsAdded
                | Self::Escalated
                | Self::RepeatIntervalElapsed
                | Self::Acknowledged
                | Self::Assigned
                | Self::Resolved
                | Self::CaughtUp
        )
    }

    /// Whether nothing more needs to be known of the group.
    pub const fn ends_group(self) -> bool {
        matches!(self, Self::Resolved | Self::ResolvedBeforeNotified | Self::Forgotten | Self::ReceiverGone)
    }
}

/// How a group is treated, as things are configured now.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub timing: Timing,
    pub hours: &'a Hours,
    pub steps: &'a [Step],
    pub forget_after: Millis,
}

/// A group with what keeps its alerts quiet, one entry for each alert.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub group: &'a AlertState,
    pub muted: &'a [Option<Muted>],
    /// What keeps those quiet that are not listed.
    pub rest_muted: Option<&'a Muted>,
}

/// A decision, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub reason: Reason,
    /// By whom, until when, because of what; empty where the reason says all.
    pub detail: String,
    /// When what keeps it back ends, where that is known.
    pub until: Option<EventTime>,
}

impl Decision {
    const fn plain(reason: Reason) -> Self {
        Self { reason, detail: String::new(), until: None }
    }
}

impl<'a> View<'a> {
    pub fn firing(self) -> impl Iterator<Item = (&'a AlertInstance, Option<&'a Muted>)> {
        let muted = self.muted.iter().map(Option::as_ref).chain(std::iter::repeat(None));
        self.group.alerts.iter().zip(muted).filter(|(alert, _)| alert.breach.status == BreachStatus::Firing)
    }

    /// The highest level among what was told and what may be.
    pub fn level(self) -> Option<BreachLevel> {
        self.firing()
            .filter(|(alert, muted)| muted.is_none() || alert.told_at.is_some())
            .map(|(alert, _)| alert.breach.level)
            .chain(self.rest(|is_told| is_told || self.rest_muted.is_none()))
            .max()
    }

    /// The highest level among what may be told.
    fn visible_level(self) -> Option<BreachLevel> {
        self.firing()
            .filter(|(_, muted)| muted.is_none())
            .map(|(alert, _)| alert.breach.level)
            .chain(self.rest(|_| self.rest_muted.is_none()))
            .max()
    }

    /// The levels of those that are not listed, by whether they were told. Those that are only counted are of the level
    /// that was told: what is listed is of the highest.
    fn rest(self, wanted: impl Fn(bool) -> bool) -> impl Iterator<Item = BreachLevel> {
        let told = self.group.notified.iter().map(|told| told.level).max().unwrap_or(BreachLevel::Warning);
        let (all, known) = (self.group.left_out, self.group.left_out_told);
        let counted = (known > 0 && wanted(true) || all > known && wanted(false)).then_some(told);
        let entries = unlisted::entries(&self.group.unlisted);
        entries.filter(move |entry| wanted(entry.is_told())).map(unlisted::Entry::level).chain(counted)
    }

    /// Whether there are others than those told of among what is not listed.
    fn has_new_rest(self) -> bool {
        if self.rest_muted.is_some() {
            return false;
        }
        if self.group.left_out > self.group.left_out_told {
            return true;
        }
        let mut new = unlisted::entries(&self.group.unlisted).filter(|entry| !entry.is_told()).peekable();
        if new.peek().is_none() {
            return false;
        }
        let told = self.group.alerts.iter().filter(|alert| alert.told_at.is_some());
        let told: HashSet<Subject> = told.map(|alert| Subject::of(&alert.breach)).collect();
        new.any(|entry| !told.contains(&entry.subject))
    }
}

/// The highest level that is firing; `None` when none is.
pub fn firing_level(group: &AlertState) -> Option<BreachLevel> {
    View { group, muted: &[], rest_muted: None }.level()
}

/// Decides for a group whose time to be looked at has come.
pub fn decide(view: View<'_>, terms: Terms<'_>, now: EventTime) -> Decision {
    let decision = wanted(view, terms, now);
    let decision = match decision.reason {
        Reason::FirstNotification
        | Reason::LevelRaised
        | Reason::AlertsAdded
        | Reason::Escalated
        | Reason::RepeatIntervalElapsed => held(view, terms, decision.reason, now).unwrap_or(decision),
        _ => decision,
    };
    let is_forgotten = state::forget_at(view.group, terms.forget_after).is_some_and(|at| now >= at);
    if is_forgotten && !decision.reason.notifies() && !decision.reason.ends_group() {
        return Decision::plain(Reason::Forgotten);
    }
    decision
}

/// What there is to tell.
fn wanted(view: View<'_>, terms: Terms<'_>, now: EventTime) -> Decision {
    let group = view.group;
    let told = match (view.level(), group.notified.first()) {
        (None, None) => return nothing_visible(view).unwrap_or(Decision::plain(Reason::ResolvedBeforeNotified)),
        (None, Some(_)) => return Decision::plain(Reason::Resolved),
        (Some(_), None) => return Decision::plain(Reason::FirstNotification),
        (Some(_), Some(told)) => told,
    };
    if view.visible_level().is_some_and(|level| level > told.level) {
        return Decision::plain(Reason::LevelRaised);
    }
    if view.firing().any(|(alert, muted)| muted.is_none() && !is_known(group, alert)) || view.has_new_rest() {
        return Decision::plain(Reason::AlertsAdded);
    }
    if state::forget_at(group, terms.forget_after).is_some_and(|at| now >= at) {
        return Decision::plain(Reason::Forgotten);
    }
    let is_escalation_due = next_step(group, terms.steps).is_some_and(|at| now >= at);
    let is_repeat_due = repeat_at(group, terms.timing).is_some_and(|at| now >= at);
    if (is_escalation_due || is_repeat_due)
        && view.visible_level().is_none()
        && let Some(muted) = nothing_visible(view)
    {
        return muted;
    }
    if is_escalation_due {
        return Decision::plain(Reason::Escalated);
    }
    Decision::plain(if is_repeat_due { Reason::RepeatIntervalElapsed } else { Reason::NothingNew })
}

/// Why none of the firing alerts may be told; `None` when none fires, or one may.
fn nothing_visible(view: View<'_>) -> Option<Decision> {
    let mut muted = Vec::new();
    for (_, why) in view.firing() {
        muted.push(why?);
    }
    if state::has_unlisted(view.group) {
        muted.push(view.rest_muted?);
    }
    let first = muted.first()?;
    let reason = match first {
        Muted::Inhibited { .. } => Reason::Inhibited,
        Muted::Silenced { .. } => Reason::Silenced,
        Muted::Maintenance { .. } => Reason::InMaintenance,
    };
    let until = muted.iter().filter_map(|muted| muted.until()).min();
    Some(Decision { reason, detail: first.describe(), until })
}

/// What keeps an alarm back.
fn held(view: View<'_>, terms: Terms<'_>, reason: Reason, now: EventTime) -> Option<Decision> {
    let group = view.group;
    if let Some(until) = group.silenced_until.filter(|until| now < *until) {
        let by = group.silenced_by.as_deref().unwrap_or("somebody");
        let why = group.silence_comment.as_deref().map_or(String::new(), |comment| format!(": {comment}"));
        let detail = format!("by {by} until {}{why}", until.to_rfc3339());
        return Some(Decision { reason: Reason::Silenced, detail, until: Some(until) });
    }
    if let Some(by) = &group.acknowledged_by
        && reason != Reason::FirstNotification
        && view.level() <= group.acknowledged_level
    {
        let at = group.acknowledged_at.map_or(String::new(), |at| format!(" at {}", at.to_rfc3339()));
        let detail = format!("acknowledged by {by}{at}");
        return Some(Decision { reason: Reason::HeldByAcknowledgement, detail, until: None });
    }
    let closed = terms.hours.check(now).err()?;
    let until = terms.hours.opens_after(now);
    let opens = format!("until {}", until.to_rfc3339());
    let (reason, detail) = match closed {
        Closed::NotActive => (Reason::OutsideActiveTime, opens),
        Closed::Muted(name) => (Reason::MutedByTimeInterval, format!("interval {name}, {opens}")),
    };
    Some(Decision { reason, detail, until: Some(until) })
}

/// When the next escalation step is taken. `None`: there is none, or the group was not told yet.
pub fn next_step(group: &AlertState, steps: &[Step]) -> Option<EventTime> {
    let step = steps.get(usize::try_from(group.escalated).ok()?)?;
    Some(group.first_told_at?.plus(step.after))
}

/// When it is said again.
pub fn repeat_at(group: &AlertState, timing: Timing) -> Option<EventTime> {
    group.notified.first().zip(timing.repeat_interval).map(|(told, every)| told.at.plus(every))
}

/// Whether the receiver knows of whom this alert is about: a second level is not a second person.
fn is_known(group: &AlertState, alert: &AlertInstance) -> bool {
    // A told one is known by itself: a look at a big group does not compare each with each.
    alert.told_at.is_some()
        || group
            .alerts
            .iter()
            .any(|other| other.told_at.is_some() && state::is_same_subject(&other.breach, &alert.breach))
        || is_known_unlisted(group, alert)
}

/// Whether it was told of it while it was not listed.
fn is_known_unlisted(group: &AlertState, alert: &AlertInstance) -> bool {
    if group.unlisted.is_empty() && group.unlisted_ended.is_empty() {
        return false;
    }
    let subject = Subject::of(&alert.breach);
    unlisted::is_told(&group.unlisted, subject) || unlisted::is_told(&group.unlisted_ended, subject)
}
