//! Connections: slow ones, greedy ones, and the end of the process.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use service_kit::config::{ByteSize, HumanDuration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::harness::{DEADLINE, Fate, Running, Scripted, Setup, answer, start, start_with, track, try_start};

/// Sends bytes on a connection of their own and reads until the gateway closes it.
async fn exchange(gateway: &Running, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_to_end(&mut stream).await
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is a close, too.
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let mut setup = Setup::default();
    setup.config.header_timeout = HumanDuration::from_millis(100);
    let gateway = start_with(setup).await;
    exchange(&gateway, b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\n").await;
    exchange(&gateway, b"").await;
    assert_eq!(gateway.send(track("u").to_string()).await.0, 202);
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off() {
    let mut setup = Setup::default();
    setup.config.body_timeout = HumanDuration::from_millis(100);
    let gateway = start_with(setup).await;
    let answer = exchange(&gateway, b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{").await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
    assert_eq!(gateway.metric("ttf_gateway_in_flight_bytes", &[]), 0);
}

#[tokio::test]
async fn a_refusal_reaches_who_is_still_sending() {
    let mut setup = Setup::default();
    setup.config.limits.body_bytes = ByteSize::from_bytes(64 * 1024);
    let gateway = start_with(setup).await;
    // More than the buffers of a connection hold, in pieces: the answer is known before the last one is sent.
    let body = vec![b' '; 12 << 20];
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    for piece in body.chunks(1 << 16) {
        stream.write_all(piece).await.expect("the gateway hears it out");
        tokio::task::yield_now().await;
    }
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("body_too_large"), "{answer}");
}

#[tokio::test]
async fn who_announces_what_nobody_reads_is_refused_at_once() {
    let gateway = start().await;
    let head = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{{",
        1_u64 << 40
    );
    let answer = exchange(&gateway, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let mut setup = Setup::default();
    setup.config.limits.header_bytes = ByteSize::from_bytes(8 * 1024);
    let gateway = start_with(setup).await;
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(20_000));
    let answer = exchange(&gateway, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    assert_eq!(gateway.send(track("u").to_string()).await.0, 202);
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let gateway = start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ] {
        let answer = exchange(&gateway, bytes).await;
        assert!(answer.starts_with("HTTP/1.1 400") || answer.is_empty(), "{answer}");
    }
    assert_eq!(gateway.send(track("u").to_string()).await.0, 202);
}

#[tokio::test]
async fn a_busy_port_is_named_with_its_setting() {
    let first = start().await;
    let mut setup = Setup::default();
    setup.config.listen = first.address;
    let error = try_start(setup).await.err().expect("the port is in use");
    let expected = format!("address {} is in use by another process; set gateway.listen or stop it", first.address);
    assert_eq!(format!("{error:#}"), expected);
}

#[tokio::test]
async fn a_request_that_is_in_is_answered_before_the_end() {
    let mut setup = Setup { publisher: Some(Scripted::new([Fate::Hang])), ..Setup::default() };
    setup.config.ack_timeout = HumanDuration::from_millis(400);
    let gateway = Arc::new(start_with(setup).await);
    let sender = gateway.clone();
    let request = tokio::spawn(async move { sender.send(track("u").to_string()).await.0 });
    super::harness::eventually("the request is in", || gateway.metric("ttf_events_received_total", &[]) == 1).await;
    gateway.kit.shutdown().cancel();
    super::harness::eventually("nothing is accepted any more", || {
        std::net::TcpStream::connect_timeout(&gateway.address, Duration::from_secs(1)).is_err()
    })
    .await;
    assert_eq!(request.await.unwrap(), 503, "the answer came although the process was told to end");
    gateway.kit.join(DEADLINE).await.unwrap();
    assert_eq!(gateway.metric("ttf_events_total", &["outcome=\"retry\""]), 1);
}

#[tokio::test]
async fn who_has_said_nothing_yet_does_not_hold_up_the_end() {
    let gateway = start().await;
    let silent = std::net::TcpStream::connect(gateway.address).unwrap();
    super::harness::eventually("it is accepted", || gateway.metric("ttf_gateway_connections", &[]) >= 1).await;
    gateway.kit.shutdown().cancel();
    gateway.kit.join(Duration::from_secs(4)).await.unwrap();
    drop(silent);
}

#[tokio::test]
async fn paths_and_methods_that_do_not_exist_say_so() {
    let gateway = start().await;
    let (status, missing) = answer(gateway.get("/api/v1/event").await).await;
    assert_eq!((status, missing["hint"].as_str()), (404, Some("did you mean /api/v1/events?")));
    let slash = gateway.post_to("/api/v1/events/").body("{}").send().await.unwrap();
    assert_eq!(slash.status(), 404);

    let wrong = gateway.get("/api/v1/events").await;
    assert_eq!(wrong.headers()["allow"], "POST");
    let (status, wrong) = answer(wrong).await;
    assert_eq!((status, wrong["code"].as_str()), (405, Some("method_not_allowed")));

    let options = gateway.client.request(reqwest::Method::OPTIONS, gateway.url("/health")).send().await.unwrap();
    assert_eq!((options.status().as_u16(), options.headers()["allow"].as_bytes()), (204, &b"GET,HEAD"[..]));
    let head = gateway.client.head(gateway.url("/health")).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.text().await.unwrap(), "");
    assert_eq!(gateway.metric("ttf_gateway_requests_total", &["route=\"unmatched\"", "code=\"404\""]), 2);
}

#[tokio::test]
async fn a_handler_that_panics_costs_one_request() {
    async fn panicking() -> &'static str {
        panic!("on purpose");
    }
    let extra = Router::new().route("/extra", get(async || "here")).route("/panic", get(panicking));
    let gateway = start_with(Setup { extra, ..Setup::default() }).await;
    assert_eq!(gateway.get("/extra").await.text().await.unwrap(), "here");
    let (status, failed) = answer(gateway.get("/panic").await).await;
    assert_eq!((status, failed["code"].as_str()), (500, Some("internal")));
    assert_eq!(gateway.get("/extra").await.status(), 200);
}

/// A folder with a certificate and its key.
fn certificate(folder: &std::path::Path, name: &str) {
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls");
    for extension in ["pem", "key"] {
        std::fs::copy(from.join(format!("{name}.{extension}")), folder.join(format!("tls.{extension}"))).unwrap();
    }
}

/// A client that trusts this certificate alone.
fn trusting(name: &str) -> reqwest::Client {
    let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls");
    let pem = std::fs::read(from.join(format!("{name}.pem"))).unwrap();
    let root = reqwest::Certificate::from_pem(&pem).unwrap();
    reqwest::Client::builder().timeout(DEADLINE).no_proxy().tls_certs_only([root]).build().unwrap()
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_never() {
    let folder = std::env::temp_dir().join(format!("ttf-tls-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir_all(&folder).unwrap();
    certificate(&folder, "first");
    let mut setup = Setup::default();
    setup.config.tls = Some(crate::config::TlsConfig {
        certificate: folder.join("tls.pem"),
        key: folder.join("tls.key"),
        reload_interval: HumanDuration::from_millis(20),
    });
    setup.config.header_timeout = HumanDuration::from_millis(300);
    let gateway = start_with(setup).await;
    let url = format!("https://localhost:{}/live", gateway.address.port());
    let reaches =
        async |client: reqwest::Client| client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
    assert!(reaches(trusting("first")).await);
    assert!(!reaches(trusting("second")).await);

    std::fs::write(folder.join("tls.pem"), "no certificate").unwrap();
    super::harness::eventually("the broken file is noticed", || {
        gateway.metric("ttf_gateway_tls_reloads_total", &["outcome=\"refused\""]) > 0
    })
    .await;
    assert!(reaches(trusting("first")).await, "what was there stays in use");
    certificate(&folder, "second");
    super::harness::eventually("the new one is noticed", || {
        gateway.metric("ttf_gateway_tls_reloads_total", &["outcome=\"renewed\""]) > 0
    })
    .await;
    assert!(reaches(trusting("second")).await);
    // Who says nothing, or speaks no TLS, is cut off.
    exchange(&gateway, b"").await;
    exchange(&gateway, b"GET / HTTP/1.1\r\n\r\n").await;
    super::harness::eventually("their connections are closed", || gateway.metric("ttf_gateway_connections", &[]) <= 3)
        .await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_key_that_does_not_go_with_its_certificate_is_refused_at_the_start() {
    let data = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls").join(name);
    for (key, said) in
        [("second.key", "do not go together"), ("first.pem", "holds no private key"), ("none", "cannot read")]
    {
        let mut setup = Setup::default();
        setup.config.tls = Some(crate::config::TlsConfig {
            certificate: data("first.pem"),
            key: data(key),
            reload_interval: HumanDuration::from_millis(1_000),
        });
        let error = try_start(setup).await.err().expect("it is refused");
        assert!(format!("{error:#}").contains(said), "{error:#}");
    }
}
