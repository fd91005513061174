use apache_avro::{
    Schema as ApacheSchema, reader::datum::GenericDatumReader, types::Value as AvroValue,
    writer::datum::GenericDatumWriter,
};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{
    event::{Event, EventType},
    message::MessageType,
    record::TtfRecord,
    samples::{self, for_every_message, generators},
};

/// Length of the single-object header.
const HEADER: usize = 10;

fn codec() -> Codec {
    Codec::without_registry()
}

/// Decodes a datum as if it had been written with this schema.
fn decode_written_with<T: AvroMessage>(schema: &str, datum: &[u8]) -> Result<T, DecodeError> {
    decode_datum(T::TYPE, datum, &schema.parse().expect("a valid schema"))
}

fn parsed<T: AvroMessage>() -> (Value, ApacheSchema) {
    let json = T::TYPE.schema_json();
    (serde_json::from_str(json).expect("valid"), ApacheSchema::parse_str(json).expect("valid"))
}

/// A sample as another implementation of Avro sees it.
fn as_seen_by_apache<T: AvroMessage>(message: &T) -> Vec<(String, AvroValue)> {
    let bytes = codec().encode(message).expect("encodes");
    let (_, schema) = parsed::<T>();
    let reader = GenericDatumReader::builder(&schema).build().expect("a valid schema");
    match reader.read_value(&mut &bytes[HEADER..]).expect("apache-avro reads it") {
        AvroValue::Record(fields) => fields,
        other => panic!("not a record: {other:?}"),
    }
}

fn written_by_apache(schema: &ApacheSchema, value: AvroValue) -> Vec<u8> {
    let writer = GenericDatumWriter::builder(schema).build().expect("a valid schema");
    writer.write_value_to_vec(value).expect("apache-avro writes it")
}

#[test]
fn every_message_comes_back_as_it_was() {
    macro_rules! check {
        ($message:expr) => {{
            let message = $message;
            let bytes = codec().encode(&message).expect("encodes");
            assert_eq!(bytes[..2], [0xC3, 0x01]);
            assert_eq!(codec().decode(&bytes), Ok(message));
        }};
    }
    for_every_message!(check);
    check!(samples::bare_event());
}

/// As fastavro 1.13 computes them.
#[test]
fn fingerprints_are_those_of_other_implementations() {
    let fingerprints = [
        (MessageType::Event, "3478c1c32a0dc4a4"),
        (MessageType::Erasure, "2bf1438a91aff14c"),
        (MessageType::Notification, "f5c0f42faab8620a"),
    ];
    for (message, fingerprint) in fingerprints {
        let (_, first_version) = message.versions()[0];
        let schema: Schema = first_version.parse().expect("valid");
        assert_eq!(hex::encode(schema.rabin_fingerprint()), fingerprint, "{}", message.name());
    }
}

#[test]
fn what_another_implementation_of_avro_writes_is_read() {
    fn rewritten<T: AvroMessage>(message: &T) -> T {
        let (_, schema) = parsed::<T>();
        let mut bytes = vec![0xC3, 0x01];
        bytes.extend_from_slice(T::schema().rabin_fingerprint());
        bytes.extend(written_by_apache(&schema, AvroValue::Record(as_seen_by_apache(message))));
        codec().decode(&bytes).expect("decodes")
    }
    macro_rules! check {
        ($message:expr) => {{
            let message = $message;
            assert_eq!(rewritten(&message), message);
        }};
    }
    for_every_message!(check);
}

/// Version 1 of the state had event ids as strings.
#[test]
fn a_state_of_the_first_version_is_read() {
    fn with_texts(value: AvroValue) -> AvroValue {
        match value {
            AvroValue::Bytes(bytes) => AvroValue::String(String::from_utf8(bytes).expect("the sample has no UUIDs")),
            AvroValue::Record(fields) => {
                AvroValue::Record(fields.into_iter().map(|(name, value)| (name, with_texts(value))).collect())
            }
            AvroValue::Map(entries) => {
                AvroValue::Map(entries.into_iter().map(|(name, value)| (name, with_texts(value))).collect())
            }
            AvroValue::Array(items) => AvroValue::Array(items.into_iter().map(with_texts).collect()),
            AvroValue::Union(branch, value) => AvroValue::Union(branch, Box::new(with_texts(*value))),
            other => other,
        }
    }
    let (number, first) = MessageType::JourneyState.versions()[0];
    assert_eq!(number, 1);
    let state = samples::state();
    let older = with_texts(AvroValue::Record(as_seen_by_apache(&state)));
    let mut bytes = vec![0xC3, 0x01];
    bytes.extend_from_slice(first.parse::<Schema>().expect("valid").rabin_fingerprint());
    bytes.extend(written_by_apache(&ApacheSchema::parse_str(first).expect("valid"), older));
    assert_eq!(codec().decode(&bytes), Ok(state));
}

/// For each field with a default: what was written before the field existed still decodes, and gives the default.
#[test]
fn fields_an_older_record_lacks_take_their_default() {
    fn check<T: AvroMessage + std::fmt::Debug + PartialEq>(message: &T) -> usize {
        let (schema, _) = parsed::<T>();
        let fields = schema["fields"].as_array().expect("a record");
        let newer = as_seen_by_apache(message);
        let mut removed_fields = 0;
        for (index, field) in fields.iter().enumerate() {
            let Some(default) = field.get("default") else { continue };
            let name = field["name"].as_str().expect("named");
            if defines_a_name_used_elsewhere(field, &schema) {
                continue;
            }
            let mut older_schema = schema.clone();
            older_schema["fields"].as_array_mut().expect("a record").remove(index);
            let mut older = newer.clone();
            older.remove(index);
            let older_apache = ApacheSchema::parse_str(&older_schema.to_string()).expect("valid");
            let datum = written_by_apache(&older_apache, AvroValue::Record(older));

            let decoded: T = decode_written_with(&older_schema.to_string(), &datum)
                .unwrap_or_else(|error| panic!("{} without {name}: {error}", T::NAME));
            let mut expected = serde_json::to_value(message).expect("JSON");
            expected[name] = match (name, default) {
                // Kept as JSON text in Avro; the serde form is that text.
                ("properties", _) => Value::from("{}"),
                // Bytes are a list of numbers in JSON.
                _ if field["type"] == "bytes" => Value::Array(Vec::new()),
                _ => default.clone(),
            };
            assert_eq!(serde_json::to_value(&decoded).expect("JSON"), expected, "{} without {name}", T::NAME);
            removed_fields += 1;
        }
        removed_fields
    }
    /// Taking such a field out would take the definition from the others.
    fn defines_a_name_used_elsewhere(field: &Value, schema: &Value) -> bool {
        fn names(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(object) => {
                    if object.get("type").is_some_and(|kind| kind == "record" || kind == "enum") {
                        found.extend(object["name"].as_str().map(str::to_owned));
                    }
                    object.values().for_each(|value| names(value, found));
                }
                Value::Array(items) => items.iter().for_each(|item| names(item, found)),
                _ => {}
            }
        }
        let mut defined = Vec::new();
        names(&field["type"], &mut defined);
        let rest: String = schema["fields"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|other| *other != field)
            .map(|other| other["type"].to_string())
            .collect();
        defined.iter().any(|name| rest.contains(&format!("\"{name}\"")))
    }

    let mut checked = 0;
    macro_rules! count {
        ($message:expr) => {
            checked += check(&$message)
        };
    }
    for_every_message!(count);
    assert!(checked > 40, "only {checked} fields were checked");
}

#[test]
fn fields_a_newer_record_adds_are_skipped() {
    let (mut schema, _) = parsed::<TtfRecord>();
    let mut fields = as_seen_by_apache(&samples::record());
    let newer = serde_json::json!({
        "name": "notes",
        "type": {"type": "array", "items": {"type": "record", "name": "Note", "fields": [
            {"name": "text", "type": "string"}, {"name": "marks", "type": {"type": "map", "values": ["null", "double"]}}
        ]}},
        "default": []
    });
    schema["fields"].as_array_mut().expect("a record").insert(3, newer);
    let note = AvroValue::Record(vec![
        ("text".into(), AvroValue::String("hello".into())),
        (
            "marks".into(),
            AvroValue::Map([("a".to_owned(), AvroValue::Union(1, Box::new(AvroValue::Double(1.5))))].into()),
        ),
    ]);
    fields.insert(3, ("notes".into(), AvroValue::Array(vec![note])));
    let apache = ApacheSchema::parse_str(&schema.to_string()).expect("valid");
    let datum = written_by_apache(&apache, AvroValue::Record(fields));
    assert_eq!(decode_written_with(&schema.to_string(), &datum), Ok(samples::record()));
}

#[test]
fn an_enum_symbol_of_a_newer_record_becomes_unknown() {
    let (mut schema, _) = parsed::<Event>();
    let fields = schema["fields"].as_array_mut().expect("a record");
    let (index, event_type) =
        fields.iter_mut().enumerate().find(|(_, field)| field["name"] == "event_type").expect("there");
    let symbols = event_type["type"]["symbols"].as_array_mut().expect("an enum");
    symbols.push("alias".into());
    let position = symbols.len() - 1;
    let mut values = as_seen_by_apache(&samples::event());
    values[index].1 = AvroValue::Enum(position as u32, "alias".into());
    let apache = ApacheSchema::parse_str(&schema.to_string()).expect("valid");
    let datum = written_by_apache(&apache, AvroValue::Record(values));
    assert_eq!(
        decode_written_with(&schema.to_string(), &datum),
        Ok(Event { event_type: EventType::Unknown, ..samples::event() })
    );
}

#[test]
fn an_optional_enum_symbol_of_a_newer_record_becomes_unknown() {
    let schema =
        TtfRecord::TYPE.schema_json().replace(r#""skipped", "unknown""#, r#""skipped", "unknown", "repeated""#);
    assert_ne!(schema, TtfRecord::TYPE.schema_json());
    let apache = ApacheSchema::parse_str(&schema).expect("valid");
    let mut values = as_seen_by_apache(&samples::record());
    let (_, stages) = values.iter_mut().find(|(name, _)| name == "stages").expect("there");
    let AvroValue::Array(stages) = stages else { panic!("not an array") };
    let AvroValue::Record(stage) = &mut stages[0] else { panic!("not a record") };
    let (_, anomaly) = stage.iter_mut().find(|(name, _)| name == "anomaly").expect("there");
    *anomaly = AvroValue::Union(1, Box::new(AvroValue::Enum(3, "repeated".into())));
    let datum = written_by_apache(&apache, AvroValue::Record(values));
    let decoded: TtfRecord = decode_written_with(&schema, &datum).expect("decodes");
    assert_eq!(decoded.stages[0].anomaly, Some(crate::record::Anomaly::Unknown));
    assert_eq!(decoded.stages[1], samples::record().stages[1]);
}

#[test]
fn a_view_decodes_some_fields_and_borrows_strings() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Milestone<'a> {
        event_name: &'a str,
        timestamp: crate::EventTime,
        user_id: Option<&'a str>,
    }
    let bytes = codec().encode(&samples::event()).expect("encodes");
    assert_eq!(
        codec().decode_view::<Event, Milestone<'_>>(&bytes),
        Ok(Milestone { event_name: "first_project_created", timestamp: samples::NOW, user_id: Some("u-42") })
    );
}

#[test]
fn another_messages_bytes_are_refused() {
    let bytes = codec().encode(&samples::erasure()).expect("encodes");
    let error = codec().decode::<Event>(&bytes).expect_err("is an erasure");
    assert!(matches!(error, DecodeError::UnknownFingerprint { message: "Event", .. }), "{error:?}");
    assert!(!error.is_retriable());
}

#[test]
fn every_cut_and_every_excess_is_malformed() {
    let bytes = codec().encode(&samples::event()).expect("encodes");
    for end in HEADER..bytes.len() {
        let error = codec().decode::<Event>(&bytes[..end]).expect_err("is cut");
        assert!(matches!(error, DecodeError::Malformed { .. }), "{end}: {error:?}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(codec().decode::<Event>(&longer), Err(DecodeError::Malformed { .. })));
    for end in 0..HEADER {
        assert_eq!(codec().decode::<Event>(&bytes[..end]), Err(DecodeError::NotAvro));
    }
}

#[test]
fn a_registrys_format_without_a_registry_says_so() {
    let error = codec().decode::<Event>(&[0, 0, 0, 0, 7, 1, 2]).expect_err("no registry");
    assert_eq!(error.to_string(), "schema id 7 cannot be resolved: no schema registry is configured");
    assert!(!error.is_retriable());
}

#[test]
fn encode_into_appends() {
    let mut bytes = b"before".to_vec();
    codec().encode_into(&samples::erasure(), &mut bytes).expect("encodes");
    assert_eq!(codec().decode(bytes.strip_prefix(b"before").expect("kept")), Ok(samples::erasure()));
}

proptest! {
    #[test]
    fn any_event_comes_back_as_it_was(event in generators::any_event()) {
        let bytes = codec().encode(&event).expect("encodes");
        prop_assert_eq!(codec().decode(&bytes), Ok(event));
    }

    #[test]
    fn any_record_comes_back_as_it_was(record in generators::any_record()) {
        let bytes = codec().encode(&record).expect("encodes");
        prop_assert_eq!(codec().decode(&bytes), Ok(record));
    }

    #[test]
    fn any_notification_comes_back_as_it_was(notification in generators::any_notification()) {
        let bytes = codec().encode(&notification).expect("encodes");
        prop_assert_eq!(codec().decode(&bytes), Ok(notification));
    }

    /// Whatever follows a known header is decoded or refused, and neither panics nor asks for much memory.
    #[test]
    fn junk_is_refused_quietly(junk in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![0xC3, 0x01];
        bytes.extend_from_slice(TtfRecord::schema().rabin_fingerprint());
        bytes.extend_from_slice(&junk);
        if let Err(error) = codec().decode::<TtfRecord>(&bytes) {
            prop_assert!(!error.is_retriable());
        }
        prop_assert!(codec().decode::<Event>(&junk).is_err());
    }
}
