//! The object archive's behaviours on a real S3 server, named by `TTF_TEST_S3_ENDPOINT`.

mod common;

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use common::object_suite::Stores;
use sink_archiver::objects::store::Store;

/// `make services-up` makes it.
const BUCKET: &str = "ttf-test";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must describe an S3 server; `make services-up` starts one"))
}

fn open(prefix: &str) -> Store {
    let endpoint = variable("TTF_TEST_S3_ENDPOINT");
    let config = serde_json::json!({
        "kind": "s3", "bucket": BUCKET, "region": "us-east-1", "endpoint": endpoint,
        "access_key": variable("TTF_TEST_S3_ACCESS_KEY"), "secret_key": variable("TTF_TEST_S3_SECRET_KEY"),
        "allow_http": endpoint.starts_with("http:"), "prefix": prefix,
    });
    Store::open(&serde_json::from_value(config).expect("a config")).expect("opened")
}

/// Every test has a prefix of its own.
async fn stores() -> Stores {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let started = jiff::Timestamp::now().as_millisecond();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let own = format!("archiver/{}-{started}-{number}", std::process::id());
    Stores::new(move |_: &Path, name| open(&format!("{own}/{name}"))).await
}

object_suite!(stores);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_is_tried_again_and_skips_nothing() {
    use stream_runtime::{
        log::TopicPartition,
        sink::{Sink, SinkError},
    };
    use telemetry_schemas::topics::EVENTS;

    // A port nobody listens on: connections are refused at once.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let config = serde_json::json!({
        "kind": "s3", "bucket": BUCKET, "region": "us-east-1", "endpoint": endpoint,
        "access_key": "key", "secret_key": "secret", "allow_http": true, "prefix": "", "retry_timeout": "1s",
    });
    let store = Store::open(&serde_json::from_value(config).expect("a config")).expect("opened");
    let stores = Stores::new(move |_: &Path, _| store.clone()).await;
    let error = stores.process("a", 1).sink.assigned(&[TopicPartition::new(EVENTS, 0)]).await.expect_err("away");
    assert!(matches!(error, SinkError::Unavailable(_)), "{error}");
}
