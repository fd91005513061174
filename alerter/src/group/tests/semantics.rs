use stream_runtime::keyed::{Context, KeyedProcessor as _};
use telemetry_schemas::{
    BreachLevel::{Critical, Escalation, Warning},
    BreachStatus,
    alert::{AlertAction, AlertCommand},
};

use super::drive::{Drive, SECOND, heard};
use crate::{
    group::processor::Input,
    testing::{NOW, breach, resolved},
};

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
