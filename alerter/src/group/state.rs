//! What is known of a group, and how breaches and notifications change it. Pure.

use sha2::{Digest, Sha256};
use telemetry_schemas::{
    BreachLevel, BreachStatus, EventTime, Millis, TtfBreach,
    alert::{AlertInstance, AlertState, Notification, Notified},
    ids,
};

use super::decide::{self, Reason};
use crate::route::{Labels, Timing};

/// A group's alerts hold at most about this many bytes: state and notification have to fit into a record.
pub const MAX_GROUP_BYTES: usize = 512 * 1024;

/// A group as the runtime holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub kept: AlertState,
    /// Its time has come: it is looked at when the transaction ends.
    pub due: bool,
}

impl Group {
    /// A group without alerts. Its notifications are counted from the time it began, so that their ids differ from
    /// those of the time before.
    pub fn begin(group_key: &str, labels: Labels, now: EventTime) -> Self {
        let kept = AlertState { group_key: group_key.to_owned(), labels, sequence: now.0, ..AlertState::default() };
        Self { kept, due: false }
    }
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
    /// The group holds too much already.
    GroupFull,
}

/// Takes a breach in and sees to it that the group is looked at.
pub fn apply(group: &mut AlertState, breach: TtfBreach, timing: Timing, now: EventTime) -> Applied {
    let wait = wait(&breach, timing, now);
    let known = group.alerts.iter().position(|alert| is_same_alert(&alert.breach, &breach));
    // Said again: nothing to look at the group for.
    if let Some(index) = known
        && group.alerts[index].breach.status == breach.status
    {
        group.alerts[index].breach = breach;
        return Applied::Taken;
    }
    match (known, breach.status) {
        (None, BreachStatus::Firing) => {
            if !make_room(group, &breach) {
                return Applied::GroupFull;
            }
            // After the last notification, also where the clock was set back: it has not been told.
            let after_told = group.notified.first().map_or(i64::MIN, |told| told.at.0.saturating_add(1));
            group.alerts.push(AlertInstance { breach, received_at: EventTime(now.0.max(after_told)), told_at: None });
        }
        // The end of something nothing is known of.
        (None, _) => return Applied::Taken,
        (Some(index), BreachStatus::Firing) => group.alerts[index].breach = breach,
        (Some(index), _) if was_told(group, &group.alerts[index]) => group.alerts[index].breach = breach,
        // Fired and over before anybody was told.
        (Some(index), _) => {
            group.alerts.remove(index);
        }
    }
    schedule(group, wait, timing, now);
    Applied::Taken
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
        at = at.max(told.at.plus(timing.group_interval));
    }
    group.next_flush_at = Some(group.next_flush_at.map_or(at, |known| known.min(at)));
}

/// What a look at the group came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Flushed {
    pub reason: Reason,
    pub notification: Option<Notification>,
}

/// Looks at a group: decides, writes the notification, and notes what was told.
pub fn flush(group: &mut AlertState, receiver: &str, timing: Timing, forget_after: Millis, now: EventTime) -> Flushed {
    let reason = decide::decide(group, now, timing.repeat_interval, forget_after);
    let notification = reason.notifies().then(|| notify(group, receiver, reason, now));
    let repeat_at = group.notified.first().zip(timing.repeat_interval).map(|(told, every)| told.at.plus(every));
    let next = [repeat_at, forget_at(group, forget_after)].into_iter().flatten().min();
    // Never where it was, or it would fire for ever.
    group.next_flush_at = next.map(|at| at.max(now.plus(Millis(1))));
    Flushed { reason, notification }
}

fn notify(group: &mut AlertState, receiver: &str, reason: Reason, now: EventTime) -> Notification {
    let (status, level) = match decide::firing_level(group) {
        Some(level) => (BreachStatus::Firing, level),
        None => (BreachStatus::Resolved, group.notified.first().map_or(BreachLevel::Warning, |told| told.level)),
    };
    group.sequence += 1;
    group.alerts.sort_by(|a, b| notification_order(&a.breach).cmp(&notification_order(&b.breach)));
    let alerts: Vec<TtfBreach> = group.alerts.iter().map(|alert| alert.breach.clone()).collect();
    let (tenant, journey) = (label(group, "tenant"), label(group, "journey"));
    group.notified =
        vec![Notified { receiver: receiver.to_owned(), level, status, at: now, fingerprint: fingerprint(&alerts) }];
    // The end of these was told now.
    group.alerts.retain(|alert| alert.breach.status == BreachStatus::Firing);
    for alert in &mut group.alerts {
        // The clock may have been set back.
        alert.received_at = alert.received_at.min(now);
    }
    Notification {
        notification_id: ids::notification_id(&group.group_key, receiver, group.sequence),
        group_key: group.group_key.clone(),
        tenant,
        journey,
        receiver: receiver.to_owned(),
        level,
        status,
        reason: reason.as_str().to_owned(),
        labels: group.labels.clone(),
        alerts,
        created_at: now,
        acknowledged_by: group.acknowledged_by.clone(),
        assigned_to: group.assigned_to.clone(),
        left_out: group.left_out,
    }
}

fn label(group: &AlertState, name: &str) -> String {
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
    group.alerts.iter().map(|alert| alert.received_at).max().map(|last| last.plus(forget_after))
}

/// Whether the receiver was told that this alert is firing.
pub fn was_told(group: &AlertState, alert: &AlertInstance) -> bool {
    group.notified.first().is_some_and(|told| alert.received_at <= told.at)
}

pub fn is_same_attempt(a: &TtfBreach, b: &TtfBreach) -> bool {
    (&a.tenant, &a.journey, &a.user_id, &a.attempt) == (&b.tenant, &b.journey, &b.user_id, &b.attempt)
}

fn is_same_alert(a: &TtfBreach, b: &TtfBreach) -> bool {
    a.level == b.level && a.kind == b.kind && is_same_attempt(a, b)
}

/// Makes room for one more alert: what is over goes first, then what is of a lower level.
fn make_room(group: &mut AlertState, breach: &TtfBreach) -> bool {
    let mut bytes: usize = group.alerts.iter().map(|alert| size(&alert.breach)).sum();
    let needed = size(breach);
    while bytes + needed > MAX_GROUP_BYTES {
        let dispensable =
            |alert: &AlertInstance| alert.breach.status != BreachStatus::Firing || alert.breach.level < breach.level;
        let victim = group
            .alerts
            .iter()
            .enumerate()
            .filter(|(_, alert)| dispensable(alert))
            .min_by_key(|(_, alert)| (alert.breach.status == BreachStatus::Firing, alert.breach.level))
            .map(|(index, _)| index);
        let Some(index) = victim else { return false };
        bytes -= size(&group.alerts.remove(index).breach);
    }
    true
}

/// About how many bytes a breach is, written down.
fn size(breach: &TtfBreach) -> usize {
    let texts = [&breach.breach_id, &breach.tenant, &breach.journey, &breach.user_id, &breach.attempt];
    let segments: usize = breach.segments.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    80 + texts.iter().map(|text| text.len()).sum::<usize>()
        + breach.current_stage.as_ref().map_or(0, String::len)
        + segments
}
