//! What each dialect's records become.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};
use telemetry_schemas::time::EventTime;

use super::*;
use crate::validate;

fn names() -> Arc<EventNames> {
    let milestones = BTreeMap::from([("Account Created".to_owned(), "signup".to_owned())]);
    Arc::new(EventNames::compile(&milestones).unwrap())
}

fn adapter(dialect: Dialect) -> Adapter {
    Adapter { dialect, names: names(), own_key: None }
}

fn translated(dialect: Dialect, record: Value) -> Translated {
    let Value::Object(record) = record else { panic!("a record is an object") };
    adapter(dialect).translate(record).unwrap()
}

/// The native event, which must be valid.
fn native(dialect: Dialect, record: Value) -> Value {
    let event = translated(dialect, record).event;
    let checked = validate::object(event.clone());
    assert!(checked.is_ok(), "{:?} in {event:?}", checked.unwrap_err().violations);
    event.into()
}

fn segment() -> Dialect {
    Dialect::Segment(segment::Batch::default())
}

fn posthog() -> Dialect {
    Dialect::PostHog(posthog::Batch::default())
}

fn mixpanel() -> Dialect {
    Dialect::Mixpanel(mixpanel::Endpoint::Events)
}

#[test]
fn a_segment_track_call_is_a_track_event() {
    let record = json!({
        "type": "track", "messageId": "m-1", "userId": 7, "anonymousId": null, "event": "Project Created",
        "timestamp": "2026-11-23T10:00:00.123456+00:00", "properties": {"plan": "pro"}, "integrations": {},
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}, "ip": "203.0.113.7",
            "userAgent": "x", "app": {"version": "1.2"}, "campaign": {"name": "spring"},
            "consent": {"categoryPreferences": {"Analytics": true, "Advertising": false}}},
    });
    assert_eq!(
        native(segment(), record),
        json!({
            "event_name": "Project Created", "event_type": "track", "event_id": "m-1", "user_id": "7",
            "timestamp": "2026-11-23T10:00:00.123Z",
            "properties": {"plan": "pro", "context": {"app": {"version": "1.2"}, "campaign": {"name": "spring"},
                "consent": {"categoryPreferences": {"Analytics": true, "Advertising": false}}}},
            "context": {"library": {"name": "analytics-python", "version": "2.4.0"}, "ip": "203.0.113.7",
                "user_agent": "x", "release": "1.2", "consent": {"analytics": true, "marketing": false}},
        })
    );
}

#[test]
fn every_call_of_segment_has_a_native_type() {
    let called = |kind: &str| {
        let record = json!({
            "type": kind, "userId": "u", "event": "e", "name": "Home", "groupId": "g", "previousId": "p",
            "traits": {"plan": "pro"},
        });
        let event = native(segment(), record);
        (event["event_type"].as_str().unwrap().to_owned(), event["properties"].clone())
    };
    assert_eq!(called("track"), ("track".into(), Value::Null));
    assert_eq!(called("identify"), ("identify".into(), json!({"plan": "pro", "group_id": "g"})));
    assert_eq!(called("page"), ("page".into(), json!({"name": "Home"})));
    assert_eq!(called("screen"), ("page".into(), json!({"name": "Home"})));
    assert_eq!(called("group"), ("group".into(), json!({"plan": "pro", "group_id": "g"})));
    assert_eq!(called("alias"), ("identify".into(), json!({"previous_id": "p"})));
}

#[test]
fn what_a_segment_batch_says_holds_for_its_records() {
    let envelope = json!({"context": {"locale": "de", "ip": "192.0.2.1"}, "sentAt": "1970-01-01T00:00:05Z"});
    let mut envelope = envelope.as_object().unwrap().clone();
    let batch = segment::Batch::of(&mut envelope, None);
    let record = json!({"type": "track", "event": "e", "userId": "u", "context": {"ip": "192.0.2.2"}});
    let translated = translated(Dialect::Segment(batch), record);
    assert_eq!(translated.event["context"], json!({"locale": "de", "ip": "192.0.2.2"}), "the record's own counts");
    assert_eq!(translated.sent_at, Some(EventTime(5_000)));
}

#[test]
fn rudder_says_when_in_another_field() {
    let record = json!({"type": "track", "event": "e", "userId": "u", "originalTimestamp": "2026-11-23T10:00:00.000Z"});
    assert_eq!(native(segment(), record)["timestamp"], "2026-11-23T10:00:00.000Z");
}

#[test]
fn a_call_that_is_not_known_is_refused_with_the_nearest() {
    let record = json!({"type": "trak", "userId": "u"});
    let violation = adapter(segment()).translate(record.as_object().unwrap().clone()).unwrap_err();
    assert_eq!((violation.path.as_str(), violation.hint.as_deref()), ("/type", Some("did you mean `track`?")));
}

#[test]
fn names_become_milestones_and_what_cannot_stand_in_a_name_is_replaced() {
    let named = |name: &str| native(segment(), json!({"type": "track", "event": name, "userId": "u"}));
    let milestone = named("Account Created");
    assert_eq!((&milestone["event_name"], &milestone["event_type"]), (&json!("signup"), &json!("ttf_milestone")));
    assert_eq!(milestone["properties"]["original_event_name"], "Account Created");
    let replaced = named("Projekt geändert/ü");
    assert_eq!(replaced["event_name"], "Projekt ge_ndert__");
    assert_eq!(replaced["properties"]["original_event_name"], "Projekt geändert/ü");
    assert_eq!(named("Signed Up")["properties"], Value::Null);
}

#[test]
fn a_posthog_event_is_a_track_event_of_a_user() {
    let record = json!({
        "event": "project_created", "distinct_id": "u-1", "uuid": "0190-1", "timestamp": "2026-11-23T10:00:00+00:00",
        "properties": {"$lib": "posthog-python", "$lib_version": "7.91.1", "token": "phc_secret", "$session_id": "s",
            "$ip": "203.0.113.7", "$feature/new-nav": "test", "$feature/dark": true, "plan": "pro"},
    });
    assert_eq!(
        native(posthog(), record),
        json!({
            "event_name": "project_created", "event_type": "track", "event_id": "0190-1", "user_id": "u-1",
            "session_id": "s", "timestamp": "2026-11-23T10:00:00.000Z", "properties": {"plan": "pro"},
            "context": {"library": {"name": "posthog-python", "version": "7.91.1"}, "ip": "203.0.113.7",
                "experiments": {"new-nav": "test", "dark": "true"}},
        })
    );
}

#[test]
fn posthog_tells_visitors_from_users() {
    let person = |mut record: Value| {
        record["event"] = "e".into();
        let event = native(posthog(), record);
        (event["user_id"].as_str().map(str::to_owned), event["anonymous_id"].as_str().map(str::to_owned))
    };
    let (user, visitor) = (Some("u".to_owned()), Some("d".to_owned()));
    assert_eq!(person(json!({"distinct_id": "u"})), (user.clone(), None));
    assert_eq!(person(json!({"properties": {"distinct_id": "u"}})), (user.clone(), None));
    let device = json!({"distinct_id": "d", "properties": {"$device_id": "d"}});
    assert_eq!(person(device), (None, visitor.clone()));
    let no_profile = json!({"distinct_id": "d", "properties": {"$process_person_profile": false}});
    assert_eq!(person(no_profile), (None, visitor.clone()));
    assert_eq!(
        person(json!({"distinct_id": "d", "options": {"process_person_profile": false}})),
        (None, visitor.clone())
    );
    let known = json!({"distinct_id": "u", "properties": {"$device_id": "d", "$user_id": "u"}});
    assert_eq!(person(known), (user.clone(), None));
    let identified = json!({"distinct_id": "u", "properties": {"$anon_distinct_id": "d"}});
    assert_eq!(person(identified), (user, visitor));
    let group = json!({"distinct_id": "$company_acme", "properties": {"$group_type": "company", "$group_key": "acme"}});
    assert_eq!(person(group), (None, Some("$company_acme".to_owned())));
}

#[test]
fn control_events_of_posthog_tell_of_persons_and_groups() {
    let event = |event: &str, properties: Value| {
        let event = native(posthog(), json!({"event": event, "distinct_id": "u", "properties": properties}));
        (event["event_type"].as_str().unwrap().to_owned(), event["properties"].clone())
    };
    let set = json!({"$set": {"plan": "pro"}, "$set_once": {"plan": "free", "channel": "ads"}});
    assert_eq!(event("$set", set.clone()), ("identify".into(), json!({"plan": "pro", "channel": "ads"})));
    assert_eq!(event("$identify", set).0, "identify");
    assert_eq!(event("$create_alias", json!({"alias": "v"})), ("identify".into(), json!({"alias": "v"})));
    let group = json!({"$group_type": "company", "$group_key": "acme", "$group_set": {"size": 3}});
    assert_eq!(
        event("$groupidentify", group),
        ("group".into(), json!({"$group_type": "company", "$group_key": "acme", "size": 3}))
    );
    let exception =
        json!({"$exception_list": [{"type": "TimeoutError", "stacktrace": {"frames": [{"vars": {"a": [1]}}]}}]});
    let (kind, properties) = event("$exception", exception);
    assert_eq!((kind.as_str(), &properties["error_type"]), ("error", &json!("TimeoutError")));
    assert_eq!(
        properties["$exception_list"][0]["stacktrace"]["frames"],
        json!([r#"{"vars":{"a":[1]}}"#]),
        "too deep: as text"
    );
}

#[test]
fn a_request_of_posthog_says_when_it_was_sent_and_by_what() {
    let batch = posthog::Batch::of(&Map::new(), Some("1970-01-01T00:00:09+00:00"), Some("posthog-node/5.70.0"));
    let record = json!({"event": "e", "distinct_id": "u"});
    let sent = translated(Dialect::PostHog(batch.clone()), record);
    assert_eq!(sent.sent_at, Some(EventTime(9_000)));
    assert_eq!(sent.event["context"]["library"], json!({"name": "posthog-node", "version": "5.70.0"}));
    let exact = json!({"event": "e", "distinct_id": "u", "options": {"disable_skew_correction": true}});
    assert_eq!(translated(Dialect::PostHog(batch), exact).sent_at, None);
}

#[test]
fn a_mixpanel_event_is_a_track_event() {
    let record = json!({"event": "Project Created", "properties": {
        "token": "secret", "distinct_id": "u", "time": 1_795_428_000.5, "$insert_id": "i-1", "mp_lib": "python",
        "$lib_version": "5.4.1", "ip": "203.0.113.7", "plan": "pro",
    }});
    assert_eq!(
        native(mixpanel(), record),
        json!({
            "event_name": "Project Created", "event_type": "track", "event_id": "i-1", "user_id": "u",
            "timestamp": "2026-11-23T10:00:00.500Z", "properties": {"plan": "pro"},
            "context": {"library": {"name": "python", "version": "5.4.1"}, "ip": "203.0.113.7"},
        })
    );
}

#[test]
fn mixpanel_tells_devices_from_users() {
    let person = |properties: Value| {
        let event = native(mixpanel(), json!({"event": "e", "properties": properties}));
        (event["user_id"].as_str().map(str::to_owned), event["anonymous_id"].as_str().map(str::to_owned))
    };
    let (user, device) = (Some("u".to_owned()), Some("d".to_owned()));
    assert_eq!(person(json!({"distinct_id": "$device:d"})), (None, device.clone()));
    assert_eq!(person(json!({"distinct_id": "$device:d", "$device_id": "d"})), (None, device.clone()));
    assert_eq!(person(json!({"distinct_id": "u", "$user_id": "u", "$device_id": "d"})), (user.clone(), device));
    assert_eq!(person(json!({"distinct_id": "u"})), (user, None));
}

#[test]
fn updates_of_mixpanels_profiles_tell_of_persons_and_groups() {
    let record =
        json!({"$token": "t", "$distinct_id": "u", "$time": 1_795_428_000, "$set": {"plan": "pro"}, "$add": {"n": 1}});
    let event = native(Dialect::Mixpanel(mixpanel::Endpoint::People), record);
    assert_eq!((&event["event_type"], &event["user_id"]), (&json!("identify"), &json!("u")));
    assert_eq!(event["properties"], json!({"plan": "pro", "$add": {"n": 1}}));
    let record = json!({"$token": "t", "$group_key": "company", "$group_id": "acme", "$set": {"size": 3}});
    let event = native(Dialect::Mixpanel(mixpanel::Endpoint::Groups), record);
    assert_eq!((&event["event_type"], &event["anonymous_id"]), (&json!("group"), &json!("acme")));
    assert_eq!(event["user_id"], Value::Null, "a group is no user");
}

#[test]
fn a_cloud_event_keeps_its_source_and_its_extensions() {
    let record = json!({
        "specversion": "1.0", "id": "e-1", "source": "/shop", "type": "com.acme.project.created",
        "time": "2026-11-23T10:00:00Z", "subject": "u", "datacontenttype": "application/json", "partitionkey": "x",
        "traceparent": "00-1", "journeyid": "j", "eventtype": "ttf_milestone", "data": {"plan": "pro"},
    });
    let translated = translated(Dialect::CloudEvents, record);
    assert_eq!(translated.source.as_deref(), Some("/shop"));
    assert_eq!(
        Value::from(translated.event),
        json!({
            "event_name": "com.acme.project.created", "event_type": "ttf_milestone", "event_id": "e-1",
            "journey_id": "j", "user_id": "u", "timestamp": "2026-11-23T10:00:00.000Z",
            "properties": {"plan": "pro", "traceparent": "00-1"},
        })
    );
}

#[test]
fn a_cloud_event_needs_what_the_specification_requires() {
    let refused = |change: fn(&mut Value)| {
        let mut record = json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "subject": "u"});
        change(&mut record);
        let violation = adapter(Dialect::CloudEvents).translate(record.as_object().unwrap().clone()).unwrap_err();
        (violation.code, violation.path)
    };
    let remove = |name: &'static str| (validate::Code::RequiredMissing, format!("/{name}"));
    assert_eq!(refused(|event| drop(event.as_object_mut().unwrap().remove("id"))), remove("id"));
    assert_eq!(refused(|event| event["source"] = "".into()), remove("source"));
    assert_eq!(refused(|event| drop(event.as_object_mut().unwrap().remove("specversion"))), remove("specversion"));
    assert_eq!(refused(|event| event["specversion"] = "0.3".into()).0, validate::Code::UnknownValue);
    assert_eq!(refused(|event| event["source"] = "a\nb".into()).0, validate::Code::ControlCharacter);
    assert_eq!(refused(|event| event["source"] = "x".repeat(201).into()).0, validate::Code::TooLong);
}

#[test]
fn binary_mode_is_the_same_event() {
    let attributes = [("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "t")];
    let attributes = || attributes.into_iter().map(|(name, value)| (name, value.to_owned()));
    let json = cloudevents::from_binary(attributes(), Some("application/json; charset=utf-8"), br#"{"a":1}"#).unwrap();
    assert_eq!(json["data"], json!({"a": 1}));
    let text = cloudevents::from_binary(attributes(), Some("text/plain"), b"hello").unwrap();
    assert_eq!(text["data"], "hello");
    let bytes = cloudevents::from_binary(attributes(), Some("application/octet-stream"), b"\xff").unwrap();
    assert_eq!(bytes["data_base64"], "/w==");
    assert_eq!(cloudevents::from_binary(attributes(), None, b"").unwrap().get("data"), None);
    assert!(cloudevents::from_binary(attributes(), None, b"{").is_err());
    assert_eq!(cloudevents::header_text(b"Z%C3%BCrich%20%zz%+f").as_deref(), Some("Zürich %zz%+f"));
}

#[test]
fn places_are_named_as_the_sender_wrote_them() {
    assert_eq!(adapter(segment()).sender_path("/user_id"), "/userId");
    assert_eq!(adapter(segment()).sender_path("/properties/a/b"), "/properties/a/b");
    assert_eq!(adapter(mixpanel()).sender_path("/event_id"), "/properties/$insert_id");
    assert_eq!(adapter(Dialect::CloudEvents).sender_path("/properties/a"), "/data/a");
    assert_eq!(adapter(Dialect::CloudEvents).sender_path(""), "");
}

#[test]
fn a_record_of_another_project_is_refused() {
    let adapter = Adapter { own_key: Some("mine".into()), ..adapter(mixpanel()) };
    let with = |token: &str| json!({"event": "e", "properties": {"token": token, "distinct_id": "u"}});
    assert!(adapter.translate(with("mine").as_object().unwrap().clone()).is_ok());
    let violation = adapter.translate(with("theirs").as_object().unwrap().clone()).unwrap_err();
    assert_eq!((violation.code, violation.path.as_str()), (validate::Code::KeyMismatch, "/properties/token"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[0-9T:Z+-]{8,28}".prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 48, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any_key(), inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let known = [
        "type",
        "event",
        "messageId",
        "userId",
        "anonymousId",
        "traits",
        "properties",
        "context",
        "timestamp",
        "sentAt",
        "library",
        "consent",
        "categoryPreferences",
        "uuid",
        "distinct_id",
        "$set",
        "$exception_list",
        "$device_id",
        "options",
        "$group_set",
        "$feature/x",
        "$insert_id",
        "time",
        "$distinct_id",
        "$group_id",
        "$time",
        "specversion",
        "id",
        "source",
        "subject",
        "data",
        "data_base64",
        "eventtype",
        "token",
        "name",
    ];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"]
}

proptest! {
    #[test]
    fn no_record_brings_a_dialect_down(
        record in prop::collection::btree_map(any_key(), any_json(), 0..12),
        own_key in prop::option::of("[a-z]{1,3}"),
    ) {
        let record: Map<String, Value> = record.into_iter().collect();
        let dialects = [
            segment(),
            Dialect::Segment(segment::Batch { kind: Some(segment::Kind::Track), ..segment::Batch::default() }),
            posthog(),
            mixpanel(),
            Dialect::Mixpanel(mixpanel::Endpoint::People),
            Dialect::Mixpanel(mixpanel::Endpoint::Groups),
            Dialect::CloudEvents,
        ];
        for dialect in dialects {
            let adapter = Adapter { own_key: own_key.as_deref().map(Into::into), ..adapter(dialect) };
            if let Ok(translated) = adapter.translate(record.clone()) {
                // Whatever came of it, the native rules have an answer, and depth is never the reason.
                if let Err(invalid) = validate::object(translated.event) {
                    prop_assert!(invalid.violations.iter().all(|violation| violation.code != validate::Code::TooDeep));
                }
            }
        }
    }
}
