//! Records as they come in and go out.

use bytes::Bytes;
use stream_runtime::{
    keyed::{Codec as _, Poison},
    log::Record,
};
use telemetry_schemas::{
    Codec, Event, EventTime, EventType, RecordKey, TtfBreach, TtfRecord, erasure::Erasure, rejected::RejectedEvent,
    topics,
};

use super::driver::Driver;
use crate::{
    codec::JourneyCodec,
    journey::testing::{EventExt, NINE, at, event},
    processor::Input,
};

fn record(topic: &str, key: &RecordKey, value: Option<Vec<u8>>, event_type: Option<&str>) -> Record {
    Record {
        topic: topic.into(),
        partition: 3,
        offset: 42,
        timestamp_ms: NINE.0,
        key: Some(key.to_bytes().into()),
        value: value.map(Bytes::from),
        headers: event_type.iter().map(|kind| ("event_type".to_owned(), Bytes::from((*kind).to_owned()))).collect(),
    }
}

fn codec() -> JourneyCodec {
    JourneyCodec::new(Codec::without_registry())
}

fn user() -> RecordKey {
    RecordKey::user("default", "u-1")
}

fn decode(event: &Event, key: &RecordKey, event_type: Option<&str>) -> Result<Option<(RecordKey, Input)>, Poison> {
    let value = Codec::without_registry().encode(event).unwrap();
    codec().decode(&record(topics::EVENTS, key, Some(value), event_type).as_ref())
}

fn code(result: Result<Option<(RecordKey, Input)>, Poison>) -> &'static str {
    result.expect_err("the record is poison").code
}

#[test]
fn an_event_and_an_erasure_are_read() {
    let signup = event("signup", at(0)).with_property("plan", "team");
    let read = decode(&signup, &user(), Some("track"));
    assert_eq!(read, Ok(Some((user(), Input::Event(Box::new(signup))))));

    let erasure = Erasure {
        erasure_id: "e-1".to_owned(),
        tenant: "default".to_owned(),
        user_id: "u-1".to_owned(),
        erased_at: NINE,
        requested_by: "someone".to_owned(),
        reason: None,
    };
    let value = Codec::without_registry().encode(&erasure).unwrap();
    let read = codec().decode(&record(topics::ERASURES, &user(), Some(value.clone()), None).as_ref());
    assert_eq!(read, Ok(Some((user(), Input::Erasure(erasure)))));
    let other = RecordKey::user("default", "u-2");
    let read = codec().decode(&record(topics::ERASURES, &other, Some(value), None).as_ref());
    assert_eq!(code(read), "key_mismatch");
}

#[test]
fn technical_events_are_skipped_by_their_header_without_a_look_inside() {
    for kind in ["test", "performance", "error"] {
        let read = codec().decode(&record(topics::EVENTS, &user(), Some(b"not avro".to_vec()), Some(kind)).as_ref());
        assert_eq!(read, Ok(None), "{kind}");
    }
    assert_eq!(decode(&event("ping", at(0)).of_type(EventType::Test), &user(), None), Ok(None), "without a header too");
}

#[test]
fn anonymous_events_are_nothing_for_us() {
    let mut anonymous = event("page", at(0));
    (anonymous.user_id, anonymous.anonymous_id) = (None, Some("a-1".to_owned()));
    let key = RecordKey::anonymous("default", "a-1");
    assert_eq!(decode(&anonymous, &key, Some("page")), Ok(None));
    assert_eq!(code(decode(&event("page", at(0)), &key, None)), "key_mismatch", "a user's event would be lost");
}

#[test]
fn events_of_nobody_have_no_key_and_are_nothing_for_us() {
    let keyless = |event: &Event, event_type| {
        let value = Codec::without_registry().encode(event).unwrap();
        let record = Record { key: None, ..record(topics::EVENTS, &user(), Some(value), event_type) };
        codec().decode(&record.as_ref())
    };
    let mut nobodys = event("ping", at(0)).of_type(EventType::Test);
    nobodys.user_id = None;
    assert_eq!(keyless(&nobodys, Some("test")), Ok(None));
    assert_eq!(keyless(&nobodys, None), Ok(None));
    assert_eq!(code(keyless(&event("signup", at(0)), None)), "key_mismatch", "a user's event would be lost");
}

#[test]
fn a_key_that_names_someone_else_is_poison() {
    let signup = event("signup", at(0));
    for key in [RecordKey::user("default", "u-2"), RecordKey::user("other", "u-1")] {
        assert_eq!(code(decode(&signup, &key, None)), "key_mismatch");
    }
    assert_eq!(code(decode(&signup, &RecordKey::anonymous("default", "a-1"), None)), "key_mismatch");
}

#[test]
fn what_cannot_be_read_is_poison() {
    for value in [None, Some(Vec::new()), Some(b"{}".to_vec()), Some(vec![0xc3, 0x01, 1, 2, 3, 4, 5, 6, 7, 8, 9])] {
        let read = codec().decode(&record(topics::EVENTS, &user(), value, None).as_ref());
        assert_eq!(code(read), "undecodable");
    }
}

#[test]
fn absurd_times_are_poison() {
    for time in [EventTime(-1), EventTime(i64::MAX), EventTime(4_102_444_800_000)] {
        assert_eq!(code(decode(&event("signup", time).received(NINE), &user(), None)), "absurd_time");
        assert_eq!(code(decode(&event("signup", NINE).received(time), &user(), None)), "absurd_time");
    }
}

#[test]
fn a_rejected_record_tells_where_it_was_and_why_and_keeps_its_bytes() {
    let poison = Poison { code: "undecodable", message: "no schema".to_owned() };
    let large = vec![7; 300 * 1024];
    let original = record(topics::EVENTS, &user(), Some(large.clone()), None);
    let rejected = codec().encode_poison(&original.as_ref(), &poison, NINE.0);
    assert_eq!(&*rejected.topic, topics::EVENTS_REJECTED);
    assert_eq!(rejected.key, original.key);
    let told: RejectedEvent = Codec::without_registry().decode(&rejected.value.unwrap()).unwrap();
    assert_eq!((told.tenant.as_str(), told.source.as_str()), ("default", "processor"));
    assert_eq!((told.reasons[0].code.as_str(), told.reasons[0].message.as_str()), ("undecodable", "no schema"));
    assert_eq!((told.topic.as_deref(), told.partition, told.offset), (Some(topics::EVENTS), Some(3), Some(42)));
    assert_eq!((told.payload.len(), told.payload_bytes), (256 * 1024, large.len() as i64));
}

#[test]
fn what_is_said_goes_to_its_topic_under_the_user_s_key() {
    let mut driver = Driver::onboarding();
    driver.say([event("signup", at(0))]);
    let said = driver.pass(at(80));
    let mut records = Vec::new();
    for emission in &said {
        codec().encode_output(emission, &mut records);
    }
    let [record, breach] = &records[..] else { panic!("a record and a breach") };
    for (written, topic) in [(record, topics::TTF_RECORDS), (breach, topics::TTF_BREACHES)] {
        assert_eq!(&*written.topic, topic);
        assert_eq!(written.key.as_deref(), Some(&user().to_bytes()[..]));
        assert_eq!(written.timestamp_ms, Some(at(80).0));
    }
    let plain = Codec::without_registry();
    assert_eq!(plain.decode::<TtfRecord>(record.value.as_ref().unwrap()).unwrap(), *driver.last());
    assert_eq!(plain.decode::<TtfBreach>(breach.value.as_ref().unwrap()).unwrap(), driver.breaches[0]);
}
