//! A way to a server on which requests meet with accidents.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accident {
    None,
    /// Answered with 503 before the server sees it.
    Refused,
    /// The connection is reset before the server sees it.
    ResetBefore,
    /// The server takes it, and the connection is reset instead of its answer.
    ResetAfter,
}

/// Passes requests on, one a connection, each after the script's next accident, over and over.
pub struct Flaky {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Flaky {
    /// In front of `server` (`host:port`). Lives as long as the runtime it is started on.
    pub async fn start(server: &str, script: &'static [Accident]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(AtomicUsize::new(0));
        let (server, counted) = (server.to_owned(), requests.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, requests) = (server.clone(), counted.clone());
                // Either end may go away at any time.
                tokio::spawn(async move { drop(pass(client, &server, script, &requests).await) });
            }
        });
        Self { address, requests }
    }

    /// Requests that came so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, server: &str, script: &[Accident], requests: &AtomicUsize) -> std::io::Result<()> {
    let Some((head, body)) = request(&mut client).await? else { return Ok(()) };
    let accident = script[requests.fetch_add(1, Ordering::SeqCst) % script.len()];
    match accident {
        Accident::Refused => {
            let body = r#"{"code":"overloaded","message":"by the test","detail":"by the test","error":"by the test","status":0}"#;
            let answer = format!(
                "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n\
                 Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Accident::ResetBefore => return reset(client),
        Accident::None | Accident::ResetAfter => {}
    }
    let mut to = TcpStream::connect(server).await?;
    let kept = head.split("\r\n").filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head: Vec<&str> = kept.chain(["Connection: close", "", ""]).collect();
    to.write_all(head.join("\r\n").as_bytes()).await?;
    to.write_all(&body).await?;
    let mut answer = Vec::new();
    to.read_to_end(&mut answer).await?;
    if accident == Accident::ResetAfter {
        return reset(client);
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}

/// A whole request: its head without the blank line, and its body.
async fn request(client: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes.split_off(end + 4);
    let header = |wanted: &str| {
        head.split("\r\n").skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_ascii_lowercase())
        })
    };
    let is_complete = |body: &[u8]| match header("content-length").and_then(|length| length.parse().ok()) {
        Some(length) => body.len() >= length,
        None if header("transfer-encoding").is_some() => body.ends_with(b"0\r\n\r\n"),
        None => true,
    };
    while !is_complete(&body) {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some((head, body)))
}

fn reset(client: TcpStream) -> std::io::Result<()> {
    // Closing with nothing left to linger for sends RST.
    client.set_zero_linger()?;
    Ok(())
}
