//! What operators do: acknowledge, assign, silence, unsilence. Pure.

use telemetry_schemas::{
    BreachStatus, EventTime, Millis,
    alert::{AlertAction, AlertCommand, AlertState, Notification},
};

use super::{
    decide::{self, Reason},
    history, state,
};
use crate::route::SILENCE_PREFIX;

/// After a silence was taken away.
const SHORTLY: Millis = Millis::from_secs(1);

/// Does to a group what was asked. Who was told of it hears at once that it is somebody's.
pub fn act(group: &mut AlertState, command: &AlertCommand, now: EventTime) -> Vec<Notification> {
    if state::is_over(group) {
        history::note(group, Reason::CommandIgnored, &[], &described(command), now);
        return Vec::new();
    }
    match command.action {
        AlertAction::Ack => {
            group.acknowledged_by = Some(command.by.clone());
            group.assigned_to.get_or_insert_with(|| command.by.clone());
            take(group, command, Reason::Acknowledged, now)
        }
        AlertAction::Assign => {
            let assignee = command.assignee.clone().unwrap_or_else(|| command.by.clone());
            group.acknowledged_by = Some(command.by.clone());
            group.assigned_to = Some(assignee);
            take(group, command, Reason::Assigned, now)
        }
        AlertAction::Silence => {
            group.silenced_until = command.until;
            group.silenced_by = Some(command.by.clone());
            group.silence_comment.clone_from(&command.comment);
            // Also where a longer one was to end later.
            group.next_flush_at = match (group.next_flush_at, command.until) {
                (Some(known), Some(until)) => Some(known.min(until)),
                (known, until) => known.or(until),
            };
            history::note(group, Reason::Silenced, &[], &described(command), now);
            Vec::new()
        }
        AlertAction::Unsilence => {
            let was_silent = group.silenced_until.is_some_and(|until| now < until);
            (group.silenced_until, group.silenced_by, group.silence_comment) = (None, None, None);
            if was_silent {
                // What was kept back is told, if it still is to be told.
                group.next_flush_at = Some(now.plus(SHORTLY));
            }
            history::note(group, Reason::NothingNew, &[], &described(command), now);
            Vec::new()
        }
        AlertAction::Unknown => Vec::new(),
    }
}

fn take(group: &mut AlertState, command: &AlertCommand, reason: Reason, now: EventTime) -> Vec<Notification> {
    group.acknowledged_at = Some(command.at);
    group.acknowledged_level = decide::firing_level(group);
    let is_firing = group.acknowledged_level.is_some();
    let level = group.notified.iter().filter(|told| told.status == BreachStatus::Firing).map(|told| told.level).max();
    let (true, Some(level)) = (is_firing, level) else {
        history::note(group, reason, &[], &described(command), now);
        return Vec::new();
    };
    let receivers: Vec<String> = group.notified.iter().map(|told| told.receiver.clone()).collect();
    // When they were told last stays as it is: an acknowledgement is no news that others wait behind.
    let told_before = group.notified.clone();
    let unchanged = (group.alerts.clone(), group.unlisted_ended.clone());
    let notifications = state::tell(group, &receivers, reason, Some(level), &state::Visible::default(), now);
    group.notified = told_before;
    (group.alerts, group.unlisted_ended) = unchanged;
    history::note(group, reason, &receivers, &described(command), now);
    notifications
}

/// The state of a silence that is kept under a key of its own; `None` when the command asks for none.
pub fn silence(key: &str, command: &AlertCommand, now: EventTime) -> Option<AlertState> {
    let until = command.until.filter(|until| *until > now)?;
    if command.action != AlertAction::Silence || !key.starts_with(SILENCE_PREFIX) || command.matchers.is_empty() {
        return None;
    }
    Some(AlertState {
        group_key: key.to_owned(),
        silence_matchers: command.matchers.clone(),
        silence_starts_at: Some(command.starts_at.unwrap_or(command.at)),
        silenced_until: Some(until),
        silenced_by: Some(command.by.clone()),
        silence_comment: command.comment.clone(),
        next_flush_at: Some(until),
        ..AlertState::default()
    })
}

/// What was asked, by whom and why.
fn described(command: &AlertCommand) -> String {
    let action = match command.action {
        AlertAction::Ack => "acknowledged",
        AlertAction::Assign => "assigned",
        AlertAction::Silence => "silenced",
        AlertAction::Unsilence => "silence taken away",
        AlertAction::Unknown => "something unknown was asked",
    };
    let assignee = command.assignee.as_deref().map_or(String::new(), |assignee| format!(" to {assignee}"));
    let until = command.until.map_or(String::new(), |until| format!(" until {}", until.to_rfc3339()));
    let comment = command.comment.as_deref().map_or(String::new(), |comment| format!(": {comment}"));
    format!("{action}{assignee} by {}{until}{comment}", command.by)
}
