//! Tracking plans: what is found, what is told, and what a change breaks.

use serde_json::{Value, json};

use super::{diff::diff, *};

fn plan(events: Value) -> PlanConfig {
    serde_json::from_value(json!({"acme": {"mode": "block", "events": events}})).expect("is a plan")
}

fn planned() -> PlanConfig {
    plan(json!([{
        "name": "project_created", "types": ["track"], "additional_properties": false,
        "properties": {
            "plan": {"type": "string", "required": true, "values": ["free", "team"]},
            "seats": {"type": "integer", "min": 1, "max": 100},
            "account.tier": {"type": "string", "max": 10},
        },
    }]))
}

fn found(event: Value) -> Vec<(&'static str, String, Option<String>)> {
    let Value::Object(event) = event else { panic!("an event is an object") };
    let finding = Plans::new(&planned()).judge("acme", &event);
    let violations = finding.map(|finding| finding.violations).unwrap_or_default();
    violations.into_iter().map(|violation| (violation.code.as_str(), violation.path, violation.hint)).collect()
}

fn event(name: &str, properties: Value) -> Value {
    json!({"event_name": name, "event_type": "track", "user_id": "u", "properties": properties})
}

#[test]
fn what_is_planned_passes() {
    assert_eq!(found(event("project_created", json!({"plan": "free", "seats": 3.0, "account": {"tier": "gold"}}))), []);
    assert_eq!(found(json!({"event_name": "anything", "event_type": "test"})), []);
    assert_eq!(found(json!({"event_name": "any page", "event_type": "page", "user_id": "u"})), []);
    let Value::Object(unplanned) = event("nothing of this", json!({})) else { unreachable!() };
    assert_eq!(Plans::new(&planned()).judge("another tenant", &unplanned), None);
}

#[test]
fn what_is_not_planned_is_told_with_what_was_meant() {
    let hint = |text: &str| Some(text.to_owned());
    assert_eq!(
        found(event("project_creatd", json!({}))),
        [("unplanned_event", "/event_name".into(), hint("did you mean `project_created`?"))]
    );
    assert_eq!(
        found(event("project_created", json!({"plann": "free"}))),
        [
            ("required_missing", "/properties/plan".into(), hint("there is `plann`: is that it?")),
            ("additional_properties", "/properties/plann".into(), hint("did you mean `plan`?")),
        ]
    );
    let of = |properties: Value| found(event("project_created", properties)).remove(0);
    assert_eq!(of(json!({"plan": "tem"})), ("unknown_value", "/properties/plan".into(), hint("did you mean `team`?")));
    assert_eq!(of(json!({"plan": 3})).0, "datatype_mismatch");
    assert_eq!(of(json!({"plan": null})).0, "required_missing");
    assert_eq!(of(json!({"plan": "free", "seats": 1.5})).0, "datatype_mismatch");
    assert_eq!(of(json!({"plan": "free", "seats": 0})).0, "out_of_range");
    let deep = of(json!({"plan": "free", "account": {"tier": "x".repeat(11)}}));
    assert_eq!((deep.0, deep.1.as_str()), ("out_of_range", "/properties/account/tier"));
    let milestone =
        json!({"event_name": "project_created", "event_type": "ttf_milestone", "properties": {"plan": "free"}});
    assert_eq!(found(milestone), [("unknown_value", "/event_type".into(), hint("planned: track"))]);
}

#[test]
fn no_value_of_an_event_is_ever_told() {
    let Value::Object(event) = event("project_created", json!({"plan": "ada@example.com", "seats": "ada@example.com"}))
    else {
        unreachable!()
    };
    let finding = Plans::new(&planned()).judge("acme", &event).expect("it is not as planned");
    assert!(!format!("{finding:?}").contains("ada@"), "{finding:?}");
}

#[test]
fn a_plan_that_makes_no_sense_is_refused_with_its_places() {
    let errors = check(&plan(json!([
        {"name": "a"}, {"name": "a"}, {"name": "ä"},
        {"name": "b", "properties": {
            "x": {"type": "integer", "values": ["one", 2]}, "y": {"type": "boolean", "min": 1},
            "z": {"type": "number", "min": 3, "max": 1}, "e": {"values": []},
        }},
    ])))
    .expect_err("must be refused");
    insta::assert_snapshot!(errors.to_string().replace("; ", "\n"), @r"
    plan.acme.events[1].name: `a` is planned twice, first as events[0]
    plan.acme.events[2].name: is no name an event can have: 1 to 200 of letters, digits, `_ . : $ -` and spaces
    plan.acme.events[3].properties.e.values: is empty: no value would do
    plan.acme.events[3].properties.x.values[0]: must be a whole number, this is a string
    plan.acme.events[3].properties.y.min: a boolean has no size to be bounded
    plan.acme.events[3].properties.z.min: is above max (1)
    ");
    assert_eq!(check(&planned()), Ok(()));
}

#[test]
fn a_change_that_breaks_senders_is_told_from_one_that_does_not() {
    let of = |properties: Value| plan(json!([{"name": "a", "properties": properties}]));
    let breaks = |before: Value, after: Value| {
        let changes = diff(&of(before), &of(after));
        assert!(!changes.is_empty());
        changes.iter().any(|change| change.breaks)
    };
    assert!(breaks(json!({}), json!({"x": {"required": true}})));
    assert!(!breaks(json!({"x": {"required": true}}), json!({"x": {}})));
    assert!(breaks(json!({"x": {"type": "number"}}), json!({"x": {"type": "integer"}})));
    assert!(!breaks(json!({"x": {"type": "integer"}}), json!({"x": {"type": "number"}})));
    assert!(breaks(json!({"x": {"values": ["a", "b"]}}), json!({"x": {"values": ["a"]}})));
    assert!(!breaks(json!({"x": {"values": ["a"]}}), json!({"x": {"values": ["a", "b"]}})));
    assert!(breaks(json!({"x": {"type": "number", "max": 5}}), json!({"x": {"type": "number", "max": 4}})));
    assert!(!breaks(json!({"x": {}}), json!({})));
    assert_eq!(diff(&planned(), &planned()), []);
    let renamed = diff(&plan(json!([{"name": "a"}])), &plan(json!([{"name": "b"}])));
    let told: Vec<_> = renamed.iter().map(|change| (change.place.as_str(), change.breaks)).collect();
    assert_eq!(told, [("acme: b", false), ("acme: a", true)]);
}
