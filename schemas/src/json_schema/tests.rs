use std::{fs, path::Path};

use jsonschema::{Validator, error::ValidationErrorKind};
use serde::Deserialize;
use serde_json::json;

use super::*;

/// A vector in `testdata/events/invalid`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalid {
    event: Value,
    code: String,
    path: String,
    /// The rule is one that JSON Schema cannot express.
    #[serde(default)]
    beyond_schema: bool,
}

fn vectors<T: for<'de> Deserialize<'de>>(folder: &str) -> Vec<(String, T)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/events").join(folder);
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8").to_owned();
            let text = fs::read_to_string(file).expect("readable");
            let vector = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, vector)
        })
        .collect()
}

fn event_validator() -> Validator {
    jsonschema::options().should_validate_formats(true).build(event_schema()).expect("a valid schema")
}

fn batch_validator() -> Validator {
    let registry = jsonschema::Registry::new()
        .add("urn:ttf:telemetry:event:1", event_schema().clone())
        .and_then(jsonschema::RegistryBuilder::prepare)
        .expect("a valid schema");
    jsonschema::options()
        .should_validate_formats(true)
        .with_registry(&registry)
        .build(batch_schema())
        .expect("a valid schema")
}

/// What a validator of JSON Schema finds, in the words of the gateway: (code, path).
fn findings(validator: &Validator, event: &Value) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for error in validator.iter_errors(event) {
        let path = error.instance_path().to_string();
        let at = |name: &str| format!("{path}/{name}");
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                found.push(("required_missing", at(property.as_str().expect("a name"))));
            }
            // The only one: somebody is missing.
            ValidationErrorKind::AnyOf { .. } => found.push(("required_missing", at("user_id"))),
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                found.extend(unexpected.iter().map(|name| ("additional_properties", at(name))));
            }
            ValidationErrorKind::Type { .. } => found.push(("datatype_mismatch", path)),
            ValidationErrorKind::MaxLength { .. } => found.push(("too_long", path)),
            ValidationErrorKind::MinLength { .. } => found.push(("too_short", path)),
            ValidationErrorKind::Enum { .. } => found.push(("unknown_value", path)),
            ValidationErrorKind::MaxProperties { .. } => found.push(("too_many_keys", path)),
            ValidationErrorKind::Minimum { .. } | ValidationErrorKind::Maximum { .. } => {
                found.push(("out_of_range", path));
            }
            ValidationErrorKind::Pattern { .. } | ValidationErrorKind::Format { .. } => found.push((
                match path.as_str() {
                    "/timestamp" => "timestamp_invalid",
                    "/event_name" => "pattern_mismatch",
                    _ => "control_character",
                },
                path,
            )),
            other => panic!("no code for {other:?}"),
        }
    }
    found
}

#[test]
fn both_schemas_are_valid_2020_12() {
    for schema in [event_schema(), batch_schema()] {
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(jsonschema::meta::is_valid(schema));
    }
}

#[test]
fn valid_events_are_valid() {
    let vectors = vectors::<Value>("valid");
    assert!(vectors.len() >= 15);
    let validator = event_validator();
    for (name, event) in vectors {
        assert_eq!(findings(&validator, &event), [], "{name}");
    }
}

#[test]
fn invalid_events_are_found_invalid_for_the_stated_reason() {
    let vectors = vectors::<Invalid>("invalid");
    assert!(vectors.len() >= 30);
    let validator = event_validator();
    for (name, Invalid { event, code, path, beyond_schema }) in vectors {
        let found = findings(&validator, &event);
        if beyond_schema {
            assert_eq!(found, [], "{name} is said to be beyond JSON Schema");
        } else {
            assert!(found.iter().any(|finding| (finding.0, &finding.1) == (&code, &path)), "{name}: {found:?}");
        }
    }
}

#[test]
fn every_code_has_a_vector() {
    let vectors = vectors::<Invalid>("invalid");
    let codes = [
        "required_missing",
        "datatype_mismatch",
        "additional_properties",
        "pattern_mismatch",
        "too_long",
        "too_short",
        "unknown_value",
        "out_of_range",
        "timestamp_invalid",
        "timestamp_in_future",
        "timestamp_too_old",
        "too_many_keys",
        "too_deep",
        "too_large",
        "control_character",
    ];
    for code in codes {
        assert!(vectors.iter().any(|(_, vector)| vector.code == code), "{code}");
    }
    for (name, vector) in &vectors {
        assert!(codes.contains(&vector.code.as_str()), "{name} has the unknown code {}", vector.code);
    }
}

#[test]
fn a_batch_is_a_list_of_events() {
    let validator = batch_validator();
    assert!(validator.is_valid(&json!({"events": [{"event_name": "test", "event_type": "test"}]})));
    assert!(validator.is_valid(&json!({"events": [], "sent_at": "2026-11-23T09:15:30Z"})));
    assert!(!validator.is_valid(&json!({"events": [{"event_name": "test"}]})));
    assert!(!validator.is_valid(&json!({"events": [], "sentAt": "2026-11-23T09:15:30Z"})));
    assert!(!validator.is_valid(&json!({"sent_at": "2026-11-23T09:15:30Z"})));
}

#[test]
fn the_schemas_event_types_are_those_of_the_avro_schema() {
    let known: Vec<_> = event_types()
        .iter()
        .map(|name| serde_json::from_value::<crate::EventType>(json!(name)).expect("known"))
        .collect();
    assert_eq!(known.len(), 8);
    assert!(!known.contains(&crate::EventType::Unknown));
}

#[test]
fn field_names_are_listed() {
    assert!(event_fields().contains(&"event_name") && event_fields().contains(&"journey_id"));
    assert_eq!(event_fields().len(), 10);
    assert!(context_fields().contains(&"experiments"));
    assert_eq!(context_fields().len(), 9);
}

#[test]
fn the_nearest_name_is_the_one_that_was_meant() {
    let nearest_field = |name| nearest(name, event_fields().iter().copied());
    assert_eq!(nearest_field("userId"), Some("user_id"));
    assert_eq!(nearest_field("user-id"), Some("user_id"));
    assert_eq!(nearest_field("proprties"), Some("properties"));
    assert_eq!(nearest_field("timestmap"), Some("timestamp"));
    assert_eq!(nearest_field("anonymousId"), Some("anonymous_id"));
    assert_eq!(nearest_field("xyz"), None);
    assert_eq!(nearest_field(""), None);
    assert_eq!(nearest("tracks", event_types().iter().copied()), Some("track"));
    assert_eq!(nearest("anything", []), None);
}
