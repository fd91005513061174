//! What one tenant takes is not taken from another.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use service_kit::config::{ByteSize, HumanDuration};
use stream_runtime::log::{Delivery, LogError, NewRecord, Publisher};

use super::harness::{Running, Setup, eventually, start_with, track};

/// A log that never acknowledges what `acme` sends.
struct StuckForAcme;

impl Publisher for StuckForAcme {
    fn publish(&self, record: NewRecord) -> Result<Delivery, LogError> {
        if record.key.is_some_and(|key| key.starts_with(b"acme")) {
            return Ok(Box::pin(std::future::pending()));
        }
        Ok(Box::pin(async { Ok((0, 0)) }))
    }

    fn flush(&self, _timeout: Duration) -> Result<(), LogError> {
        Ok(())
    }
}

async fn send_as(gateway: &Running, path: &str, key: &str, user: &str) -> (u16, Option<String>) {
    let body = match path {
        "/v1/batch" => json!({"batch": [{"type": "track", "event": "e", "userId": user}]}),
        _ => track(user),
    };
    let request = gateway.post_to(path).bearer_auth(key);
    let answer = request.body(body.to_string()).send().await.unwrap();
    let retry_after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), retry_after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_whose_events_do_not_get_through_leaves_room_for_others() {
    let mut setup = Setup { publisher: Some(Arc::new(StuckForAcme)), ..Setup::default() };
    setup.config.limits.batch_bytes = ByteSize::from_bytes(64 * 1024);
    setup.config.limits.body_bytes = ByteSize::from_bytes(64 * 1024);
    setup.config.limits.in_flight_bytes = ByteSize::from_bytes(512 * 1024);
    setup.config.ack_timeout = HumanDuration::from_millis(60_000);
    let gateway = Arc::new(start_with(setup).await);
    let events = |number: usize| json!([track(&number.to_string()), track(&"x".repeat(190))]).to_string();
    // Requests of the noisy tenant until it is refused; none of them is ever answered.
    let mut held = Vec::new();
    let refused = async {
        for number in 0.. {
            let sender = gateway.clone();
            let body = events(number);
            held.push(tokio::spawn(async move {
                sender.post_to("/api/v1/events").bearer_auth("acme-secret").body(body).send().await
            }));
            let before = number as u64 + 1;
            eventually("it is held or refused", || {
                gateway.metric("ttf_events_received_total", &[]) >= 2 * before
                    || gateway.metric("ttf_gateway_overloaded_total", &["tenant"]) > 0
            })
            .await;
            if gateway.metric("ttf_gateway_overloaded_total", &["tenant"]) > 0 {
                return held.pop().unwrap().await.unwrap().unwrap();
            }
        }
        unreachable!()
    }
    .await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert!((200 * 1024..=256 * 1024).contains(&gateway.metric("ttf_gateway_in_flight_bytes", &[])), "half of all");
    // Others do not notice, at either kind of endpoint.
    for user in 0..50 {
        assert_eq!(send_as(&gateway, "/api/v1/events", "other", &user.to_string()).await, (202, None));
    }
    let (status, _) = send_as(&gateway, "/v1/batch", "acme-secret", "u").await;
    assert_eq!(status, 503, "its share is the same at the endpoints of other products");
    for request in held {
        request.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_still_holds_after_the_time_out_is_in_flight() {
    let mut setup = Setup { publisher: Some(Arc::new(StuckForAcme)), ..Setup::default() };
    setup.config.ack_timeout = HumanDuration::from_millis(20);
    let gateway = start_with(setup).await;
    let answer = send_as(&gateway, "/api/v1/events", "acme-secret", "u").await;
    assert_eq!(answer.0, 503);
    assert!(gateway.metric("ttf_gateway_in_flight_bytes", &[]) > 0, "the log has it, and may deliver it yet");
    assert_eq!(send_as(&gateway, "/api/v1/events", "other", "u").await.0, 202);
}
