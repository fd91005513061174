//! The group stage as a processor of the keyed runtime.

use std::sync::Arc;

use prometheus::IntCounterVec;
use stream_runtime::keyed::{Context, Effect, KeyedProcessor};
use telemetry_schemas::{
    EventTime, Millis, TtfBreach,
    alert::{AlertAction, AlertCommand, Notification},
};

use super::{
    decide::Reason,
    open::OpenGroups,
    state::{self, Applied, Flushed, Group},
};
use crate::{
    metrics::AlerterMetrics,
    route::{Routes, Timing, labels},
};

/// One input about one group.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Breach(Box<TtfBreach>),
    Command(AlertCommand),
}

/// Keeps the alert groups.
pub struct GroupProcessor {
    routes: Arc<Routes>,
    forget_after: Millis,
    decisions: IntCounterVec,
    open: OpenGroups,
}

impl GroupProcessor {
    pub fn new(routes: Arc<Routes>, forget_after: Millis, metrics: &AlerterMetrics) -> Self {
        Self {
            routes,
            forget_after,
            decisions: metrics.decisions.clone(),
            open: OpenGroups::new(metrics.groups.clone()),
        }
    }

    fn take_in(&self, now: EventTime, key: &str, group: &mut Option<Group>, breach: TtfBreach) {
        let labels = labels(&breach);
        let routed = self.routes.find(key, &labels);
        let timing = routed.as_ref().map_or(self.routes.root_timing(), |routed| routed.timing);
        let known = group.get_or_insert_with(|| {
            // The routes may have changed since it was routed; every group has these two.
            let labels = routed.map_or_else(
                || labels.into_iter().filter(|(name, _)| name == "tenant" || name == "journey").collect(),
                |routed| routed.labels,
            );
            Group::begin(key, labels, now)
        });
        match state::apply(&mut known.kept, breach, timing, now) {
            Applied::Taken => {}
            Applied::GroupFull => {
                tracing::warn!(group = key, "the alert group is full; a breach is left out of it");
                self.decided(Reason::GroupFull);
            }
        }
        // Not left to the end of the transaction, where it would matter what else is in it: another alarm of this
        // group begins anew.
        if known.kept.alerts.is_empty() && known.kept.notified.is_empty() {
            self.decided(Reason::ResolvedBeforeNotified);
            *group = None;
        }
    }

    fn decided(&self, reason: Reason) {
        self.decisions.with_label_values(&[reason.as_str()]).inc();
    }

    /// Who is told of this group and when, as things are configured now. `None`: who was told is gone.
    fn receiver(&self, group: &Group) -> Option<(String, Timing)> {
        let alert = group.kept.alerts.first().map(|alert| labels(&alert.breach));
        if let Some(routed) = alert.and_then(|labels| self.routes.find(&group.kept.group_key, &labels)) {
            return Some((routed.receiver, routed.timing));
        }
        // No route leads here any more: whoever was told hears the end of it.
        let receiver = match group.kept.notified.first() {
            Some(told) if self.routes.has_receiver(&told.receiver) => told.receiver.clone(),
            Some(_) => return None,
            None => self.routes.root_receiver().to_owned(),
        };
        Some((receiver, self.routes.root_timing()))
    }

    fn flush(&self, group: &mut Group, now: EventTime) -> Flushed {
        match self.receiver(group) {
            Some((receiver, timing)) => state::flush(&mut group.kept, &receiver, timing, self.forget_after, now),
            None => Flushed { reason: Reason::ReceiverGone, notification: None },
        }
    }
}

impl KeyedProcessor for GroupProcessor {
    type Key = String;
    type State = Group;
    type Input<'a> = Input;
    type Output = Notification;

    const OBSERVES_STORED: bool = true;

    fn on_record(&self, ctx: &Context, key: &String, group: &mut Option<Group>, input: Input) -> Effect {
        match input {
            Input::Breach(breach) => self.take_in(EventTime(ctx.now_ms), key, group, *breach),
            Input::Command(command) => {
                // A command about a group that is over changes nothing.
                if let Some(group) = group {
                    note(group, command);
                }
            }
        }
        Effect::Changed
    }

    fn on_timer(&self, _ctx: &Context, _key: &String, group: &mut Option<Group>, _complete_until_ms: i64) {
        if let Some(group) = group {
            group.due = true;
        }
    }

    fn next_due(&self, group: &Group) -> Option<i64> {
        if group.due { None } else { group.kept.next_flush_at.map(|at| at.0) }
    }

    fn on_flush(
        &self,
        ctx: &Context,
        key: &String,
        _before: Option<&Group>,
        after: &mut Option<Group>,
        outputs: &mut Vec<Notification>,
    ) {
        let Some(group) = after else { return };
        if !group.due {
            return;
        }
        group.due = false;
        let Flushed { reason, notification } = self.flush(group, EventTime(ctx.now_ms));
        self.decided(reason);
        tracing::debug!(group = key, reason = reason.as_str(), "decided about an alert group");
        outputs.extend(notification);
        if reason.ends_group() {
            *after = None;
        }
    }

    fn observe_committed(&self, partition: i32, _key: &String, before: Option<&Group>, after: Option<&Group>) {
        self.open.changed(partition, before, after);
    }

    fn observe_stored(&self, partition: i32, _key: &String, group: &Group) {
        self.open.changed(partition, None, Some(group));
    }

    fn observe_complete(&self, partition: i32) {
        self.open.complete(partition);
    }

    fn observe_closed(&self, partition: i32) {
        self.open.closed(partition);
    }
}

/// Notes what an operator has asked for.
fn note(group: &mut Group, command: AlertCommand) {
    match command.action {
        AlertAction::Ack | AlertAction::Assign => group.kept.acknowledged_by = Some(command.by),
        AlertAction::Silence => group.kept.silenced_until = command.until,
        AlertAction::Unsilence => group.kept.silenced_until = None,
        AlertAction::Unknown => {}
    }
}
