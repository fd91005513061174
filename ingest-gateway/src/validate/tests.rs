//! Holds the hand-written checks against the JSON Schema and the shared vectors.

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

use proptest::prelude::*;
use serde_json::{Value, json};
use telemetry_schemas::json_schema::event_schema;

use super::{Code, Limits, Violation, check, event};
use crate::testing;

/// 2026-11-23T00:00:00Z
const NOW_MS: i64 = 1_795_392_000_000;

fn violations(event: &Value) -> Vec<Violation> {
    static LIMITS: LazyLock<Limits> = LazyLock::new(|| Limits::from(&testing::gateway_config()));
    check(event.to_string().as_bytes(), &LIMITS, NOW_MS)
}

fn schema() -> jsonschema::Validator {
    jsonschema::options().should_validate_formats(true).build(event_schema()).expect("the schema is valid")
}

fn vectors(kind: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/testdata/events").join(kind);
    let files: BTreeSet<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 10, "only {} vectors", files.len());
    files
        .into_iter()
        .map(|file| (file.display().to_string(), serde_json::from_slice(&fs::read(&file).unwrap()).unwrap()))
        .collect()
}

#[test]
fn every_valid_vector_is_accepted() {
    for (file, event) in vectors("valid") {
        assert_eq!(violations(&event), [], "{file}");
    }
}

#[test]
fn every_invalid_vector_is_rejected_for_its_reason() {
    for (file, vector) in vectors("invalid") {
        let found = violations(&vector["event"]);
        let first = found.first().map(|violation| (violation.code.as_str(), violation.path.as_str()));
        assert_eq!(first, Some((vector["code"].as_str().unwrap(), vector["path"].as_str().unwrap())), "{file}");
    }
}

#[test]
fn the_fields_and_types_are_those_of_the_schema() {
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let known: BTreeSet<String> = super::FIELDS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names(&event_schema()["properties"]), known);
    let types = telemetry_schemas::json_schema::event_types();
    assert_eq!(types, super::EVENT_TYPES.map(|(name, _)| name));
}

#[test]
fn the_messages_teach() {
    let event = json!({
        "eventName": "Signup", "event_type": "tack", "userId": "u", "timestamp": "yesterday",
        "properties": [], "context": {"library": {"nam": "x"}, "segment": {}},
    });
    let lines: Vec<String> = violations(&event)
        .into_iter()
        .map(|v| format!("{} {}: {} [{}]", v.path, v.code, v.message, v.hint.unwrap_or_default()))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn the_number_of_violations_is_bounded() {
    let many: serde_json::Map<String, Value> = (0..1_000).map(|n| (format!("k{n}"), json!(n))).collect();
    assert_eq!(violations(&Value::Object(many)).len(), super::MAX_VIOLATIONS);
}

/// Reasons that JSON Schema has no words for.
fn is_beyond_schema(violation: &Violation) -> bool {
    let in_properties = violation.path.starts_with("/properties/");
    match violation.code {
        Code::TooLarge | Code::TimestampInFuture | Code::TimestampTooOld => true,
        Code::TooDeep => in_properties,
        Code::TooLong => in_properties && violation.message.contains("bytes"),
        _ => false,
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("u-1".to_owned()),
        Just("signup".to_owned()),
        "[a-z_.:$ -]{1,12}",
        any::<char>().prop_map(String::from),
        ".{0,5}",
        (95_usize..105).prop_map(|length| "ä".repeat(length)),
        (195_usize..205).prop_map(|length| "x".repeat(length)),
        (995_usize..1_005).prop_map(|length| "x".repeat(length)),
        (8_190_usize..8_195).prop_map(|length| "x".repeat(length)),
        prop::sample::select(vec![
            "track",
            "performance",
            "error",
            "test",
            "identify",
            "ok",
            "status",
            "a\u{7f}b",
            "a\nb"
        ])
        .prop_map(str::to_owned),
        prop::sample::select(vec![
            "2026-11-22T00:00:00Z",
            "2026-11-22t23:59:60z",
            "2026-06-30T23:59:60Z",
            "2026-11-22T00:00:00.123456789+23:59",
            "2026-11-22T00:00:00-00:00",
            "2026-02-29T00:00:00Z",
            "2024-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T00:00:00",
            "2026-11-22 00:00:00Z",
            "2026-11-22T00:00:00.Z",
        ])
        .prop_map(str::to_owned),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec![-1.0, -0.0, 0.5, 99.0, 100.0, 200.0, 200.5, 599.0, 600.0, 1e300])
            .prop_map(Value::from),
        any_text().prop_map(Value::String),
        (250_usize..260).prop_map(|keys| (0..keys).map(|n| (format!("k{n}"), json!("v"))).collect()),
    ];
    leaf.prop_recursive(6, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map(any_key(), inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let others = [
        "library",
        "name",
        "version",
        "locale",
        "timezone",
        "ip",
        "user_agent",
        "release",
        "segments",
        "experiments",
        "consent",
        "analytics",
        "marketing",
        "operation",
        "duration_ms",
        "status",
        "http_status",
        "error_type",
        "message",
        "handled",
        "severity",
        "a/b",
        "a~b",
        "other",
    ];
    prop::sample::select([&super::FIELDS[..], &others[..]].concat()).prop_map(str::to_owned)
}

/// What is done to an event: the value at a path is set or removed.
#[derive(Debug, Clone)]
struct Mutation {
    parents: Vec<String>,
    key: String,
    value: Option<Value>,
}

fn any_mutation() -> impl Strategy<Value = Mutation> {
    let parents = prop::sample::select(vec![
        vec![],
        vec![],
        vec![],
        vec!["properties"],
        vec!["properties"],
        vec!["context"],
        vec!["context", "library"],
        vec!["context", "segments"],
        vec!["context", "consent"],
    ]);
    (parents, any_key(), prop::option::weighted(0.8, any_value())).prop_map(|(parents, key, value)| Mutation {
        parents: parents.into_iter().map(str::to_owned).collect(),
        key,
        value,
    })
}

fn apply(event: &mut Value, mutation: &Mutation) {
    let target = mutation.parents.iter().try_fold(event, |value, key| value.as_object_mut()?.get_mut(key));
    let Some(map) = target.and_then(Value::as_object_mut) else {
        return;
    };
    match &mutation.value {
        Some(value) => map.insert(mutation.key.clone(), value.clone()),
        None => map.remove(&mutation.key),
    };
}

fn any_base() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!({"event_name": "a", "event_type": "test"}),
        json!({"event_name": "signup", "event_type": "track", "user_id": "u", "properties": {"a": {"b": [1]}}}),
        json!({
            "event_name": "api", "event_type": "performance",
            "properties": {"operation": "GET /x", "duration_ms": 12.5, "status": "ok", "http_status": 200},
        }),
        json!({
            "event_name": "oops", "event_type": "error",
            "properties": {"error_type": "E", "message": "m", "handled": true, "severity": "s", "operation": "o"},
        }),
        json!({
            "event_name": "x", "event_type": "page", "anonymous_id": "a", "timestamp": "2026-11-22T00:00:00Z",
            "context": {
                "library": {"name": "n", "version": "1"}, "locale": "de", "timezone": "UTC", "ip": "192.0.2.1",
                "user_agent": "x", "release": "1", "segments": {"plan": "pro"}, "experiments": {"e": "a"},
                "consent": {"analytics": true, "marketing": false},
            },
        }),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_schema_and_the_checks_agree(
        mut event in any_base(),
        mutations in prop::collection::vec(any_mutation(), 0..4),
    ) {
        thread_local! {
            static SCHEMA: jsonschema::Validator = schema();
        }
        for mutation in &mutations {
            apply(&mut event, mutation);
        }
        let found = violations(&event);
        let by_schema = SCHEMA.with(|schema| schema.is_valid(&event));
        let ours = found.iter().all(is_beyond_schema);
        // With a full list some violations of the schema may stand behind others.
        prop_assert!(ours == by_schema || found.len() == super::MAX_VIOLATIONS, "{event}: schema {by_schema}, ours {found:?}");
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = event(&bytes, 1_000);
    }

    #[test]
    fn no_json_makes_the_reader_panic(value in any_value()) {
        let _ = violations(&value);
    }
}
