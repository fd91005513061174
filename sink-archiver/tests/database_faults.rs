//! The database fails in every way it can while the archiver writes; afterwards it holds exactly what an undisturbed
//! writer would have written, and nothing was given up. Each test has a PostgreSQL of its own.

mod common;

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use common::{
    Topics,
    cluster::{Cluster, Running, contents, converges, dead_letters, log, log_in, prepare, publish, until},
};
use telemetry_schemas::topics::EVENTS;

/// So many of the archiver's connections wait for a lock.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'archive' \
     AND application_name = 'ttf-archiver' AND wait_event_type = 'Lock'";
const EVENT_ROWS: &str = "SELECT count(*) FROM events";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_mid_transaction_loses_and_doubles_nothing() {
    let cluster = Cluster::start();
    let topics = Topics::of_users(60);
    let (expected, log) = (prepare(&cluster, &topics).await, log());
    let running = Running::start(&cluster, &log, "30s").await;
    // A lock keeps the archiver's transactions open after their first rows.
    let blocker = cluster.connect("archive").await;
    blocker.batch_execute("BEGIN; LOCK TABLE breaches, events IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    publish(&log, &topics).await;
    until(&cluster.connect("archive").await, WAITING, 2).await;
    cluster.act("kill");
    cluster.act("start");
    converges(&cluster, &log, &expected).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_restarted_again_and_again_loses_and_doubles_nothing() {
    let cluster = Cluster::start();
    let topics = Topics::of_users(150);
    let (expected, log) = (prepare(&cluster, &topics).await, log());
    let running = Running::start(&cluster, &log, "30s").await;
    publish(&log, &topics).await;
    for rows in [40, 200] {
        until(&cluster.connect("archive").await, EVENT_ROWS, rows).await;
        cluster.act("stop");
        cluster.act("start");
    }
    converges(&cluster, &log, &expected).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_older_copy_is_put_in_place_the_rows_converge() {
    let cluster = Cluster::start();
    let (half, topics) = (Topics::of_users(40), Topics::of_users(80));
    let (expected, log) = (prepare(&cluster, &topics).await, log());
    let running = Running::start(&cluster, &log, "30s").await;
    publish(&log, &half).await;
    until(&cluster.connect("archive").await, EVENT_ROWS, 160).await;
    cluster.act("stop");
    cluster.act("save");
    cluster.act("start");
    publish(&log, &topics).await;
    until(&cluster.connect("archive").await, EVENT_ROWS, 320).await;
    cluster.act("stop");
    cluster.act("restore");
    cluster.act("start");
    assert!(contents(&cluster.connect("archive").await).await["events"].len() < 320, "the copy is older");
    // Something has to come in for the archiver to see that the offsets went back.
    publish(&log, &half).await;
    converges(&cluster, &log, &expected).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_waited_for() {
    // Files of more than 1 MiB cannot grow; the server's own log is in pieces of that size.
    let cluster = Cluster::start_with("--wal-segsize=1");
    let topics = Topics::of_users(1_200);
    let (expected, log) = (prepare(&cluster, &topics).await, log());
    let running = Running::start(&cluster, &log, "30s").await;
    cluster.act("full");
    publish(&log, &topics).await;
    let failures = || {
        let page = running.kit.metrics().render();
        let of = |line: &str| {
            line.starts_with("ttf_sink_deliveries_total")
                && line.contains("database-events")
                && !line.contains("\"ok\"")
        };
        page.lines()
            .filter(|line| of(line))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>()
    };
    let deadline = std::time::Instant::now() + common::cluster::PATIENCE;
    while failures() < 2.0 {
        assert!(std::time::Instant::now() < deadline, "never full");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(contents(&cluster.connect("archive").await).await["events"].len() < expected["events"].len());
    cluster.act("roomy");
    converges(&cluster, &log, &expected).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_read_only_for_a_while_is_waited_for() {
    let cluster = Cluster::start();
    let (half, topics) = (Topics::of_users(30), Topics::of_users(80));
    let (expected, log) = (prepare(&cluster, &topics).await, log());
    let running = Running::start(&cluster, &log, "30s").await;
    publish(&log, &half).await;
    let client = cluster.connect("archive").await;
    client.batch_execute("SET default_transaction_read_only = off").await.expect("set");
    until(&client, EVENT_ROWS, 120).await;
    client.batch_execute("ALTER SYSTEM SET default_transaction_read_only = on").await.expect("set");
    client.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
    let checker = cluster.connect("archive").await;
    while checker.batch_execute("CREATE TEMPORARY TABLE IF NOT EXISTS probe ()").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    publish(&log, &topics).await;
    let errors = "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'archive'";
    until(&client, errors, 3).await;
    assert_eq!(contents(&client).await["events"].len(), 120);
    client.batch_execute("ALTER SYSTEM RESET default_transaction_read_only").await.expect("reset");
    client.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
    converges(&cluster, &log, &expected).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_held_for_longer_than_a_statement_may_take_is_waited_for() {
    let cluster = Cluster::start();
    let topics = Topics::of_users(60);
    let (expected, log) = (prepare(&cluster, &topics).await, log());
    let running = Running::start(&cluster, &log, "200ms").await;
    let blocker = cluster.connect("archive").await;
    blocker.batch_execute("BEGIN; LOCK TABLE journeys, events IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    publish(&log, &topics).await;
    let client = cluster.connect("archive").await;
    let given_up = "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'archive'";
    until(&client, given_up, 4).await;
    blocker.batch_execute("COMMIT").await.expect("unlocked");
    converges(&cluster, &log, &expected).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_chosen_to_end_a_deadlock_tries_again() {
    let cluster = Cluster::start();
    let topics = Topics::of_users(60);
    let (expected, log) = (prepare(&cluster, &topics).await, log());
    let running = Running::start(&cluster, &log, "30s").await;
    let other = cluster.connect("archive").await;
    // Who looks for a deadlock last is not the one it is ended by.
    other
        .batch_execute("SET deadlock_timeout = '60s'; BEGIN; LOCK TABLE stage_durations IN ACCESS EXCLUSIVE MODE")
        .await
        .expect("locked");
    publish(&log, &topics).await;
    let client = cluster.connect("archive").await;
    until(&client, WAITING, 1).await;
    // The archiver has written to this one, and waits for the other.
    other.batch_execute("LOCK TABLE journeys IN ACCESS EXCLUSIVE MODE").await.expect("the archiver gave way");
    until(&client, "SELECT deadlocks FROM pg_stat_database WHERE datname = 'archive'", 1).await;
    other.batch_execute("COMMIT").await.expect("unlocked");
    converges(&cluster, &log, &expected).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_archivers_that_both_take_a_partition_for_theirs_write_it_once() {
    let cluster = Cluster::start();
    let topics = Topics::of_users(100);
    let expected = prepare(&cluster, &topics).await;
    // Two groups that know nothing of each other: each gives its member every partition.
    let logs = [log(), log()];
    // Both have everything before anybody reads: one that goes on where the other was must find that place.
    tokio::join!(publish(&logs[0], &topics), publish(&logs[1], &topics));
    let running = [Running::start(&cluster, &logs[0], "30s").await, Running::start(&cluster, &logs[1], "30s").await];
    for log in &logs {
        converges(&cluster, log, &expected).await;
    }
    let client = cluster.connect("archive").await;
    let read = format!("SELECT sum(next_offset)::bigint FROM sink_offsets WHERE topic = '{EVENTS}'");
    until(&client, &read, 400).await;
    assert_eq!(client.query_one(&read, &[]).await.expect("asked").get::<_, i64>(0), 400, "no further than the topic");
    for running in running {
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_row_is_given_up_alone_while_all_else_is_tried_again() {
    let cluster = Cluster::start();
    let topics = Topics::of_users(40);
    let (expected, log) = (prepare(&cluster, &topics).await, log());
    let running = Running::start(&cluster, &log, "200ms").await;
    let blocker = cluster.connect("archive").await;
    blocker.batch_execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let mut poison = Topics::default();
    let mut event = common::event("eve", 1);
    event.properties.insert("nul".to_owned(), serde_json::Value::from("a\0b"));
    poison.event(&event);
    publish(&log, &poison).await;
    publish(&log, &topics).await;
    let client = cluster.connect("archive").await;
    until(&client, "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'archive'", 3).await;
    assert_eq!(dead_letters(&log), 0, "a lock is nobody's fault");
    blocker.batch_execute("COMMIT").await.expect("unlocked");
    until(&client, EVENT_ROWS, 160).await;
    let deadline = std::time::Instant::now() + common::cluster::PATIENCE;
    while contents(&client).await != expected {
        assert!(std::time::Instant::now() < deadline, "never");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(dead_letters(&log), 1);
    running.stop().await;
}

/// The lines of the sink after which a crash leaves something different behind.
const STEPS: [&str; 4] = ["after_offsets", "before_commit", "after_commit", "after_write"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_each_step_of_the_sink_loses_and_doubles_nothing() {
    let cluster = Cluster::start();
    let expected = prepare(&cluster, &Topics::of_users(STEPS.len() * 8)).await;
    let folder = tempfile::tempdir().expect("a folder");
    for (round, step) in STEPS.into_iter().enumerate() {
        for passes in [0, 1] {
            // Something new for each: events for one sink, journeys for the other.
            let log = log_in(folder.path());
            publish(&log, &Topics::of_users((round + 1) * 8)).await;
            drop(log);
            let status = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "an_archiver_that_kills_itself_where_it_is_told_to"])
                .env("TTF_TEST_KILL", format!("archiver::database::{step}"))
                .env("TTF_TEST_KILL_AFTER", passes.to_string())
                .env("TTF_TEST_KILL_URL", cluster.url("archive"))
                .env("TTF_TEST_KILL_LOG", folder.path())
                .stdout(std::process::Stdio::null())
                .status()
                .expect("started");
            assert_eq!(status.signal(), Some(9), "{step} after {passes}: {status}");
        }
    }
    let log = log_in(folder.path());
    let running = Running::start(&cluster, &log, "30s").await;
    converges(&cluster, &log, &expected).await;
    running.stop().await;
}

/// Is run by the test above in a process of its own; by itself it has nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archiver_that_kills_itself_where_it_is_told_to() {
    let Ok(step) = std::env::var("TTF_TEST_KILL") else { return };
    let told = |name: &str| std::env::var(name).expect("told");
    let passes: u32 = told("TTF_TEST_KILL_AFTER").parse().expect("a number");
    let passed = AtomicU32::new(0);
    fail::cfg_callback(step, move || {
        if passed.fetch_add(1, Ordering::SeqCst) >= passes {
            let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
            // Nothing after this line may happen.
            loop {
                std::thread::park();
            }
        }
    })
    .expect("set");
    let log = log_in(Path::new(&told("TTF_TEST_KILL_LOG")));
    let running = Running::start_on(&told("TTF_TEST_KILL_URL"), &log, "30s").await;
    tokio::time::timeout(common::cluster::PATIENCE, running.kit.shutdown().cancelled())
        .await
        .expect("killed long before");
}
