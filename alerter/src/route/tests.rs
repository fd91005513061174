use telemetry_schemas::{BreachLevel, BreachStatus, TtfBreach};

use super::*;
use crate::testing::{NOW, breach, config, resolved};

const RECEIVERS: &str = "
receivers:
  - { name: log, log: {} }
  - { name: team, log: {} }
  - { name: pager, log: {} }
  - { name: all, log: {} }
";

fn routes(route: &str) -> Routes {
    Routes::new(&config(&format!("{route}{RECEIVERS}")))
}

fn receivers(routes: &Routes, breach: &TtfBreach) -> Vec<String> {
    routes.route(&labels(breach)).into_iter().map(|routed| routed.receiver).collect()
}

#[test]
fn a_breach_takes_the_first_route_that_matches_and_goes_on_where_told() {
    let routes = routes(
        "route:
  routes:
    - { receiver: all, matchers: ['tenant=acme'], continue: true }
    - receiver: team
      matchers: ['level=warning']
    - receiver: pager
      matchers: ['level=~\"critical|escalation\"']
      routes:
        - { receiver: team, matchers: ['level=escalation'] }
    - { receiver: log }
",
    );
    assert_eq!(receivers(&routes, &breach("u-1", BreachLevel::Warning)), ["all", "team"]);
    assert_eq!(receivers(&routes, &breach("u-1", BreachLevel::Critical)), ["all", "pager"]);
    assert_eq!(receivers(&routes, &breach("u-1", BreachLevel::Escalation)), ["all", "team"]);
    let elsewhere = TtfBreach { tenant: "other".into(), ..breach("u-1", BreachLevel::Critical) };
    assert_eq!(receivers(&routes, &elsewhere), ["pager"]);
}

#[test]
fn what_no_route_matches_stays_with_the_one_around_it() {
    let routes = routes("route: { routes: [{ receiver: pager, matchers: [level=critical] }] }");
    assert_eq!(receivers(&routes, &breach("u-1", BreachLevel::Warning)), ["log"]);
}

#[test]
fn a_route_inherits_all_but_its_matchers() {
    let routes = routes(
        "route:
  group_wait: 7s
  group_interval: 2m
  repeat_interval: 4h
  routes:
    - { matchers: [level=warning], receiver: team, repeat_interval: never, routes: [{ group_interval: 1s }] }
",
    );
    let routed = routes.route(&labels(&breach("u-1", BreachLevel::Warning))).remove(0);
    assert_eq!(routed.receiver, "team");
    let expected = Timing { group_wait: Millis(7_000), group_interval: Millis(1_000), repeat_interval: None };
    assert_eq!(routed.timing, expected);
    let routed = routes.route(&labels(&breach("u-1", BreachLevel::Critical))).remove(0);
    assert_eq!(routed.timing.repeat_interval, Some(Millis(4 * 3_600_000)));
}

#[test]
fn levels_and_ends_of_one_journey_are_one_group() {
    let routes = routes("");
    let key = |breach: &TtfBreach| routes.route(&labels(breach)).remove(0).group_key;
    let first = key(&breach("u-1", BreachLevel::Warning));
    assert_eq!(first, key(&breach("u-1", BreachLevel::Escalation)));
    let end = TtfBreach { segments: BTreeMap::new(), ..resolved("u-1", BreachLevel::Warning) };
    assert_eq!(first, key(&end), "the end finds its beginning, whatever became known of the user");
    assert_ne!(first, key(&breach("u-2", BreachLevel::Warning)));
    assert_ne!(first, key(&TtfBreach { attempt: "2".into(), ..breach("u-1", BreachLevel::Warning) }));
    assert!(first.starts_with("ttf:acme:onboarding:") && !first.contains("u-1"), "{first}");
    assert_eq!(first.len(), "ttf:acme:onboarding:".len() + 32);
}

#[test]
fn a_group_is_one_tenants_and_one_journeys() {
    let routes = routes("route: { group_by: [] }");
    let routed = routes.route(&labels(&breach("u-1", BreachLevel::Warning))).remove(0);
    let labels_of_group: Vec<_> = routed.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels_of_group, ["journey=onboarding", "tenant=acme"]);
}

#[test]
fn two_routes_to_one_receiver_with_one_grouping_are_one_group() {
    let routes = routes("route: { routes: [{ receiver: team, continue: true }, { receiver: team }] }");
    assert_eq!(receivers(&routes, &breach("u-1", BreachLevel::Warning)), ["team"]);
}

#[test]
fn another_key_hides_users_otherwise() {
    let key = |section: &str| routes(section).route(&labels(&breach("u-1", BreachLevel::Warning))).remove(0).group_key;
    assert_ne!(key(""), key("user_id_key: secret\n"));
}

#[test]
fn late_old_and_strange_breaches_are_not_routed() {
    let max_age = Millis::from_secs(60);
    let firing = breach("u-1", BreachLevel::Warning);
    assert_eq!(admit(&firing, NOW, max_age), Ok(()));
    assert_eq!(admit(&TtfBreach { late: true, ..firing.clone() }, NOW, max_age), Err(NotRouted::Late));
    let later = NOW.plus(Millis(60_001));
    assert_eq!(admit(&firing, later, max_age), Err(NotRouted::TooOld));
    assert_eq!(admit(&resolved("u-1", BreachLevel::Warning), later, max_age), Ok(()), "an end is always told");
    let strange = TtfBreach { level: BreachLevel::Unknown, ..firing.clone() };
    assert_eq!(admit(&strange, NOW, max_age), Err(NotRouted::NotUnderstood));
    let strange = TtfBreach { status: BreachStatus::Unknown, ..firing };
    assert_eq!(admit(&strange, NOW, max_age), Err(NotRouted::NotUnderstood));
}
