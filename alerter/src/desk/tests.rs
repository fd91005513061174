use telemetry_schemas::{EventTime, Millis, alert::AlertAction, alert::AlertState};

use super::{
    http::matchers,
    orders::{Asker, Order, audit, tenant_matcher},
    view,
};
use crate::{
    mutes::{Mutes, Silence},
    route::Routes,
    testing::{NOW, config},
};

fn asker() -> Asker {
    Asker { tenant: "acme".to_owned(), name: "ops-key".to_owned(), origin: "127.0.0.1".to_owned() }
}

fn order(matchers: &[&str], duration: &str) -> Order {
    Order {
        matchers: matchers.iter().map(|text| (*text).to_owned()).collect(),
        duration: Some(duration.to_owned()),
        comment: Some("known outage".to_owned()),
        author: Some("ada".to_owned()),
        ..Order::default()
    }
}

#[test]
fn a_silence_stays_within_its_tenant_whatever_is_asked() {
    let order = order(&[r#"level=~"warning|critical""#, r#"tenant="umbrella""#], "2h");
    let command = order.silence("s-1", &asker(), NOW).expect("it is one");
    assert_eq!(command.matchers[0], tenant_matcher("acme"));
    assert_eq!(command.until, Some(NOW.plus(Millis::from_secs(7_200))));
    let state = crate::group::act::silence("silence:s-1", &command, NOW).expect("it is one");
    let silence = Silence::read(&state).expect("it can be read");
    let mut labels = crate::route::Labels::from([("level".to_owned(), "warning".to_owned())]);
    for tenant in ["acme", "umbrella"] {
        labels.insert("tenant".to_owned(), tenant.to_owned());
        assert!(!silence.matches(&labels), "{tenant}: no tenant is both");
    }
    let entry = audit(&command, &asker());
    assert_eq!((&*entry.action, &*entry.actor, &*entry.details["author"]), ("alert_silence", "ops-key", "ada"));
}

#[test]
fn what_is_no_silence_is_refused_with_a_reason() {
    let refused = |order: &Order| order.silence("s", &asker(), NOW).expect_err("refused").to_string();
    assert!(refused(&order(&[], "2h")).contains("at least one matcher"));
    assert!(refused(&order(&[r#"level=~".*""#], "2h")).contains("at least one matcher"), "it would silence everything");
    assert!(refused(&order(&["level"], "2h")).contains("is no matcher"));
    assert!(refused(&order(&["plan=x"], "2h")).contains("no label `plan`"));
    assert!(refused(&order(&["level=warning"], "soon")).contains("is no duration"));
    assert!(refused(&order(&["level=warning"], "400d")).contains("a year at most"));
    let silent = Order { comment: None, ..order(&["level=warning"], "2h") };
    assert!(refused(&silent).contains("comment"));
    let over =
        Order { duration: None, ends_at: Some("2020-01-01T00:00:00Z".to_owned()), ..order(&["level=warning"], "") };
    assert!(refused(&over).contains("must end"));
    let strange = Order { author: Some("a\nb".to_owned()), ..order(&["level=warning"], "2h") };
    assert!(refused(&strange).contains("control characters"));
    let nobody = order(&[], "2h").about("ttf:acme:o:1", AlertAction::Assign, &asker(), NOW);
    assert!(nobody.expect_err("refused").to_string().contains("assignee"));
}

#[test]
fn matchers_are_taken_as_amtool_takes_them() {
    let texts: Vec<_> = matchers(r#"{level="critical", segment_plan=~"a,b|c\"d", tenant!=x}"#)
        .expect("matchers")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(texts, [r#"level="critical""#, r#"segment_plan=~"a,b|c\"d""#, r#"tenant!="x""#]);
    assert!(matchers("").expect("none").is_empty());
    assert!(matchers("level").is_err());
}

#[test]
fn where_an_alert_would_go_is_shown_with_what_keeps_it_quiet() {
    let config = config(
        "receivers: [{ name: log, log: {} }, { name: pager, log: {} }]
maintenance: [{ name: move, starts_at: '2026-01-31T09:00:00Z', ends_at: '2026-01-31T10:00:00Z', matchers: ['level=critical'] }]
route: { routes: [{ receiver: pager, matchers: ['level=critical'], continue: true, escalation: [{ after: 5m, receiver: log }] }, { receiver: log }] }",
    );
    let (routes, mutes) = (Routes::new(&config), Mutes::new(&config));
    let labels = crate::route::Labels::from([("level".to_owned(), "critical".to_owned())]);
    let answer = view::destinations(&routes, &labels, &mutes, NOW);
    let receivers: Vec<_> = answer["destinations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|routed| routed["receiver"].as_str().expect("a name"))
        .collect();
    assert_eq!(receivers, ["pager", "log"]);
    assert_eq!(answer["destinations"][0]["escalation"][0]["receiver"], "log");
    assert!(answer["suppressed"].as_str().expect("a reason").contains("maintenance move"));
}

#[test]
fn an_expired_silence_is_shown_as_such() {
    let state = AlertState {
        group_key: "silence:s-1".to_owned(),
        silence_matchers: vec!["level=warning".to_owned()],
        silenced_until: Some(NOW),
        ..AlertState::default()
    };
    let shown = |now| view::silence(&state, now).expect("a silence")["status"].as_str().map(str::to_owned);
    assert_eq!(shown(EventTime(NOW.0 - 1)).as_deref(), Some("active"));
    assert_eq!(shown(NOW).as_deref(), Some("expired"));
}

#[test]
fn the_paths_are_those_of_the_openapi_document() {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../../../ingest-gateway/openapi.json")).expect("JSON");
    let mut documented = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if operation["tags"][0] == "alerts" {
                documented.push((method.to_uppercase(), path.clone()));
            }
        }
    }
    let mut served = super::http::ROUTES.map(|(method, path)| (method.to_owned(), path.to_owned())).to_vec();
    served.sort();
    documented.sort();
    assert_eq!(documented, served);
}
