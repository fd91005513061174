//! An erased user is in no store any more: searched for byte by byte. And what is owed to people while they are known.

mod common;

use std::{path::Path, sync::Arc};

use common::{T0, Topics, archiver, erasure, event, object_suite::Stores, record};
use service_kit::Kit;
use sink_archiver::{
    database::{Database, Postgres},
    live_view::{LiveView, ReadThrough, RedisCache},
    objects::store::Store,
    privacy::{
        access,
        certificate::{Certificate, Step},
    },
};
use stream_runtime::sink::Sink;
use telemetry_schemas::EventTime;

/// Looked for in every store.
const USER: &str = "zz-erased-person-zz";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must name a server; `make services-up` starts one"))
}

fn open_s3(_: &Path, name: &str) -> Store {
    let prefix = format!("archiver/erasure-{}-{name}", std::process::id());
    let config = serde_json::json!({
        "kind": "s3", "bucket": "ttf-test", "region": "us-east-1", "endpoint": variable("TTF_TEST_S3_ENDPOINT"),
        "access_key": variable("TTF_TEST_S3_ACCESS_KEY"), "secret_key": variable("TTF_TEST_S3_SECRET_KEY"),
        "allow_http": true, "prefix": prefix,
    });
    Store::open(&serde_json::from_value(config).expect("a config")).expect("opened")
}

/// Events and records of some users, one of them [`USER`].
fn topics() -> Topics {
    let mut topics = Topics::of_users(3);
    for n in 1..=4 {
        topics.event(&event(USER, n));
        topics.record(&record(USER, n));
    }
    topics
}

struct Scratch {
    name: String,
    url: String,
}

impl Scratch {
    async fn make() -> Self {
        let admin = variable("TTF_TEST_POSTGRES");
        let name = format!("erasure_{}_{}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
        Self::run(&admin, &format!("CREATE DATABASE {name}")).await;
        let (server, _) = admin.rsplit_once('/').expect("a database in the URL");
        Self { url: format!("{server}/{name}"), name }
    }

    async fn run(url: &str, sql: &str) {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("connected");
        let connection = tokio::spawn(connection);
        client.batch_execute(sql).await.expect(sql);
        connection.abort();
    }

    /// Every row of every table, as text.
    async fn dump(&self) -> String {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.expect("connected");
        let connection = tokio::spawn(connection);
        let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
        let mut dump = String::new();
        for table in client.query(tables, &[]).await.expect("tables") {
            let table: String = table.get(0);
            for row in client.query(&format!("SELECT t::text FROM {table} AS t"), &[]).await.expect("rows") {
                dump.push_str(&[&*table, " ", row.get::<_, &str>(0), "\n"].concat());
            }
        }
        connection.abort();
        dump
    }

    async fn drop(self) {
        Self::run(&variable("TTF_TEST_POSTGRES"), &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

/// Every key and value below a prefix of Redis, as text.
async fn redis_dump(prefix: &str) -> String {
    let client = redis::Client::open(variable("TTF_TEST_REDIS")).expect("a client");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut connection).await.expect("keys");
    let mut dump = String::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.expect("a type");
        let values: Vec<Vec<u8>> = match kind.as_str() {
            "hash" => redis::cmd("HGETALL").arg(&key).query_async(&mut connection).await.expect("read"),
            "string" => vec![redis::cmd("GET").arg(&key).query_async(&mut connection).await.expect("read")],
            other => panic!("{key} is a {other}"),
        };
        let values: Vec<_> = values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
        dump.push_str(&[&*key, " ", &*values.join(" "), "\n"].concat());
    }
    dump
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_user_is_in_no_store_any_more() {
    let scratch = Scratch::make().await;
    let config = serde_json::json!({"url": scratch.url});
    let database = Postgres::open(&serde_json::from_value(config).expect("a config")).expect("opened");
    database.migrate().await.expect("migrated");
    database.open_ledger(None).await.expect("opened");
    let database: Arc<dyn Database> = Arc::new(database);
    let prefix = format!("ttf:erasure:{}", std::process::id());
    let config = serde_json::json!({"url": variable("TTF_TEST_REDIS"), "key_prefix": prefix});
    let cache = RedisCache::open(&serde_json::from_value(config).expect("a config")).expect("opened");
    let live_view: Arc<dyn LiveView> =
        Arc::new(ReadThrough::new(Box::new(cache), Arc::clone(&database), &Kit::for_test()));
    let mut stores = Stores::new(open_s3).await;
    stores.database = Arc::clone(&database);

    let mut topics = topics();
    stores.process("a", 4).feed(&topics, 9).await.expect("archived");
    let mut process = common::archiver_with(&database, &live_view, "erasure");
    process.sink.assigned(&topics.partitions()).await.expect("assigned");
    process.sink.write(topics.all()).await.expect("written");
    assert_eq!(live_view.journeys("acme", USER).await.expect("shown").len(), 1);
    // The search can find what is there.
    assert!(scratch.dump().await.contains(USER));
    assert!(redis_dump(&prefix).await.contains(USER));

    let access = access::gather(&*database, &*live_view, "acme", USER, EventTime(T0)).await.expect("gathered");
    let rows = &access.database;
    assert_eq!((rows.events.len(), rows.records.len(), rows.journeys.len(), rows.stages.len()), (4, 4, 1, 4));
    assert_eq!((rows.events[0]["event_id"].as_str(), access.live_view.len()), (Some("event-zz-erased-person-zz-1"), 1));
    assert!(access.pseudonym.is_some() && access.erased_at.is_none());

    let before = topics.all().len();
    let request = erasure(USER, T0 + 10_000_000);
    topics.erasure(&request);
    process.sink.assigned(&topics.partitions()).await.expect("assigned");
    process.sink.write(&topics.all()[before..]).await.expect("erased");

    let dump = scratch.dump().await;
    let left: Vec<&str> = dump.lines().filter(|line| line.contains(USER)).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!redis_dump(&prefix).await.contains(USER));
    for (path, bytes) in stores.objects("a").await {
        // Columns are compressed: what is looked for is what a reader reads.
        let rows = if path.contains("dataset=") {
            common::object_suite::all_text(&bytes)
        } else {
            String::from_utf8_lossy(&bytes).into_owned()
        };
        assert!(!rows.contains(&format!("\"{USER}\"")) && !rows.contains(&format!("device-{USER}")), "{path}");
    }

    let [certificate]: [Certificate; 1] =
        database.certificates(Some(&request.erasure_id)).await.expect("read").try_into().expect("one");
    assert_eq!(
        (certificate.deleted["events"], certificate.deleted["ttf_records"], certificate.deleted["journeys"]),
        (4, 4, 1)
    );
    assert_eq!(certificate.deleted["user_pseudonyms"], 2, "the user's and the device's");
    assert!(certificate.live_view_at.is_some() && certificate.processor_at.is_none());
    assert_eq!((certificate.partition, certificate.offset), (0, 0));
    for (step, first) in [(Step::Processor, true), (Step::Complete, true), (Step::Complete, false)] {
        assert_eq!(database.note_certificate(&request.erasure_id, step, EventTime(T0)).await.expect("noted"), first);
    }
    assert_eq!(database.certificates(None).await.expect("read"), [], "none is open");
    let access =
        access::gather(&*database, &*live_view, "acme", USER, EventTime(T0 + 20_000_000)).await.expect("gathered");
    assert_eq!((access.database.events.len(), access.live_view.len(), access.pseudonym), (0, 0, None));
    assert_eq!(access.erased_at, Some(request.erased_at));

    // What is read again brings nobody back, in no store; what comes later starts anew.
    stores.process("b", 4).feed(&topics, 9).await.expect("archived again");
    let dump = scratch.dump().await;
    let left: Vec<&str> = dump.lines().filter(|line| line.contains(USER)).collect();
    assert!(left.is_empty(), "{left:?}");
    let mut later = event(USER, 9);
    later.received_at = EventTime(T0 + 20_000_000);
    let before = topics.all().len();
    topics.event(&later);
    process.sink.assigned(&topics.partitions()).await.expect("assigned");
    process.sink.write(&topics.all()[before..]).await.expect("written");
    assert_eq!(database.rows_of("acme", USER).await.expect("read").events.len(), 1);
    drop((process, database, live_view, stores));
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_certifies_and_gathers_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = common::people_in(folder.path()).await;
    let mut topics = topics();
    let request = erasure(USER, T0 + 10_000_000);
    let mut process = archiver(&database, "erasure");
    process.sink.assigned(&topics.partitions()).await.expect("assigned");
    process.sink.write(topics.all()).await.expect("written");
    let rows = database.rows_of("acme", USER).await.expect("read");
    assert_eq!((rows.events.len(), rows.records.len(), rows.stages.len()), (4, 4, 4));
    assert_eq!(rows.events[0]["properties"]["plan"], "pro");
    let before = topics.all().len();
    topics.erasure(&request);
    process.sink.assigned(&topics.partitions()).await.expect("assigned");
    process.sink.write(&topics.all()[before..]).await.expect("erased");
    assert_eq!(database.rows_of("acme", USER).await.expect("read"), access::UserRows::default());
    let open = database.certificates(None).await.expect("read");
    assert_eq!(open[0].deleted["events"], 4);
    assert!(open[0].live_view_at.is_some());
    assert!(database.note_certificate(&request.erasure_id, Step::Complete, EventTime(T0)).await.expect("noted"));
    assert_eq!(database.certificates(None).await.expect("read"), []);
}
