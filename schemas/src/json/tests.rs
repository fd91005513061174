use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    alert::Notification,
    breach::TtfBreach,
    event::{Event, EventType},
    record::TtfRecord,
    rejected::RejectedEvent,
    samples::{self, for_every_message, generators},
};

/// Snapshots show keys in order, whatever map serde_json was built with.
macro_rules! assert_form {
    ($name:literal, $message:expr) => {
        insta::with_settings!({sort_maps => true, prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_json_snapshot!($name, to_json(&$message));
        });
    };
}

#[test]
fn forms() {
    assert_form!("event", samples::event());
    assert_form!("event_bare", samples::bare_event());
    assert_form!("rejected_event", samples::rejected());
    assert_form!("rejected_event_binary", RejectedEvent { payload: vec![0xFF, 0xFE, 0x00], ..samples::rejected() });
    assert_form!("journey_state", samples::state());
    assert_form!("ttf_record", samples::record());
    assert_form!("ttf_breach", samples::breach());
    assert_form!("cohort_summary", samples::cohort());
    assert_form!("audit_entry", samples::audit());
    assert_form!("alert_state", samples::alert_state());
    assert_form!("notification", samples::notification());
    assert_form!("alert_command", samples::command());
    assert_form!("erasure", samples::erasure());
}

#[test]
fn every_message_is_read_back() {
    fn same<T: PartialEq + std::fmt::Debug>(back: &T, message: &T) {
        assert_eq!(back, message);
    }
    macro_rules! check {
        ($message:expr) => {{
            let message = $message;
            let back = from_json(to_json(&message)).expect("its own form");
            same(&back, &message);
        }};
    }
    for_every_message!(check);
    check!(samples::bare_event());
    check!(RejectedEvent { payload: vec![0xFF, 0xFE, 0x00], ..samples::rejected() });
}

/// Instants appear as integers nowhere, so that no reader has to guess.
#[test]
fn no_field_that_names_an_instant_is_a_number() {
    fn check(value: &Value) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    let instant = name == "at" || name == "until" || name == "timestamp" || name.ends_with("_at");
                    assert!(!(instant && value.is_number()), "{name} is {value}");
                    check(value);
                }
            }
            Value::Array(items) => items.iter().for_each(check),
            _ => {}
        }
    }
    macro_rules! check_all {
        ($message:expr) => {
            check(&to_json(&$message))
        };
    }
    for_every_message!(check_all);
}

#[test]
fn the_form_serializes_inside_other_structures() {
    let answer = json!({"user_id": "u-42", "journeys": [JsonForm(samples::record())]});
    assert_eq!(answer["journeys"][0]["signup_at"], "2026-11-23T08:15:30.250Z");
    let JsonForm(record): JsonForm<TtfRecord> =
        serde_json::from_value(answer["journeys"][0].clone()).expect("its own form");
    assert_eq!(record, samples::record());
}

#[test]
fn unknown_fields_and_symbols_are_tolerated() {
    let mut form = to_json(&samples::event());
    form["event_type"] = "alias".into();
    form["channel"] = "mail".into();
    let event: Event = from_json(form).expect("tolerated");
    assert_eq!(event, Event { event_type: EventType::Unknown, ..samples::event() });
}

#[test]
fn what_is_wrong_is_named() {
    let mut form = to_json(&samples::record());
    form["stages"][1]["from_at"] = "yesterday".into();
    let error = from_json::<TtfRecord>(form).expect_err("no time");
    assert_eq!(error.to_string(), "not the JSON form of TtfRecord: /stages/1/from_at is not a time in RFC 3339");
    let mut form = to_json(&samples::breach());
    form["late"] = "ada@example.org".into();
    let error = from_json::<TtfBreach>(form).expect_err("no boolean").to_string();
    assert!(error.contains("expected a boolean") && !error.contains("ada"), "{error}");
    let error = from_json::<TtfBreach>(json!({})).expect_err("empty");
    assert_eq!(error.to_string(), "not the JSON form of TtfBreach: missing field `breach_id`");
}

macro_rules! comes_back {
    ($($name:ident $message:ty, $any:path;)+) => {
        proptest! {
            $(#[test]
            fn $name(message in $any()) {
                let text = to_json(&message).to_string();
                let value = serde_json::from_str(&text).expect("JSON");
                prop_assert_eq!(from_json::<$message>(value).expect("its own form"), message);
            })+
        }
    };
}

comes_back! {
    any_event_comes_back Event, generators::any_event;
    any_rejected_event_comes_back RejectedEvent, generators::any_rejected;
    any_record_comes_back TtfRecord, generators::any_record;
    any_breach_comes_back TtfBreach, generators::any_breach;
    any_notification_comes_back Notification, generators::any_notification;
}
