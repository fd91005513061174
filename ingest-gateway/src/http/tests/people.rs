//! The live view of a user, and erasure.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use telemetry_schemas::{EventTime, JourneyStatus, RecordKey, TtfRecord, audit::AuditEntry, erasure::Erasure, topics};

use super::harness::{Fate, Journeys, Scripted, Setup, answer, start, start_with};
use crate::AuthMode;

fn record(user_id: &str) -> TtfRecord {
    TtfRecord {
        record_id: "r-1".into(),
        tenant: "default".into(),
        journey: "onboarding".into(),
        journey_version: 1,
        user_id: user_id.into(),
        attempt: String::new(),
        revision: 1,
        generation: 0,
        status: JourneyStatus::InProgress,
        signup_at: EventTime(1_767_225_600_000),
        completed_at: None,
        total_ms: None,
        stages: Vec::new(),
        current_stage: Some("signup_to_first_project".into()),
        efficiency_score: None,
        breach_level: None,
        segments: BTreeMap::new(),
        experiments: BTreeMap::new(),
        release: None,
        cause_event_id: Some("e-1".into()),
        emitted_at: EventTime(1_767_225_601_000),
    }
}

#[tokio::test]
async fn a_users_journeys_are_shown() {
    let journeys = Journeys { known: vec![record("anna/1 ü")], is_away: false };
    let gateway = start_with(Setup { journeys: Arc::new(journeys), ..Setup::default() }).await;
    let (status, found) = answer(gateway.get("/api/v1/users/anna%2F1%20%C3%BC/journey").await).await;
    assert_eq!(status, 200);
    insta::assert_json_snapshot!(found);
    let (status, unknown) = answer(gateway.get("/api/v1/users/berta/journey").await).await;
    assert_eq!((status, unknown["code"].as_str()), (404, Some("user_unknown")));
    let (status, garbled) = answer(gateway.get("/api/v1/users/%ff/journey").await).await;
    assert_eq!((status, garbled["code"].as_str()), (400, Some("invalid_path")));
}

#[tokio::test]
async fn a_view_that_is_away_is_not_an_unknown_user() {
    let journeys = Journeys { known: Vec::new(), is_away: true };
    let gateway = start_with(Setup { journeys: Arc::new(journeys), ..Setup::default() }).await;
    let response = gateway.get("/api/v1/users/anna/journey").await;
    assert!(response.headers().contains_key("retry-after"));
    let (status, away) = answer(response).await;
    assert_eq!((status, away["code"].as_str()), (503, Some("view_unavailable")));
    assert!(!away.to_string().contains("refused"), "the cause is for the log");
}

#[tokio::test]
async fn an_erasure_is_on_its_way_and_in_the_audit_log() {
    let gateway = start().await;
    let body = json!({"user_id": "u-1", "reason": "asked for it"}).to_string();
    let (status, accepted) = answer(gateway.post_to("/api/v1/privacy/erasures").body(body).send().await.unwrap()).await;
    assert_eq!((status, accepted["status"].as_str()), (202, Some("accepted")));

    let erasure: Erasure = gateway.values(topics::ERASURES).remove(0);
    assert_eq!(accepted["erasure_id"], erasure.erasure_id);
    assert_eq!((erasure.tenant.as_str(), erasure.user_id.as_str()), ("default", "u-1"));
    assert_eq!(erasure.reason.as_deref(), Some("asked for it"));
    let key = gateway.records(topics::ERASURES)[0].key.clone().unwrap();
    assert_eq!(&key[..], RecordKey::user("default", "u-1").to_bytes());

    let entry: AuditEntry = gateway.values(topics::AUDIT).remove(0);
    assert_eq!((entry.action.as_str(), entry.target), ("erasure", erasure.erasure_id));
    assert_eq!((entry.actor.as_str(), entry.origin.as_str()), ("open", "127.0.0.1"));
}

#[tokio::test]
async fn who_is_not_to_come_back_is_erased_for_good() {
    let privacy = serde_json::from_value(json!({"after_erasure": "refuse"})).unwrap();
    let gateway = start_with(Setup { privacy, ..Setup::default() }).await;
    let before = service_kit::clock::now_ms();
    let body = json!({"user_id": "u-1"}).to_string();
    let (status, accepted) = answer(gateway.post_to("/api/v1/privacy/erasures").body(body).send().await.unwrap()).await;
    assert_eq!((status, accepted["after_erasure"].as_str()), (202, Some("refuse")), "{accepted}");
    let erasure: Erasure = gateway.values(topics::ERASURES).remove(0);
    assert_eq!(erasure.erased_at, Erasure::FOR_GOOD);
    assert_eq!(erasure.erased_at.to_rfc3339(), "2099-12-31T00:00:00.000Z");
    // A topic's retention goes by the records' own times: this one is of now, and its entry in the audit log, too.
    let written = gateway.records(topics::ERASURES)[0].timestamp_ms;
    assert!((before..=service_kit::clock::now_ms()).contains(&written), "{written}");
    let entry: AuditEntry = gateway.values(topics::AUDIT).remove(0);
    assert_eq!(entry.at.0, written);
}

#[tokio::test]
async fn what_is_no_erasure_is_refused() {
    let gateway = start().await;
    let cases = [
        ("{", 400, "invalid_json"),
        ("{}", 422, "invalid_erasure"),
        (r#"{"user_id":""}"#, 422, "invalid_erasure"),
        (r#"{"user_id":"a\u001fb"}"#, 422, "invalid_erasure"),
        (r#"{"user_id":7}"#, 422, "invalid_erasure"),
        (r#"{"user_id":"u","userid":"v"}"#, 422, "invalid_erasure"),
    ];
    for (body, status, code) in cases {
        let answered = answer(gateway.post_to("/api/v1/privacy/erasures").body(body).send().await.unwrap()).await;
        assert_eq!((answered.0, answered.1["code"].as_str()), (status, Some(code)), "{body}");
    }
    assert_eq!(gateway.records(topics::ERASURES).len(), 0);
}

#[tokio::test]
async fn people_are_for_those_who_may() {
    let mut setup = Setup { publisher: Some(Scripted::new([Fate::Acknowledge])), ..Setup::default() };
    setup.config.auth.mode = AuthMode::Required;
    let gateway = start_with(setup).await;
    for (key, read, erase) in
        [("", 401, 401), ("acme-secret", 403, 403), ("acme-reader", 404, 403), ("acme-admin", 403, 202)]
    {
        let view = gateway.client.get(gateway.url("/api/v1/users/u/journey"));
        let erasure = gateway.post_to("/api/v1/privacy/erasures").body(r#"{"user_id":"u"}"#);
        let with_key =
            |request: reqwest::RequestBuilder| if key.is_empty() { request } else { request.bearer_auth(key) };
        assert_eq!(with_key(view).send().await.unwrap().status(), read, "{key}");
        assert_eq!(with_key(erasure).send().await.unwrap().status(), erase, "{key}");
    }
}
