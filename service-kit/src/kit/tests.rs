use std::{
    sync::mpsc,
    time::{Duration, Instant},
};

use super::*;

/// More than any test needs; a test that fails waits this long.
const LONG: Duration = Duration::from_secs(30);

fn message(outcome: anyhow::Result<()>) -> String {
    format!("{:#}", outcome.unwrap_err())
}

#[tokio::test]
async fn tasks_that_end_after_shutdown_end_the_process_well() {
    let kit = Kit::for_test();
    let shutdown = kit.shutdown();
    kit.spawn("poll", async move {
        shutdown.cancelled().await;
        Ok(())
    });
    let shutdown = kit.shutdown();
    kit.spawn_thread("store", move || {
        tokio::runtime::Handle::current().block_on(shutdown.cancelled());
        Ok(())
    });
    let joined = tokio::spawn({
        let kit = kit.clone();
        async move { kit.join(LONG).await }
    });
    assert!(!joined.is_finished());
    kit.shutdown().cancel();
    joined.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_task_that_errs_ends_the_process_and_drains_the_others() {
    let kit = Kit::for_test();
    let (drained, was_drained) = mpsc::channel();
    let shutdown = kit.shutdown();
    kit.spawn("poll", async move {
        shutdown.cancelled().await;
        drained.send(())?;
        Ok(())
    });
    kit.spawn("publish", async { Err(anyhow!("broker is gone").context("cannot publish")) });
    assert_eq!(message(kit.join(LONG).await), "task `publish` ended the process: cannot publish: broker is gone");
    was_drained.try_recv().unwrap();
}

#[tokio::test]
async fn a_task_that_panics_ends_the_process() {
    let kit = Kit::for_test();
    kit.spawn("poll", async { panic!("index {} out of range", 7) });
    assert_eq!(message(kit.join(LONG).await), "task `poll` ended the process: panicked: index 7 out of range");
}

#[tokio::test]
async fn a_task_that_ends_early_ends_the_process() {
    let kit = Kit::for_test();
    kit.spawn("poll", async { Ok(()) });
    assert_eq!(message(kit.join(LONG).await), "task `poll` ended the process: it ended before shutdown");
}

#[tokio::test]
async fn a_thread_that_panics_ends_the_process() {
    let kit = Kit::for_test();
    kit.spawn_thread("store", || panic!("disk is full"));
    assert_eq!(message(kit.join(LONG).await), "task `store` ended the process: panicked: disk is full");
}

#[tokio::test]
async fn a_thread_that_errs_or_ends_early_ends_the_process() {
    let kit = Kit::for_test();
    kit.spawn_thread(format!("worker-{}", 3), || Err(anyhow!("changelog is gone")));
    assert_eq!(message(kit.join(LONG).await), "task `worker-3` ended the process: changelog is gone");

    let kit = Kit::for_test();
    kit.spawn_thread("store", || Ok(()));
    assert_eq!(message(kit.join(LONG).await), "task `store` ended the process: it ended before shutdown");
}

#[tokio::test]
async fn a_failure_while_draining_is_told() {
    let kit = Kit::for_test();
    let shutdown = kit.shutdown();
    kit.spawn("flush", async move {
        shutdown.cancelled().await;
        Err(anyhow!("last batch was refused"))
    });
    kit.shutdown().cancel();
    assert_eq!(message(kit.join(LONG).await), "task `flush` ended the process: last batch was refused");
}

#[tokio::test]
async fn tasks_that_do_not_drain_are_named() {
    let kit = Kit::for_test();
    kit.spawn("deaf", std::future::pending());
    let (release, held) = mpsc::channel::<()>();
    kit.spawn_thread("stuck", move || {
        // Ends when the test drops its side, long after the drain time.
        let _ = held.recv();
        Ok(())
    });
    kit.shutdown().cancel();
    let began = Instant::now();
    assert_eq!(
        message(kit.join(Duration::from_millis(50)).await),
        "still running 0.05 s after shutdown: `deaf`, `stuck`"
    );
    assert!(began.elapsed() < LONG);
    drop(release);
}

#[tokio::test]
async fn a_task_can_spawn_another_that_is_waited_for() {
    let kit = Kit::for_test();
    let (done, was_done) = mpsc::channel();
    kit.spawn("parent", {
        let kit = kit.clone();
        async move {
            let shutdown = kit.shutdown();
            shutdown.cancelled().await;
            kit.spawn("child", async move {
                tokio::task::yield_now().await;
                done.send(())?;
                Ok(())
            });
            Ok(())
        }
    });
    kit.shutdown().cancel();
    kit.join(LONG).await.unwrap();
    was_done.try_recv().unwrap();
}

#[tokio::test]
async fn readiness_needs_a_started_process_that_is_not_ending() {
    let kit = Kit::for_test();
    let restore = kit.health().readiness("restore");
    assert_eq!(kit.not_ready(), ["starting", "restore"]);
    restore.set(true);
    let joined = tokio::spawn({
        let kit = kit.clone();
        async move { kit.join(LONG).await }
    });
    let deadline = Instant::now() + LONG;
    while !kit.not_ready().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", kit.not_ready());
        tokio::task::yield_now().await;
    }
    kit.shutdown().cancel();
    assert_eq!(kit.not_ready(), ["shutting down"]);
    joined.await.unwrap().unwrap();
}

#[test]
fn a_process_shows_its_build_and_its_own_figures() {
    let text = Kit::for_test().metrics().render();
    assert!(text.contains("ttf_build_info{commit=\"") && text.contains(crate::VERSION), "{text}");
    #[cfg(target_os = "linux")]
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is missing:\n{text}");
    }
}
