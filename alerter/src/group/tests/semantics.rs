use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;
use service_kit::Metrics;
use stream_runtime::keyed::{Context, Effect, KeyedProcessor};
use telemetry_schemas::{
    BreachLevel::{self, Critical, Escalation, Warning},
    BreachStatus, EventTime, Millis, TtfBreach,
    alert::{AlertAction, AlertCommand, Notification},
};

use crate::{
    config::AlerterConfig,
    group::{
        processor::{GroupProcessor, Input, Keeping, Kind, Output},
        room::Bounds,
        state::{self, Group},
    },
    metrics::AlerterMetrics,
    mutes::{Mutes, follow::SharedMutes},
    route::{Routes, all_labels},
    testing::{NOW, breach, config, resolved},
};

pub const SECOND: i64 = 1_000;

/// The processor with a clock that moves when told, each input a transaction of its own.
pub struct Drive {
    pub processor: GroupProcessor,
    pub routes: Arc<Routes>,
    pub groups: BTreeMap<String, Group>,
    pub now_ms: i64,
    pub sent: Vec<Notification>,
    pub metrics: Metrics,
    /// How long ago breaches were found.
    pub behind_ms: i64,
    pub mutes: SharedMutes,
}

pub fn keeping(config: &AlerterConfig) -> Keeping {
    Keeping {
        forget_after: Millis(config.forget_after.millis()),
        keep_history: Millis(config.keep_history.millis()),
        bounds: Bounds::default(),
    }
}

impl Drive {
    pub fn new(section: &str) -> Self {
        Self::bounded(section, Bounds::default())
    }

    /// With groups that hold no more than this.
    pub fn bounded(section: &str, bounds: Bounds) -> Self {
        let config = config(section);
        let routes = Arc::new(Routes::new(&config));
        let metrics = Metrics::default();
        let mutes: SharedMutes = Arc::new(RwLock::new(Mutes::new(&config)));
        let keeping = Keeping { bounds, ..keeping(&config) };
        let processor = GroupProcessor::new(routes.clone(), keeping, mutes.clone(), &AlerterMetrics::new(&metrics));
        processor.observe_complete(0);
        let (groups, sent) = (BTreeMap::new(), Vec::new());
        Self { processor, routes, groups, now_ms: NOW.0, sent, metrics, behind_ms: 0, mutes }
    }

    /// A new release of the configuration.
    pub fn reconfigure(&mut self, section: &str) {
        let Self { groups, now_ms, sent, .. } = std::mem::replace(self, Self::new(section));
        *self = Self { groups, now_ms, sent, ..Self::new(section) };
    }

    pub fn transaction(&mut self, breaches: Vec<TtfBreach>) {
        let ctx = Context { now_ms: self.now_ms };
        let mut touched: BTreeMap<String, Option<Group>> = BTreeMap::new();
        for breach in breaches {
            let breach = TtfBreach { detected_at: EventTime(self.now_ms - self.behind_ms), ..breach };
            let keys: Vec<_> = if self.routes.need_memory() {
                vec![self.routes.memory_key(&breach)]
            } else {
                self.routes.route(&all_labels(&breach)).into_iter().map(|routed| routed.group_key).collect()
            };
            for key in keys {
                let group = touched.entry(key.clone()).or_insert_with(|| self.groups.get(&key).cloned());
                self.processor.on_record(&ctx, &key, group, Input::Breach(Box::new(breach.clone())));
            }
        }
        for (key, after) in touched {
            self.flush(&key, after);
        }
    }

    /// What operators ask of a key.
    pub fn command(&mut self, key: &str, command: AlertCommand) {
        let mut group = self.groups.get(key).cloned();
        let ctx = Context { now_ms: self.now_ms };
        let effect = self.processor.on_record(&ctx, &key.to_owned(), &mut group, Input::Command(command));
        if effect == Effect::Changed {
            self.flush(&key.to_owned(), group);
        }
    }

    /// Groups that are not over.
    pub fn open(&self) -> Vec<&Group> {
        let is_open = |(key, group): &(&String, &Group)| Kind::of(key) == Kind::Group && !state::is_over(&group.kept);
        self.groups.iter().filter(is_open).map(|(_, group)| group).collect()
    }

    fn flush(&mut self, key: &String, mut after: Option<Group>) {
        let before = self.groups.remove(key);
        let ctx = Context { now_ms: self.now_ms };
        let mut outputs = Vec::new();
        self.processor.on_flush(&ctx, key, before.as_ref(), &mut after, &mut outputs);
        self.mutes.write().observe(key, after.as_ref().map(|group| &group.kept));
        self.processor.observe_committed(0, key, before.as_ref(), after.as_ref());
        if let Some(after) = after {
            self.groups.insert(key.clone(), after);
        }
        for output in outputs {
            match output {
                Output::Notification(sent) => self.sent.push(*sent),
                Output::Routed { group_key, breach } => {
                    let mut group = self.groups.get(&group_key).cloned();
                    self.processor.on_record(&ctx, &group_key, &mut group, Input::Breach(breach));
                    self.flush(&group_key, group);
                }
            }
        }
    }

    pub fn take(&mut self, breach: TtfBreach) {
        self.transaction(vec![breach]);
    }

    /// Lets time pass, second by second.
    pub fn wait(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now_ms += SECOND;
            let due: Vec<String> = self
                .groups
                .iter()
                .filter(|(_, group)| self.processor.next_due(group).is_some_and(|due| due <= self.now_ms))
                .map(|(key, _)| key.clone())
                .collect();
            for key in due {
                let mut group = self.groups.get(&key).cloned();
                self.processor.on_timer(&Context { now_ms: self.now_ms }, &key, &mut group, self.now_ms);
                self.flush(&key, group);
            }
        }
    }

    /// What was sent since the last call: reason, level, number of alerts.
    pub fn heard(&mut self) -> Vec<(String, BreachLevel, usize)> {
        self.sent.drain(..).map(|sent| (sent.reason, sent.level, sent.alerts.len())).collect()
    }
}

pub fn heard(reason: &str, level: BreachLevel, alerts: usize) -> (String, BreachLevel, usize) {
    (reason.to_owned(), level, alerts)
}

#[test]
fn each_rise_is_told_once_and_the_end_once() {
    let mut drive = Drive::new("");
    drive.take(breach("u-1", Warning));
    drive.wait(4);
    assert_eq!(drive.heard(), []);
    drive.wait(1);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)]);
    drive.wait(2_700);
    drive.take(breach("u-1", Critical));
    drive.wait(5);
    assert_eq!(drive.heard(), [heard("level_raised", Critical, 2)]);
    drive.wait(3_600);
    drive.take(breach("u-1", Escalation));
    drive.wait(3_600);
    assert_eq!(drive.heard(), [heard("level_raised", Escalation, 3)]);
    drive.transaction(vec![resolved("u-1", Warning), resolved("u-1", Critical), resolved("u-1", Escalation)]);
    drive.wait(5);
    let end = drive.sent[0].clone();
    assert_eq!(end.status, BreachStatus::Resolved);
    assert!(end.alerts.iter().all(|alert| alert.status == BreachStatus::Resolved));
    assert_eq!(drive.heard(), [heard("resolved", Escalation, 3)]);
    assert!(drive.open().is_empty(), "nothing more needs to be known");
}

#[test]
fn levels_that_come_together_are_told_together_in_any_order() {
    for levels in [[Warning, Critical, Escalation], [Escalation, Critical, Warning], [Critical, Escalation, Warning]] {
        let mut drive = Drive::new("");
        for level in levels {
            drive.take(breach("u-1", level));
        }
        drive.wait(100);
        assert_eq!(drive.sent[0].alerts[0].level, Escalation, "the worst is named first");
        assert_eq!(drive.heard(), [heard("first_notification", Escalation, 3)]);
    }
}

#[test]
fn what_is_over_before_anybody_was_told_is_never_told() {
    let mut drive = Drive::new("");
    drive.take(breach("u-1", Warning));
    drive.wait(4);
    drive.take(resolved("u-1", Warning));
    assert!(drive.open().is_empty());
    drive.take(resolved("u-2", Warning));
    drive.transaction(vec![breach("u-3", Warning), resolved("u-3", Warning)]);
    drive.wait(1_000);
    assert_eq!(drive.heard(), []);
    assert!(drive.metrics.render().contains(r#"ttf_alert_decisions_total{reason="resolved_before_notified"} 3"#));
}

#[test]
fn what_is_said_again_brings_no_look_forward() {
    let mut drive = Drive::new("route: { group_by: [journey], group_interval: 20s }");
    drive.transaction(vec![breach("u-1", Warning), breach("u-2", Warning)]);
    drive.wait(5);
    drive.take(resolved("u-1", Warning));
    drive.wait(20);
    drive.take(resolved("u-1", Warning));
    drive.wait(1);
    drive.take(breach("u-3", Warning));
    drive.wait(4);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 2)]);
    drive.wait(1);
    assert_eq!(drive.heard(), [heard("alerts_added", Warning, 3)]);
}

/// The alerter was away, and reads at once what happened in the meantime.
#[test]
fn in_a_backlog_an_alarm_waits_for_its_end() {
    let mut drive = Drive::new("");
    drive.behind_ms = 3 * 3_600 * SECOND;
    drive.transaction(vec![breach("u-1", Warning), breach("u-2", Warning)]);
    drive.wait(30);
    drive.take(resolved("u-1", Warning));
    drive.wait(29);
    assert_eq!(drive.heard(), []);
    drive.wait(1);
    assert_eq!(drive.sent[0].alerts[0].user_id, "u-2");
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)]);
}

#[test]
fn an_alarm_after_one_that_nobody_was_told_of_begins_anew() {
    let mut drive = Drive::new("");
    drive.take(breach("u-1", Warning));
    drive.wait(4);
    drive.transaction(vec![resolved("u-1", Warning), breach("u-1", Warning)]);
    drive.wait(4);
    assert_eq!(drive.heard(), [], "it waits as long as the first");
    drive.wait(1);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)]);
}

#[test]
fn a_lower_level_is_not_told_when_the_higher_one_ends() {
    let mut drive = Drive::new("");
    drive.transaction(vec![breach("u-1", Warning), breach("u-1", Critical)]);
    drive.wait(100);
    drive.take(resolved("u-1", Critical));
    drive.wait(1_000);
    assert_eq!(drive.heard(), [heard("first_notification", Critical, 2)]);
    drive.take(resolved("u-1", Warning));
    drive.wait(1_000);
    assert_eq!(drive.heard(), [heard("resolved", Critical, 2)]);
}

#[test]
fn an_alarm_that_comes_back_before_its_end_was_told_is_no_news() {
    let mut drive = Drive::new("");
    drive.take(breach("u-1", Warning));
    drive.wait(10);
    drive.take(resolved("u-1", Warning));
    drive.wait(30);
    drive.take(breach("u-1", Warning));
    drive.wait(1_000);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)]);
}

#[test]
fn another_alarm_after_the_end_is_told_under_another_id() {
    let mut drive = Drive::new("");
    for _ in 0..2 {
        drive.take(breach("u-1", Warning));
        drive.wait(100);
        drive.take(resolved("u-1", Warning));
        drive.wait(100);
    }
    let mut ids: Vec<_> = drive.sent.iter().map(|sent| sent.notification_id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
    let reasons: Vec<_> = drive.sent.iter().map(|sent| sent.reason.as_str()).collect();
    assert_eq!(reasons, ["first_notification", "resolved", "first_notification", "resolved"]);
}

#[test]
fn others_who_join_a_group_are_told_after_the_interval() {
    let mut drive = Drive::new("route: { group_by: [journey] }");
    drive.take(breach("u-1", Warning));
    drive.wait(10);
    drive.take(breach("u-2", Warning));
    drive.wait(54);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)]);
    drive.wait(1);
    assert_eq!(drive.heard(), [heard("alerts_added", Warning, 2)]);
    drive.take(resolved("u-1", Warning));
    drive.wait(1_000);
    assert_eq!(drive.heard(), [], "one of two is over: no change of the group's level");
    drive.take(resolved("u-2", Warning));
    drive.wait(5);
    assert_eq!(drive.heard(), [heard("resolved", Warning, 2)]);
}

#[test]
fn a_notification_is_repeated_only_where_configured() {
    let mut drive = Drive::new("route: { repeat_interval: 1h }");
    drive.take(breach("u-1", Warning));
    drive.wait(5 + 3_600);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1), heard("repeat_interval_elapsed", Warning, 1)]);
    let mut drive = Drive::new("");
    drive.take(breach("u-1", Warning));
    drive.wait(5 + 24 * 3_600);
    assert_eq!(drive.heard().len(), 1);
}

#[test]
fn a_group_nothing_is_heard_of_is_forgotten() {
    let mut drive = Drive::new("forget_after: 2h");
    drive.take(breach("u-1", Warning));
    drive.wait(2 * 3_600 - 1);
    assert_eq!(drive.open().len(), 1);
    drive.wait(1);
    assert!(drive.open().is_empty());
    drive.take(resolved("u-1", Warning));
    drive.wait(100);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)]);
}

#[test]
fn who_was_told_hears_the_end_when_the_routes_have_changed() {
    let told = "receivers: [{ name: log, log: {} }, { name: team, log: {} }]\nroute: { receiver: team }";
    let mut drive = Drive::new(told);
    drive.take(breach("u-1", Warning));
    drive.wait(10);
    let key = drive.sent[0].group_key.clone();
    drive.reconfigure("receivers: [{ name: log, log: {} }, { name: team, log: {} }]\nroute: { receiver: log }");
    let mut group = drive.groups.get(&key).cloned();
    let end = Input::Breach(Box::new(resolved("u-1", Warning)));
    drive.processor.on_record(&Context { now_ms: drive.now_ms }, &key, &mut group, end);
    drive.groups.insert(key.clone(), group.expect("still known"));
    drive.wait(100);
    assert_eq!(drive.sent.len(), 2);
    assert_eq!((drive.sent[1].receiver.as_str(), drive.sent[1].reason.as_str()), ("team", "resolved"));
}

#[test]
fn nobody_is_told_in_place_of_a_receiver_that_is_gone() {
    let mut drive =
        Drive::new("receivers: [{ name: log, log: {} }, { name: team, log: {} }]\nroute: { receiver: team }");
    drive.take(breach("u-1", Warning));
    drive.wait(10);
    let key = drive.sent[0].group_key.clone();
    drive.reconfigure("");
    let mut group = drive.groups.get(&key).cloned();
    let rise = Input::Breach(Box::new(breach("u-1", Critical)));
    drive.processor.on_record(&Context { now_ms: drive.now_ms }, &key, &mut group, rise);
    drive.groups.insert(key, group.expect("still known"));
    drive.wait(100);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)]);
    assert!(drive.open().is_empty());
}

#[test]
fn open_groups_are_counted_by_level() {
    let mut drive = Drive::new("");
    drive.take(breach("u-1", Warning));
    drive.take(breach("u-2", Critical));
    let shown = drive.metrics.render();
    assert!(shown.contains(r#"ttf_alert_groups_open{level="warning"} 1"#), "{shown}");
    assert!(shown.contains(r#"ttf_alert_groups_open{level="critical"} 1"#), "{shown}");
    drive.take(breach("u-1", Critical));
    drive.take(resolved("u-2", Critical));
    let shown = drive.metrics.render();
    assert!(shown.contains(r#"ttf_alert_groups_open{level="warning"} 0"#), "{shown}");
    assert!(shown.contains(r#"ttf_alert_groups_open{level="critical"} 1"#), "{shown}");
    drive.processor.observe_closed(0);
    assert!(drive.metrics.render().contains(r#"ttf_alert_groups_open{level="critical"} 0"#));
}

#[test]
fn commands_are_noted_and_a_strange_group_stays_unknown() {
    let mut drive = Drive::new("");
    drive.take(breach("u-1", Warning));
    let (key, group) = drive.groups.pop_first().expect("one group");
    let command = |action| {
        Input::Command(AlertCommand {
            command_id: "c-1".to_owned(),
            group_key: key.clone(),
            action,
            by: "ada".to_owned(),
            at: NOW,
            until: Some(NOW),
            comment: None,
            matchers: Vec::new(),
            starts_at: None,
            assignee: None,
        })
    };
    let ctx = Context { now_ms: drive.now_ms };
    let mut group = Some(group);
    for action in [AlertAction::Ack, AlertAction::Silence, AlertAction::Unknown] {
        drive.processor.on_record(&ctx, &key, &mut group, command(action));
    }
    let kept = &group.as_ref().expect("still there").kept;
    assert_eq!((kept.acknowledged_by.as_deref(), kept.silenced_until), (Some("ada"), Some(NOW)));
    drive.processor.on_record(&ctx, &key, &mut group, command(AlertAction::Unsilence));
    assert_eq!(group.expect("still there").kept.silenced_until, None);
    let mut nothing = None;
    drive.processor.on_record(&ctx, &key, &mut nothing, command(AlertAction::Ack));
    assert!(nothing.is_none());
}
