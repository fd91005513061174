//! The endpoints for clients of other products, as those clients call them; the clients themselves are put to work in
//! the tests of the whole system.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use telemetry_schemas::{event::Event, rejected::RejectedEvent, topics};

use super::harness::{Fate, Running, Scripted, Setup, answer, start, start_with};
use crate::AuthMode;

async fn post(gateway: &Running, path: &str, body: Value) -> (u16, Value) {
    answer(gateway.post_to(path).body(body.to_string()).send().await.unwrap()).await
}

async fn form(gateway: &Running, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = gateway.client.post(gateway.url(path)).header("content-type", "application/x-www-form-urlencoded");
    request.body(body).send().await.unwrap()
}

fn track(id: &str) -> Value {
    json!({"type": "track", "event": "e", "userId": "u", "messageId": id})
}

fn captured(id: &str) -> Value {
    json!({"event": "e", "distinct_id": "u", "uuid": id})
}

fn mixpanel(id: &str) -> Value {
    json!({"event": "e", "properties": {"distinct_id": "u", "$insert_id": id, "token": "acme-secret"}})
}

#[tokio::test]
async fn every_path_answers_exactly_200_with_and_without_a_slash() {
    let gateway = start().await;
    let calls = [
        ("/v1/track", track("1")),
        ("/v1/identify", json!({"userId": "u", "traits": {"plan": "pro"}, "messageId": "2"})),
        ("/v1/page", json!({"userId": "u", "name": "Home", "messageId": "3"})),
        ("/v1/screen", json!({"userId": "u", "name": "Home", "messageId": "4"})),
        ("/v1/group", json!({"userId": "u", "groupId": "g", "messageId": "5"})),
        ("/v1/alias", json!({"userId": "u", "previousId": "v", "messageId": "6"})),
        ("/v1/batch", json!({"batch": [track("7"), track("8")], "sentAt": "2026-11-23T00:00:00Z"})),
        ("/batch", json!({"api_key": "k", "batch": [captured("9")]})),
        ("/capture", json!({"api_key": "k", "event": "e", "distinct_id": "u", "uuid": "10"})),
        ("/e", json!([captured("11")])),
        ("/i/v0/e", captured("12")),
        ("/track", json!([mixpanel("14")])),
        ("/import", json!([mixpanel("15")])),
        ("/engage", json!([{"$token": "k", "$distinct_id": "u", "$set": {"a": 1}, "$insert_id": "16"}])),
        ("/groups", json!([{"$token": "k", "$group_key": "c", "$group_id": "g", "$set": {}, "$insert_id": "17"}])),
    ];
    for (path, body) in calls {
        for (path, outcome) in [(path.to_owned(), "accepted"), (format!("{path}/"), "duplicate")] {
            let (status, answer) = post(&gateway, &path, body.clone()).await;
            assert_eq!(
                (status, &answer["success"], &answer["status"]),
                (200, &json!(true), &json!(1)),
                "{path} {answer}"
            );
            assert_eq!(answer["error"], Value::Null);
            assert!(answer["results"][outcome].as_u64() > Some(0), "{path} {answer}");
        }
    }
    let v1 = post(&gateway, "/i/v1/analytics/events", json!({"batch": [captured("13")]})).await;
    assert_eq!(v1, (200, json!({"success": true, "status": 1, "error": null, "results": {"13": {"result": "ok"}}})));
    assert_eq!(gateway.records(topics::EVENTS).len(), 17);
}

#[tokio::test]
async fn one_bad_record_is_told_and_never_costs_the_good_ones() {
    let gateway = start().await;
    let bad = json!({"type": "track", "event": "e", "messageId": "bad"});
    let (status, answered) = post(&gateway, "/v1/batch", json!({"batch": [track("1"), bad, 17, track("2")]})).await;
    assert_eq!((status, &answered["status"]), (200, &json!(1)));
    let results = &answered["results"];
    assert_eq!((&results["accepted"], &results["rejected"]), (&json!(2), &json!(2)));
    assert_eq!(results["events"][0]["path"], "/userId");
    assert_eq!(results["events"][0]["event_id"], "bad");
    let rejected: Vec<RejectedEvent> = gateway.values(topics::EVENTS_REJECTED);
    assert!(rejected.iter().any(|event| event.payload == bad.to_string().as_bytes()), "the original bytes");

    let batch = json!({"batch": [captured("1"), {"event": "e", "uuid": "2"}]});
    let (status, v1) = post(&gateway, "/i/v1/analytics/events", batch).await;
    assert_eq!(
        (status, &v1["results"]["1"]["result"], &v1["results"]["2"]["result"]),
        (200, &json!("ok"), &json!("drop"))
    );
    assert!(v1["results"]["2"]["details"].as_str().unwrap().starts_with("required_missing: /distinct_id"), "{v1}");
}

#[tokio::test]
async fn what_was_not_acknowledged_is_to_come_again() {
    let publisher = Scripted::new([Fate::Acknowledge, Fate::Fail]);
    let gateway = start_with(Setup { publisher: Some(publisher), ..Setup::default() }).await;
    let body = json!({"batch": [track("1"), track("2")]});
    let answered = gateway.post_to("/v1/batch").body(body.to_string()).send().await.unwrap();
    assert!(answered.headers().contains_key("retry-after"));
    let (status, answered) = answer(answered).await;
    assert_eq!((status, &answered["success"], &answered["status"]), (503, &json!(false), &json!(0)));
    // The whole batch comes again; what was taken is recognised.
    let (status, again) = post(&gateway, "/v1/batch", body).await;
    assert_eq!((status, &again["results"]["duplicate"], &again["results"]["accepted"]), (200, &json!(1), &json!(1)));
    // Of PostHog's newer client only the event that is to come again comes again.
    let (status, v1) = post(&gateway, "/i/v1/analytics/events", json!({"batch": [captured("3"), captured("4")]})).await;
    assert_eq!(status, 200);
    let mut told: Vec<_> = ["3", "4"].map(|id| v1["results"][id]["result"].as_str().unwrap().to_owned()).into();
    told.sort();
    assert_eq!(told, ["ok", "retry"]);
}

#[tokio::test]
async fn a_key_is_found_where_each_client_puts_it() {
    let mut setup = Setup::default();
    setup.config.auth.mode = AuthMode::Required;
    let gateway = start_with(setup).await;
    let basic = format!("Basic {}", BASE64.encode("acme-secret:"));
    let with_header = |path: &str, name: &str, value: &str, body: Value| {
        gateway.post_to(path).header(name, value).body(body.to_string()).send()
    };
    let bodies = [
        ("/v1/batch", json!({"batch": [track("1")], "writeKey": "acme-secret"})),
        ("/v1/track", json!({"event": "e", "userId": "u", "writeKey": "acme-secret"})),
        ("/batch", json!({"batch": [captured("1")], "api_key": "acme-secret"})),
        ("/e", json!([{"event": "e", "properties": {"token": "acme-secret", "distinct_id": "u"}}])),
        ("/capture", json!({"event": "e", "distinct_id": "u", "token": "acme-secret"})),
        ("/engage", json!([{"$token": "acme-secret", "$distinct_id": "u", "$set": {"a": 1}}])),
    ];
    for (path, body) in bodies {
        let (status, answer) = post(&gateway, path, body).await;
        assert_eq!(status, 200, "{path} {answer}");
    }
    let headers = with_header("/v1/batch", "authorization", &basic, json!({"batch": [track("2")]})).await.unwrap();
    assert_eq!(headers.status(), 200);
    let v1 =
        with_header("/i/v1/analytics/events", "authorization", "Bearer acme-secret", json!({"batch": [captured("2")]}));
    assert_eq!(v1.await.unwrap().status(), 200);
    assert_eq!(form(&gateway, "/track", &[("data", &mixpanel("1").to_string()), ("verbose", "1")]).await.status(), 200);

    let events: Vec<Event> = gateway.values(topics::EVENTS);
    assert!(events.iter().all(|event| event.tenant == "acme"));
    assert!(events.iter().all(|event| !format!("{event:?}").contains("acme-secret")), "keys are not kept");

    for (path, body, code) in [
        ("/v1/batch", json!({"batch": [track("3")]}), "key_missing"),
        ("/batch", json!({"batch": [captured("3")], "api_key": "wrong"}), "key_unknown"),
    ] {
        let (status, refused) = post(&gateway, path, body).await;
        assert_eq!((status, refused["code"].as_str(), &refused["status"]), (401, Some(code), &json!(0)), "{path}");
        for word in ["message", "detail", "error"] {
            assert!(refused[word].is_string(), "{refused}");
        }
    }
    let reader = with_header("/v1/batch", "x-api-key", "acme-reader", json!({"batch": [track("4")]})).await.unwrap();
    assert_eq!(reader.status(), 403);
}

#[tokio::test]
async fn a_record_of_another_project_does_not_come_along() {
    let mut setup = Setup::default();
    setup.config.auth.mode = AuthMode::Required;
    let gateway = start_with(setup).await;
    let mut other = mixpanel("2");
    other["properties"]["token"] = "another".into();
    let (status, answered) = post(&gateway, "/track", json!([mixpanel("1"), other])).await;
    assert_eq!((status, &answered["results"]["accepted"]), (200, &json!(1)));
    assert_eq!(answered["results"]["events"][0]["code"], "key_mismatch");
}

#[tokio::test]
async fn forms_lines_and_unmarked_gzip_are_read() {
    let gateway = start().await;
    let encoded = BASE64.encode(mixpanel("1").to_string());
    let base64 = form(&gateway, "/track", &[("data", &encoded), ("verbose", "1")]).await;
    assert_eq!(answer(base64).await.1["results"]["accepted"], 1);
    let several = json!([mixpanel("2"), mixpanel("3")]).to_string();
    let plain = form(&gateway, "/track", &[("data", &several)]).await;
    assert_eq!(answer(plain).await.1["results"]["accepted"], 2);
    let missing = form(&gateway, "/track", &[("verbose", "1")]).await;
    assert_eq!(answer(missing).await.1["code"], "required_missing");

    let lines = format!("{}\n{}\n", mixpanel("4"), mixpanel("5"));
    let request = gateway.client.post(gateway.url("/import?strict=1")).header("content-type", "application/x-ndjson");
    let (status, imported) = answer(request.body(lines).send().await.unwrap()).await;
    assert_eq!((status, &imported["num_records_imported"], &imported["code"]), (200, &json!(2), &json!(200)));

    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, captured("6").to_string().as_bytes()).unwrap();
    let request = gateway.client.post(gateway.url("/e/?compression=gzip-js")).header("content-type", "text/plain");
    let (status, taken) = answer(request.body(gzip.finish().unwrap()).send().await.unwrap()).await;
    assert_eq!((status, &taken["results"]["accepted"]), (200, &json!(1)));

    let beacon = gateway.client.post(gateway.url("/track")).header("content-type", "text/plain");
    let beacon = beacon.body(mixpanel("7").to_string()).send().await.unwrap();
    assert_eq!((beacon.status().as_u16(), beacon.text().await.unwrap().as_str()), (200, "1"));
}

#[tokio::test]
async fn events_in_a_query_are_taken_and_answered_in_a_digit() {
    let gateway = start().await;
    let plain = mixpanel("1").to_string();
    let encoded = BASE64.encode(mixpanel("2").to_string());
    for (query, expected) in [
        (vec![("data", plain.as_str())], (200, "1")),
        (vec![("data", &encoded), ("ip", "1")], (200, "1")),
        (vec![("ip", "1")], (400, "0")),
    ] {
        let answer = gateway.client.get(gateway.url("/track")).query(&query).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), expected, "{query:?}");
    }
    let worded = gateway.client.get(gateway.url("/track/")).query(&[("data", plain.as_str()), ("verbose", "1")]);
    assert_eq!(worded.send().await.unwrap().json::<Value>().await.unwrap()["status"], 1);
    let profile = json!({"$distinct_id": "u", "$set": {"plan": "team"}}).to_string();
    let profile = gateway.client.get(gateway.url("/engage")).query(&[("data", profile.as_str())]);
    assert_eq!(profile.send().await.unwrap().text().await.unwrap(), "1");
    assert_eq!(gateway.records(topics::EVENTS).len(), 3, "one of them came twice");
    assert_eq!(gateway.get("/import?data=1").await.status(), 405, "imports are posted");
}

#[tokio::test]
async fn a_body_that_holds_no_records_is_refused_for_good() {
    let gateway = start().await;
    for path in ["/v1/batch", "/batch/", "/track", "/i/v1/analytics/events"] {
        for body in ["", "{", "hello", "42", "\u{0}"] {
            let response = gateway.post_to(path).body(body).send().await.unwrap();
            let (status, refused) = answer(response).await;
            assert_eq!((status, refused["code"].as_str()), (400, Some("invalid_json")), "{path} {body:?}");
        }
        let (status, empty) = post(&gateway, path, json!({"batch": []})).await;
        assert_eq!((status, &empty["status"]), (200, &json!(1)), "nothing was sent, nothing is wrong: {empty}");
    }
}

#[tokio::test]
async fn they_can_be_switched_off() {
    let mut setup = Setup::default();
    setup.config.compatible.enabled = false;
    let gateway = start_with(setup).await;
    assert_eq!(post(&gateway, "/v1/batch", json!({"batch": [track("1")]})).await.0, 404);
}

#[tokio::test]
async fn a_configured_name_is_a_milestone() {
    let mut setup = Setup::default();
    setup.config.compatible.milestones.insert("Account Created".to_owned(), "signup".to_owned());
    let gateway = start_with(setup).await;
    let call = json!({"event": "Account Created", "userId": "u", "messageId": "1"});
    assert_eq!(post(&gateway, "/v1/track", call).await.0, 200);
    let events: Vec<Event> = gateway.values(topics::EVENTS);
    assert_eq!(events[0].event_name, "signup");
}
