use super::*;
use crate::testing::{config, load};

fn wrong(section: &str) -> Vec<String> {
    match load(section) {
        Ok(config) => config.check().expect_err("it is wrong").0,
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn the_defaults_are_sound() {
    let defaults = config("");
    assert_eq!(defaults.user_ids, UserIds::Hashed);
    assert_eq!(defaults.route.receiver.as_deref(), Some("log"));
    assert_eq!(defaults.route.repeat_interval, Some(RepeatInterval::Never));
    assert!(defaults.receivers[0].log.is_some());
}

#[test]
fn a_whole_section_is_read() {
    let config = config(
        r##"
external_url: https://ttf.example.com
user_ids: plain
route:
  receiver: team
  group_by: [journey]
  group_wait: 30s
  group_interval: 5m
  repeat_interval: 4h
  routes:
    - receiver: on-call
      matchers: ['level=~"critical|escalation"', tenant!=sandbox]
      group_by: []
      continue: true
receivers:
  - name: team
    slack: { api_url: "https://hooks.slack.com/services/T0/B0/x", channel: "#ttf" }
  - name: on-call
    webhook: { url: "https://example.com/hook", secret: s3cret, timeout: 3s, max_alerts: 20 }
  - name: other
    slack: { url: "http://127.0.0.1:1/" }
"##,
    );
    let on_call = &config.route.routes[0];
    assert!(on_call.goes_on);
    assert_eq!(on_call.matchers[1].to_string(), r#"tenant!="sandbox""#);
    assert_eq!(config.route.repeat_interval.map(|interval| interval.to_string()).as_deref(), Some("4h"));
    let webhook = config.receivers[1].webhook.as_ref().expect("there");
    assert_eq!((webhook.timeout.millis(), webhook.max_alerts), (3_000, 20));
    assert_eq!(config.receivers[2].slack.as_ref().expect("there").timeout.millis(), 10_000);
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("hooks.slack.com"), "{shown}");
}

#[test]
fn a_route_must_lead_to_a_receiver() {
    assert_eq!(
        wrong("route: { routes: [{ receiver: pager }, { routes: [{ receiver: mail }] }] }"),
        [
            "alerter.route.routes[0].receiver: there is no receiver `pager` (there are: log)",
            "alerter.route.routes[1].routes[0].receiver: there is no receiver `mail` (there are: log)",
        ]
    );
}

#[test]
fn a_receiver_is_one_thing_with_a_name_of_its_own() {
    assert_eq!(
        wrong(
            "receivers: [{ name: log, log: {} }, { name: log, log: {} }, { name: x }, \
             { name: two, log: {}, webhook: { url: 'http://x/' } }, { name: 'a b', log: {} }]"
        ),
        [
            "alerter.receivers[1].name: there is another receiver `log`",
            "alerter.receivers[2]: one of `webhook`, `slack`, `pagerduty`, `email`, `alertmanager`, `log` must be there",
            "alerter.receivers[3]: a receiver is one thing, not `webhook` and `log`; make one receiver of each",
            "alerter.receivers[4].name: expected 1 to 64 letters, digits, `_`, `-` and `.`",
        ]
    );
}

#[test]
fn addresses_are_checked_and_not_shown() {
    let errors = wrong(
        "external_url: ttf\nreceivers: [{ name: log, log: {} }, { name: a, webhook: { url: 'ftp://s3cret/' } }, \
         { name: b, slack: { api_url: s3cret } }]",
    );
    assert_eq!(
        errors,
        [
            "alerter.external_url: is no address: relative URL without a base",
            "alerter.receivers[1].webhook.url: must begin with `http://` or `https://`",
            "alerter.receivers[2].slack.api_url: is no address: relative URL without a base",
        ]
    );
}

#[test]
fn alerts_are_routed_by_labels_they_may_have() {
    let section = "route: { group_by: [plan], routes: [{ matchers: ['stagee=x'] }] }";
    let known = "they have tenant, journey, user_id, attempt, kind, level, alertname, stage, release, segment_<name>, \
                 experiment_<name>";
    assert_eq!(
        wrong(section),
        [
            format!("alerter.route.group_by[0]: alerts have no label `plan`; {known}"),
            format!("alerter.route.routes[0].matchers[0]: alerts have no label `stagee`; {known}"),
        ]
    );
    config("route: { group_by: [segment_plan, release], routes: [{ matchers: ['stage=x', 'experiment_a=b'] }] }");
}

#[test]
fn intervals_steps_rules_and_windows_are_checked() {
    let errors = wrong(
        "time_intervals:
  - { name: office, time_intervals: [{ times: [{ start_time: '17:00', end_time: '09:00' }], weekdays: ['friday:monday'] }] }
  - { name: office, time_intervals: [] }
inhibit_rules: [{ source_matchers: [], target_matchers: ['nothing=x'], equal: [also] }]
maintenance: [{ name: m, starts_at: '2026-01-02T00:00:00Z', ends_at: '2026-01-01T00:00:00Z', matchers: ['nope=x'] }]
route:
  active_time_intervals: [office, night]
  escalation: [{ after: 1h, receiver: log }, { after: 30m, receiver: nobody }]
checks: { cohorts: { significance: 2.0 } }",
    );
    let expected = [
        "alerter.route.escalation[1].receiver: there is no receiver `nobody`",
        "alerter.route.escalation[1].after: comes before the step above it",
        "alerter.route.active_time_intervals[1]: there is no time interval `night`",
        "alerter.time_intervals[0].time_intervals[0].times[0]: must end after it begins",
        "alerter.time_intervals[0].time_intervals[0].weekdays[0]: ends before it begins",
        "alerter.time_intervals[1].name: there is another time interval `office`",
        "alerter.inhibit_rules[0].source_matchers: must not be empty",
        "alerter.inhibit_rules[0].target_matchers[0]: alerts have no label `nothing`",
        "alerter.inhibit_rules[0].equal[0]: alerts have no label `also`",
        "alerter.maintenance[0].ends_at: must be after starts_at",
        "alerter.maintenance[0].matchers[0]: alerts have no label `nope`",
        "alerter.checks.cohorts.significance: must lie between 0 and 1",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_root_route_matches_everything() {
    assert_eq!(
        wrong("route: { matchers: [level=warning], continue: true }"),
        [
            "alerter.route.matchers: the root route matches everything; put matchers on its `routes`",
            "alerter.route.continue: nothing comes after the root route",
        ]
    );
    assert_eq!(
        wrong("route: { receiver: null }"),
        ["alerter.route.receiver: must be there, the other routes build on it"]
    );
}

#[test]
fn words_nobody_knows_are_refused() {
    for section in ["receivers: [{ name: log, opsgenie: {} }]", "route: { group_waitt: 5s }", "mute_intervals: []"] {
        let errors = wrong(section);
        assert!(errors[0].contains("unknown key"), "{section}: {errors:?}");
    }
}

#[test]
fn receivers_that_cannot_work_are_refused() {
    let errors = wrong(
        "receivers:
  - { name: log, log: {} }
  - { name: a, fallback: a, slack: { token: x } }
  - { name: b, fallback: nobody, slack: { timeout: 0s } }
  - { name: c, max_per_minute: 0, slack: { api_url: 'http://x/', signing_secret: x } }
  - { name: d, email: { smarthost: mail, from: nobody, to: [], username: x, tls: none } }
  - { name: e, email: { smarthost: 'mail:25', from: a@example.com, to: ['s3cret'], username: x, password: pw1, tls: none } }
delivery: { break_after: 0, break_pause: 10s, longest_pause: 5s }",
    );
    let expected = [
        "alerter.receivers[1].slack.channel: must be there, the Web API needs to know where to",
        "alerter.receivers[1].fallback: a receiver cannot stand in for itself",
        "alerter.receivers[2].slack.timeout: must be longer than zero",
        "alerter.receivers[2].slack: either `api_url` (an incoming webhook) or `token` and `channel` must be there",
        "alerter.receivers[2].fallback: there is no receiver `nobody`",
        "alerter.receivers[3].slack.signing_secret: only messages of the Web API (`token`) have buttons",
        "alerter.receivers[3].max_per_minute: must be greater than zero",
        "alerter.receivers[4].email.smarthost: expected `host:port`",
        "alerter.receivers[4].email.from: expected `user@example.com` or `Name <user@example.com>`",
        "alerter.receivers[4].email.to: there must be somebody",
        "alerter.receivers[4].email: `username` and `password` go together",
        "alerter.receivers[5].email.to: expected `user@example.com` or `Name <user@example.com>`",
        "alerter.receivers[5].email.tls: a password is not sent over a connection that is not protected",
        "alerter.delivery.break_after: must be greater than zero",
        "alerter.delivery.longest_pause: must not be shorter than `break_pause`",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn a_slip_in_a_value_is_named_with_its_path() {
    let error = wrong("route: { routes: [{ matchers: ['level~critical'] }] }").remove(0);
    assert!(error.contains("alerter.route.routes[0].matchers[0]") && error.contains("is no matcher"), "{error}");
    let error = wrong("route: { repeat_interval: 0s }").remove(0);
    assert!(error.contains("alerter.route.repeat_interval") && error.contains("or `never`"), "{error}");
}

#[test]
fn auto_takes_the_number_of_a_stateful_set() {
    let automatic = config("");
    assert_eq!(automatic.ordinal(Some("ttf-alerter-13")), "13");
    for without in [None, Some("laptop"), Some("web-7f9c"), Some("x-"), Some("ip-10-0-0-1234567")] {
        assert_eq!(automatic.ordinal(without), "0", "{without:?}");
    }
    assert_eq!(config("ordinal: '7'").ordinal(Some("ttf-alerter-13")), "7");
}
