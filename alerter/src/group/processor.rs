//! The group stage as a processor of the keyed runtime.
//!
//! Four kinds of keys live side by side: groups (`ttf:…`), silences (`silence:…`), where an alert went whose labels may
//! change (`alert:…`), and what came too late to be told (`late:…`).

use std::sync::Arc;

use prometheus::IntCounterVec;
use stream_runtime::keyed::{Context, Effect, KeyedProcessor};
use telemetry_schemas::{
    BreachStatus, EventTime, Millis, TtfBreach,
    alert::{AlertCommand, AlertState, Notification},
};

use super::{
    act,
    decide::{Reason, Terms},
    history,
    open::OpenGroups,
    past,
    room::{Bounds, Room},
    state::{self, Applied, Group},
};
use crate::{
    metrics::AlerterMetrics,
    mutes::follow::SharedMutes,
    route::{LATE_PREFIX, MEMORY_PREFIX, Routed, Routes, SILENCE_PREFIX, all_labels, labels},
};

/// One input about one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Breach(Box<TtfBreach>),
    Command(AlertCommand),
}

/// What a transaction writes besides states.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Notification(Box<Notification>),
    /// A breach on its way to a group.
    Routed {
        group_key: String,
        breach: Box<TtfBreach>,
    },
}

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Group,
    Silence,
    Memory,
    Late,
}

impl Kind {
    pub fn of(key: &str) -> Self {
        let kinds = [(SILENCE_PREFIX, Self::Silence), (MEMORY_PREFIX, Self::Memory), (LATE_PREFIX, Self::Late)];
        kinds.into_iter().find(|(prefix, _)| key.starts_with(prefix)).map_or(Self::Group, |(_, kind)| kind)
    }
}

/// How long what is kept is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// A group that hears nothing new is dropped after this time.
    pub forget_after: Millis,
    /// The history of a group that is over is shown for this time.
    pub keep_history: Millis,
    /// How much a group holds.
    pub bounds: Bounds,
}

/// Keeps the alert groups.
pub struct GroupProcessor {
    routes: Arc<Routes>,
    keeping: Keeping,
    mutes: SharedMutes,
    decisions: IntCounterVec,
    open: OpenGroups,
}

impl GroupProcessor {
    pub fn new(routes: Arc<Routes>, keeping: Keeping, mutes: SharedMutes, metrics: &AlerterMetrics) -> Self {
        for reason in Reason::ALL {
            metrics.decisions.with_label_values(&[reason.as_str()]);
        }
        Self {
            routes,
            keeping,
            mutes,
            decisions: metrics.decisions.clone(),
            open: OpenGroups::new(metrics.groups.clone()),
        }
    }

    fn take_in(&self, now: EventTime, key: &str, group: &mut Option<Group>, breach: TtfBreach) {
        let labels = all_labels(&breach);
        let routed = self.routes.find(key, &labels);
        let timing = routed.as_ref().map_or(self.routes.root_timing(), |routed| routed.timing);
        let was_known = group.is_some();
        let known = group.get_or_insert_with(|| {
            // The routes may have changed since it was routed; every group has these two.
            let labels = routed.map_or_else(
                || labels.into_iter().filter(|(name, _)| name == "tenant" || name == "journey").collect(),
                |routed| routed.labels,
            );
            Group::begin(key, labels, now)
        });
        let was_over = state::is_over(&known.kept);
        let was_full = state::has_unlisted(&known.kept);
        match state::apply(&mut known.kept, &mut known.room, breach, timing, self.keeping.bounds, now) {
            Applied::Taken => {}
            Applied::NotListed => {
                // Once, and not for each of a flood; the metric counts them all.
                if !was_full {
                    tracing::warn!(group = key, "the alert group lists as many alerts as it can; more are counted");
                }
                self.decided(Reason::GroupFull);
                history::note(&mut known.kept, Reason::GroupFull, &[], "", now);
            }
        }
        // Not left to the end of the transaction, where it would matter what else is in it: another alarm of this
        // group begins anew.
        if state::is_over(&known.kept) {
            self.decided(Reason::ResolvedBeforeNotified);
            if !was_known {
                // The end of something nothing is known of.
                *group = None;
            } else if !was_over {
                history::note(&mut known.kept, Reason::ResolvedBeforeNotified, &[], "", now);
                self.end(known, now);
            }
        }
    }

    /// Remembers where an alert goes while it fires, and sends its end there.
    fn remember(&self, now: EventTime, key: &str, memory: &mut Option<Group>, breach: TtfBreach) {
        let is_firing = breach.status == BreachStatus::Firing;
        let known = memory
            .get_or_insert_with(|| Group::stored(AlertState { group_key: key.to_owned(), ..AlertState::default() }));
        if known.kept.routed_to.is_empty() || known.ends {
            let routed = self.routes.route(&all_labels(&breach));
            known.kept.routed_to = routed.into_iter().map(|routed| routed.group_key).collect();
        }
        known.ends = !is_firing;
        known.kept.next_flush_at = Some(now.plus(self.keeping.forget_after));
        let breach = Box::new(breach);
        known.pending.extend(
            known
                .kept
                .routed_to
                .iter()
                .map(|group_key| Output::Routed { group_key: group_key.clone(), breach: breach.clone() }),
        );
    }

    fn count_late(&self, now: EventTime, key: &str, late: &mut Option<Group>, breach: &TtfBreach) {
        let known = late
            .get_or_insert_with(|| Group::stored(AlertState { group_key: key.to_owned(), ..AlertState::default() }));
        self.decided(Reason::Late);
        past::count(&mut known.kept, breach, now);
    }

    fn command(&self, now: EventTime, key: &str, kept: &mut Option<Group>, command: &AlertCommand) -> Effect {
        if Kind::of(key) == Kind::Silence {
            match act::silence(key, command, now) {
                Some(silence) => *kept = Some(Group::stored(silence)),
                None => *kept = None,
            }
            return Effect::Changed;
        }
        // A command about a group that is over changes nothing.
        let Some(group) = kept.as_mut().filter(|group| !state::is_over(&group.kept)) else {
            self.decided(Reason::CommandIgnored);
            return Effect::Unchanged;
        };
        tracing::info!(group = key, action = ?command.action, "an operator acts on an alert group");
        let notifications = act::act(&mut group.kept, command, now);
        group.room = Room::default();
        for sent in &notifications {
            tracing::debug!(
                group = key,
                reason = sent.reason,
                receiver = sent.receiver,
                "decided about an alert group"
            );
        }
        if !notifications.is_empty() {
            self.decided(match command.action {
                telemetry_schemas::alert::AlertAction::Assign => Reason::Assigned,
                _ => Reason::Acknowledged,
            });
        }
        group.pending.extend(notifications.into_iter().map(|sent| Output::Notification(Box::new(sent))));
        Effect::Changed
    }

    fn decided(&self, reason: Reason) {
        self.decisions.with_label_values(&[reason.as_str()]).inc();
    }

    fn end(&self, group: &mut Group, now: EventTime) {
        state::end(&mut group.kept, self.keeping.keep_history, now);
        group.room = Room::default();
        group.ends = self.keeping.keep_history.0 == 0;
    }

    /// Who is told of this group and when, as things are configured now. `None`: who was told is gone.
    fn receiver(&self, group: &AlertState) -> Option<(String, Option<Routed>)> {
        let find = |labels| self.routes.find(&group.group_key, &labels);
        let alert = group.alerts.first().map(|alert| &alert.breach);
        if let Some(routed) = alert.and_then(|breach| find(all_labels(breach)).or_else(|| find(labels(breach)))) {
            return Some((routed.receiver.clone(), Some(routed)));
        }
        if alert.is_none()
            && state::has_unlisted(group)
            && let Some(routed) = find(state::rest_labels(group))
        {
            return Some((routed.receiver.clone(), Some(routed)));
        }
        // No route leads here any more: whoever was told hears the end of it.
        match group.notified.first() {
            Some(told) if self.routes.has_receiver(&told.receiver) => Some((told.receiver.clone(), None)),
            Some(_) => None,
            None => Some((self.routes.root_receiver().to_owned(), None)),
        }
    }

    fn look(&self, key: &str, group: &mut Group, now: EventTime) {
        let Some((receiver, routed)) = self.receiver(&group.kept) else {
            self.decided(Reason::ReceiverGone);
            history::note(&mut group.kept, Reason::ReceiverGone, &[], "", now);
            self.end(group, now);
            return;
        };
        group.kept.notified.retain(|told| told.receiver == receiver || self.routes.has_receiver(&told.receiver));
        let root = self.routes.root_timing();
        let quiet = crate::config::Hours::default();
        let terms = Terms {
            timing: routed.as_ref().map_or(root, |routed| routed.timing),
            hours: routed.as_ref().map_or(&quiet, |routed| &routed.hours),
            steps: routed.as_ref().map_or(&[], |routed| &routed.steps),
            forget_after: self.keeping.forget_after,
        };
        let flushed = state::flush(&mut group.kept, &receiver, terms, &self.mutes.read(), now);
        group.room = Room::default();
        let (reason, detail) = (flushed.decision.reason, flushed.decision.detail);
        self.decided(reason);
        tracing::debug!(group = key, reason = reason.as_str(), detail, "decided about an alert group");
        group.pending.extend(flushed.notifications.into_iter().map(|sent| Output::Notification(Box::new(sent))));
        if reason == Reason::Resolved && state::has_alerts(&group.kept) {
            // What nobody was told of is still there.
            let kept = &mut group.kept;
            kept.notified.clear();
            (kept.acknowledged_by, kept.acknowledged_at, kept.acknowledged_level) = (None, None, None);
            (kept.first_told_at, kept.escalated) = (None, 0);
        } else if reason.ends_group() {
            self.end(group, now);
        }
    }

    /// Says in one word what came too late.
    fn sum_up(&self, late: &mut Group, now: EventTime) {
        let summary = past::summary(&late.kept, now);
        let routed = self.routes.route(&past::labels(&summary));
        let receivers: Vec<_> = routed.into_iter().map(|routed| (routed.receiver, routed.labels)).collect();
        let notifications = past::tell(&late.kept, &summary, &receivers, now);
        self.decided(Reason::CaughtUp);
        tracing::info!(key = late.kept.group_key, "summed up what came too late to be told");
        late.pending.extend(notifications.into_iter().map(|sent| Output::Notification(Box::new(sent))));
        late.ends = true;
    }
}

impl KeyedProcessor for GroupProcessor {
    type Key = String;
    type State = Group;
    type Input<'a> = Input;
    type Output = Output;

    const OBSERVES_STORED: bool = true;

    fn on_record(&self, ctx: &Context, key: &String, group: &mut Option<Group>, input: Input) -> Effect {
        let now = EventTime(ctx.now_ms);
        match (input, Kind::of(key)) {
            (Input::Breach(breach), Kind::Group) => self.take_in(now, key, group, *breach),
            (Input::Breach(breach), Kind::Memory) => self.remember(now, key, group, *breach),
            (Input::Breach(breach), Kind::Late) => self.count_late(now, key, group, &breach),
            (Input::Breach(_), Kind::Silence) => return Effect::Unchanged,
            (Input::Command(command), _) => return self.command(now, key, group, &command),
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
        outputs: &mut Vec<Output>,
    ) {
        let Some(group) = after else { return };
        let now = EventTime(ctx.now_ms);
        if std::mem::take(&mut group.due) {
            match Kind::of(key) {
                Kind::Group if state::is_over(&group.kept) => group.ends = true,
                Kind::Group => self.look(key, group, now),
                // The silence is over; the alert was never heard of again.
                Kind::Silence | Kind::Memory => group.ends = true,
                Kind::Late => self.sum_up(group, now),
            }
        }
        outputs.append(&mut group.pending);
        if group.ends {
            *after = None;
        }
    }

    fn observe_committed(&self, partition: i32, key: &String, before: Option<&Group>, after: Option<&Group>) {
        if Kind::of(key) == Kind::Group {
            self.open.changed(partition, before, after);
        }
    }

    fn observe_stored(&self, partition: i32, key: &String, group: &Group) {
        if Kind::of(key) == Kind::Group {
            self.open.changed(partition, None, Some(group));
        }
    }

    fn observe_complete(&self, partition: i32) {
        self.open.complete(partition);
    }

    fn observe_closed(&self, partition: i32) {
        self.open.closed(partition);
    }
}
