//! `ttf trace` answers where an event is, and says so when it does not know.

#[path = "trace/alerts.rs"]
mod alerts;

use serde_json::{Value, json};
use ttf_tests::dev::Dev;

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
    for unknown in ["row", "object"] {
        assert_eq!(signup[unknown]["known"], false);
    }
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
    let words = dev.run(&["trace", "e-signup"]).ok();
    assert!(words.starts_with("gateway  accepted\nevent    telemetry.events.v1 ["), "{words}");
    assert!(words.contains("caused onboarding revision 1") && words.contains("row      unknown:"), "{words}");
}
