//! What is known of a group, and how breaches and notifications change it. Pure.

use sha2::{Digest, Sha256};
use telemetry_schemas::{
    BreachLevel, BreachStatus, EventTime, Millis, TtfBreach,
    alert::{AlertInstance, AlertState, Notification, Notified},
    ids,
};

use super::{
    decide::{self, Decision, Reason, Terms, View},
    history,
    processor::Output,
    room::{self, Bounds, Ended, Room},
    unlisted::{self, Subject},
};
use crate::{
    mutes::{Muted, Mutes},
    route::{Labels, Timing, all_labels},
};

/// A group as the runtime holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub kept: AlertState,
    /// Its time has come: it is looked at when the transaction ends.
    pub due: bool,
    /// What this transaction has to write.
    pub pending: Vec<Output>,
    /// Nothing is left of it when this transaction ends.
    pub ends: bool,
    /// How much room its alerts take.
    pub room: Room,
}

impl Group {
    pub fn stored(kept: AlertState) -> Self {
        Self { kept, due: false, pending: Vec::new(), ends: false, room: Room::default() }
    }

    /// A group without alerts. Its notifications are counted from the time it began, so that their ids differ from
    /// those of the time before.
    pub fn begin(group_key: &str, labels: Labels, now: EventTime) -> Self {
        Self::stored(AlertState { group_key: group_key.to_owned(), labels, sequence: now.0, ..AlertState::default() })
    }
}

/// Whether only the history of it is left.
pub fn is_over(group: &AlertState) -> bool {
    !has_alerts(group) && group.notified.is_empty()
}

/// Whether there is an alert, listed or not.
pub fn has_alerts(group: &AlertState) -> bool {
    !group.alerts.is_empty() || has_unlisted(group)
}

/// Whether there are alerts that are not listed: all of them fire.
pub fn has_unlisted(group: &AlertState) -> bool {
    !group.unlisted.is_empty() || group.left_out > 0
}

/// Leaves the history of a group that is over, to be shown for so long.
pub fn end(group: &mut AlertState, keep: Millis, now: EventTime) {
    *group = AlertState {
        group_key: std::mem::take(&mut group.group_key),
        labels: std::mem::take(&mut group.labels),
        // Later than any clock that was set back: the ids go on.
        sequence: group.sequence,
        history: std::mem::take(&mut group.history),
        next_flush_at: Some(now.plus(keep)),
        ..AlertState::default()
    };
}

/// A breach that was found longer ago than this comes out of a backlog …
const BACKLOG: Millis = Millis::from_secs(10);
/// … in which its end may follow; it waits as long again, at most so long.
const LONGEST_BACKLOG_WAIT: Millis = Millis::from_secs(60);

/// What became of a breach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The group is as the breach says.
    Taken,
    /// It is counted; the group lists too much already.
    NotListed,
}

/// Takes a breach in and sees to it that the group is looked at.
pub fn apply(
    group: &mut AlertState,
    room: &mut Room,
    breach: TtfBreach,
    timing: Timing,
    bounds: Bounds,
    now: EventTime,
) -> Applied {
    let wait = wait(&breach, timing, now);
    // What is known by its hash is not listed: a flood need not be looked for in the list.
    let is_unlisted =
        !group.unlisted.is_empty() && unlisted::holds(&group.unlisted, Subject::of(&breach), breach.level);
    if is_unlisted && breach.status == BreachStatus::Firing {
        return Applied::Taken;
    }
    let listed = |alert: &AlertInstance| is_same_alert(&alert.breach, &breach);
    let known = if is_unlisted { None } else { group.alerts.iter().position(listed) };
    // Said again: nothing to look at the group for.
    if let Some(index) = known
        && group.alerts[index].breach.status == breach.status
    {
        replace(group, room, index, breach);
        return Applied::Taken;
    }
    match (known, breach.status) {
        (None, BreachStatus::Firing) => {
            let was_over = is_over(group);
            let is_listed = room::make_room(group, room, &breach, bounds, now);
            if is_listed {
                room.changed(0, room::size(&breach));
                group.alerts.push(AlertInstance { breach, received_at: now, told_at: None });
            } else {
                room::leave_out(group, &breach, false, bounds, now);
            }
            if was_over {
                // The look that was to come was to take the history away.
                group.next_flush_at = None;
            }
            schedule(group, wait, timing, now);
            return if is_listed { Applied::Taken } else { Applied::NotListed };
        }
        // The end of something that is not listed, or of which nothing is known.
        (None, _) => {
            if room::let_go(group, &breach) != Ended::Told {
                return Applied::Taken;
            }
        }
        (Some(index), BreachStatus::Firing) => replace(group, room, index, breach),
        (Some(index), _) if group.alerts[index].told_at.is_some() => replace(group, room, index, breach),
        // Fired and over before anybody was told.
        (Some(index), _) => {
            let gone = group.alerts.remove(index);
            room.changed(room::size(&gone.breach), 0);
        }
    }
    schedule(group, wait, timing, now);
    Applied::Taken
}

/// Says anew what is known of an alert.
fn replace(group: &mut AlertState, room: &mut Room, index: usize, breach: TtfBreach) {
    let after = room::size(&breach);
    let was = std::mem::replace(&mut group.alerts[index].breach, breach);
    room.changed(room::size(&was), after);
}

/// How long a change waits for others that belong with it. While a backlog is worked off, what was found later may
/// still be on its way.
fn wait(breach: &TtfBreach, timing: Timing, now: EventTime) -> Millis {
    let behind = now.since(breach.detected_at);
    if behind > BACKLOG { timing.group_wait.max(behind.min(LONGEST_BACKLOG_WAIT)) } else { timing.group_wait }
}

/// The group is looked at after `wait`, but not before `group_interval` after the last notification.
fn schedule(group: &mut AlertState, wait: Millis, timing: Timing, now: EventTime) {
    let mut at = now.plus(wait);
    if let Some(told) = group.notified.first() {
        // A clock that was set back puts nothing off for longer than that.
        let last = told.at.min(now);
        at = at.max(last.plus(timing.group_interval));
    }
    group.next_flush_at = Some(group.next_flush_at.map_or(at, |known| known.min(at)));
}

/// What a look at the group came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Flushed {
    pub decision: Decision,
    pub notifications: Vec<Notification>,
}

/// Groups of which something is muted are looked at as often as notifications may follow each other, and no more often
/// than this: a silence may be taken away.
const SHORTEST_RECHECK: Millis = Millis::from_secs(5);

/// Looks at a group: decides, writes the notifications, and notes what was told.
pub fn flush(group: &mut AlertState, receiver: &str, terms: Terms<'_>, mutes: &Mutes, now: EventTime) -> Flushed {
    let muted: Vec<_> = if mutes.is_empty() {
        Vec::new()
    } else {
        group.alerts.iter().map(|alert| mutes.check(&all_labels(&alert.breach), now)).collect()
    };
    let rest_muted = rest_muted(group, &muted, mutes, now);
    let view = View { group, muted: &muted, rest_muted: rest_muted.as_ref() };
    let decision = decide::decide(view, terms, now);
    let level = view.level();
    let is_any_muted = rest_muted.is_some() || view.firing().any(|(_, muted)| muted.is_some());
    let visible = Visible {
        listed: (0..group.alerts.len()).map(|index| muted.get(index).is_none_or(Option::is_none)).collect(),
        rest: rest_muted.is_none(),
    };

    let notifications = if decision.reason.notifies() {
        let receivers = receivers(group, receiver, decision.reason, terms, now);
        tell(group, &receivers, decision.reason, level, &visible, now)
    } else {
        Vec::new()
    };
    let mut next: Vec<EventTime> = forget_at(group, terms.forget_after).into_iter().collect();
    if decision.reason.notifies() || decision.reason == Reason::NothingNew {
        next.extend(decide::repeat_at(group, terms.timing));
        next.extend(decide::next_step(group, terms.steps));
    }
    next.extend(decision.until);
    if is_any_muted {
        next.push(now.plus(terms.timing.group_interval.max(SHORTEST_RECHECK)));
    }
    // Never where it was, or it would fire for ever.
    group.next_flush_at = next.into_iter().min().map(|at| at.max(now.plus(Millis(1))));
    let told: Vec<String> = notifications.iter().map(|sent| sent.receiver.clone()).collect();
    history::note(group, decision.reason, &told, &decision.detail, now);
    Flushed { decision, notifications }
}

/// Which alerts may be told of.
#[derive(Debug, Default)]
pub struct Visible {
    listed: Vec<bool>,
    rest: bool,
}

/// What keeps those quiet that are not listed, of which no more is known than that they are of this group: what keeps all
/// the listed ones quiet, or, when none of those fires, what the labels of the group match.
fn rest_muted(group: &AlertState, muted: &[Option<Muted>], mutes: &Mutes, now: EventTime) -> Option<Muted> {
    if muted.is_empty() && mutes.is_empty() || !has_unlisted(group) {
        return None;
    }
    let view = View { group, muted, rest_muted: None };
    let mut listed = view.firing().map(|(_, muted)| muted);
    match listed.next() {
        Some(first) => first.filter(|_| listed.all(|muted| muted.is_some())).cloned(),
        None => mutes.check(&rest_labels(group), now),
    }
}

/// The labels that are known of alerts that are not listed.
pub fn rest_labels(group: &AlertState) -> Labels {
    let mut labels = group.labels.clone();
    if let Some(level) = unlisted::entries(&group.unlisted).map(unlisted::Entry::level).max() {
        labels.insert("level".to_owned(), level.as_str().to_owned());
    }
    labels
}

/// Who is told. A step of an escalation is told to those of the step; from then on they hear what the others hear.
fn receivers(group: &mut AlertState, receiver: &str, reason: Reason, terms: Terms<'_>, now: EventTime) -> Vec<String> {
    if group.notified.is_empty() {
        return vec![receiver.to_owned()];
    }
    if reason == Reason::LevelRaised && group.acknowledged_by.is_some() {
        // Who took it took less than this: it is nobody's again, and the steps begin anew.
        (group.acknowledged_by, group.acknowledged_at, group.acknowledged_level) = (None, None, None);
        (group.first_told_at, group.escalated) = (Some(now), 0);
    }
    if reason != Reason::Escalated {
        return group.notified.iter().map(|told| told.receiver.clone()).collect();
    }
    let mut due = Vec::new();
    while decide::next_step(group, terms.steps).is_some_and(|at| now >= at) {
        let step = usize::try_from(group.escalated).ok().and_then(|index| terms.steps.get(index));
        due.extend(step.map(|step| step.receiver.clone()));
        group.escalated += 1;
    }
    due.sort();
    due.dedup();
    due
}

/// Writes one notification for each receiver, and notes what they know now.
pub fn tell(
    group: &mut AlertState,
    receivers: &[String],
    reason: Reason,
    level: Option<BreachLevel>,
    visible: &Visible,
    now: EventTime,
) -> Vec<Notification> {
    let highest_told = group.notified.iter().map(|told| told.level).max();
    let (status, level) = match level {
        Some(level) => (BreachStatus::Firing, level),
        None => (BreachStatus::Resolved, highest_told.unwrap_or(BreachLevel::Warning)),
    };
    if status == BreachStatus::Firing && reason != Reason::Acknowledged && reason != Reason::Assigned {
        group.first_told_at.get_or_insert(now);
        for (alert, is_visible) in group.alerts.iter_mut().zip(&visible.listed) {
            if *is_visible && alert.breach.status == BreachStatus::Firing {
                alert.told_at.get_or_insert(now);
            }
        }
        if visible.rest {
            unlisted::tell_all(&mut group.unlisted);
            group.left_out_told = group.left_out;
        }
    }
    group.alerts.sort_by(|a, b| notification_order(&a.breach).cmp(&notification_order(&b.breach)));
    let alerts: Vec<TtfBreach> =
        group.alerts.iter().filter(|alert| alert.told_at.is_some()).map(|alert| alert.breach.clone()).collect();
    let fingerprint = fingerprint(&alerts);
    let left_out = i64::try_from(room::told_not_listed(group)).unwrap_or(i64::MAX);
    let mut notifications = Vec::with_capacity(receivers.len());
    for receiver in receivers {
        group.sequence += 1;
        let told = Notified { receiver: receiver.clone(), level, status, at: now, fingerprint: fingerprint.clone() };
        match group.notified.iter_mut().find(|known| known.receiver == *receiver) {
            Some(known) => *known = told,
            None => group.notified.push(told),
        }
        notifications.push(Notification {
            notification_id: ids::notification_id(&group.group_key, receiver, group.sequence),
            group_key: group.group_key.clone(),
            tenant: label(group, "tenant"),
            journey: label(group, "journey"),
            receiver: receiver.clone(),
            level,
            status,
            reason: reason.as_str().to_owned(),
            labels: group.labels.clone(),
            alerts: alerts.clone(),
            created_at: now,
            acknowledged_by: group.acknowledged_by.clone(),
            assigned_to: group.assigned_to.clone(),
            left_out,
        });
    }
    if reason != Reason::Escalated {
        // Everybody was told the end of these now.
        group.alerts.retain(|alert| alert.breach.status == BreachStatus::Firing);
        group.unlisted_ended.clear();
    }
    notifications
}

pub fn label(group: &AlertState, name: &str) -> String {
    group.labels.get(name).cloned().unwrap_or_default()
}

/// Firing before resolved, the highest level first, then the earliest.
fn notification_order(breach: &TtfBreach) -> impl Ord + use<'_> {
    let is_over = breach.status != BreachStatus::Firing;
    (is_over, std::cmp::Reverse(breach.level), breach.due_at, &breach.user_id, &breach.attempt)
}

fn fingerprint(alerts: &[TtfBreach]) -> String {
    let mut hash = Sha256::new();
    for alert in alerts {
        hash.update((alert.breach_id.len() as u64).to_be_bytes());
        hash.update(&alert.breach_id);
    }
    hex::encode(&hash.finalize()[..8])
}

/// When a group is dropped that hears nothing new. `None` while nothing is in it.
pub fn forget_at(group: &AlertState, forget_after: Millis) -> Option<EventTime> {
    let unlisted = group.left_out_at.filter(|_| has_unlisted(group));
    group.alerts.iter().map(|alert| alert.received_at).chain(unlisted).max().map(|last| last.plus(forget_after))
}

/// Whether both are about one attempt of one user, or are one alert that is no user's.
pub fn is_same_subject(a: &TtfBreach, b: &TtfBreach) -> bool {
    // What differs most often goes first: a flood compares each breach with all that are listed.
    a.user_id == b.user_id
        && (&a.attempt, &a.journey, &a.tenant) == (&b.attempt, &b.journey, &b.tenant)
        && a.labels == b.labels
}

fn is_same_alert(a: &TtfBreach, b: &TtfBreach) -> bool {
    is_same_subject(a, b) && a.level == b.level && a.kind == b.kind
}
