use std::collections::BTreeMap;

use telemetry_schemas::{
    BreachLevel::{Critical, Escalation, Warning},
    EventTime, TtfBreach,
    alert::{AlertAction, AlertCommand},
};

use super::{
    acts::{command, told},
    drive::{Drive, SECOND, heard},
};
use crate::testing::{NOW, breach, resolved};

const BY_JOURNEY: &str = "route: { group_by: [journey], group_interval: 20s }";

impl Drive {
    fn silence(&mut self, id: &str, matcher: &str, seconds: i64) {
        let key = format!("silence:{id}");
        let until = Some(EventTime(self.now_ms + seconds * SECOND));
        let at = EventTime(self.now_ms);
        let silence =
            AlertCommand { until, at, matchers: vec![matcher.to_owned()], ..command(&key, AlertAction::Silence) };
        self.command(&key, silence);
    }
}

fn of_plan(user: &str, plan: &str) -> TtfBreach {
    TtfBreach { segments: BTreeMap::from([("plan".to_owned(), plan.to_owned())]), ..breach(user, Warning) }
}

#[test]
fn a_silence_hides_the_alerts_it_matches_and_no_others_of_the_group() {
    let mut drive = Drive::new(BY_JOURNEY);
    drive.silence("s-1", "segment_plan=free", 600);
    drive.transaction(vec![of_plan("u-1", "free"), of_plan("u-2", "team")]);
    drive.wait(5);
    assert_eq!(drive.sent[0].alerts[0].user_id, "u-2");
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)]);
    drive.wait(594);
    assert_eq!(drive.heard(), []);
    drive.wait(21);
    assert_eq!(drive.heard(), [heard("alerts_added", Warning, 2)], "the silence expired while it fired");
}

#[test]
fn the_end_of_what_was_told_is_told_although_a_silenced_alert_still_fires() {
    let mut drive = Drive::new(BY_JOURNEY);
    drive.silence("s-1", "segment_plan=free", 3_600);
    drive.transaction(vec![of_plan("u-1", "free"), of_plan("u-2", "team")]);
    drive.wait(5);
    drive.take(resolved("u-2", Warning));
    drive.wait(20);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1), heard("resolved", Warning, 1)]);
    drive.wait(3_600);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)], "the other one, after its silence");
}

#[test]
fn a_silence_that_is_taken_away_or_over_is_kept_no_longer() {
    let mut drive = Drive::new(BY_JOURNEY);
    drive.silence("s-1", "level=warning", 3_600);
    drive.silence("s-2", "level=critical", 10);
    drive.take(breach("u-1", Warning));
    drive.wait(60);
    assert_eq!(drive.told(), []);
    assert!(!drive.groups.contains_key("silence:s-2"), "it is over");
    drive.command("silence:s-1", command("silence:s-1", AlertAction::Unsilence));
    assert!(!drive.groups.contains_key("silence:s-1"));
    drive.wait(20);
    assert_eq!(drive.told(), [told("log", "first_notification")]);
}

#[test]
fn while_a_source_fires_its_targets_are_not_told_and_afterwards_they_are() {
    let mut drive = Drive::new(
        "inhibit_rules:
  - { source_matchers: ['level=escalation'], target_matchers: ['level=warning'], equal: [tenant, journey] }
route: { group_interval: 20s }",
    );
    drive.take(breach("u-1", Escalation));
    drive.take(breach("u-2", Warning));
    drive.wait(300);
    assert_eq!(drive.heard(), [heard("first_notification", Escalation, 1)]);
    drive.take(resolved("u-1", Escalation));
    drive.wait(30);
    assert_eq!(drive.heard(), [heard("resolved", Escalation, 1), heard("first_notification", Warning, 1)]);
    assert!(drive.metrics.render().contains(r#"reason="inhibited""#));
}

#[test]
fn outside_its_hours_a_route_waits_and_speaks_when_they_begin() {
    // NOW is Saturday 09:30 UTC.
    let mut drive = Drive::new(
        "time_intervals: [{ name: office, time_intervals: [{ weekdays: ['monday:friday'], times: [{ start_time: '09:00', end_time: '17:00' }] }] }]
route: { active_time_intervals: [office] }",
    );
    drive.take(breach("u-1", Warning));
    drive.wait(5);
    assert_eq!(drive.history(), ["outside_active_time"]);
    let monday = EventTime::parse("2026-02-02T09:00:00Z").expect("a time");
    drive.now_ms = monday.0 - 10 * SECOND;
    drive.wait(9);
    assert_eq!(drive.told(), []);
    drive.wait(1);
    assert_eq!(drive.told(), [told("log", "first_notification")]);
    // Friday night.
    drive.now_ms += (86_400 * 4 + 10 * 3_600) * SECOND;
    drive.take(breach("u-1", Critical));
    drive.take(resolved("u-1", Critical));
    drive.take(resolved("u-1", Warning));
    drive.wait(60);
    assert_eq!(drive.told(), [told("log", "resolved")], "an end is told at any hour");
}

#[test]
fn in_a_maintenance_window_nothing_that_matches_is_told() {
    let mut drive = Drive::new(
        "maintenance: [{ name: move, starts_at: '2026-01-31T09:00:00Z', ends_at: '2026-01-31T10:00:00Z', matchers: ['level=warning'] }]",
    );
    drive.take(breach("u-1", Warning));
    drive.take(breach("u-2", Critical));
    drive.wait(1_799);
    assert_eq!(drive.heard(), [heard("first_notification", Critical, 1)]);
    drive.wait(1);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)]);
}

#[test]
fn groups_by_segment_hear_the_end_although_the_segment_has_changed() {
    let mut drive = Drive::new(
        "route: { group_by: [journey, segment_plan], group_interval: 20s, routes: [{ matchers: ['segment_plan=vip'], group_wait: 0s }] }",
    );
    drive.transaction(vec![of_plan("u-1", "free"), of_plan("u-2", "team")]);
    drive.wait(5);
    assert_eq!(drive.open().len(), 2);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1), heard("first_notification", Warning, 1)]);
    drive.take(TtfBreach { segments: of_plan("", "vip").segments, ..resolved("u-1", Warning) });
    drive.wait(20);
    assert_eq!(drive.sent[0].labels["segment_plan"], "free");
    assert_eq!(drive.heard(), [heard("resolved", Warning, 1)]);
    assert_eq!(drive.open().len(), 1);
    assert_eq!(drive.groups.keys().filter(|key| key.starts_with("alert:")).count(), 1, "one alert is still remembered");
}

/// Whatever the clock does, nothing is told twice, and nothing waits longer than from the next change on.
#[test]
fn a_clock_that_jumps_doubles_nothing_and_holds_nothing_up_for_long() {
    let mut drive = Drive::new("route: { group_by: [journey], group_interval: 20s }");
    drive.take(breach("u-1", Warning));
    drive.now_ms += 86_400 * SECOND;
    drive.wait(1);
    assert_eq!(drive.heard(), [heard("first_notification", Warning, 1)], "forward");
    drive.now_ms = NOW.0;
    drive.wait(60);
    assert_eq!(drive.heard(), [], "back: nothing again");
    drive.take(breach("u-2", Warning));
    drive.wait(20);
    assert_eq!(drive.heard(), [heard("alerts_added", Warning, 2)]);
    drive.transaction(vec![resolved("u-1", Warning), resolved("u-2", Warning)]);
    drive.wait(20);
    assert_eq!(drive.heard(), [heard("resolved", Warning, 2)]);
    let mut ids: Vec<_> = drive.groups.values().map(|group| group.kept.sequence).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
}
