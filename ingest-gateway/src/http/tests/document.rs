//! The OpenAPI document tells the truth about the router and the schema.

use std::{collections::BTreeSet, num::NonZeroU32};

use serde_json::{Value, json};
use service_kit::config::{RateLimits, TenantConfig};
use telemetry_schemas::json_schema::{batch_schema, event_schema};

use super::harness::{Running, Setup, answer, start, start_with, track};
use crate::http::{ROUTES, compat, openapi::DOCUMENT};

fn document() -> Value {
    serde_json::from_str(DOCUMENT).expect("the document is JSON")
}

/// A schema file as it stands in the document.
fn embedded(schema: &Value, name: &str) -> Value {
    let mut schema = schema.clone();
    let map = schema.as_object_mut().unwrap();
    map.remove("$schema");
    map.remove("$id");
    let text = schema
        .to_string()
        .replace("\"#/$defs/", &format!("\"#/components/schemas/{name}/$defs/"))
        .replace("\"urn:ttf:telemetry:event:1\"", "\"#/components/schemas/Event\"");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_schemas_of_events_are_the_contracts() {
    let document = document();
    for (schema, name) in [(event_schema(), "Event"), (batch_schema(), "Batch")] {
        assert_eq!(document["components"]["schemas"][name], embedded(schema, name), "components.schemas.{name}");
    }
}

#[test]
fn the_paths_are_those_of_the_router() {
    let document = document();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            // What the alerter adds is held against its own router.
            let ours = methods.as_object().unwrap().iter().filter(|(_, operation)| operation["tags"][0] != "alerts");
            ours.map(move |(method, _)| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let compatible = compat::PATHS.map(|path| ("POST", path));
    let by_query = ["/track", "/engage", "/groups"].map(|path| ("GET", path));
    let routed =
        ROUTES.into_iter().chain(compatible).chain(by_query).map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(documented, routed.collect());
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
}

/// Asserts that the document has this answer: the status is listed and the body meets its schema.
fn assert_documented(path: &str, method: &str, status: u16, body: &Value) {
    let document = document();
    let response = &document["paths"][path][method]["responses"][status.to_string()];
    assert!(response.is_object(), "{method} {path} does not document {status}");
    let mut schema = response["content"]["application/json"]["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{method} {path} {status}: {errors:?} in {body}");
}

async fn assert_get(gateway: &Running, path: &str, template: &str) {
    let (status, body) = answer(gateway.get(path).await).await;
    assert_documented(template, "get", status, &body);
}

/// Asserts that the document has these headers of an answer, where it has them.
fn assert_headers(path: &str, method: &str, answer: &reqwest::Response) {
    let document = document();
    let documented = &document["paths"][path][method]["responses"][answer.status().as_str()]["headers"];
    for name in ["Retry-After", "RateLimit", "RateLimit-Policy"] {
        let is_there = answer.headers().contains_key(name);
        assert!(!is_there || documented[name].is_object(), "{method} {path} {}: {name}", answer.status());
    }
}

#[tokio::test]
async fn the_headers_of_limits_are_documented() {
    let mut setup = Setup::default();
    let limits = RateLimits {
        events_per_second: NonZeroU32::new(1),
        events_burst: NonZeroU32::new(30),
        ..RateLimits::default()
    };
    let tenant = TenantConfig { limits, ..TenantConfig::default() };
    setup.tenants = [("default".to_owned(), tenant)].into_iter().collect();
    let gateway = start_with(setup).await;
    let record = json!({"event": "e", "distinct_id": "u", "userId": "u"}).to_string();
    let mut refused = 0;
    for round in 0..3 {
        for body in [track("u").to_string(), json!([track("u"), 17]).to_string(), "{".to_owned(), "[17]".to_owned()] {
            let answer = gateway.post_to("/api/v1/events").body(body).send().await.unwrap();
            assert!(answer.status() == 429 || answer.headers().contains_key("ratelimit"), "{}", answer.status());
            assert_headers("/api/v1/events", "post", &answer);
        }
        for path in compat::PATHS {
            let answer = gateway.post_to(path).body(record.clone()).send().await.unwrap();
            assert_headers(path, "post", &answer);
            refused += usize::from(answer.status() == 429 && answer.headers().contains_key("retry-after"));
        }
        let answer = gateway.get(&format!("/track?data={record}&verbose=1")).await;
        assert_headers("/track", "get", &answer);
        assert!(round < 2 || refused > 0, "the limit is reached");
    }
}

#[tokio::test]
async fn the_answers_are_as_documented() {
    let gateway = start().await;
    for path in ["/", "/health", "/live", "/ready", "/openapi.json"] {
        assert_get(&gateway, path, path).await;
    }
    assert_get(&gateway, "/api/v1/users/u/journey", "/api/v1/users/{user_id}/journey").await;
    let bodies = [
        track("u").to_string(),
        json!([track("u"), {"event_name": "x"}]).to_string(),
        json!({"event_name": "x"}).to_string(),
        "{".to_owned(),
        " ".repeat((5 << 20) + 1),
    ];
    for body in bodies {
        let (status, answer) = gateway.send(body).await;
        assert_documented("/api/v1/events", "post", status, &answer);
    }
    let wrong_type = gateway.client.post(gateway.url("/api/v1/events")).header("content-type", "text/csv").body("a");
    let (status, refused) = answer(wrong_type.send().await.unwrap()).await;
    assert_documented("/api/v1/events", "post", status, &refused);
    for body in [r#"{"user_id":"u"}"#, "{}", "{"] {
        let erasure = gateway.post_to("/api/v1/privacy/erasures").body(body);
        let (status, erased) = answer(erasure.send().await.unwrap()).await;
        assert_documented("/api/v1/privacy/erasures", "post", status, &erased);
    }
    for path in compat::PATHS {
        for body in
            [json!({"event": "e", "distinct_id": "u", "userId": "u"}).to_string(), "{".to_owned(), "[17]".to_owned()]
        {
            let (status, answered) = answer(gateway.post_to(path).body(body).send().await.unwrap()).await;
            assert_documented(path, "post", status, &answered);
        }
    }
    let metrics = gateway.get("/metrics").await;
    assert!(metrics.text().await.unwrap().contains("ttf_gateway_requests_total{"));
}
