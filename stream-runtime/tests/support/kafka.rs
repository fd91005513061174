//! The brokers named by `TTF_TEST_KAFKA`, and names of one's own on them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use stream_runtime::{
    keyed::test_driver::{ManualClock, Setup, TestDriver},
    log::{Log, config::KafkaConfig, kafka::KafkaLog},
};

use super::tally::{FIRST, Json, OPEN_MS, OUT, REJECTED, STATE, Tally};

pub fn brokers() -> String {
    std::env::var("TTF_TEST_KAFKA").unwrap_or_else(|_| {
        panic!("TTF_TEST_KAFKA names no broker: start the servers with `make services-up` or run `make test`")
    })
}

pub fn open() -> Arc<dyn Log> {
    Arc::new(open_at(&brokers(), &[]))
}

pub fn open_at(brokers: &str, properties: &[(&str, &str)]) -> KafkaLog {
    let properties: BTreeMap<String, String> =
        properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    KafkaLog::open(&KafkaConfig { brokers: brokers.to_owned(), properties }, "test").unwrap()
}

/// A name that no other test, and no earlier run on the same brokers, has used.
pub fn fresh(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{}-{}-{number}", service_kit::clock::now_ms(), std::process::id())
}

pub fn fresh_names() -> Json {
    Json { prefix: fresh("keyed") + "-", ..Json::default() }
}

/// A processor on the brokers.
pub fn driver(names: &Json) -> TestDriver<Tally, Json> {
    let setup = Setup {
        name: names.topic("test-driver"),
        start_ms: service_kit::clock::now_ms(),
        ..Setup::new(&[&names.topic(FIRST)], &names.topic(STATE), &[&names.topic(OUT), &names.topic(REJECTED)])
    };
    let clock = ManualClock::at(setup.start_ms);
    TestDriver::on(open(), clock, &setup, Tally { open_ms: OPEN_MS }, names.clone()).unwrap()
}
