//! What holds for the log on Kafka beyond what every log promises. Needs the brokers named by `TTF_TEST_KAFKA`,
//! but for the tests of a broker that is away.

mod support;

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use stream_runtime::log::{
    GroupMetadata, Isolation, Log, LogError, NewRecord, NextOffset, Polled, Position, SubscribeOptions, Subscription,
    TopicOutcome, TopicPartition, TopicSpec, Verdict, kafka::KafkaLog,
};
use support::kafka::{brokers, fresh, open_at};

const LONG: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

fn open() -> KafkaLog {
    open_at(&brokers(), &[("session.timeout.ms", "6000")])
}

fn new_topic(log: &dyn Log, partitions: i32) -> String {
    let spec = TopicSpec::new(fresh("kafka-test"), partitions);
    let outcomes = log.create_topics(std::slice::from_ref(&spec), LONG).unwrap();
    assert_eq!(outcomes, [(spec.name.clone(), TopicOutcome::Created)]);
    spec.name
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
    }
}

fn options(group: &str, topics: &[&str], instance_id: Option<&str>) -> SubscribeOptions {
    SubscribeOptions {
        group: group.to_owned(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        instance_id: instance_id.map(str::to_owned),
        prefetch_bytes: 1 << 20,
        isolation: Isolation::ReadCommitted,
    }
}

/// Polls until partitions are assigned, and reads them from `position`.
fn assigned(member: &mut dyn Subscription, position: Position) -> Vec<TopicPartition> {
    let mut held = Vec::new();
    until("partitions are assigned", || match member.poll(1, LOOK, &mut |_| {}).unwrap() {
        Polled::Assigned(partitions) => {
            let from: Vec<_> = partitions.iter().map(|at| (at.clone(), position)).collect();
            member.assign(&from).unwrap();
            held = partitions;
            true
        }
        _ => false,
    });
    held
}

fn read_count(member: &mut dyn Subscription, count: usize) {
    let mut read = 0;
    until("enough records were read", || {
        member.poll(1000, LOOK, &mut |_| read += 1).unwrap();
        read >= count
    });
    assert_eq!(read, count);
}

/// Kafka's own test vectors of its murmur2 (`UtilsTest.testMurmur2`).
const MURMUR2: [(&str, i32); 7] = [
    ("21", -973_932_308),
    ("foobar", -790_332_482),
    ("a-little-bit-long-string", -985_981_536),
    ("a-little-bit-longer-string", -1_486_304_829),
    ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ("abc", 479_470_107),
    ("", 275_646_681),
];

#[test]
fn a_record_lands_in_the_partition_a_java_producer_would_choose() {
    let log = open();
    let topic = new_topic(&log, 7);
    let publisher = log.publisher().unwrap();
    // An empty key is hashed by Java as any other; librdkafka spreads it, and no key of ours is empty.
    for (key, hash) in MURMUR2.iter().filter(|(key, _)| !key.is_empty()) {
        let delivery = publisher.publish(NewRecord::new(topic.as_str(), *key, "v")).unwrap();
        let (partition, _) = block_on(delivery).unwrap();
        assert_eq!(partition, (hash & 0x7fff_ffff) % 7, "key {key}");
    }
}

#[test]
fn a_transaction_uses_the_same_partitioner() {
    let log = open();
    let topic = new_topic(&log, 7);
    let mut transactor = log.transactor(&fresh("partitioner")).unwrap();
    transactor.init(LONG).unwrap();
    transactor.begin().unwrap();
    transactor.produce(&NewRecord::new(topic.as_str(), "foobar", "v")).unwrap();
    transactor.commit(&[], &no_group(&log), LONG).unwrap();
    let (_, hash) = MURMUR2[1];
    let at = TopicPartition::new(topic.as_str(), (hash & 0x7fff_ffff) % 7);
    assert_eq!(log.end_offset(&at, Isolation::ReadCommitted, LONG).unwrap(), 2, "the record and its marker");
}

/// A membership to commit without offsets under.
fn no_group(log: &KafkaLog) -> GroupMetadata {
    let topic = new_topic(log, 1);
    let mut member = log.subscribe(options(&fresh("group"), &[&topic], None)).unwrap();
    assigned(member.as_mut(), Position::Beginning);
    member.group().unwrap()
}

#[test]
fn a_header_without_a_value_reads_as_an_empty_one() {
    let log = open();
    let topic = new_topic(&log, 1);
    let foreign: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "null", value: None::<&[u8]> })
        .insert(Header { key: "full", value: Some("x") });
    foreign.send(BaseRecord::to(&topic).key("k").payload("v").headers(headers)).map_err(|(error, _)| error).unwrap();
    foreign.flush(LONG).unwrap();
    let mut reader = log.reader(Isolation::ReadCommitted).unwrap();
    reader.assign(&[(TopicPartition::new(topic.as_str(), 0), Position::Beginning)]).unwrap();
    let mut seen = Vec::new();
    until("the record is read", || {
        reader.poll(10, LOOK, &mut |record| seen.push(record.to_owned())).unwrap();
        !seen.is_empty()
    });
    let headers: Vec<_> = seen[0].headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
    assert_eq!(headers, [("null", &b""[..]), ("full", &b"x"[..])]);
}

#[test]
fn a_second_process_with_the_same_instance_replaces_the_first() {
    let log = open();
    let topic = new_topic(&log, 2);
    let group = fresh("group");
    let mut first = log.subscribe(options(&group, &[&topic], Some("one"))).unwrap();
    assigned(first.as_mut(), Position::Beginning);
    let mut second = log.subscribe(options(&group, &[&topic], Some("one"))).unwrap();
    assigned(second.as_mut(), Position::Beginning);
    let mut told = None;
    until("the first is told", || match first.poll(1, LOOK, &mut |_| {}) {
        Err(error) => {
            told = Some(error);
            true
        }
        Ok(_) => false,
    });
    assert!(matches!(told, Some(LogError::Replaced(_))), "{told:?}");
    // And is told again, however often it asks.
    assert!(matches!(first.poll(1, LOOK, &mut |_| {}), Err(LogError::Replaced(_))));
}

#[test]
fn an_offset_out_of_range_is_told_with_the_range_and_can_be_left_by_seeking() {
    let log = open();
    let topic = new_topic(&log, 1);
    let publisher = log.publisher().unwrap();
    for _ in 0..3 {
        block_on(publisher.publish(NewRecord::new(topic.as_str(), "k", "v")).unwrap()).unwrap();
    }
    let mut member = log.subscribe(options(&fresh("group"), &[&topic], None)).unwrap();
    let held = assigned(member.as_mut(), Position::Offset(1000));
    let mut told = None;
    until("the range is told", || match member.poll(10, LOOK, &mut |_| {}) {
        Err(error) => {
            told = Some(error);
            true
        }
        Ok(_) => false,
    });
    match told {
        Some(LogError::OffsetOutOfRange { at, offset: 1000, start: 0, end: 3 }) => assert_eq!(at, held[0]),
        other => panic!("expected the range, got {other:?}"),
    }
    member.seek(&[(held[0].clone(), Position::Beginning)]).unwrap();
    read_count(member.as_mut(), 3);
}

#[test]
fn a_member_of_two_topics_of_one_length_knows_that_it_has_read_both() {
    let log = open();
    let topics = [new_topic(&log, 1), new_topic(&log, 1)];
    let mut transactor = log.transactor(&fresh("writer")).unwrap();
    transactor.init(LONG).unwrap();
    transactor.begin().unwrap();
    for topic in &topics {
        for _ in 0..3 {
            transactor.produce(&NewRecord::new(topic.as_str(), "k", "v")).unwrap();
        }
    }
    transactor.commit(&[], &no_group(&log), LONG).unwrap();

    let mut member = log.subscribe(options(&fresh("group"), &[&topics[0], &topics[1]], None)).unwrap();
    let held = assigned(member.as_mut(), Position::Beginning);
    assert!(held.iter().all(|at| member.position(at).is_none()), "nothing was read yet");
    read_count(member.as_mut(), 6);
    until("both are known to be read past their marker", || {
        member.poll(10, LOOK, &mut |_| {}).unwrap();
        held.iter().all(|at| member.position(at) == Some(4))
    });
    // And after a restart, when there is nothing left to read.
    member.seek(&held.iter().map(|at| (at.clone(), Position::Offset(3))).collect::<Vec<_>>()).unwrap();
    until("both are known to be read after a seek", || {
        member.poll(10, LOOK, &mut |_| panic!("there is no record left")).unwrap();
        held.iter().all(|at| member.position(at) == Some(4))
    });
}

#[test]
fn offsets_of_a_transaction_are_there_for_the_next_member() {
    let log = open();
    let (input, output) = (new_topic(&log, 1), new_topic(&log, 1));
    let group = fresh("group");
    let mut member = log.subscribe(options(&group, &[&input], Some("one"))).unwrap();
    let held = assigned(member.as_mut(), Position::Beginning);
    let mut transactor = log.transactor(&fresh("worker")).unwrap();
    transactor.init(LONG).unwrap();
    for next in 1..=20 {
        transactor.begin().unwrap();
        transactor.produce(&NewRecord::new(output.as_str(), "k", "v")).unwrap();
        let offset = NextOffset { at: held[0].clone(), next, metadata: format!("time {next}") };
        transactor.commit(&[offset], &member.group().unwrap(), LONG).unwrap();
    }
    let committed = log.committed(&group, &held, LONG).unwrap();
    assert_eq!(committed[0].next, Some(20));
    assert_eq!(committed[0].metadata, "time 20");
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Every call of the log, with `timeout`, ends as unavailable and in time.
fn is_told_in_time(address: &str) {
    let log = open_at(address, &[("delivery.timeout.ms", "1000"), ("queue.buffering.max.messages", "3")]);
    let at = TopicPartition::new("orders", 0);
    let timeout = Duration::from_secs(1);
    let in_time = |what: &str, call: &dyn Fn() -> Result<(), LogError>| {
        let began = Instant::now();
        let error = call().expect_err(what);
        assert!(matches!(error, LogError::Unavailable(_)), "{what}: {error:?}");
        assert!(began.elapsed() < Duration::from_secs(8), "{what} took {:?}", began.elapsed());
    };
    in_time("end", &|| log.end_offset(&at, Isolation::ReadCommitted, timeout).map(drop));
    in_time("start", &|| log.start_offset(&at, timeout).map(drop));
    in_time("time", &|| log.offset_for_time(&at, 0, timeout).map(drop));
    in_time("topics", &|| log.topics(None, timeout).map(drop));
    in_time("committed", &|| log.committed("g", std::slice::from_ref(&at), timeout).map(drop));
    in_time("cluster", &|| log.cluster_id(timeout).map(drop));
    let spec = TopicSpec::new("orders", 1);
    in_time("create", &|| log.create_topics(std::slice::from_ref(&spec), timeout).map(drop));

    let publisher = log.publisher().unwrap();
    let record = || NewRecord::new("orders", "k", "v");
    let delivery = Arc::new(parking_lot::Mutex::new(Some(publisher.publish(record()).unwrap())));
    while publisher.publish(record()).is_ok() {}
    assert!(matches!(publisher.publish(record()), Err(LogError::QueueFull)));
    in_time("delivery", &|| block_on(delivery.lock().take().unwrap()).map(drop));

    let began = Instant::now();
    let mut transactor = log.transactor("worker").unwrap();
    assert_eq!(transactor.init(timeout).expect_err("init").verdict, Verdict::Retry);
    let mut member = log.subscribe(options("g", &["orders"], None)).unwrap();
    match member.poll(10, timeout, &mut |_| {}) {
        Ok(Polled::Records(0)) | Err(LogError::Unavailable(_)) => {}
        other => panic!("unexpected {other:?}"),
    }
    drop((transactor, member));
    assert!(began.elapsed() < Duration::from_secs(15), "joining and leaving took {:?}", began.elapsed());
}

#[test]
fn a_broker_that_is_away_is_told_in_time() {
    is_told_in_time(&nobody());
}

#[test]
fn a_broker_that_does_not_answer_is_told_in_time() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    is_told_in_time(&deaf.local_addr().unwrap().to_string());
}
