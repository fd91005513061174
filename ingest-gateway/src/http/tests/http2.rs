//! HTTP/2: spoken with who asks for it, and bounded.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::{
    Reason,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request};
use serde_json::json;
use service_kit::config::{ByteSize, HumanDuration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use super::harness::{DEADLINE, Fate, Running, Scripted, Setup, eventually, start, start_with, track};

/// A client that does as it is told, and the end of its connection.
struct Client {
    requests: SendRequest<Bytes>,
    ended: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (requests, connection) = Builder::new().handshake(stream).await.unwrap();
        Self { requests, ended: tokio::spawn(connection) }
    }

    async fn connect(gateway: &Running) -> Self {
        Self::new(TcpStream::connect(gateway.address).await.unwrap()).await
    }

    /// Sends an event; the answer is still to come. Dropping both halves takes the request back.
    async fn send(&mut self, user: &str) -> (ResponseFuture, h2::SendStream<Bytes>) {
        self.requests = self.requests.clone().ready().await.unwrap();
        let (response, mut body) = self.requests.send_request(events(&HeaderMap::new()), false).unwrap();
        body.send_data(track(user).to_string().into(), true).unwrap();
        (response, body)
    }

    async fn status(&mut self, user: &str) -> u16 {
        self.send(user).await.0.await.unwrap().status().as_u16()
    }

    async fn end(self) -> Option<h2::Error> {
        tokio::time::timeout(DEADLINE, self.ended).await.expect("the connection ends").unwrap().err()
    }
}

fn events(headers: &HeaderMap) -> Request<()> {
    let mut request = Request::post("http://localhost/api/v1/events").header("content-type", "application/json");
    request.headers_mut().unwrap().extend(headers.clone());
    request.body(()).unwrap()
}

#[tokio::test]
async fn a_client_that_begins_with_http_2_is_answered_in_it() {
    let gateway = start().await;
    let mut client = Client::connect(&gateway).await;
    let (first, second) = (client.send("a").await.0, client.send("b").await.0);
    let (second, mut first) = (second.await.unwrap(), first.await.unwrap());
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (202, 202));
    let told = first.body_mut().data().await.unwrap().unwrap();
    assert!(told.starts_with(br#"{"code":"accepted""#), "{told:?}");
    assert_eq!(gateway.metric("ttf_events_total", &["accepted"]), 2);

    // The preface in two pieces, on a connection of its own.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"PRI * HTT").await.unwrap();
    tokio::task::yield_now().await;
    stream.write_all(b"P/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "the gateway's settings");
}

#[tokio::test]
async fn with_tls_the_handshake_agrees_on_http_2() {
    let data = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tls").join(name);
    let mut setup = Setup::default();
    setup.config.tls = Some(crate::config::TlsConfig {
        certificate: data("first.pem"),
        key: data("first.key"),
        reload_interval: HumanDuration::from_millis(60_000),
    });
    let gateway = start_with(setup).await;
    let mut roots = rustls::RootCertStore::empty();
    let certificate = std::fs::read(data("first.pem")).unwrap();
    for der in
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::pem_slice_iter(&certificate)
    {
        roots.add(der.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(Client::new(stream).await.status("u").await, 202);
}

#[tokio::test]
async fn more_requests_beside_each_other_than_allowed_are_refused() {
    let mut setup = Setup { publisher: Some(Scripted::new([Fate::Hang])), ..Setup::default() };
    setup.config.limits.streams = 2;
    setup.config.ack_timeout = HumanDuration::from_millis(300);
    let gateway = start_with(setup).await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    // A client that does not wait for the gateway's settings.
    let (mut requests, connection) =
        Builder::new().initial_max_send_streams(10).handshake::<_, Bytes>(stream).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..6 {
        let (answer, mut body) = requests.send_request(events(&HeaderMap::new()), false).unwrap();
        body.send_data(json!(track("u")).to_string().into(), true).unwrap();
        answers.push(answer);
    }
    let connection = tokio::spawn(connection);
    let mut refused = 0;
    for answer in answers {
        match answer.await {
            Ok(answer) => assert_eq!(answer.status(), 503, "the log never answers"),
            Err(error) => {
                assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 4);
    assert_eq!(requests.current_max_send_streams(), 2);
    connection.abort();
}

#[tokio::test]
async fn a_header_list_that_is_too_large_is_refused() {
    let mut setup = Setup::default();
    setup.config.limits.header_bytes = ByteSize::from_bytes(8 * 1024);
    let gateway = start_with(setup).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.status("u").await, 202);
    let mut headers = HeaderMap::new();
    headers.insert("x-large", "x".repeat(9_000).parse().unwrap());
    let answer = client.requests.send_request(events(&headers), true).unwrap().0.await;
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 431));
    assert_eq!(gateway.send(track("v").to_string()).await.0, 202, "others are not concerned");
}

#[tokio::test]
async fn a_client_that_takes_its_requests_back_is_cut_off() {
    let mut setup = Setup { publisher: Some(Scripted::new([Fate::Hang])), ..Setup::default() };
    setup.config.ack_timeout = HumanDuration::from_millis(300);
    let gateway = start_with(setup).await;
    let client = Client::connect(&gateway).await;
    for number in 0..1_000 {
        let Ok(mut requests) = client.requests.clone().ready().await else { break };
        let Ok((answer, mut body)) = requests.send_request(events(&HeaderMap::new()), false) else { break };
        if body.send_data(track(&format!("u-{number}")).to_string().into(), true).is_err() {
            break;
        }
        // Only once it costs something.
        eventually("the request is in", || {
            client.ended.is_finished() || gateway.metric("ttf_events_received_total", &[]) > number
        })
        .await;
        drop((answer, body));
    }
    client.end().await;
    let received = gateway.metric("ttf_events_received_total", &[]);
    assert!((100..=110).contains(&received), "{received} requests were taken up");
    assert_eq!(gateway.metric("ttf_gateway_connections_cut_total", &["resets"]), 1);
}

#[tokio::test]
async fn a_flood_of_requests_that_are_taken_back_at_once_ends_its_connection() {
    let gateway = start().await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut requests, connection) =
        Builder::new().initial_max_send_streams(100).handshake::<_, Bytes>(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..100_000 {
        let Ok(mut ready) = requests.ready().await else { break };
        match ready.send_request(events(&HeaderMap::new()), false) {
            Ok((_, mut body)) => body.send_reset(Reason::CANCEL),
            Err(_) => break,
        }
        requests = ready;
        if connection.is_finished() {
            break;
        }
    }
    let ended = tokio::time::timeout(DEADLINE, connection).await.expect("the connection ends").unwrap();
    assert!(ended.is_err(), "the gateway ended it");
    assert_eq!(gateway.send(track("v").to_string()).await.0, 202, "others are not concerned");
}

#[tokio::test]
async fn connections_without_requests_end() {
    let mut setup = Setup::default();
    setup.config.header_timeout = HumanDuration::from_millis(100);
    let gateway = start_with(setup).await;
    let mut client = Client::connect(&gateway).await;
    assert_eq!(client.status("u").await, 202);
    assert!(client.end().await.is_none(), "in good order");
    assert_eq!(gateway.metric("ttf_gateway_connections_cut_total", &["idle"]), 1);
    // A preface that never ends.
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok());
}

#[tokio::test]
async fn a_request_that_is_in_is_answered_before_the_end() {
    let mut setup = Setup { publisher: Some(Scripted::new([Fate::Hang])), ..Setup::default() };
    setup.config.ack_timeout = HumanDuration::from_millis(400);
    let gateway = start_with(setup).await;
    let mut client = Client::connect(&gateway).await;
    let (answer, _body) = client.send("u").await;
    eventually("the request is in", || gateway.metric("ttf_events_received_total", &[]) == 1).await;
    gateway.kit.shutdown().cancel();
    assert_eq!(answer.await.unwrap().status(), 503, "the answer came although the process was told to end");
    gateway.kit.join(Duration::from_secs(5)).await.unwrap();
    assert!(client.end().await.is_none());
}
