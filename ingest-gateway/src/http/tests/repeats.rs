//! Events that come again: recognised once the log has acknowledged them, and never lost.

use std::sync::Arc;

use serde_json::json;
use service_kit::config::{HumanDuration, Secret};
use stream_runtime::log::Publisher;
use telemetry_schemas::topics;

use super::harness::{Fate, Scripted, Setup, start, start_with, track};

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

#[tokio::test]
async fn gateways_share_what_they_remember() {
    let Ok(url) = std::env::var("TTF_TEST_REDIS") else {
        panic!("TTF_TEST_REDIS is not set: run `make test`, or `make services-up` and `eval \"$(make services-env)\"`")
    };
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
