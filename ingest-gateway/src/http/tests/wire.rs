//! Requests as bytes: split, pipelined, cut off, and shaped to be read differently by two servers.

use std::time::Duration;

use serde_json::Value;
use telemetry_schemas::{event::Event, topics};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::harness::{DEADLINE, Running, eventually, start, track};

async fn connect(gateway: &Running) -> TcpStream {
    TcpStream::connect(gateway.address).await.unwrap()
}

/// Everything until the gateway closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

fn head(more: &str) -> String {
    format!("POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{more}\r\n")
}

fn event(id: &str) -> String {
    let mut event: Value = track("u");
    event["event_id"] = id.into();
    event.to_string()
}

fn ids(gateway: &Running) -> Vec<String> {
    let mut ids: Vec<String> =
        gateway.values::<Event>(topics::EVENTS).into_iter().map(|event| event.event_id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_body_in_chunks_of_one_byte_is_one_body() {
    let gateway = start().await;
    let mut stream = connect(&gateway).await;
    stream.write_all(head("Transfer-Encoding: chunked\r\nConnection: close\r\n").as_bytes()).await.unwrap();
    for byte in event("e").bytes() {
        stream.write_all(&[b"1\r\n".as_slice(), &[byte], b"\r\n"].concat()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(ids(&gateway), ["e"]);
}

#[tokio::test]
async fn pipelined_requests_are_answered_one_by_one_in_their_order() {
    let gateway = start().await;
    let mut stream = connect(&gateway).await;
    let mut all = String::new();
    for number in 0..20 {
        let body = event(&format!("e-{number:02}"));
        let close = if number == 19 { "Connection: close\r\n" } else { "" };
        all += &head(&format!("Content-Length: {}\r\n{close}", body.len()));
        all += &body;
    }
    stream.write_all(all.as_bytes()).await.unwrap();
    let answers = rest(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 202").count(), 20, "{answers}");
    assert_eq!(ids(&gateway).len(), 20);
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_no_event() {
    let gateway = start().await;
    let body = event("whole");
    for (more, sent) in [
        (format!("Content-Length: {}\r\n", body.len()), &body[..body.len() / 2]),
        (format!("Content-Length: {}\r\n", body.len() + 10), &body[..]),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "ff\r\n{\"event_name\""),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "zz\r\n{}\r\n0\r\n\r\n"),
    ] {
        let mut stream = connect(&gateway).await;
        stream.write_all(head(&more).as_bytes()).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{more}: {answer}");
    }
    assert_eq!(ids(&gateway), [""; 0]);
    eventually("the budget is back", || gateway.metric("ttf_gateway_in_flight_bytes", &[]) == 0).await;
}

#[tokio::test]
async fn what_follows_a_length_is_never_taken_for_a_part_of_the_body() {
    let gateway = start().await;
    // The length covers the first event alone; the second would be a smuggled request's body.
    let (first, second) = (event("first"), event("second"));
    let mut stream = connect(&gateway).await;
    let request = format!("{}{first}{second}", head(&format!("Content-Length: {}\r\n", first.len())));
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(answer.contains("HTTP/1.1 400"), "the rest is no request: {answer}");
    assert_eq!(ids(&gateway), ["first"]);
}

#[tokio::test]
async fn requests_that_two_servers_could_read_differently_are_not_read_twice() {
    let gateway = start().await;
    let smuggled = format!("{}{}", head("Content-Length: 5\r\n"), "hello");
    for (name, framing) in [
        ("both", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        ("both, the other way", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        ("two lengths", "Content-Length: 4\r\nContent-Length: 400\r\n"),
        ("a list of lengths", "Content-Length: 4, 400\r\n"),
        ("a length with a sign", "Content-Length: +4\r\n"),
        ("a length in hexadecimal", "Content-Length: 0x4\r\n"),
        ("another coding", "Transfer-Encoding: xchunked\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n"),
        ("chunked first", "Transfer-Encoding: chunked, identity\r\n"),
        ("a blank before the colon", "Transfer-Encoding : chunked\r\nContent-Length: 4\r\n"),
        ("a folded line", "Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n"),
        ("a bare newline", "X: y\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
    ] {
        let mut stream = connect(&gateway).await;
        let body = format!("0\r\n\r\n{smuggled}");
        stream.write_all(format!("{}{body}", head(framing)).as_bytes()).await.unwrap();
        let _ = stream.shutdown().await;
        let answer = rest(&mut stream).await;
        // Whatever the gateway makes of the framing, it answers once, or refuses the rest and closes.
        let answers = answer.matches("HTTP/1.1 ").count();
        let refused = answer.matches("HTTP/1.1 400").count();
        assert!(answers <= 1 || refused >= answers - 1, "{name}: {answer}");
        assert!(!answer.contains("HTTP/1.1 202"), "{name}: {answer}");
    }
    assert_eq!(ids(&gateway), [""; 0]);
    assert_eq!(gateway.send(event("after")).await.0, 202);
}

#[tokio::test]
async fn odd_methods_and_paths_have_their_answer() {
    let gateway = start().await;
    for (line, expected) in [
        ("BREW /api/v1/events HTTP/1.1", "405"),
        ("GET /api/v1/events/../../etc/passwd HTTP/1.1", "404"),
        ("GET /%2e%2e/%00 HTTP/1.1", "404"),
        ("GET //api/v1/events HTTP/1.1", "404"),
        ("POST http://elsewhere/nothing HTTP/1.1", "404"),
        ("CONNECT elsewhere:443 HTTP/1.1", "4"),
        ("GET /api/v1/users/%ff/journey HTTP/1.1", "400"),
        ("TRACE / HTTP/1.1", "405"),
        ("OPTIONS * HTTP/1.1", ""),
    ] {
        let mut stream = connect(&gateway).await;
        stream.write_all(format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{line}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 5"), "{line}: {answer}");
    }
}

#[tokio::test]
async fn numbers_keep_what_they_can_and_never_bring_an_event_down() {
    let gateway = start().await;
    let body = r#"{"event_name":"x","event_type":"test","event_id":"n","properties":{"a":9007199254740993,"b":18446744073709551615,"c":123456789012345678901234567890,"d":-0.0,"e":1e-999}}"#;
    assert_eq!(gateway.send(body).await.0, 202);
    let event = &gateway.values::<Event>(topics::EVENTS)[0];
    assert_eq!(event.properties["a"].to_string(), "9007199254740993");
    assert_eq!(event.properties["b"].to_string(), "18446744073709551615");
    assert!(event.properties["c"].as_f64().is_some_and(|number| number > 1e29));
}

#[tokio::test]
async fn a_client_that_goes_away_after_its_body_costs_no_event() {
    let gateway = start().await;
    let body = event("gone");
    let mut stream = connect(&gateway).await;
    let request = format!("{}{body}", head(&format!("Content-Length: {}\r\n", body.len())));
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), stream.shutdown()).await.unwrap().unwrap();
    drop(stream);
    eventually("the event has its outcome", || gateway.metric("ttf_events_total", &[]) == 1).await;
    assert_eq!(ids(&gateway), ["gone"]);
}
