//! The live view on a real Redis, named by `TTF_TEST_REDIS`.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use common::{people_in, record};
use service_kit::Kit;
use sink_archiver::{
    LiveView,
    database::Database,
    live_view::{Cache, ReadThrough, RedisCache, UserKey},
};
use tempfile::TempDir;

fn server() -> String {
    std::env::var("TTF_TEST_REDIS")
        .expect("TTF_TEST_REDIS must name a Redis server, e.g. redis://127.0.0.1:6379; `make services-up` starts one")
}

/// A cache under a prefix of the test's own: tests share the server.
fn cache_at(url: &str, prefix: &str) -> RedisCache {
    let config = serde_json::json!({"url": url, "key_prefix": prefix, "ttl": "1h", "timeout": "2s"});
    RedisCache::open(&serde_json::from_value(config).expect("a config")).expect("opened")
}

fn own_prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let started = jiff::Timestamp::now().as_millisecond();
    format!("test-{}-{started}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn view_at(url: &str) -> (TempDir, Arc<dyn Database>, ReadThrough, Kit) {
    let folder = tempfile::tempdir().expect("a folder");
    let database = people_in(folder.path()).await;
    let kit = Kit::for_test();
    let view = ReadThrough::new(Box::new(cache_at(url, &own_prefix())), Arc::clone(&database), &kit);
    (folder, database, view, kit)
}

#[tokio::test]
async fn only_what_is_complete_is_served_and_the_newest_revision_stays() {
    let prefix = own_prefix();
    let cache = cache_at(&server(), &prefix);
    cache.revive().await.expect("revived");
    let id = "user-1".to_owned();
    let user = UserKey::new("acme", id.as_str());
    cache.update(&[record(&id, 2)]).await.expect("updated");
    let (epoch, known) = cache.get(&user).await.expect("got");
    assert_eq!(known, None, "there may be more in the database");
    cache.fill(&user, epoch, &[record(&id, 1)]).await.expect("filled");
    assert_eq!(cache.get(&user).await.expect("got").1, Some(vec![record(&id, 2)]));
    cache.update(&[record(&id, 1), record(&id, 3)]).await.expect("updated");
    assert_eq!(cache.get(&user).await.expect("got").1, Some(vec![record(&id, 3)]));
    cache.remove(&user).await.expect("removed");
    cache.fill(&user, epoch, &[record(&id, 3)]).await.expect("a slow reader");
    assert_eq!(cache.get(&user).await.expect("got").1, None);
}

#[tokio::test]
async fn entries_go_after_their_time() {
    let prefix = own_prefix();
    let cache = cache_at(&server(), &prefix);
    cache.revive().await.expect("revived");
    let id = "user-1".to_owned();
    let user = UserKey::new("acme", id.as_str());
    let (epoch, _) = cache.get(&user).await.expect("got");
    cache.fill(&user, epoch, &[record(&id, 1)]).await.expect("filled");
    let client = redis::Client::open(server()).expect("a client");
    let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{prefix}:*")).query_async(&mut connection).await.expect("keys");
    assert_eq!(keys.len(), 2, "the epoch and the user");
    for key in keys.iter().filter(|key| key.contains('{')) {
        let left: i64 = redis::cmd("PTTL").arg(key).query_async(&mut connection).await.expect("asked");
        assert!((1..=3_600_000).contains(&left), "{key} stays for {left}");
        assert!(!key.contains(&id), "no ids in key names");
    }
}

#[tokio::test]
async fn a_redis_that_is_away_stops_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let (_folder, _database, view, kit) = view_at(&url).await;
    view.distrust().await;
    view.put(&[record("ada", 1)]).await;
    view.remove("acme", "ada").await;
    view.maintain().await;
    assert_eq!(view.journeys("acme", "ada").await.expect("the database answers"), vec![]);
    let shown = kit.metrics().render();
    assert!(shown.contains("ttf_live_view_errors_total{operation=\"renew\"}"), "{shown}");
    assert!(shown.contains("ttf_live_view_lookups_total{from=\"database\"} 1"), "{shown}");
}

#[tokio::test]
async fn what_is_in_doubt_is_read_from_the_database_again() {
    use stream_runtime::sink::Sink;

    let (_folder, database, view, _kit) = view_at(&server()).await;
    view.maintain().await;
    let id = "user-1".to_owned();
    assert_eq!(view.journeys("acme", &id).await.expect("read"), vec![]);
    // Another process writes to the database and ends before it tells the live view.
    let mut topics = common::Topics::default();
    topics.record(&record(&id, 1));
    let mut archiver = common::archiver(&database, "gone");
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    archiver.sink.write(topics.all()).await.expect("written");
    view.distrust().await;
    assert_eq!(view.journeys("acme", &id).await.expect("read"), vec![record(&id, 1)]);
    view.put(&[record(&id, 2)]).await;
    assert_eq!(view.journeys("acme", &id).await.expect("read"), vec![record(&id, 2)], "served from Redis");
    view.remove("acme", &id).await;
    assert_eq!(view.journeys("acme", &id).await.expect("read"), vec![record(&id, 1)], "served from the database");
}
