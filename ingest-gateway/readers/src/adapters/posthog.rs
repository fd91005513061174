//! PostHog's clients: captured events, and the control events that tell of persons and groups.
//! <https://posthog.com/docs/api/capture>

use serde_json::{Map, Value};
use telemetry_schemas::time::EventTime;

use super::{EventNames, Translated, draft::Draft, lenient_time};

/// Native fields and where these clients write them.
pub(super) const PATHS: [(&str, &str); 5] = [
    ("/event_name", "/event"),
    ("/event_id", "/uuid"),
    ("/user_id", "/distinct_id"),
    ("/anonymous_id", "/distinct_id"),
    ("/session_id", "/properties/$session_id"),
];

/// What a request says about all its records.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub sent_at: Option<EventTime>,
    /// Name and version of the client (`posthog-python/7.91.1`), where a header says so.
    pub library: Option<(String, String)>,
}

impl Batch {
    /// Reads what stands beside the records. `request_time` and `sdk` are the headers `PostHog-Request-Timestamp` and
    /// `PostHog-Sdk-Info`.
    pub fn of(envelope: &Map<String, Value>, request_time: Option<&str>, sdk: Option<&str>) -> Self {
        let stated = envelope.get("sent_at").or_else(|| envelope.get("sentAt"));
        let sent_at = stated
            .and_then(lenient_time::read)
            .or_else(|| lenient_time::read(&Value::String(request_time?.to_owned())));
        let library =
            sdk.and_then(|sdk| sdk.split_once('/')).map(|(name, version)| (name.to_owned(), version.to_owned()));
        Self { sent_at, library }
    }
}

/// Puts one record into the native form.
pub fn translate(mut record: Map<String, Value>, batch: &Batch, names: &EventNames) -> Translated {
    let event = record.remove("event").unwrap_or(Value::String(String::new()));
    let mut options = match record.remove("options") {
        Some(Value::Object(options)) => options,
        _ => Map::new(),
    };
    let mut draft = Draft::default();
    draft.properties(record.remove("properties"));
    // The key of the project is nothing to keep.
    for secret in ["token", "api_key"] {
        draft.take_property(secret);
    }
    for name in ["$set", "$set_once", "$groups"] {
        draft.property(name, record.remove(name));
    }

    match event.as_str().unwrap_or_default() {
        "$identify" | "$set" => {
            traits(&mut draft);
            draft.named(&event, "identify", names);
        }
        "$create_alias" => draft.named(&event, "identify", names),
        "$groupidentify" => {
            if let Some(Value::Object(traits)) = draft.take_property("$group_set") {
                traits.into_iter().for_each(|(name, value)| draft.property(&name, Some(value)));
            }
            draft.named(&event, "group", names);
        }
        "$pageview" | "$screen" => draft.named(&event, "page", names),
        "$exception" => match exception_type(&draft) {
            Some(error_type) => {
                draft.property("error_type", Some(error_type));
                draft.named(&event, "error", names);
            }
            None => draft.named(&event, "track", names),
        },
        _ => draft.named(&event, "track", names),
    }

    let uuid = record.remove("uuid").or_else(|| draft.take_property("uuid"));
    draft.id("event_id", uuid);
    person(&mut draft, &mut record, &options);
    draft.timestamp(record.remove("timestamp"));
    let session = record.remove("session_id").or_else(|| draft.take_property("$session_id"));
    draft.id("session_id", session);
    put_context(&mut draft, batch);
    let ignores_clock = options.remove("disable_skew_correction") == Some(Value::Bool(true));
    let sent_at = record.get("sent_at").and_then(lenient_time::read).or(batch.sent_at).filter(|_| !ignores_clock);
    Translated { event: draft.finish(), sent_at, source: None }
}

/// What is told of the person stands among the properties, as the traits of a native `identify` do.
fn traits(draft: &mut Draft) {
    for name in ["$set", "$set_once"] {
        if let Some(Value::Object(traits)) = draft.take_property(name) {
            traits.into_iter().for_each(|(name, value)| draft.property(&name, Some(value)));
        }
    }
}

/// Tells users from visitors: a `distinct_id` is a visitor's when the client says that there is no person behind it, or
/// that it is the device's.
fn person(draft: &mut Draft, record: &mut Map<String, Value>, options: &Map<String, Value>) {
    let in_properties = draft.take_property("distinct_id");
    let distinct_id = record.remove("distinct_id").or(in_properties);
    let user_id = draft.take_property("$user_id");
    let has_no_profile = [options.get("process_person_profile"), draft.property_ref("$process_person_profile")]
        .contains(&Some(&Value::Bool(false)));
    let is_not_identified = draft.property_ref("$is_identified") == Some(&Value::Bool(false));
    let is_device = distinct_id.is_some() && draft.property_ref("$device_id") == distinct_id.as_ref();
    let is_visitor = user_id.is_none()
        && (has_no_profile || is_not_identified || is_device || is_group(draft, distinct_id.as_ref()));
    draft.id("user_id", user_id);
    if is_visitor {
        draft.id("anonymous_id", distinct_id);
        return;
    }
    if !draft.has("user_id") {
        draft.id("user_id", distinct_id);
    }
    let visitor = draft.take_property("$anon_distinct_id");
    draft.id("anonymous_id", visitor);
}

/// True when a `distinct_id` stands for a group: clients make one up of the group's type and key where none is given.
fn is_group(draft: &Draft, distinct_id: Option<&Value>) -> bool {
    let text = |name: &str| draft.property_ref(name).and_then(Value::as_str);
    match (text("$group_type"), text("$group_key"), distinct_id.and_then(Value::as_str)) {
        (Some(kind), Some(key), Some(id)) => id.strip_prefix('$').is_some_and(|id| id == format!("{kind}_{key}")),
        _ => false,
    }
}

fn exception_type(draft: &Draft) -> Option<Value> {
    let listed = draft.property_ref("$exception_list").and_then(|list| list.get(0)?.get("type"));
    let stated = listed.or_else(|| draft.property_ref("$exception_type"))?;
    let name: String = stated.as_str()?.chars().take(200).collect();
    (!name.is_empty()).then(|| name.into())
}

fn put_context(draft: &mut Draft, batch: &Batch) {
    let (name, version) = (draft.take_property("$lib"), draft.take_property("$lib_version"));
    match &batch.library {
        Some((name, version)) => draft.library(Some(name.as_str().into()), Some(version.as_str().into())),
        None => draft.library(name, version),
    }
    for (theirs, ours) in [
        ("$ip", "ip"),
        ("$browser_language", "locale"),
        ("$locale", "locale"),
        ("$timezone", "timezone"),
        ("$raw_user_agent", "user_agent"),
        ("$app_version", "release"),
    ] {
        let value = draft.take_property(theirs);
        draft.context_text(ours, value);
    }
    let flags = draft.take_prefixed("$feature/");
    draft.experiments(flags.into_iter().map(|(name, value)| (name["$feature/".len()..].to_owned(), value)));
}
