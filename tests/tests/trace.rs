//! `ttf trace` answers where an event is, and says so when it does not know.

#[path = "trace/alerts.rs"]
mod alerts;

use std::time::Duration;

use serde_json::{Value, json};
use ttf_tests::{dev::Dev, wait};

const PATIENCE: Duration = Duration::from_secs(60);

fn traced(dev: &Dev, id: &str) -> (i32, Value) {
    let ran = dev.run(&["trace", id, "--json"]);
    (ran.code, serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}")))
}

#[tokio::test]
async fn an_event_is_found_with_its_outcome_its_place_and_the_record_it_caused() {
    let dev = Dev::start().await;
    let events = json!([
        {"event_name": "signup", "event_type": "track", "user_id": "ada", "event_id": "e-signup"},
        {"event_name": "signup", "event_type": "track", "userId": "ada", "event_id": "e-refused"},
        {"event_name": "looked", "event_type": "track", "user_id": "ada", "event_id": "e-nothing"},
        {"event_name": "looked", "event_type": "track", "anonymous_id": "a", "event_id": "e-nobody"},
    ]);
    assert_eq!(dev.post(&events).await.0, 207);
    dev.milestones("ada", 1).await;

    let (code, signup) = traced(&dev, "e-signup");
    assert_eq!((code, &signup["gateway"]["outcome"]), (0, &json!("accepted")), "{signup}");
    let place = &signup["gateway"]["events"][0];
    assert_eq!((&place["topic"], place["offset"].is_u64()), (&json!("telemetry.events.v1"), true), "{signup}");
    assert_eq!(signup["record"]["caused"]["revision"], 1, "{signup}");
    let (code, refused) = traced(&dev, "e-refused");
    assert_eq!((code, &refused["gateway"]["outcome"]), (0, &json!("rejected")));
    assert_eq!(
        refused["gateway"]["rejected"][0]["reasons"][0],
        json!({"code": "additional_properties", "path": "/userId"})
    );
    let (_, nothing) = traced(&dev, "e-nothing");
    assert_eq!(nothing["record"]["latest_of_user"]["revision"], 1, "{nothing}");
    assert!(nothing["record"]["why"].as_str().is_some());
    let (_, nobody) = traced(&dev, "e-nobody");
    assert_eq!(nobody["record"]["known"], false);

    let (code, unknown) = traced(&dev, "e-never");
    assert_eq!((code, &unknown["gateway"]["outcome"]), (1, &json!("unknown")));
    for store in ["row", "object"] {
        assert_eq!((&refused[store]["known"], &unknown[store]["known"]), (&json!(false), &json!(false)), "{refused}");
    }
    let words = dev.run(&["trace", "e-signup"]).ok();
    assert!(words.starts_with("gateway  accepted\nevent    telemetry.events.v1 ["), "{words}");
    assert!(words.contains("caused onboarding revision 1"), "{words}");
}

/// The trace once a store says what it is expected to.
async fn traced_until(dev: &Dev, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, PATIENCE, || async {
        let (_, found) = traced(dev, id);
        if is_so(&found) { Ok(found) } else { Err(found.to_string()) }
    })
    .await
}

#[tokio::test]
async fn an_event_is_found_in_the_database_and_in_the_object_that_holds_it() {
    let dev = Dev::start_with(&[("TELEMETRY__ARCHIVE__ROTATION__INTERVAL", "1s")]).await;
    let event = |id: &str| json!({"event_name": "signup", "event_type": "track", "user_id": "ada", "event_id": id});
    for id in ["e-1", "e-2"] {
        assert_eq!(dev.post(&event(id)).await.0, 202);
        // In objects of their own: the right one of them is to be named.
        let found = traced_until(&dev, id, "it is archived", |found| found["object"]["path"].is_string()).await;
        let path = found["object"]["path"].as_str().expect("a path").to_owned();
        let place = &found["gateway"]["events"][0];
        let name =
            format!("telemetry.events.v1-{}-{:020}.parquet", place["partition"], place["offset"].as_i64().unwrap());
        assert!(path.starts_with("dataset=events/tenant=default/date=") && path.ends_with(&name), "{found}");
        assert!(dev.folder().join("data/archive").join(&path).is_file(), "{path}");
    }
    let found = traced_until(&dev, "e-1", "its row is there", |found| found["row"]["received_at"].is_string()).await;
    assert_eq!(found["row"]["received_at"], found["gateway"]["events"][0]["received_at"], "{found}");
    let words = dev.run(&["trace", "e-1"]).ok();
    assert!(words.contains("row      in events, received ") && words.contains("object   dataset=events/"), "{words}");
}

#[tokio::test]
async fn what_the_archive_has_not_come_to_and_what_it_let_go_is_told_apart() {
    // Nothing is cut while the test runs.
    let dev = Dev::start_with(&[("TELEMETRY__ARCHIVE__ROTATION__INTERVAL", "1h")]).await;
    let event = json!({"event_name": "signup", "event_type": "track", "user_id": "ada", "event_id": "e-1"});
    assert_eq!(dev.post(&event).await.0, 202);
    let found = traced_until(&dev, "e-1", "its row is there", |found| found["row"]["received_at"].is_string()).await;
    assert_eq!((&found["object"]["known"], &found["object"]["next_offset"]), (&json!(true), &json!(0)), "{found}");
    let words = dev.run(&["trace", "e-1"]).ok();
    assert!(words.contains("object   not there: the archive has not come to it yet"), "{words}");

    let asked = dev.post_to("/api/v1/privacy/erasures", &json!({"user_id": "ada"})).await;
    assert_eq!(asked.0, 202, "{}", asked.1);
    let found = traced_until(&dev, "e-1", "its row is gone", |found| found["row"]["received_at"].is_null()).await;
    assert!(found["row"]["why"].as_str().is_some_and(|why| why.contains("its user was erased")), "{found}");
}
