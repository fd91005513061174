//! The Kafka ingress, alone and behind the transactional runner.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use serde_json::json;
use service_kit::Kit;
use stream_runtime::log::{
    Headers, Isolation, Log, NewRecord, NoHeaders, Position, Record, RecordRef, TopicPartition, TopicSpec,
    embedded::EmbeddedLog,
};
use telemetry_schemas::{Codec, event::Event, rejected::RejectedEvent, topics};

use super::*;
use crate::{metrics::DedupMetrics, testing};

const DEADLINE: Duration = Duration::from_secs(20);

fn dedup(kit: &Kit) -> Dedup {
    Dedup::new(&testing::gateway_config().dedup, None, DedupMetrics::new(kit.metrics())).unwrap()
}

/// What the ingress asks Redis on.
static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

fn intake(kit: &Kit) -> RawIntake {
    RawIntake {
        runtime: RUNTIME.handle().clone(),
        tenant: "acme".to_owned(),
        judge: testing::judge(kit.metrics()),
        records: Records::new(Codec::without_registry()),
        adapter: Adapter { dialect: Dialect::CloudEvents, names: Arc::default(), own_key: None },
        dedup: dedup(kit),
        batch_events: 10,
        clock: || EventTime(1_795_392_000_000),
        shutdown: kit.shutdown(),
        uncommitted: Vec::new(),
        taken: HashSet::new(),
    }
}

fn record(value: Option<&[u8]>) -> RecordRef<'_> {
    RecordRef {
        topic: topics::EVENTS_RAW,
        partition: 3,
        offset: 41,
        timestamp_ms: 0,
        key: None,
        value,
        headers: &NoHeaders,
    }
}

fn counted(kit: &Kit, what: &str) -> usize {
    let text = kit.metrics().render();
    text.lines()
        .filter(|line| line.contains("source=\"kafka\"") && line.contains(what))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
        .sum()
}

#[test]
fn each_record_becomes_events_or_rejected_events() {
    let kit = Kit::for_test();
    let mut intake = intake(&kit);
    let codec = Codec::without_registry();
    let event = json!({"event_name": "x", "event_type": "track", "user_id": "u"});
    let values = [event.to_string(), json!({"events": [event, {"event_name": 1}]}).to_string(), "no JSON".to_owned()];
    let mut out = Vec::new();
    for value in &values {
        intake.map(&record(Some(value.as_bytes())), &mut out);
    }
    intake.map(&record(None), &mut out);

    let topics: Vec<&str> = out.iter().map(|record| &*record.topic).collect();
    let (taken, refused) = (topics::EVENTS, topics::EVENTS_REJECTED);
    assert_eq!(topics, [taken, taken, refused, refused, refused]);
    let event: Event = codec.decode(out[0].value.as_ref().unwrap()).unwrap();
    assert_eq!((event.tenant.as_str(), event.source.as_str()), ("acme", "kafka"));
    let rejected: RejectedEvent = codec.decode(out[3].value.as_ref().unwrap()).unwrap();
    assert_eq!(rejected.payload, b"no JSON");
    assert_eq!(
        (rejected.topic.as_deref(), rejected.partition, rejected.offset),
        (Some(topics::EVENTS_RAW), Some(3), Some(41))
    );
}

#[test]
fn only_what_is_committed_counts() {
    let kit = Kit::for_test();
    let mut intake = intake(&kit);
    let good = json!({"event_name": "x", "event_type": "test"}).to_string();
    intake.map(&record(Some(good.as_bytes())), &mut Vec::new());
    intake.rolled_back();
    assert_eq!(counted(&kit, ""), 0);
    intake.map(&record(Some(good.as_bytes())), &mut Vec::new());
    intake.map(&record(Some(b"{")), &mut Vec::new());
    intake.committed();
    intake.committed();
    assert_eq!(counted(&kit, "ttf_events_received_total"), 2);
    assert_eq!((counted(&kit, "outcome=\"accepted\""), counted(&kit, "outcome=\"rejected\"")), (1, 1));
}

/// Headers of a record.
struct Pairs(Vec<(&'static str, &'static [u8])>);

impl Headers for Pairs {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn at(&self, index: usize) -> (&str, &[u8]) {
        self.0[index]
    }
}

const BINARY: [(&str, &[u8]); 4] =
    [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", "/käse".as_bytes()), ("ce_type", b"project.created")];

#[test]
fn cloud_events_are_taken_in_every_mode() {
    let kit = Kit::for_test();
    let mut intake = intake(&kit);
    let structured =
        json!({"specversion": "1.0", "id": "2", "source": "/s", "type": "t", "subject": "u", "data": {"a": 1}})
            .to_string();
    let batch = format!("[{}]", structured.replace("\"2\"", "\"3\""));
    let unmarked = structured.replace("\"2\"", "\"4\"");
    let mut binary = Pairs(BINARY.to_vec());
    binary.0.extend([("ce_subject", &b"u"[..]), ("content-type", b"application/json"), ("other", b"x")]);
    let marked = Pairs(vec![("content-type", b"application/cloudevents+json; charset=UTF-8")]);
    let marked_batch = Pairs(vec![("content-type", b"application/cloudevents-batch+json")]);
    let mut out = Vec::new();
    for (headers, value) in [
        (&binary as &dyn Headers, "{\"a\":1}"),
        (&marked, &*structured),
        (&marked_batch, &batch),
        (&NoHeaders, &unmarked),
    ] {
        intake.map(&RecordRef { headers, ..record(Some(value.as_bytes())) }, &mut out);
    }
    let codec = Codec::without_registry();
    let events: Vec<Event> = out.iter().map(|record| codec.decode(record.value.as_ref().unwrap()).unwrap()).collect();
    assert_eq!(events.iter().map(|event| event.event_id.as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    assert_eq!(events[0].source, "/käse");
    assert!(events.iter().all(|event| serde_json::Value::from(event.properties.clone()) == json!({"a": 1})));
}

#[test]
fn a_cloud_event_with_attributes_that_are_no_text_is_refused() {
    let kit = Kit::for_test();
    let mut out = Vec::new();
    let mut headers = Pairs(BINARY.to_vec());
    headers.0.push(("ce_subject", b"\xff"));
    intake(&kit).map(&RecordRef { headers: &headers, ..record(Some(b"{}")) }, &mut out);
    let rejected: RejectedEvent = Codec::without_registry().decode(out[0].value.as_ref().unwrap()).unwrap();
    assert_eq!((rejected.reasons[0].code.as_str(), rejected.reasons[0].path.as_str()), ("invalid_utf8", "/subject"));
}

#[test]
fn a_repeat_counts_once_its_first_is_committed() {
    let kit = Kit::for_test();
    let mut intake = intake(&kit);
    let event = json!({"event_name": "x", "event_type": "test", "event_id": "e"}).to_string();
    let mapped = |intake: &mut RawIntake| {
        let mut out = Vec::new();
        intake.map(&record(Some(event.as_bytes())), &mut out);
        out.len()
    };
    assert_eq!((mapped(&mut intake), mapped(&mut intake)), (1, 0), "in one transaction the second is a repeat");
    intake.rolled_back();
    assert_eq!(mapped(&mut intake), 1, "what was rolled back was not taken");
    intake.committed();
    assert_eq!(transaction(&mut intake, &[&event]), 0, "taken before");
    intake.committed();
    assert_eq!((counted(&kit, "outcome=\"accepted\""), counted(&kit, "outcome=\"duplicate\"")), (1, 1));
    assert_eq!(counted(&kit, "ttf_events_received_total"), 2);
}

/// Maps records and prepares their commit; how many outputs are left.
fn transaction(intake: &mut RawIntake, values: &[&str]) -> usize {
    let mut out = Vec::new();
    for value in values {
        intake.map(&record(Some(value.as_bytes())), &mut out);
    }
    intake.committing(&mut out);
    out.len()
}

#[test]
fn what_another_gateway_has_taken_is_left_out_and_the_rest_is_not() {
    let Ok(url) = std::env::var("TTF_TEST_REDIS") else {
        panic!("TTF_TEST_REDIS is not set: run `make test`, or `make services-up` and `eval \"$(make services-env)\"`")
    };
    let kits = [Kit::for_test(), Kit::for_test()];
    let [mut first, mut second] = [&kits[0], &kits[1]].map(|kit| {
        let _on = RUNTIME.enter();
        let mut config = testing::gateway_config().dedup;
        config.redis_timeout = service_kit::config::HumanDuration::from_millis(2_000);
        let dedup = Dedup::new(&config, Some(&url), DedupMetrics::new(kit.metrics())).unwrap();
        RawIntake { dedup, ..intake(kit) }
    });
    let run = uuid::Uuid::now_v7();
    let event =
        |id: u8| json!({"event_name": "x", "event_type": "test", "event_id": format!("{run}-{id}")}).to_string();
    assert_eq!(transaction(&mut first, &[&event(1), "{", &event(2)]), 3);
    first.rolled_back();
    assert_eq!(transaction(&mut first, &[&event(1), "{", &event(2)]), 3, "what was rolled back was not taken");
    first.committed();
    assert_eq!(transaction(&mut second, &[&event(3), &event(1), "{", &event(2), &event(4)]), 3);
    second.committed();
    let told = |outcome: &str| counted(&kits[1], &format!("outcome=\"{outcome}\""));
    assert_eq!((told("accepted"), told("duplicate"), told("rejected")), (2, 2, 1));
}

#[tokio::test]
async fn raw_records_arrive_as_events_through_the_transaction() {
    let log = EmbeddedLog::in_memory();
    let spec = |name: &str| TopicSpec::new(name, 1);
    log.create_topics(&[topics::EVENTS_RAW, topics::EVENTS, topics::EVENTS_REJECTED].map(spec), DEADLINE).unwrap();
    let kit = Kit::for_test();
    let mut config = testing::gateway_config().kafka_ingress;
    config.commit_interval = service_kit::config::HumanDuration::from_millis(20);
    let ingress = Ingress {
        config,
        judge: testing::judge(kit.metrics()),
        records: Records::new(Codec::without_registry()),
        names: Arc::default(),
        dedup: dedup(&kit),
        batch_events: 100,
        log: Arc::new(log.clone()),
    };
    ingress.start(&kit).unwrap();

    let publisher = log.publisher().unwrap();
    for number in 0..50 {
        let event = json!({"event_name": "x", "event_type": "track", "user_id": format!("u-{number}")}).to_string();
        let value = if number % 10 == 0 { "{".to_owned() } else { event };
        publisher.publish(NewRecord::new(topics::EVENTS_RAW, format!("k-{number}"), value)).unwrap().await.unwrap();
    }
    let waiting = Instant::now();
    while counted(&kit, "ttf_events_total") < 50 {
        assert!(waiting.elapsed() < DEADLINE, "the records do not arrive");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(read(&log, topics::EVENTS).len(), 45);
    assert_eq!(read(&log, topics::EVENTS_REJECTED).len(), 5);
    kit.shutdown().cancel();
    kit.join(DEADLINE).await.unwrap();
}

fn read(log: &EmbeddedLog, topic: &str) -> Vec<Record> {
    let at = TopicPartition::new(topic, 0);
    let end = log.end_offset(&at, Isolation::ReadCommitted, DEADLINE).unwrap();
    let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
    reader.assign(&[(at.clone(), Position::Beginning)]).unwrap();
    let mut found = Vec::new();
    let started = Instant::now();
    while reader.position(&at).is_none_or(|position| position < end) {
        assert!(started.elapsed() < DEADLINE, "{topic} cannot be read to its end");
        reader.poll(1_000, Duration::from_millis(100), &mut |record| found.push(record.to_owned())).unwrap();
    }
    found
}
