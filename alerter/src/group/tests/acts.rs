use telemetry_schemas::{
    BreachLevel::{Critical, Escalation, Warning},
    EventTime,
    alert::{AlertAction, AlertCommand},
};

use super::drive::{Drive, SECOND, heard};
use crate::testing::{NOW, breach, resolved};

pub const STEPS: &str = "
receivers: [{ name: log, log: {} }, { name: pager, log: {} }, { name: boss, log: {} }]
route: { group_by: [journey], group_interval: 20s, escalation: [{ after: 10m, receiver: pager }, { after: 30m, receiver: boss }] }
";

pub fn command(key: &str, action: AlertAction) -> AlertCommand {
    AlertCommand {
        command_id: "c-1".to_owned(),
        group_key: key.to_owned(),
        action,
        by: "ada".to_owned(),
        at: NOW,
        until: None,
        comment: None,
        matchers: Vec::new(),
        starts_at: None,
        assignee: None,
    }
}

impl Drive {
    pub fn key(&self) -> String {
        self.open()[0].kept.group_key.clone()
    }

    pub fn ask(&mut self, action: AlertAction) {
        let key = self.key();
        let command = AlertCommand { at: EventTime(self.now_ms), ..command(&key, action) };
        self.command(&key, command);
    }

    /// Receivers and reasons of what was sent since the last call.
    pub fn told(&mut self) -> Vec<(String, String)> {
        self.sent.drain(..).map(|sent| (sent.receiver, sent.reason)).collect()
    }

    pub fn history(&self) -> Vec<String> {
        let group = self.groups.values().find(|group| !group.kept.history.is_empty()).expect("a group with a history");
        group.kept.history.iter().map(|decided| decided.reason.clone()).collect()
    }
}

pub fn told(receiver: &str, reason: &str) -> (String, String) {
    (receiver.to_owned(), reason.to_owned())
}

#[test]
fn nobody_answers_and_more_and_more_are_told_and_all_hear_the_end() {
    let mut drive = Drive::new(STEPS);
    drive.take(breach("u-1", Warning));
    drive.wait(5);
    assert_eq!(drive.told(), [told("log", "first_notification")]);
    drive.wait(599);
    assert_eq!(drive.told(), []);
    drive.wait(1);
    assert_eq!(drive.told(), [told("pager", "escalated")]);
    drive.wait(1_199);
    assert_eq!(drive.told(), []);
    drive.wait(1);
    assert_eq!(drive.told(), [told("boss", "escalated")]);
    drive.wait(10_000);
    assert_eq!(drive.told(), []);
    drive.take(resolved("u-1", Warning));
    drive.wait(20);
    assert_eq!(drive.told(), [told("log", "resolved"), told("pager", "resolved"), told("boss", "resolved")]);
}

#[test]
fn who_acknowledges_stops_steps_repeats_and_more_of_the_same() {
    let mut drive = Drive::new(&STEPS.replace("route: {", "route: { repeat_interval: 1h,"));
    drive.take(breach("u-1", Warning));
    drive.wait(60);
    drive.told();
    drive.ask(AlertAction::Ack);
    let sent = drive.sent[0].clone();
    assert_eq!((sent.acknowledged_by.as_deref(), sent.alerts.len()), (Some("ada"), 1));
    assert_eq!(drive.told(), [told("log", "acknowledged")]);
    drive.take(breach("u-2", Warning));
    drive.wait(5 * 3_600);
    assert_eq!(drive.told(), []);
    assert!(drive.history().contains(&"held_by_acknowledgement".to_owned()), "{:?}", drive.history());
    drive.transaction(vec![resolved("u-1", Warning), resolved("u-2", Warning)]);
    drive.wait(20);
    assert_eq!(drive.told(), [told("log", "resolved")]);
}

#[test]
fn a_higher_level_ends_an_acknowledgement_and_the_steps_begin_anew() {
    let mut drive = Drive::new(STEPS);
    drive.take(breach("u-1", Warning));
    drive.wait(60);
    drive.ask(AlertAction::Ack);
    drive.told();
    drive.take(breach("u-1", Critical));
    drive.wait(5);
    assert_eq!(drive.sent[0].acknowledged_by, None);
    assert_eq!(drive.told(), [told("log", "level_raised")]);
    drive.wait(599);
    assert_eq!(drive.told(), []);
    drive.wait(1);
    assert_eq!(drive.told(), [told("pager", "escalated")]);
}

#[test]
fn an_alert_is_given_to_somebody() {
    let mut drive = Drive::new(STEPS);
    drive.take(breach("u-1", Escalation));
    drive.wait(5);
    let key = drive.key();
    drive.told();
    drive.command(&key, AlertCommand { assignee: Some("grace".to_owned()), ..command(&key, AlertAction::Assign) });
    assert_eq!(drive.sent[0].assigned_to.as_deref(), Some("grace"));
    assert_eq!(drive.told(), [told("log", "assigned")]);
    drive.wait(3_600);
    assert_eq!(drive.told(), []);
}

#[test]
fn an_acknowledgement_is_no_news_that_others_wait_behind() {
    let mut drive = Drive::new(STEPS);
    drive.take(breach("u-1", Warning));
    drive.wait(40);
    drive.ask(AlertAction::Ack);
    drive.told();
    drive.take(breach("u-2", Critical));
    drive.wait(5);
    assert_eq!(drive.told(), [told("log", "level_raised")]);
}

#[test]
fn an_end_that_waits_to_be_told_is_not_lost_by_an_acknowledgement() {
    let mut drive = Drive::new("route: { group_by: [journey], group_interval: 20s }");
    drive.transaction(vec![breach("u-1", Warning), breach("u-2", Warning)]);
    drive.wait(5);
    drive.take(resolved("u-1", Warning));
    drive.ask(AlertAction::Ack);
    drive.take(resolved("u-2", Warning));
    drive.wait(30);
    let reasons = drive.heard();
    assert_eq!(reasons[2], heard("resolved", Warning, 2), "{reasons:?}");
}

#[test]
fn a_silenced_group_is_told_when_the_silence_expires_while_it_fires() {
    let mut drive = Drive::new("");
    drive.take(breach("u-1", Warning));
    let key = drive.key();
    let until = EventTime(drive.now_ms + 600 * SECOND);
    drive.command(&key, AlertCommand { until: Some(until), ..command(&key, AlertAction::Silence) });
    drive.wait(599);
    assert_eq!(drive.told(), []);
    drive.wait(1);
    assert_eq!(drive.told(), [told("log", "first_notification")]);
    let history = drive.history();
    assert!(history.iter().any(|reason| reason == "silenced"), "{history:?}");
}

#[test]
fn what_a_silence_kept_back_is_told_when_it_is_taken_away_and_its_end_without_waiting() {
    let mut drive = Drive::new("route: { group_interval: 20s }");
    drive.take(breach("u-1", Warning));
    drive.wait(5);
    let key = drive.key();
    let until = EventTime(drive.now_ms + 86_400 * SECOND);
    drive.told();
    drive.command(&key, AlertCommand { until: Some(until), ..command(&key, AlertAction::Silence) });
    drive.take(breach("u-1", Critical));
    drive.wait(600);
    assert_eq!(drive.told(), []);
    drive.ask(AlertAction::Unsilence);
    drive.wait(1);
    assert_eq!(drive.told(), [told("log", "level_raised")]);
    drive.command(&key, AlertCommand { until: Some(until), ..command(&key, AlertAction::Silence) });
    drive.transaction(vec![resolved("u-1", Warning), resolved("u-1", Critical)]);
    drive.wait(20);
    assert_eq!(drive.told(), [told("log", "resolved")], "who was told hears the end, silence or not");
}

#[test]
fn what_begins_and_ends_in_a_silence_is_never_told_and_says_why() {
    let mut drive = Drive::new("");
    drive.take(breach("u-1", Warning));
    let key = drive.key();
    let until = EventTime(drive.now_ms + 600 * SECOND);
    drive.command(&key, AlertCommand { until: Some(until), ..command(&key, AlertAction::Silence) });
    drive.wait(60);
    drive.take(resolved("u-1", Warning));
    drive.wait(1_000);
    assert_eq!(drive.told(), []);
    assert_eq!(drive.history(), ["silenced", "silenced", "resolved_before_notified"]);
}

#[test]
fn a_command_about_what_is_over_changes_nothing() {
    let mut drive = Drive::new("");
    drive.take(breach("u-1", Warning));
    drive.wait(5);
    let key = drive.key();
    drive.take(resolved("u-1", Warning));
    drive.wait(100);
    drive.told();
    for key in [key.as_str(), "ttf:acme:onboarding:nothing"] {
        drive.command(key, command(key, AlertAction::Ack));
    }
    drive.wait(100);
    assert_eq!(drive.told(), []);
    assert!(drive.metrics.render().contains(r#"ttf_alert_decisions_total{reason="command_ignored"} 2"#));
}

#[test]
fn what_was_decided_is_shown_for_a_while_after_the_end_and_then_gone() {
    let mut drive = Drive::new("keep_history: 1h");
    drive.take(breach("u-1", Warning));
    drive.wait(5);
    drive.take(resolved("u-1", Warning));
    drive.wait(60);
    assert!(drive.open().is_empty());
    assert_eq!(drive.history(), ["first_notification", "resolved"]);
    drive.wait(3_600);
    assert!(drive.groups.is_empty());
    let mut drive = Drive::new("keep_history: 0s");
    drive.take(breach("u-1", Warning));
    drive.wait(5);
    drive.take(resolved("u-1", Warning));
    drive.wait(60);
    assert!(drive.groups.is_empty());
}
