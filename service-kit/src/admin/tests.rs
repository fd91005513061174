use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

const LONG: Duration = Duration::from_secs(30);

async fn serve_any(kit: &Kit) -> SocketAddr {
    serve("127.0.0.1:0".parse().unwrap(), kit).await.unwrap()
}

async fn get_json(addr: SocketAddr, path: &str) -> (u16, serde_json::Value) {
    let (status, _, body) = get_text(addr, path).await;
    (status, serde_json::from_str(&body).unwrap())
}

/// Status, content type and body of a GET, over a connection of its own.
async fn get_text(addr: SocketAddr, path: &str) -> (u16, String, String) {
    let mut connection = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let content_type = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
    (status, content_type.to_owned(), body.to_owned())
}

#[tokio::test]
async fn health_shows_every_check_and_the_worst_decides() {
    let kit = Kit::new("gateway");
    let addr = serve_any(&kit).await;
    let (broker, cache) = (kit.health().check("broker"), kit.health().check("cache"));

    let (status, body) = get_json(addr, "/health").await;
    assert_eq!((status, &body["status"]), (200, &json!("healthy")));
    assert_eq!((&body["service"], &body["version"]), (&json!("gateway"), &json!(crate::VERSION)));
    assert!(body["uptime_seconds"].is_u64());

    cache.degraded("cannot reach redis");
    let (status, body) = get_json(addr, "/health").await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));
    assert_eq!(
        body["checks"],
        json!([
            { "name": "broker", "status": "healthy" },
            { "name": "cache", "status": "degraded", "message": "cannot reach redis" },
        ])
    );

    broker.unhealthy("no answer for 30 s");
    let (status, body) = get_json(addr, "/health").await;
    assert_eq!((status, &body["status"]), (503, &json!("unhealthy")));
}

#[tokio::test]
async fn readiness_is_refused_with_reasons_until_everything_is_ready() {
    let kit = Kit::for_test();
    let addr = serve_any(&kit).await;
    let restore = kit.health().readiness("restore");
    let (status, body) = get_json(addr, "/ready").await;
    assert_eq!((status, body), (503, json!({ "status": "not ready", "reasons": ["starting", "restore"] })));

    restore.set(true);
    let joined = tokio::spawn({
        let kit = kit.clone();
        async move { kit.join(LONG).await }
    });
    let ready = tokio::time::timeout(LONG, async {
        loop {
            if let (200, body) = get_json(addr, "/ready").await {
                return body;
            }
        }
    });
    assert_eq!(ready.await.unwrap(), json!({ "status": "ready" }));
    kit.shutdown().cancel();
    joined.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_silent_loop_is_not_alive() {
    let kit = Kit::for_test();
    let addr = serve_any(&kit).await;
    let poll = kit.health().progress("poll", LONG);
    assert_eq!(get_json(addr, "/live").await, (200, json!({ "status": "live" })));

    let stuck = kit.health().progress("stuck", Duration::ZERO);
    let (status, body) = get_json(addr, "/live").await;
    assert_eq!((status, &body["reasons"]), (503, &json!(["stuck: no progress for 0 s, at most 0 s expected"])));
    assert_eq!(get_json(addr, "/health").await.0, 503);

    stuck.end();
    poll.beat();
    assert_eq!(get_json(addr, "/live").await.0, 200);
}

#[tokio::test]
async fn metrics_are_in_prometheus_text_format() {
    let kit = Kit::for_test();
    let addr = serve_any(&kit).await;
    kit.metrics().counter("ttf_things_total", "Things.").inc_by(3);
    let (status, content_type, body) = get_text(addr, "/metrics").await;
    assert_eq!((status, content_type.as_str()), (200, "text/plain; version=0.0.4"));
    assert!(body.contains("# HELP ttf_things_total Things.\n# TYPE ttf_things_total counter\nttf_things_total 3\n"));
}

#[tokio::test]
async fn the_endpoints_answer_while_the_process_drains_and_free_the_port_after() {
    let kit = Kit::for_test();
    let addr = serve_any(&kit).await;
    let (release, held) = tokio::sync::oneshot::channel::<()>();
    kit.spawn("slow flush", async move { Ok(held.await?) });
    kit.shutdown().cancel();
    let joined = tokio::spawn({
        let kit = kit.clone();
        async move { kit.join(LONG).await }
    });
    assert_eq!(get_json(addr, "/live").await.0, 200);
    assert_eq!(get_json(addr, "/ready").await, (503, json!({ "status": "not ready", "reasons": ["shutting down"] })));

    release.send(()).unwrap();
    joined.await.unwrap().unwrap();
    let freed = tokio::time::timeout(LONG, async {
        while net::listen(addr, "service.admin_listen").await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    freed.await.unwrap();
}

#[tokio::test]
async fn a_busy_port_is_one_clear_line() {
    let kit = Kit::for_test();
    let addr = serve_any(&kit).await;
    let refused = serve(addr, &kit).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("address {addr} is in use by another process; set service.admin_listen or stop it")
    );
}
