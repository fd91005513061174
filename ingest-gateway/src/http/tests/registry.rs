//! A schema registry that goes away: what is known of it stays in use, and nothing is taken that could not be written.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;
use telemetry_schemas::{Codec, codec::RegistryConfig, topics};
use tokio::net::{TcpListener, TcpStream};

use super::harness::{Setup, eventually, start_with, track};

/// A way to the real registry that can be closed.
struct Way {
    address: SocketAddr,
    is_open: Arc<AtomicBool>,
}

impl Way {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, is_open) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(true)));
        let passes = is_open.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, passes) = (server.clone(), passes.clone());
                tokio::spawn(async move {
                    // A closed way ends the connection at once.
                    if passes.load(Ordering::SeqCst)
                        && let Ok(mut registry) = TcpStream::connect(server).await
                    {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut registry).await;
                    }
                });
            }
        });
        Self { address, is_open }
    }

    fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::SeqCst);
    }
}

async fn way() -> (Way, Codec) {
    let Ok(url) = std::env::var("TTF_TEST_REGISTRY") else {
        panic!(
            "TTF_TEST_REGISTRY is not set: run `make test`, or `make services-up` and `eval \"$(make services-env)\"`"
        )
    };
    let (server, path) = url.trim_start_matches("http://").split_once('/').unwrap();
    let way = Way::to(server.to_owned()).await;
    let config = RegistryConfig::new(format!("http://{}/{path}", way.address));
    let codec = tokio::task::spawn_blocking(|| Codec::with_registry(config).unwrap()).await.unwrap();
    (way, codec)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_registry_away_what_is_known_of_it_is_enough() {
    let (way, codec) = way().await;
    let gateway = start_with(Setup { codec, ..Setup::default() }).await;
    eventually("the gateway is ready", || gateway.kit.health().not_ready().is_empty()).await;
    way.set_open(false);
    for number in 0..50 {
        let body = json!([track(&number.to_string()), {"event_name": "no type"}]).to_string();
        let (status, answer) = gateway.send(body).await;
        assert_eq!((status, &answer["accepted"], &answer["rejected"]), (207, &json!(1), &json!(1)));
    }
    assert_eq!(gateway.records(topics::EVENTS).len(), 50);
    assert_eq!(gateway.records(topics::EVENTS_REJECTED).len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_never_saw_the_registry_takes_nothing_and_is_not_ready_until_it_is_back() {
    let (way, codec) = way().await;
    way.set_open(false);
    let gateway = start_with(Setup { codec, ..Setup::default() }).await;
    let (status, answer) = gateway.send(track("u").to_string()).await;
    assert_eq!((status, answer["results"][0]["status"].as_str()), (503, Some("retry")), "{answer}");
    assert!(!gateway.kit.health().not_ready().is_empty());
    way.set_open(true);
    eventually("the gateway is ready", || gateway.kit.health().not_ready().is_empty()).await;
    assert_eq!(gateway.send(track("u").to_string()).await.0, 202);
    assert_eq!(gateway.records(topics::EVENTS).len(), 1, "once, although it was sent twice");
    assert_eq!(gateway.metric("ttf_events_total", &["outcome=\"retry\""]), 1);
}
