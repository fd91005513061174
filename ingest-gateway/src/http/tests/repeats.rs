//! Events that come again: recognised once the log has acknowledged them, and never lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use service_kit::config::{HumanDuration, Secret};
use stream_runtime::log::Publisher;
use telemetry_schemas::topics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::harness::{Fate, Scripted, Setup, eventually, start, start_with, track};

#[tokio::test]
async fn a_repeat_is_a_duplicate_and_is_not_published_again() {
    let gateway = start().await;
    assert_eq!(gateway.send(track("u").to_string()).await.0, 202);
    let (status, again) = gateway.send(json!([track("u"), track("v")]).to_string()).await;
    assert_eq!((status, &again["accepted"], &again["duplicate"]), (202, &json!(1), &json!(1)));
    assert_eq!(again["results"], json!([{"index": 0, "event_id": "e-u", "status": "duplicate"}]));
    assert_eq!(gateway.records(topics::EVENTS).len(), 2);
    assert_eq!(gateway.metric("ttf_events_total", &["outcome=\"duplicate\""]), 1);
    assert_eq!(gateway.metric("ttf_events_received_total", &[]), gateway.metric("ttf_events_total", &[]));
    assert_eq!(gateway.metric("ttf_gateway_dedup_ids", &[]), 2);
}

#[tokio::test]
async fn an_event_that_was_not_acknowledged_is_no_duplicate() {
    let publisher = Scripted::new([Fate::Fail, Fate::Acknowledge]);
    let gateway = start_with(Setup { publisher: Some(publisher.clone()), ..Setup::default() }).await;
    assert_eq!(gateway.send(track("u").to_string()).await.0, 503);
    let (status, again) = gateway.send(track("u").to_string()).await;
    assert_eq!((status, &again["accepted"]), (202, &json!(1)));
    assert_eq!(publisher.taken.lock().len(), 1);
    assert_eq!(gateway.send(track("u").to_string()).await.1["duplicate"], 1);
}

#[tokio::test]
async fn a_repeat_within_a_request_shares_the_fate_of_the_first() {
    let publisher = Scripted::new([Fate::Fail, Fate::Acknowledge]);
    let gateway = start_with(Setup { publisher: Some(publisher.clone()), ..Setup::default() }).await;
    let twice = json!([track("u"), track("u")]).to_string();
    let (status, failed) = gateway.send(twice.clone()).await;
    assert_eq!((status, failed["results"][1]["status"].as_str()), (503, Some("retry")));
    let (status, taken) = gateway.send(twice).await;
    assert_eq!((status, &taken["accepted"], &taken["duplicate"]), (202, &json!(1), &json!(1)));
    assert_eq!(publisher.taken.lock().len(), 1);
}

#[tokio::test]
async fn events_without_an_id_and_of_other_tenants_are_no_repeats() {
    let gateway = start().await;
    let nameless = json!({"event_name": "x", "event_type": "test"}).to_string();
    for _ in 0..2 {
        assert_eq!(gateway.send(nameless.clone()).await.1["accepted"], 1);
    }
    for key in ["acme-secret", "no key of ours"] {
        let request = gateway.post_to("/api/v1/events").header("x-api-key", key).body(track("u").to_string());
        assert_eq!(request.send().await.unwrap().json::<serde_json::Value>().await.unwrap()["accepted"], 1, "{key}");
    }
}

#[tokio::test]
async fn checking_alone_remembers_nothing() {
    let gateway = start().await;
    let check = gateway.post_to("/api/v1/events?validate_only=1").body(track("u").to_string());
    assert_eq!(check.send().await.unwrap().status(), 202);
    assert_eq!(gateway.send(track("u").to_string()).await.1["accepted"], 1);
}

#[tokio::test]
async fn a_redis_that_is_away_or_silent_costs_a_moment_and_no_event() {
    // A port where nothing answers: connections are taken by the system, and nothing is ever read.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), away] {
        let mut setup = Setup::default();
        setup.config.redis = Some(Secret::new(format!("redis://{address}")));
        setup.config.dedup.redis_timeout = HumanDuration::from_millis(30);
        let gateway = start_with(setup).await;
        for number in 0..20 {
            assert_eq!(gateway.send(track(&number.to_string()).to_string()).await.1["accepted"], 1);
        }
        assert_eq!(gateway.send(track("3").to_string()).await.1["duplicate"], 1, "this process remembers");
        assert!(gateway.metric("ttf_gateway_dedup_unavailable_total", &[]) > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_requests_with_one_event_at_the_same_time_one_is_accepted() {
    let publisher = Scripted::new([Fate::Late]);
    let gateway = start_with(Setup { publisher: Some(publisher.clone()), ..Setup::default() }).await;
    let at_once = (0..20).map(|_| gateway.send(track("u").to_string()));
    let answers = futures::future::join_all(at_once).await;
    let count = |what: &str| answers.iter().map(|(_, answer)| answer[what].as_u64().unwrap()).sum::<u64>();
    assert!(answers.iter().all(|(status, _)| *status == 202), "{answers:?}");
    assert_eq!((count("accepted"), count("duplicate")), (1, 19));
    assert_eq!(publisher.taken.lock().len(), 1);
    assert_eq!(gateway.metric("ttf_events_total", &["outcome=\"accepted\""]), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_hold_each_others_events_do_not_wait_for_ever() {
    let publisher = Scripted::new([Fate::Late]);
    let gateway = start_with(Setup { publisher: Some(publisher.clone()), ..Setup::default() }).await;
    let body = |number: usize| {
        let (mut one, mut other) = (track("a"), track("b"));
        if number.is_multiple_of(2) {
            std::mem::swap(&mut one, &mut other);
        }
        json!([one, track(&number.to_string()), other]).to_string()
    };
    let answers = futures::future::join_all((0..20).map(|number| gateway.send(body(number)))).await;
    let accepted: u64 = answers.iter().map(|(_, answer)| answer["accepted"].as_u64().unwrap()).sum();
    assert_eq!(accepted, 22);
    assert_eq!(publisher.taken.lock().len(), 22);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waited_for_an_event_that_was_not_acknowledged_is_told_to_come_again() {
    let publisher = Scripted::new([Fate::Hang, Fate::Acknowledge]);
    let mut setup = Setup { publisher: Some(publisher.clone()), ..Setup::default() };
    setup.config.ack_timeout = HumanDuration::from_millis(200);
    let gateway = start_with(setup).await;
    let (first, second) = tokio::join!(gateway.send(track("u").to_string()), gateway.send(track("u").to_string()));
    assert_eq!((first.0, second.0), (503, 503));
    let (status, again) = gateway.send(track("u").to_string()).await;
    assert_eq!((status, &again["accepted"]), (202, &json!(1)));
}

fn redis() -> String {
    std::env::var("TTF_TEST_REDIS").unwrap_or_else(|_| {
        panic!("TTF_TEST_REDIS is not set: run `make test`, or `make services-up` and `eval \"$(make services-env)\"`")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_gateways_at_the_same_time_one_accepts() {
    let gateway = async || {
        let mut setup = Setup { publisher: Some(Scripted::new([Fate::Late])), ..Setup::default() };
        setup.config.redis = Some(Secret::new(redis()));
        setup.config.dedup.redis_timeout = HumanDuration::from_millis(2_000);
        start_with(setup).await
    };
    let (first, second) = (gateway().await, gateway().await);
    let users: Vec<String> = (0..10).map(|_| uuid::Uuid::now_v7().to_string()).collect();
    let body = json!(users.iter().map(|user| track(user)).collect::<Vec<_>>()).to_string();
    let (one, other) = tokio::join!(first.send(body.clone()), second.send(body));
    assert_eq!((one.0, other.0), (202, 202));
    let sum = |what: &str| one.1[what].as_u64().unwrap() + other.1[what].as_u64().unwrap();
    assert_eq!((sum("accepted"), sum("duplicate")), (10, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_redis_is_waited_for_within_its_time_and_no_longer() {
    let slow = |delay| slow_proxy(redis().trim_start_matches("redis://").to_owned(), Duration::from_millis(delay));
    let gateway = async |address: std::net::SocketAddr, timeout| {
        let mut setup = Setup { publisher: Some(Scripted::new([Fate::Acknowledge])), ..Setup::default() };
        setup.config.redis = Some(Secret::new(format!("redis://{address}")));
        setup.config.dedup.redis_timeout = HumanDuration::from_millis(timeout);
        setup.tenants = ["default".to_owned()].into_iter().map(|tenant| (tenant, limited())).collect();
        setup.config.rate_limit_timeout = HumanDuration::from_millis(timeout);
        start_with(setup).await
    };
    let (in_time, too_slow) = (gateway(slow(20).await, 5_000).await, gateway(slow(500).await, 50).await);
    let user = uuid::Uuid::now_v7().to_string();
    assert_eq!(in_time.send(track(&user).to_string()).await.1["accepted"], 1);
    assert_eq!(in_time.metric("ttf_gateway_dedup_unavailable_total", &[]), 0);
    // Asked too late: this process decides, and after the first failure it does not even wait.
    let began = Instant::now();
    for number in 0..30 {
        let id = format!("{user}-{number}");
        assert_eq!(too_slow.send(track(&id).to_string()).await.1["accepted"], 1);
        assert_eq!(too_slow.send(track(&id).to_string()).await.1["duplicate"], 1);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?} for 60 requests", began.elapsed());
    assert!(too_slow.metric("ttf_gateway_dedup_unavailable_total", &[]) > 0);
    assert!(too_slow.metric("ttf_ratelimit_alone_total", &[]) > 0);
}

fn limited() -> service_kit::config::TenantConfig {
    let limits = service_kit::config::RateLimits {
        events_per_second: std::num::NonZeroU32::new(1_000),
        ..service_kit::config::RateLimits::default()
    };
    service_kit::config::TenantConfig { limits, ..service_kit::config::TenantConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_while_redis_was_away_is_known_to_the_other_gateways_once_it_is_back() {
    let gateway = async |url: String| {
        let mut setup = Setup { publisher: Some(Scripted::new([Fate::Acknowledge])), ..Setup::default() };
        setup.config.redis = Some(Secret::new(url));
        setup.config.dedup.redis_timeout = HumanDuration::from_millis(2_000);
        start_with(setup).await
    };
    // Nobody listens there, yet.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (cut_off, other) = (gateway(format!("redis://{address}")).await, gateway(redis()).await);
    let users: Vec<String> = (0..10).map(|_| uuid::Uuid::now_v7().to_string()).collect();
    for user in &users {
        assert_eq!(cut_off.send(track(user).to_string()).await.1["accepted"], 1);
        assert_eq!(cut_off.send(track(user).to_string()).await.1["duplicate"], 1, "this process remembers");
    }
    assert_eq!(cut_off.metric("ttf_gateway_dedup_owed_ids", &[]), 10);

    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    pass_on(listener, redis().trim_start_matches("redis://").to_owned(), Duration::ZERO);
    eventually("Redis is told", || cut_off.metric("ttf_gateway_dedup_owed_ids", &[]) == 0).await;
    let body = json!(users.iter().map(|user| track(user)).collect::<Vec<_>>()).to_string();
    assert_eq!(other.send(body).await.1["duplicate"], 10);
}

/// Passes everything on to a server, its answers so much later.
async fn slow_proxy(server: String, delay: Duration) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    pass_on(listener, server, delay);
    address
}

fn pass_on(listener: tokio::net::TcpListener, server: String, delay: Duration) {
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let to = tokio::net::TcpStream::connect(server).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = to.into_split();
                let asked = tokio::io::copy(&mut from_client, &mut to_server);
                let answered = async {
                    let mut piece = [0; 4096];
                    while let Ok(read @ 1..) = from_server.read(&mut piece).await {
                        tokio::time::sleep(delay).await;
                        if to_client.write_all(&piece[..read]).await.is_err() {
                            break;
                        }
                    }
                };
                // Either end may go away at any time.
                let _ = tokio::join!(asked, answered);
            });
        }
    });
}

#[tokio::test]
async fn gateways_share_what_they_remember() {
    let url = redis();
    let publisher: Arc<dyn Publisher> = Scripted::new([Fate::Acknowledge]);
    let gateway = async || {
        let mut setup = Setup { publisher: Some(publisher.clone()), ..Setup::default() };
        setup.config.redis = Some(Secret::new(url.clone()));
        setup.config.dedup.redis_timeout = HumanDuration::from_millis(2_000);
        start_with(setup).await
    };
    let (first, second) = (gateway().await, gateway().await);
    let user = uuid::Uuid::now_v7().to_string();
    assert_eq!(first.send(track(&user).to_string()).await.1["accepted"], 1);
    assert_eq!(second.send(track(&user).to_string()).await.1["duplicate"], 1);
    assert_eq!(second.metric("ttf_gateway_dedup_unavailable_total", &[]), 0);
}
