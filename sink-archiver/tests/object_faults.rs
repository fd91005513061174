//! Trouble between the object sink and a real S3 server: a door in front of it is slow, answers 503, or loses the
//! server's answers. Afterwards the objects are those of a run without trouble: the same names, the same bytes.

mod common;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use common::{
    Topics,
    kafka::{Kafka, publish},
    object_suite::{Process, Stores, assert_same},
};
use parking_lot::Mutex;
use service_kit::Kit;
use sink_archiver::{
    metrics::Metrics,
    objects::{sink::ObjectSink, start::GroupOffsets, store::Store, writer::CutWriter},
};
use stream_runtime::{
    log::Log,
    sink::{self, Sink, SinkError, SinkOptions},
};
use telemetry_schemas::{
    Codec,
    topics::{EVENTS, TTF_BREACHES, TTF_RECORDS},
};

/// What the door does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Passes it on after a while.
    Slow(Duration),
    /// Does not pass it on.
    Unavailable,
    /// Passes a put on and keeps the answer to itself.
    LostAnswer,
    /// Says that there is no such bucket.
    BucketGone,
}

struct Door {
    server: String,
    client: reqwest::Client,
    /// What happens to every n-th put (or post).
    fault: Mutex<(Fault, u64)>,
    puts: AtomicU64,
    faults: AtomicU64,
}

impl Door {
    async fn open() -> (Arc<Self>, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let door = Arc::new(Self {
            server: variable("TTF_TEST_S3_ENDPOINT"),
            client: reqwest::Client::new(),
            fault: Mutex::new((Fault::None, 1)),
            puts: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let routes = Router::new().fallback(pass).with_state(Arc::clone(&door));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (door, address)
    }

    fn set(&self, fault: Fault, every: u64) {
        *self.fault.lock() = (fault, every);
    }

    fn happened(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    fn fault_of(&self, request: &Request) -> Fault {
        let (fault, every) = *self.fault.lock();
        // What ends an upload in parts is a post.
        let is_put = [Method::PUT, Method::POST].contains(request.method());
        let hits = match fault {
            Fault::BucketGone => true,
            _ => is_put && self.puts.fetch_add(1, Ordering::Relaxed).is_multiple_of(every),
        };
        if !hits || fault == Fault::None {
            return Fault::None;
        }
        self.faults.fetch_add(1, Ordering::Relaxed);
        fault
    }
}

async fn pass(State(door): State<Arc<Door>>, request: Request) -> Response {
    let fault = door.fault_of(&request);
    match fault {
        Fault::Unavailable => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Fault::BucketGone => {
            let body = "<Error><Code>NoSuchBucket</Code><Message>gone</Message></Error>";
            return (StatusCode::NOT_FOUND, body).into_response();
        }
        Fault::Slow(time) => tokio::time::sleep(time).await,
        Fault::None | Fault::LostAnswer => {}
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri: Uri = format!("{}{path}", door.server).parse().expect("a URI");
    // The signature is over the headers as they are, the host's among them.
    let request = door.client.request(parts.method, uri.to_string()).headers(parts.headers).body(body);
    let answer = request.send().await.expect("the server answers");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await.unwrap_or_default();
    if fault == Fault::LostAnswer {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().remove("transfer-encoding");
    response
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must describe an S3 server; `make services-up` starts one"))
}

fn open(endpoint: &str, prefix: &str) -> Store {
    let config = serde_json::json!({
        "kind": "s3", "bucket": "ttf-test", "region": "us-east-1", "endpoint": endpoint,
        "access_key": variable("TTF_TEST_S3_ACCESS_KEY"), "secret_key": variable("TTF_TEST_S3_SECRET_KEY"),
        "allow_http": true, "prefix": prefix, "retry_timeout": "1s", "part_size": "5MiB",
    });
    Store::open(&serde_json::from_value(config).expect("a config")).expect("opened")
}

/// Where a process is killed, and after how many passes; set for the child alone.
const KILLED_AT: &str = "TTF_TEST_KILLED_AT";
const CHILD_FOLDER: &str = "TTF_TEST_CHILD_FOLDER";
const CHILD_PREFIX: &str = "TTF_TEST_CHILD_PREFIX";

/// The child of the test below: feeds the store and kills itself at the named line. Nothing to do for anybody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() {
    let Ok(place) = std::env::var(KILLED_AT) else { return };
    let (place, passes) = place.split_once('/').expect("a place and passes");
    let left = AtomicU64::new(passes.parse().expect("a number"));
    let scenario = fail::FailScenario::setup();
    fail::cfg_callback(format!("archiver::objects::{place}"), move || {
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            let pid = std::process::id().to_string();
            std::process::Command::new("kill").args(["-9", &pid]).status().expect("killed");
            std::thread::sleep(Duration::from_secs(60));
        }
    })
    .expect("set");
    let database = common::people_in(Path::new(&variable(CHILD_FOLDER))).await;
    let store = open(&variable("TTF_TEST_S3_ENDPOINT"), &variable(CHILD_PREFIX));
    let committed = Arc::new(common::Committed::default());
    let sink = common::object_sink(&store, &database, &committed, &common::rotation(7));
    let _ = Process { sink, committed }.feed(&Topics::of_users(6), 5).await;
    scenario.teardown();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_each_step_of_a_cut_leaves_the_same_objects() {
    use std::os::unix::process::ExitStatusExt;
    let topics = Topics::of_users(6);
    let own = format!("archiver/killed-{}", jiff::Timestamp::now().as_nanosecond());
    let prefix = own.clone();
    let stores =
        Stores::new(move |_: &Path, name| open(&variable("TTF_TEST_S3_ENDPOINT"), &format!("{prefix}/{name}"))).await;
    stores.process("oracle", 7).feed(&topics, 5).await.expect("fed");
    let oracle = stores.objects("oracle").await;
    for place in ["after_cut", "between_objects", "before_complete", "before_offsets"] {
        for passes in [0, 3] {
            let name = format!("{place}-{passes}");
            let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
            child
                .args(["--exact", "the_process_that_is_killed"])
                .env(KILLED_AT, format!("{place}/{passes}"))
                .env(CHILD_FOLDER, stores.folder.path())
                .env(CHILD_PREFIX, format!("{own}/{name}"));
            let child = tokio::task::spawn_blocking(move || child.output()).await.expect("run").expect("run");
            assert_eq!(child.status.signal(), Some(9), "{name}: {}", String::from_utf8_lossy(&child.stdout));
            // Another process takes over, with other batches; its group knows no offsets.
            stores.process(&name, 7).feed(&topics, 11).await.expect("fed");
            assert_same(&stores.objects(&name).await, &oracle);
        }
    }
}

/// Stores behind a door, and what they hold after a run without trouble.
async fn behind_a_door(topics: &Topics) -> (Stores, Arc<Door>, std::collections::BTreeMap<String, bytes::Bytes>) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let started = jiff::Timestamp::now().as_nanosecond();
    let own = format!("archiver/faults-{started}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let (door, address) = Door::open().await;
    let stores = Stores::new(move |_: &Path, name| open(&address, &format!("{own}/{name}"))).await;
    stores.process("oracle", 7).feed(topics, 5).await.expect("fed");
    let oracle = stores.objects("oracle").await;
    assert!(oracle.len() > 10);
    (stores, door, oracle)
}

/// Feeds as the runner does: what could not be written is tried again, here by a process of its own each time.
async fn feed_until_done(stores: &Stores, topics: &Topics, tries: usize) -> usize {
    for failed in 0..tries {
        let mut process: Process = stores.process("a", 7);
        match process.feed(topics, 11).await {
            Ok(()) => return failed,
            Err(SinkError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("not done after {tries} tries")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_gets_the_same_objects() {
    let topics = Topics::of_users(6);
    let (stores, door, oracle) = behind_a_door(&topics).await;
    door.set(Fault::Slow(Duration::from_millis(150)), 2);
    feed_until_done(&stores, &topics, 1).await;
    assert!(door.happened() > 5);
    assert_same(&stores.objects("a").await, &oracle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_every_third_put_gets_the_same_objects() {
    let topics = Topics::of_users(6);
    let (stores, door, oracle) = behind_a_door(&topics).await;
    door.set(Fault::Unavailable, 3);
    feed_until_done(&stores, &topics, 20).await;
    assert!(door.happened() > 3);
    assert_same(&stores.objects("a").await, &oracle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_lost_after_a_successful_put_lose_and_double_nothing() {
    let topics = Topics::of_users(6);
    let (stores, door, oracle) = behind_a_door(&topics).await;
    door.set(Fault::LostAnswer, 2);
    feed_until_done(&stores, &topics, 20).await;
    assert!(door.happened() > 5);
    assert_same(&stores.objects("a").await, &oracle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_in_parts_is_there_once_and_whole_whichever_answer_is_lost() {
    let (door, address) = Door::open().await;
    let bytes = bytes::Bytes::from((0..11 * 1024 * 1024_u32).map(|n| (n >> 9) as u8).collect::<Vec<_>>());
    for (every, fault) in [(2, Fault::LostAnswer), (3, Fault::LostAnswer), (2, Fault::Unavailable)] {
        let own = format!("archiver/parts-{}-{every}-{fault:?}", jiff::Timestamp::now().as_nanosecond());
        let store = open(&address, &own);
        let path = store.names.under_root("dataset=events/large.parquet").expect("a path");
        let happened = door.happened();
        door.set(fault, every);
        let mut tries = 0;
        while let Err(error) = store.create(&path, bytes.clone()).await {
            tries += 1;
            assert!(matches!(error, SinkError::Unavailable(_)) && tries < 20, "{error}");
        }
        door.set(Fault::None, 1);
        assert!(door.happened() > happened + 1, "{fault:?} of every {every}");
        assert_eq!(store.read(&path).await.expect("read").expect("there"), bytes);
        let mut seen = store.list(&store.names.root()).await.expect("listed");
        // Nobody reads there; the bucket's lifecycle takes what a lost answer left.
        seen.retain(|path| !store.names.below_root(path).starts_with("_staging/"));
        assert_eq!(seen, [path], "{fault:?} of every {every}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_gone_for_a_while_is_waited_for() {
    let topics = Topics::of_users(6);
    let (stores, door, oracle) = behind_a_door(&topics).await;
    let mut process = stores.process("a", 7);
    process.sink.assigned(&topics.archived()).await.expect("assigned");
    door.set(Fault::BucketGone, 1);
    for _ in 0..2 {
        let failed = process.sink.write(topics.all()).await;
        assert!(matches!(failed, Err(SinkError::Unavailable(_))), "{failed:?}");
    }
    door.set(Fault::None, 1);
    // The same batch by the same process, as its runner gives it again.
    process.sink.write(topics.all()).await.expect("written");
    assert_same(&stores.objects("a").await, &oracle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_in_the_middle_of_an_object_moves_no_row() {
    let topics = Topics::of_users(6);
    let (stores, _, oracle) = behind_a_door(&topics).await;
    let (mut one, mut two) = (stores.process("a", 7), stores.process("a", 7));
    let partitions = topics.archived();
    one.sink.assigned(&partitions).await.expect("assigned");
    // Twelve records of each topic at most: some cuts are complete, each topic has an object in the making.
    one.sink.write(&topics.all()[..30]).await.expect("written");
    one.sink.revoked(&partitions).await;
    let late = one.sink.write(&topics.all()[30..]).await;
    assert!(matches!(late, Err(SinkError::Moved(_))), "{late:?}");
    two.feed(&topics, 4).await.expect("fed");
    assert_same(&stores.objects("a").await, &oracle);
}

/// The object sink of an archiver of this group, on a real Kafka.
fn archiver_on(log: &Arc<dyn Log>, stores: &Stores, name: &str) -> Kit {
    let (kit, store) = (Kit::for_test(), stores.store(name));
    let metrics = Metrics::new(&kit);
    let codec = Codec::without_registry();
    let writer = CutWriter::new(store.clone(), Arc::clone(&stores.database), codec, metrics.clone());
    let offsets = Arc::new(GroupOffsets::new(Arc::clone(log), name));
    let sink = ObjectSink::new(store, writer, offsets, &common::rotation(7), metrics);
    let topics = [EVENTS, TTF_RECORDS, TTF_BREACHES].map(str::to_owned).to_vec();
    let mut options = SinkOptions::new("objects", name, topics);
    options.batch_interval = Duration::from_millis(20);
    sink::run(options, Arc::clone(log), sink, &kit).expect("started");
    kit
}

/// What a metric says, over all of its labels.
fn total(kit: &Kit, metric: &str) -> i64 {
    let page = kit.metrics().render();
    let numbers = page.lines().filter(|line| line.starts_with(metric)).filter_map(|line| line.rsplit(' ').next());
    numbers.filter_map(|number| number.parse::<f64>().ok()).sum::<f64>() as i64
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + common::kafka::PATIENCE;
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archiver_that_joins_on_a_real_kafka_while_objects_are_open_leaves_the_same_objects() {
    const BUFFERED: &str = "ttf_archive_buffered_records{";
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.expect("started");
    let log = kafka.log();
    let own = format!("archiver/joined-{}", jiff::Timestamp::now().as_nanosecond());
    let stores =
        Stores::new(move |_: &Path, name| open(&variable("TTF_TEST_S3_ENDPOINT"), &format!("{own}/{name}"))).await;
    let (cuts, open_records) = (|records: i64| records / 2 / 7 * 2, |records: i64| records / 2 % 7 * 2);
    // 36 events, 36 records, 18 breaches, half of them in each partition: two, two and one cuts, and 4, 4 and 2 more.
    let topics = Topics::of_users(9);
    let counts = [36, 36, 18];
    publish(&log, &topics).await;
    let one = archiver_on(&log, &stores, "a");
    let complete = async |name: &str| {
        let objects = stores.objects(name).await;
        objects.keys().filter(|path| path.starts_with("_complete/")).count() as i64
    };
    let (first_cuts, open_then): (i64, i64) = (counts.map(cuts).iter().sum(), counts.map(open_records).iter().sum());
    assert_eq!((first_cuts, open_then), (10, 20));
    until("objects of every partition are open", async || {
        complete("a").await == first_cuts && total(&one, BUFFERED) == open_then
    })
    .await;

    let two = archiver_on(&log, &stores, "a");
    until("each has half of the open objects", async || {
        [&one, &two].map(|kit| total(kit, BUFFERED)) == [open_then / 2; 2]
    })
    .await;
    publish(&log, &topics).await;
    let all: i64 = counts.map(|records| cuts(2 * records)).iter().sum();
    until("everything is archived", async || complete("a").await >= all).await;
    assert!([&one, &two].iter().all(|kit| total(kit, "ttf_archive_cuts_total{") > 0), "both have written");

    // The oracle: one archiver alone, and nobody joins.
    let oracle = archiver_on(&log, &stores, "oracle");
    until("the oracle has archived everything", async || complete("oracle").await >= all).await;
    for kit in [one, two, oracle] {
        kit.shutdown().cancel();
        kit.join(common::kafka::PATIENCE).await.expect("ended in good order");
    }
    let objects = stores.objects("a").await;
    assert!(objects.len() > 50, "{}", objects.len());
    assert_same(&objects, &stores.objects("oracle").await);
    tokio::task::spawn_blocking(move || drop(kafka)).await.expect("ended");
}

/// A breach as the first version of its schema wrote it: without the fields that came later, which are at the end.
fn in_its_first_version(value: &[u8]) -> Vec<u8> {
    const HEADER: usize = 10;
    let schema: serde_avro_fast::Schema =
        include_str!("../../schemas/past/ttf_breach.v1.avsc").parse().expect("a schema");
    let (body, later) = value[HEADER..].split_at(value.len() - HEADER - 4);
    assert_eq!(later, [0; 4], "three empty maps and a null");
    [&value[..2], schema.rabin_fingerprint(), body].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_change_in_the_middle_of_an_object_loses_nothing_whoever_replays_it() {
    let topics = Topics::of_users(6);
    let (stores, _, oracle) = behind_a_door(&topics).await;
    let mut mixed = Topics::default();
    for record in topics.all() {
        let value = record.value.as_deref().expect("a value");
        // Cuts are of 7: the change is in the middle of the first.
        if &*record.topic == TTF_BREACHES && record.offset < 4 {
            mixed.push_bytes(TTF_BREACHES, "acme", "user-0", Some(in_its_first_version(value)));
        } else {
            let topic = [EVENTS, TTF_RECORDS, TTF_BREACHES].into_iter().find(|topic| **topic == *record.topic);
            mixed.push_bytes(topic.expect("a topic"), "acme", "user-0", Some(value.to_vec()));
        }
    }
    stores.process("a", 7).feed(&mixed, 64).await.expect("fed");
    assert_same(&stores.objects("a").await, &oracle);
}
