//! Keys, scopes and the lane without a key.

use serde_json::json;
use telemetry_schemas::{event::Event, topics};

use super::harness::{Running, Setup, answer, start_with, track};
use crate::AuthMode;

async fn locked() -> Running {
    let mut setup = Setup::default();
    setup.config.auth.mode = AuthMode::Required;
    setup.config.auth.smoke_test.burst = 4;
    setup.config.auth.smoke_test.requests_per_second = 0;
    start_with(setup).await
}

async fn send(gateway: &Running, key: &str, body: String) -> (u16, String) {
    let request = gateway.post_to("/api/v1/events").body(body);
    let request = if key.is_empty() { request } else { request.bearer_auth(key) };
    let (status, answer) = answer(request.send().await.unwrap()).await;
    (status, answer["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_key_decides_tenant_and_what_may_be_done() {
    let gateway = locked().await;
    let body = || track("u").to_string();
    assert_eq!(send(&gateway, "acme-secret", body()).await, (202, "accepted".into()));
    assert_eq!(send(&gateway, "acme-reader", body()).await, (403, "scope_missing".into()));
    assert_eq!(send(&gateway, "wrong", body()).await, (401, "key_unknown".into()));
    let events: Vec<Event> = gateway.values(topics::EVENTS);
    assert_eq!(events.iter().map(|event| event.tenant.as_str()).collect::<Vec<_>>(), ["acme"]);
    assert_eq!(gateway.metric("ttf_events_total", &["tenant=\"acme\"", "outcome=\"accepted\""]), 1);
}

#[tokio::test]
async fn without_a_key_only_test_events_pass_and_only_so_many() {
    let gateway = locked().await;
    let test = json!({"event_name": "test", "event_type": "test"});
    assert_eq!(send(&gateway, "", json!({"events": [test]}).to_string()).await, (202, "accepted".into()));
    assert_eq!(send(&gateway, "", json!([test, track("u")]).to_string()).await, (401, "key_missing".into()));
    assert_eq!(send(&gateway, "", "not json".into()).await, (401, "key_missing".into()));
    let wrong = json!({"event_name": "test", "event_type": "test", "x": 1});
    assert_eq!(send(&gateway, "", wrong.to_string()).await, (422, "rejected".into()));
    assert_eq!(send(&gateway, "", test.to_string()).await, (429, "rate_limited".into()));
    assert_eq!(gateway.metric("ttf_ratelimit_rejections_total", &["tenant=\"default\""]), 1);
    assert_eq!(gateway.records(topics::EVENTS).len(), 1);
    assert_eq!(gateway.records(topics::EVENTS_REJECTED).len(), 1);
    assert_eq!(gateway.metric("ttf_events_received_total", &[]), 2, "what was refused at the door did not come in");
    assert_eq!(send(&gateway, "acme-secret", track("u").to_string()).await.0, 202, "keys are not held up");
}

#[tokio::test]
async fn a_refusal_says_how_to_do_better() {
    let gateway = locked().await;
    let response = gateway.post_to("/api/v1/events").body(track("u").to_string()).send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    let (status, answer) = answer(response).await;
    assert_eq!(status, 401);
    insta::assert_json_snapshot!(answer);
}
