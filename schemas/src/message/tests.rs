use std::fs;

use apache_avro::{
    Schema as ApacheSchema,
    schema_compatibility::{Compatibility, SchemaCompatibility},
};
use serde_json::Value;

use super::*;

/// What FULL_TRANSITIVE asks of two versions: each reads whatever the other writes.
fn assert_fully_compatible(a: &str, b: &str) -> Result<(), String> {
    let [a, b] = [a, b].map(|json| ApacheSchema::parse_str(json).expect("a valid schema"));
    for (writer, reader) in [(&a, &b), (&b, &a)] {
        match SchemaCompatibility::can_read(writer, reader) {
            Ok(Compatibility::Full) => {}
            Ok(Compatibility::Partial) => return Err("only some of what one writes can be read by the other".into()),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// The event's schema with one change.
fn changed(change: impl FnOnce(&mut Value)) -> String {
    let mut schema: Value = serde_json::from_str(MessageType::Event.schema_json()).expect("valid");
    change(&mut schema);
    schema.to_string()
}

fn field<'a>(schema: &'a mut Value, name: &str) -> &'a mut Value {
    let fields = schema["fields"].as_array_mut().expect("a record");
    fields.iter_mut().find(|field| field["name"] == name).expect("the field is there")
}

#[test]
fn every_schema_is_named_after_its_message() {
    for &message in MessageType::ALL {
        let json: Value = serde_json::from_str(message.schema_json()).expect("valid");
        assert_eq!(json["name"], message.name());
        assert_eq!(json["namespace"], NAMESPACE);
        assert_eq!(MessageType::from_full_name(&message.full_name()), Some(message));
        assert!(!message.schema().json().is_empty());
    }
    assert_eq!(MessageType::from_full_name("io.ttf.telemetry.v1.Nothing"), None);
    assert_eq!(MessageType::from_full_name("Event"), None);
    assert_eq!(MessageType::Event.subject(), "telemetry.events.v1-value");
}

#[test]
fn every_past_version_is_fully_compatible_with_the_current_one() {
    for &message in MessageType::ALL {
        for (version, past) in message.versions() {
            if let Err(why) = assert_fully_compatible(past, message.schema_json()) {
                panic!("{} is incompatible with its version {version}: {why}", message.name());
            }
        }
    }
}

#[test]
fn the_current_schema_is_the_newest_committed_version() {
    for &message in MessageType::ALL {
        let (version, newest) = message.versions().last().expect("one at least");
        let [current, newest] =
            [message.schema_json(), newest].map(|json| serde_json::from_str::<Value>(json).expect("valid"));
        assert!(
            current == newest,
            "schemas/avro/{stem}.avsc differs from schemas/past/{stem}.v{version}.avsc: commit it as version {}",
            version + 1,
            stem = message.file_stem(),
        );
    }
}

#[test]
fn every_committed_version_is_embedded() {
    let mut embedded: Vec<String> = MessageType::ALL
        .iter()
        .flat_map(|message| {
            message.versions().iter().map(|(version, _)| format!("{}.v{version}.avsc", message.file_stem()))
        })
        .collect();
    let mut committed: Vec<String> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/past"))
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
        .collect();
    embedded.sort();
    committed.sort();
    assert_eq!(embedded, committed);
}

#[test]
fn a_new_optional_field_and_a_new_enum_symbol_are_compatible() {
    let new_field = changed(|schema| {
        let fields = schema["fields"].as_array_mut().expect("a record");
        fields.push(serde_json::json!({"name": "channel", "type": ["null", "string"], "default": null}));
    });
    assert_eq!(assert_fully_compatible(MessageType::Event.schema_json(), &new_field), Ok(()));

    let new_symbol = changed(|schema| {
        let symbols = field(schema, "event_type")["type"]["symbols"].as_array_mut().expect("an enum");
        symbols.push("alias".into());
    });
    assert_eq!(assert_fully_compatible(MessageType::Event.schema_json(), &new_symbol), Ok(()));
}

#[test]
fn incompatible_changes_are_caught() {
    let removed_required = changed(|schema| {
        let fields = schema["fields"].as_array_mut().expect("a record");
        fields.retain(|field| field["name"] != "tenant");
    });
    let added_required = changed(|schema| {
        let fields = schema["fields"].as_array_mut().expect("a record");
        fields.push(serde_json::json!({"name": "channel", "type": "string"}));
    });
    let renamed = changed(|schema| field(schema, "event_name")["name"] = "name".into());
    let retyped = changed(|schema| field(schema, "timestamp")["type"] = "string".into());
    let optional = changed(|schema| field(schema, "event_id")["type"] = serde_json::json!(["null", "string"]));
    let nested = changed(|schema| {
        let fields = field(schema, "context")["type"]["fields"].as_array_mut().expect("a record");
        fields.push(serde_json::json!({"name": "device", "type": "string"}));
    });
    let symbol_removed_without_default = changed(|schema| {
        let event_type = &mut field(schema, "event_type")["type"];
        event_type["symbols"].as_array_mut().expect("an enum").retain(|symbol| symbol != "unknown");
        event_type.as_object_mut().expect("an object").remove("default");
    });
    let changes =
        [removed_required, added_required, renamed, retyped, optional, nested, symbol_removed_without_default];
    for (index, change) in changes.iter().enumerate() {
        assert!(assert_fully_compatible(MessageType::Event.schema_json(), change).is_err(), "change {index}");
    }
}

#[test]
fn every_enum_falls_back_to_unknown() {
    fn check(schema: &Value, seen: &mut usize) {
        match schema {
            Value::Object(object) => {
                if object.get("type").is_some_and(|kind| kind == "enum") {
                    assert_eq!(object["default"], "unknown", "{}", object["name"]);
                    assert!(object["symbols"].as_array().is_some_and(|symbols| symbols.contains(&"unknown".into())));
                    *seen += 1;
                }
                object.values().for_each(|value| check(value, seen));
            }
            Value::Array(items) => items.iter().for_each(|item| check(item, seen)),
            _ => {}
        }
    }
    let mut seen = 0;
    for &message in MessageType::ALL {
        check(&serde_json::from_str(message.schema_json()).expect("valid"), &mut seen);
    }
    assert!(seen >= 8, "only {seen} enums were found");
}

#[test]
fn every_field_says_what_it_is() {
    fn check(schema: &Value) {
        match schema {
            Value::Object(object) => {
                for field in object.get("fields").and_then(Value::as_array).into_iter().flatten() {
                    assert!(field["doc"].as_str().is_some_and(|doc| !doc.is_empty()), "{field}");
                }
                object.values().for_each(check);
            }
            Value::Array(items) => items.iter().for_each(check),
            _ => {}
        }
    }
    for &message in MessageType::ALL {
        check(&serde_json::from_str(message.schema_json()).expect("valid"));
    }
}
