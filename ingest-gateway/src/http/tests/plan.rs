//! A tracking plan at work, in each mode.

use serde_json::{Value, json};
use telemetry_schemas::{rejected::RejectedEvent, topics};

use super::harness::{Running, Setup, answer, start_with};

async fn with_mode(mode: &str) -> Running {
    let plan = json!({"default": {"mode": mode, "events": [{"name": "project_created", "properties": {"plan": {"required": true}}}]}});
    start_with(Setup { plan: serde_json::from_value(plan).unwrap(), ..Setup::default() }).await
}

async fn send(gateway: &Running) -> (u16, Value) {
    let unplanned = json!({"event_name": "projct_created", "event_type": "track", "user_id": "u"});
    answer(gateway.post_to("/api/v1/events?verbose=1").body(unplanned.to_string()).send().await.unwrap()).await
}

#[tokio::test]
async fn a_plan_that_blocks_rejects_and_says_what_was_meant() {
    let gateway = with_mode("block").await;
    let (status, body) = send(&gateway).await;
    assert_eq!((status, &body["results"][0]["code"]), (422, &json!("unplanned_event")));
    assert_eq!(body["results"][0]["hint"], "did you mean `project_created`?");
    let rejected: RejectedEvent = gateway.values(topics::EVENTS_REJECTED).remove(0);
    assert_eq!(rejected.reasons[0].code, "unplanned_event");
}

#[tokio::test]
async fn a_plan_that_warns_takes_the_event_and_says_so() {
    let gateway = with_mode("warn").await;
    let (status, body) = send(&gateway).await;
    assert_eq!((status, &body["results"][0]["status"]), (202, &json!("accepted")));
    assert_eq!(body["results"][0]["code"], "unplanned_event");
    assert_eq!(gateway.records(topics::EVENTS).len(), 1);
    assert_eq!(gateway.metric("ttf_plan_violations_total", &["unplanned_event", "warn"]), 1);
}

#[tokio::test]
async fn a_plan_that_observes_only_counts() {
    let gateway = with_mode("observe").await;
    let (status, body) = send(&gateway).await;
    assert_eq!((status, body["results"][0].get("code")), (202, None));
    assert_eq!(gateway.metric("ttf_plan_violations_total", &["unplanned_event", "observe"]), 1);
}
