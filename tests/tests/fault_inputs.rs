//! Inputs that are not as they should be: offsets that have expired, topics made anew, bad records, a registry that is
//! away, clocks that jump.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use sha2::{Digest, Sha256};
use stream_runtime::log::{Isolation, LogConfig, NewRecord, config::KafkaConfig};
use telemetry_schemas::{
    AvroMessage, Codec, Event, EventTime, RecordKey, RegistryConfig, TtfBreach, rejected::RejectedEvent, topics,
};
use ttf_processor::GROUP;
use ttf_tests::{
    faults::{Cluster, PARTITIONS, Processor, Spec, Trial, Window},
    proxy::Proxy,
    servers::{self, OwnKafka},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(30);
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// Its membership is over a second after its end, so that a tool may change the group.
fn short_lived(ordinal: &str) -> Spec {
    Spec::new(ordinal).property("session.timeout.ms", "1500").property("heartbeat.interval.ms", "300")
}

/// Runs a tool on the group when all its members are gone.
async fn on_empty_group(trial: &Trial, arguments: &[&str]) {
    let arguments = [&["--group", GROUP], arguments].concat();
    wait::until("the group is empty", PATIENCE, || async {
        let printed = trial.to_brokers(|kafka| kafka.tool(GROUPS, &arguments));
        let refused = ["not empty", "inactive", "Error", "Stable"].iter().any(|word| printed.contains(word));
        if refused { Err(printed) } else { Ok(()) }
    })
    .await;
}

/// Waits until it has ended by itself, with an error that says all of this.
fn refuses(processor: &mut Processor, words: &[&str]) {
    let status = processor.process.wait(PATIENCE);
    let output = processor.process.output();
    assert_eq!(status.code(), Some(1), "{output}");
    for word in words {
        assert!(output.contains(word), "says nothing of `{word}`:\n{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_have_expired_are_found_again_in_the_state() {
    let mut trial = Trial::on(Cluster::own());
    let mut processor = trial.start_ready(&short_lived("0")).await;
    let events = trial.cohort("a", 60, 31);
    trial.send(&events).await;
    trial.settled().await;
    // Once with the local state, once without it.
    for (name, seed) in [("processor-0", 32), ("elsewhere", 33)] {
        processor.drain();
        on_empty_group(&trial, &["--delete"]).await;
        processor = trial.start_ready(&short_lived("0").named(name)).await;
        let events = trial.cohort(name, 40, seed);
        trial.send(&events).await;
        trial.settled().await;
        let read = processor.metric("ttf_processor_records_in_total").await;
        assert!((read - events.len() as f64).abs() < 0.5, "{name}: {read} records were read, not {}", events.len());
    }
    processor.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_taken_only_when_the_offsets_say_so() {
    let mut trial = Trial::on(Cluster::own());
    let mut processor = trial.start_ready(&short_lived("0")).await;
    let events = trial.cohort("a", 60, 34);
    trial.send(&events).await;
    trial.settled().await;
    processor.drain();
    trial.to_brokers(make_anew);
    trial.cluster.make_topics();
    let mut processor = trial.start(&short_lived("0"));
    refuses(&mut processor, &["created again", "reset the offsets of group `ttf-processor`"]);
    // More records than there were before: the numbers fit, the records do not.
    let events = trial.cohort("b", 90, 35);
    trial.send(&events).await;
    let mut processor = trial.start(&short_lived("0"));
    refuses(&mut processor, &["is not the one that was processed", "reset the offsets of group `ttf-processor`"]);
    on_empty_group(&trial, &["--topic", topics::EVENTS, "--reset-offsets", "--to-earliest", "--execute"]).await;
    let mut processor = trial.start_ready(&short_lived("0")).await;
    trial.settled().await;
    processor.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_under_a_processor_ends_it() {
    let mut trial = Trial::on(Cluster::own());
    let mut processor = trial.start_ready(&Spec::new("0")).await;
    let events = trial.cohort("a", 60, 36);
    trial.send(&events).await;
    trial.settled().await;
    trial.to_brokers(make_anew);
    trial.cluster.make_topics();
    let status = processor.process.wait(PATIENCE);
    let output = processor.process.output();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains(topics::EVENTS), "{output}");
}

fn make_anew(kafka: &OwnKafka) {
    kafka.tool(TOPICS, &["--delete", "--topic", topics::EVENTS]);
}

/// A record of the input as bytes, and what it is rejected for.
struct Bad {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    code: &'static str,
}

/// One of every kind.
fn bad_records(trial: &Trial, sound: &Event) -> Vec<Bad> {
    let key = |user: &str| Some(RecordKey::user("default", user).to_bytes());
    let user = sound.user_id.clone().expect("the trials' events have users");
    let encoded = |event: &Event| Some(trial.cluster.codec.encode(event).expect("encodes"));
    let far = Event { timestamp: EventTime(99_000_000_000_000), ..sound.clone() };
    let long_ago = Event { received_at: EventTime(-1), ..sound.clone() };
    let mut cut = encoded(sound).expect("bytes");
    cut.truncate(cut.len() / 2);
    let mut unknown = encoded(sound).expect("bytes");
    unknown[3] ^= 0xFF;
    let bad = |key, value, code| Bad { key, value, code };
    vec![
        bad(key(&user), Some(b"{\"event_name\":\"signup\"}".to_vec()), "undecodable"),
        bad(key(&user), Some(cut), "undecodable"),
        bad(key(&user), Some(unknown), "undecodable"),
        bad(key(&user), Some(b"\0\0\0\0\x2A".to_vec()), "undecodable"),
        bad(key(&user), None, "undecodable"),
        bad(key("somebody-else"), encoded(sound), "key_mismatch"),
        bad(None, encoded(sound), "key_mismatch"),
        bad(Some(b"no separators".to_vec()), encoded(sound), "key_malformed"),
        bad(key(&user), encoded(&far), "absurd_time"),
        bad(key(&user), encoded(&long_ago), "absurd_time"),
        // Larger than a record may be by default.
        bad(key(&user), Some(vec![b'x'; 1_500_000]), "undecodable"),
    ]
}

/// Publishes to every partition in turn; larger records than the defaults allow.
async fn publish_raw(cluster: &Cluster, bad: &[Bad]) {
    let properties = BTreeMap::from([("message.max.bytes".to_owned(), "4000000".to_owned())]);
    let config = LogConfig::Kafka(KafkaConfig { brokers: cluster.brokers.clone(), properties });
    let log = stream_runtime::log::open(&config, "ttf-faults-raw").expect("sound settings");
    let publisher = log.publisher().expect("a producer");
    let mut deliveries = Vec::new();
    for (number, bad) in bad.iter().enumerate() {
        let mut record = NewRecord::new(topics::EVENTS, "", "").with_partition(number as i32 % PARTITIONS);
        record.key = bad.key.clone().map(Into::into);
        record.value = bad.value.clone().map(Into::into);
        deliveries.push(publisher.publish(record).expect("the queue has room"));
    }
    futures::future::try_join_all(deliveries).await.expect("the broker takes them");
}

/// (code, SHA-256 and length of the original) → how often; checks that the bytes are the original's.
fn rejections(rejected: &[RejectedEvent]) -> BTreeMap<(String, String, i64), usize> {
    let mut counted = BTreeMap::new();
    for event in rejected {
        let whole = event.payload.len() as i64 == event.payload_bytes;
        assert!(whole || event.payload.len() == 256 << 10, "cut at {}", event.payload.len());
        if whole {
            assert_eq!(event.payload_sha256, hex(&event.payload), "the original bytes");
        }
        assert_eq!(event.topic.as_deref(), Some(topics::EVENTS));
        let code = event.reasons[0].code.clone();
        *counted.entry((code, event.payload_sha256.clone(), event.payload_bytes)).or_default() += 1;
    }
    counted
}

fn hex(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

fn rejected(trial: &Trial, isolation: Isolation) -> Vec<RejectedEvent> {
    let seen = tokio::task::block_in_place(|| {
        trial.cluster.read_topic(topics::EVENTS_REJECTED, &BTreeMap::new(), isolation, |_: &RejectedEvent| true)
    });
    seen.into_iter().map(|seen| seen.value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_set_aside_with_their_bytes_and_disturb_nothing() {
    let mut trial = Trial::on(Cluster::own());
    let entity = ["--entity-type", "topics", "--entity-name", topics::EVENTS];
    let larger = ["--alter", "--add-config", "max.message.bytes=4000000"];
    trial.to_brokers(|kafka| kafka.tool(CONFIGS, &[&entity[..], &larger].concat()));
    let events = trial.cohort("a", 100, 41);
    let bad = bad_records(&trial, &events[0]);
    // At the head of every partition, in the middle and at the end.
    let (first, second) = events.split_at(events.len() / 2);
    publish_raw(&trial.cluster, &bad).await;
    trial.send(first).await;
    publish_raw(&trial.cluster, &bad).await;
    let mut processor = trial.start_ready(&Spec::new("0")).await;
    trial.send(second).await;
    publish_raw(&trial.cluster, &bad).await;
    trial.settled().await;
    let mut expected = BTreeMap::new();
    for bad in &bad {
        let bytes = bad.value.clone().unwrap_or_default();
        *expected.entry((bad.code.to_owned(), hex(&bytes), bytes.len() as i64)).or_default() += 3;
    }
    for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
        assert_eq!(rejections(&rejected(&trial, isolation)), expected);
    }
    let counted = processor.metric("ttf_dlq_records_total").await;
    assert!((counted - 3.0 * bad.len() as f64).abs() < 0.5, "{counted} are counted");
    processor.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_bad_records_stop_the_processor_until_it_is_told_to_go_on() {
    let mut trial = Trial::on(Cluster::own());
    let events = trial.cohort("a", 20, 42);
    let garbage = |number: usize| Bad {
        key: Some(RecordKey::user("default", &*format!("u{number}")).to_bytes()),
        value: Some(b"not Avro".to_vec()),
        code: "undecodable",
    };
    let garbage: Vec<_> = (0..400).map(garbage).collect();
    publish_raw(&trial.cluster, &garbage).await;
    trial.send(&events).await;
    let mut processor = trial.start(&Spec::new("0"));
    refuses(&mut processor, &["could not be processed; stopping before more are set aside"]);
    assert!(rejected(&trial, Isolation::ReadCommitted).is_empty(), "it has set some aside");
    let tolerant = Spec::new("0").settings(json!({ "processor": { "poison_share": 1.0 } }));
    let mut processor = trial.start_ready(&tolerant).await;
    trial.settled().await;
    assert_eq!(rejected(&trial, Isolation::ReadCommitted).len(), garbage.len());
    processor.drain();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_is_waited_for_and_nothing_is_set_aside() {
    let registry = servers::require("TTF_TEST_REGISTRY");
    let (host, path) = registry.trim_start_matches("http://").split_once('/').expect("a path");
    let proxy = Proxy::shut(host).await;
    let settings = json!({ "schema_registry": { "url": format!("http://{}/{path}", proxy.address) } });

    // Of its own: what it writes cannot be read without a registry.
    let mut cluster = Cluster::own();
    let url = registry.clone();
    let direct = move || Codec::with_registry(RegistryConfig::new(url)).expect("a client");
    cluster.codec = tokio::task::block_in_place(direct);
    let mut trial = Trial::on(cluster);
    let events = trial.cohort("a", 60, 43);
    trial.send(&events).await;
    // At the start: nothing is known yet.
    let mut processor = trial.start(&Spec::new("0").settings(settings));
    wait::until("the process is there", PATIENCE, || async {
        if processor.status("/live").await == 200 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert_eq!(processor.status("/ready").await, 503);
    proxy.set_open(true);
    processor.ready().await;
    trial.settled().await;

    // In the middle: what is known goes on being read, what is not waits, with everything behind it.
    proxy.set_open(false);
    let known = trial.cohort("b", 40, 44);
    trial.send(&known).await;
    trial.settled().await;
    let newer = newer_schema(&registry).await;
    let waiting = trial.cohort("c", 5, 45);
    send_as(&mut trial, &waiting, newer).await;
    wait::until("it is told that records wait", PATIENCE, || async {
        let health = ttf_tests::http::client().get(processor.url("/health")).send().await;
        let text = health.map_err(|error| error.to_string())?.text().await.map_err(|error| error.to_string())?;
        if text.contains("records wait for the schema registry") { Ok(()) } else { Err(text) }
    })
    .await;
    assert!(processor.process.is_running());
    assert_eq!(processor.status("/live").await, 200);
    assert!(trial.lag() > 0, "they wait");
    proxy.set_open(true);
    trial.settled().await;
    let set_aside = processor.metric("ttf_dlq_records_total").await;
    assert!(set_aside.abs() < 0.5, "{set_aside} records were set aside");
    processor.drain();
}

/// Registers a schema of events no processor has seen: the same fields, another text.
async fn newer_schema(registry: &str) -> u32 {
    let mut schema: serde_json::Value = serde_json::from_str(Event::TYPE.schema_json()).expect("JSON");
    schema["doc"] = json!(format!("An event, as of {}.", service_kit::clock::now_ms()));
    let body = json!({ "schema": schema.to_string() });
    let url = format!("{registry}/subjects/ttf-test-newer-event/versions");
    let answer = ttf_tests::http::client().post(url).json(&body).send().await.expect("the registry answers");
    let answer: serde_json::Value = answer.json().await.expect("JSON");
    u32::try_from(answer["id"].as_u64().unwrap_or_else(|| panic!("no id in {answer}"))).expect("a small number")
}

/// Sends events as if a newer program had written them.
async fn send_as(trial: &mut Trial, events: &[Event], schema_id: u32) {
    let records = events.iter().map(|event| {
        let mut record = trial.cluster.record_of(event);
        let mut value = record.value.take().expect("an event has a value").to_vec();
        value[1..5].copy_from_slice(&schema_id.to_be_bytes());
        record.value = Some(value.into());
        record
    });
    let records = records.collect();
    trial.cluster.publish_records(records).await;
    trial.note_sent(events);
}

/// Milestones in a day ahead and in a day behind, in any order: who is told is told by what the gateway received.
#[tokio::test(flavor = "multi_thread")]
async fn clients_whose_clocks_jump_page_nobody_else() {
    let mut trial = Trial::on(Cluster::shared());
    let mut processor = trial.start_ready(&Spec::new("0")).await;
    let now_ms = service_kit::clock::now_ms();
    let hours = |hours: i64| hours * 3_600_000;
    let sound = trial.cohort("sound", 40, 46);
    // Nobody's deadline is due by the gateway's clock, though others are hours ahead.
    let template = sound[0].clone();
    let event = |user: &str, name: &str, at_ms: i64| Event {
        event_id: format!("{user}:{name}:{at_ms}"),
        event_name: name.to_owned(),
        user_id: Some(user.to_owned()),
        timestamp: EventTime(at_ms),
        received_at: EventTime(now_ms),
        journey_id: None,
        ..template.clone()
    };
    let user = |name: &str| format!("{}-{name}", trial.users);
    let (fine, ahead, behind) = (user("fine"), user("ahead"), user("behind"));
    let mut jumping = vec![
        event(&fine, "signup", now_ms - hours(1)),
        event(&ahead, "signup", now_ms + hours(20)),
        event(&ahead, "first_success", now_ms + hours(23)),
        event(&ahead, "first_project_created", now_ms - hours(23)),
        event(&behind, "first_success", now_ms - hours(22)),
        event(&behind, "signup", now_ms - hours(23)),
        event(&behind, "first_project_created", now_ms + hours(12)),
    ];
    let mut all = sound.clone();
    all.append(&mut jumping);
    trial.send(&all).await;
    trial.settled_by(Window::Now).await;
    let breaches: Vec<Arc<TtfBreach>> =
        trial.outcome(Isolation::ReadUncommitted).breach_values().into_iter().map(Arc::new).collect();
    let told = |user: &str| breaches.iter().filter(|breach| breach.user_id == user).count();
    assert_eq!(told(&fine), 0, "no deadline of theirs is due");
    assert_eq!(told(&ahead), 0, "theirs lie in the future");
    processor.drain();
}
