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

/// A bucket of this test's own, with object lock.
async fn locked_bucket() -> String {
    use http::{HeaderName, HeaderValue, Method};
    use object_store::{
        aws::AmazonS3Builder,
        path::Path,
        signer::{SignedUrlOptions, Signer},
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let name = format!("ttf-locked-{}-{}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
    let endpoint = variable("TTF_TEST_S3_ENDPOINT");
    let s3 = AmazonS3Builder::new()
        .with_bucket_name(&name)
        .with_region("us-east-1")
        .with_endpoint(&endpoint)
        .with_access_key_id(variable("TTF_TEST_S3_ACCESS_KEY"))
        .with_secret_access_key(variable("TTF_TEST_S3_SECRET_KEY"))
        .with_allow_http(true)
        .build()
        .expect("a client");
    let header = HeaderName::from_static("x-amz-bucket-object-lock-enabled");
    let options = SignedUrlOptions::new().with_signed_header(header.clone(), HeaderValue::from_static("true"));
    let minute = std::time::Duration::from_secs(60);
    let url = s3.signed_url_opts(Method::PUT, &Path::default(), minute, &options).await.expect("signed");
    let answer = reqwest::Client::new().put(url).header(header, "true").send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    name
}

fn open_bucket(bucket: &str, prefix: &str, more: &serde_json::Value) -> Store {
    let endpoint = variable("TTF_TEST_S3_ENDPOINT");
    let mut config = serde_json::json!({
        "kind": "s3", "bucket": bucket, "region": "us-east-1", "endpoint": endpoint,
        "access_key": variable("TTF_TEST_S3_ACCESS_KEY"), "secret_key": variable("TTF_TEST_S3_SECRET_KEY"),
        "allow_http": true, "prefix": prefix, "retry_timeout": "5s",
    });
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    Store::open(&serde_json::from_value(config).expect("a config")).expect("opened")
}

/// The headers S3 answers to a HEAD of this object.
async fn headers_of(bucket: &str, key: &str) -> http::HeaderMap {
    use object_store::{aws::AmazonS3Builder, path::Path, signer::Signer};
    let s3 = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region("us-east-1")
        .with_endpoint(variable("TTF_TEST_S3_ENDPOINT"))
        .with_access_key_id(variable("TTF_TEST_S3_ACCESS_KEY"))
        .with_secret_access_key(variable("TTF_TEST_S3_SECRET_KEY"))
        .with_allow_http(true)
        .build()
        .expect("a client");
    let minute = std::time::Duration::from_secs(60);
    let url = s3.signed_url(http::Method::HEAD, &Path::from(key), minute).await.expect("signed");
    let answer = reqwest::Client::new().head(url).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    answer.headers().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_goes_up_in_parts_encrypted_and_only_where_nothing_is() {
    use sink_archiver::objects::store::Put;
    let prefix = format!("archiver/parts-{}-{}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
    let store = open_bucket(BUCKET, &prefix, &serde_json::json!({"encryption": "aes256", "part_size": "5MiB"}));
    let bytes =
        |seed: u8| bytes::Bytes::from((0..12 * 1024 * 1024_u32).map(|n| (n >> 9) as u8 ^ seed).collect::<Vec<_>>());
    let path = store.names.under_root("dataset=events/large.parquet").expect("a path");
    assert_eq!(store.create(&path, bytes(1)).await.expect("put"), Put::Written);
    assert_eq!(store.create(&path, bytes(2)).await.expect("put"), Put::Present);
    assert_eq!(store.read(&path).await.expect("read").expect("there"), bytes(1));
    let all = store.list(&store.names.root()).await.expect("listed");
    assert_eq!(all, std::slice::from_ref(&path), "nothing is left of the parts");
    let small = store.names.under_root("small").expect("a path");
    store.create(&small, bytes::Bytes::from_static(b"small")).await.expect("put");
    for path in [&path, &small] {
        let headers = headers_of(BUCKET, path.as_ref()).await;
        assert_eq!(headers.get("x-amz-server-side-encryption").and_then(|v| v.to_str().ok()), Some("AES256"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_bucket_keeps_what_is_archived_and_is_told_when_it_expires() {
    use sink_archiver::{
        config::{ObjectLockConfig, ObjectLockMode},
        objects::bucket::Rule,
    };
    let bucket = locked_bucket().await;
    let lock = serde_json::json!({"object_lock": {"mode": "compliance", "keep": "1d"}});
    let store = open_bucket(&bucket, "archive", &lock);
    let settings = store.bucket().expect("S3");
    let lock = ObjectLockConfig {
        mode: ObjectLockMode::Compliance,
        keep: service_kit::config::HumanDuration::from_secs(86_400),
    };
    settings.put_object_lock(lock).await.expect("locked");
    assert_eq!(settings.object_lock().await.expect("asked"), Some((ObjectLockMode::Compliance, 1)));

    assert_eq!(settings.rules().await.expect("asked"), []);
    let rule = |expire_after_days, sweeps| Rule {
        id: "ttf-events".into(),
        prefix: "archive/dataset=events/".into(),
        expire_after_days,
        sweeps,
    };
    settings.put_rules(&[rule(30, false)]).await.expect("put");
    assert_eq!(settings.rules().await.expect("asked"), [rule(30, false)]);
    settings.put_rules(&[rule(2_557, true)]).await.expect("put again");
    assert_eq!(settings.rules().await.expect("asked"), [rule(2_557, true)]);

    let name = bucket.clone();
    let stores = Stores::new(move |_: &Path, name_in| {
        open_bucket(&name, name_in, &serde_json::json!({"object_lock": {"mode": "compliance", "keep": "1d"}}))
    })
    .await;
    let topics = common::Topics::of_users(4);
    stores.process("a", 4).feed(&topics, 9).await.expect("fed");
    let first = stores.objects("a").await;
    stores.process("a", 4).feed(&topics, 3).await.expect("fed again");
    common::object_suite::assert_same(&stores.objects("a").await, &first);
    let path = first.keys().find(|path| path.contains("dataset=")).expect("an object");
    let headers = headers_of(&bucket, &format!("a/{path}")).await;
    assert_eq!(headers.get("x-amz-object-lock-mode").and_then(|v| v.to_str().ok()), Some("COMPLIANCE"), "{headers:?}");
    assert!(headers.contains_key("x-amz-object-lock-retain-until-date"));
}

/// Notes the encryption each request asks for, and takes everything, as S3 does.
async fn s3_that_notes() -> (String, std::sync::Arc<parking_lot::Mutex<Vec<[String; 4]>>>) {
    use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse};

    const PARTS: &str = "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>7</UploadId></InitiateMultipartUploadResult>";
    const DONE: &str = "<CompleteMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";
    const COPIED: &str = "<CopyPartResult><ETag>\"e\"</ETag></CopyPartResult>";
    let noted = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let notes = std::sync::Arc::clone(&noted);
    let answer = move |request: Request| {
        let notes = std::sync::Arc::clone(&notes);
        async move {
            let header = |name: &str| {
                let value = request.headers().get(name).and_then(|value| value.to_str().ok());
                value.unwrap_or_default().to_owned()
            };
            let (method, query) = (request.method().as_str(), request.uri().query().unwrap_or_default());
            let what = match (method, query) {
                ("HEAD", _) => return StatusCode::NOT_FOUND.into_response(),
                ("POST", query) if query.starts_with("uploads") => "begin",
                ("PUT", "") => "put",
                ("PUT", _) if !header("x-amz-copy-source").is_empty() => "copy",
                ("PUT", _) => "part",
                ("POST", _) => "complete",
                _ => "other",
            };
            let asked = [
                what.to_owned(),
                header("x-amz-server-side-encryption"),
                header("x-amz-server-side-encryption-aws-kms-key-id"),
                header("x-amz-server-side-encryption-bucket-key-enabled"),
            ];
            notes.lock().push(asked);
            let body = match what {
                "begin" => PARTS,
                "complete" => DONE,
                "copy" => COPIED,
                _ => "",
            };
            ([("etag", "\"e\"")], body).into_response()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (address, noted)
}

/// A server with a key management service is not at hand; what is asked of it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_object_is_put_under_the_key_of_the_key_management_that_is_configured() {
    const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    for (kms_key, named) in [(Some(KEY), KEY), (None, "")] {
        let (endpoint, noted) = s3_that_notes().await;
        let config = serde_json::json!({
            "kind": "s3", "bucket": "b", "region": "eu-central-1", "endpoint": endpoint, "access_key": "key",
            "secret_key": "secret", "allow_http": true, "encryption": "kms", "kms_key": kms_key, "part_size": "5MiB",
        });
        let store = Store::open(&serde_json::from_value(config).expect("a config")).expect("opened");
        for (name, length) in [("small", 10), ("large", 6 * 1024 * 1024)] {
            let path = store.names.under_root(name).expect("a path");
            store.create(&path, bytes::Bytes::from(vec![0; length])).await.expect("put");
        }
        let noted = noted.lock().clone();
        let begun: Vec<_> = noted.iter().filter(|asked| matches!(&*asked[0], "put" | "begin")).collect();
        // The small one; the parts of the large one, and the copy to its own name, which is an upload of parts, too.
        assert_eq!(begun.len(), 3, "{noted:?}");
        for asked in begun {
            assert_eq!((&*asked[1], &*asked[2]), ("aws:kms", named), "{asked:?}");
        }
    }
}

#[test]
fn a_key_without_key_management_is_refused() {
    for encryption in ["bucket", "aes256"] {
        let config = serde_json::json!({
            "kind": "s3", "bucket": "b", "region": "r", "access_key": "k", "secret_key": "s",
            "encryption": encryption, "kms_key": "1234abcd",
        });
        let error = Store::open(&serde_json::from_value(config).expect("a config")).expect_err("refused").to_string();
        assert!(error.contains("archive.s3.kms_key") && error.contains("encryption: kms"), "{error}");
    }
}
