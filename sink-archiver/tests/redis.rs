//! The live view on a real Redis, named by `TTF_TEST_REDIS`.

mod common;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
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

/// A Redis of a test's own, which may be killed and comes back with what it had saved.
struct Server {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let process = Self::launch(folder.path(), port);
        let server = Self { folder, port, process };
        server.ask("PING").await;
        server
    }

    fn launch(folder: &Path, port: u16) -> Child {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
        command.current_dir(folder).stdout(Stdio::null());
        command.spawn().expect("redis-server is installed; `make services-up` tells what is missing")
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Waits until it answers.
    async fn ask(&self, command: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let client = redis::Client::open(self.url()).expect("a client");
            if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                && redis::cmd(command).query_async::<String>(&mut connection).await.is_ok()
            {
                return;
            }
            assert!(Instant::now() < deadline, "never answered");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("ended");
    }

    async fn come_back(&mut self) {
        self.process = Self::launch(self.folder.path(), self.port);
        self.ask("PING").await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// As the service does once a second, until the cache did all it was asked.
async fn caught_up(view: &ReadThrough, kit: &Kit) {
    let errors = || {
        let page = kit.metrics().render();
        page.lines()
            .filter(|line| line.starts_with("ttf_live_view_errors_total"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let before = errors();
        view.maintain().await;
        if errors() == before {
            return;
        }
        assert!(Instant::now() < deadline, "it never came back: {before:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_and_comes_back_with_an_older_copy_stops_nothing_and_shows_nothing_old() {
    use stream_runtime::sink::Sink;

    let mut server = Server::start().await;
    let (_folder, database, view, kit) = view_at(&server.url()).await;
    let view = Arc::new(view);
    let live_view: Arc<dyn LiveView> = view.clone();
    let mut archiver = common::archiver_with(&database, &live_view, "archiver");
    let users: Vec<String> = (0..20).map(|n| format!("user-{n}")).collect();
    let mut topics = common::Topics::default();
    for revision in 1..=4 {
        for user in &users {
            topics.record(&record(user, revision));
        }
    }
    let of_revision = |n: usize| &topics.all()[(n - 1) * users.len()..n * users.len()];
    let shows = async |revision: i64| {
        for user in &users {
            // The first answer may be the database's, the second is the cache's.
            for _ in 0..2 {
                assert_eq!(view.journeys("acme", user).await.expect("answered"), vec![record(user, revision)]);
            }
        }
    };
    archiver.sink.assigned(&topics.partitions()).await.expect("assigned");
    archiver.sink.write(of_revision(1)).await.expect("written");
    caught_up(&view, &kit).await;
    shows(1).await;
    server.ask("SAVE").await;

    server.kill();
    archiver.sink.write(of_revision(2)).await.expect("nothing stops without it");
    shows(2).await;
    server.come_back().await;
    caught_up(&view, &kit).await;
    shows(2).await;

    // Nothing is written between its last update and its end: nobody sees it go.
    server.ask("SAVE").await;
    archiver.sink.write(of_revision(3)).await.expect("written");
    shows(3).await;
    server.kill();
    server.come_back().await;
    caught_up(&view, &kit).await;
    shows(3).await;
    archiver.sink.write(of_revision(4)).await.expect("written");
    shows(4).await;
    assert!(kit.metrics().render().contains("ttf_live_view_lookups_total{from=\"cache\"}"));
    assert_eq!(archiver.dead_letters.all(), vec![]);
    for user in &users {
        assert_eq!(database.journeys("acme", user).await.expect("read"), vec![record(user, 4)]);
        assert_eq!(database.rows_of("acme", user).await.expect("read").records.len(), 4, "every record once");
    }
}
