//! Records as they come in and go out.

use bytes::Bytes;
use stream_runtime::{
    keyed::{Codec as _, Poison, Undecoded},
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

/// What tests look at of an input.
#[derive(Debug, PartialEq)]
enum Read {
    Event { id: String, timestamp: EventTime, plan: Option<String> },
    Erasure(Erasure),
}

fn read(record: &Record) -> Result<Option<Read>, Undecoded> {
    let input = codec().decode(&record.as_ref())?;
    Ok(input.map(|input| match input {
        Input::Event(event) => Read::Event {
            id: event.event_id.to_owned(),
            timestamp: event.timestamp,
            plan: event.properties.at("plan").map(ToString::to_string),
        },
        Input::Erasure(erasure) => Read::Erasure(erasure),
    }))
}

fn decode(event: &Event, key: &RecordKey, event_type: Option<&str>) -> Result<Option<Read>, Undecoded> {
    let value = Codec::without_registry().encode(event).unwrap();
    read(&record(topics::EVENTS, key, Some(value), event_type))
}

fn code(result: Result<Option<Read>, Undecoded>) -> &'static str {
    match result.expect_err("the record is poison") {
        Undecoded::Poison(poison) => poison.code,
        Undecoded::NotYet(reason) => panic!("waits: {reason}"),
    }
}

#[test]
fn an_event_and_an_erasure_are_read() {
    let signup = event("signup", at(0)).with_property("plan", "team");
    let (id, timestamp) = (signup.event_id.clone(), at(0));
    let expected = Read::Event { id, timestamp, plan: Some("\"team\"".to_owned()) };
    assert_eq!(decode(&signup, &user(), Some("track")), Ok(Some(expected)));

    let erasure = Erasure {
        erasure_id: "e-1".to_owned(),
        tenant: "default".to_owned(),
        user_id: "u-1".to_owned(),
        erased_at: NINE,
        requested_by: "someone".to_owned(),
        reason: None,
    };
    let value = Codec::without_registry().encode(&erasure).unwrap();
    assert_eq!(read(&record(topics::ERASURES, &user(), Some(value.clone()), None)), Ok(Some(Read::Erasure(erasure))));
    let other = RecordKey::user("default", "u-2");
    assert_eq!(code(read(&record(topics::ERASURES, &other, Some(value), None))), "key_mismatch");
}

#[test]
fn technical_events_are_nothing_for_us() {
    for kind in [EventType::Test, EventType::Performance, EventType::Error, EventType::Unknown] {
        assert_eq!(decode(&event("ping", at(0)).of_type(kind), &user(), None), Ok(None), "{kind:?}");
    }
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
        read(&record)
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
        assert_eq!(code(read(&record(topics::EVENTS, &user(), value, None))), "undecodable");
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
